"""The shapes of items and bodies, closed: a member that is not listed is refused.

``check_item`` and ``check_body`` raise ``Malformed`` and otherwise promise that every member named in the
wire contract is there with the right type, so that the code behind them indexes without asking.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .strictjson import MAX_INTEGER, Malformed

Check = Callable[[Any], bool]

#: Blocks one message may name over its own items (or its carried proposals).
MAX_BLOCKS = 3000
#: Own items of one message.
MAX_ITEMS = 1000

_UUID7 = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def _matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _one_of(*allowed: str) -> Check:
    return lambda value: isinstance(value, str) and value in allowed


def _list_of(check: Check, least: int = 0) -> Check:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(check, value))


def _record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}
    needed = frozenset(required)

    def holds(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and needed <= value.keys() <= known.keys()
            and all(known[name](member) for name, member in value.items())
        )

    return holds


def is_time(value: Any) -> bool:
    """Say whether ``value`` is a time as the contract writes it: UTC, three decimals, ``Z``."""
    if not (isinstance(value, str) and _TIME.fullmatch(value)):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_serial(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_INTEGER


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


is_uuid7 = _matches(_UUID7)
is_hash = _matches("[A-Za-z0-9_-]{43}")
is_link_code = _matches("[A-Z]{3}[0-9]{2}")
is_transfer = _matches(f"[A-Z]{{3}}[0-9]{{2}}-{_UUID7}")
is_account = _matches("[0-9]{3}-[1-9][0-9]{0,8}")
is_party = _matches("[A-Z]{3}")
is_series = _matches("[A-Za-z0-9._-]{1,64}")
is_itmo = _matches("CA[0-9]{4}-[A-Z]{3}[0-9]{2}-[A-Z]{3}-[1-9][0-9]{0,15}-[0-9]{4}")
_is_text = _matches(r"(?s).{1,500}")
_is_code = _matches("[A-Za-z0-9._:-]{1,64}")
_is_purpose = _one_of("NDC", "IMP", "OP")

_origin = _record({"registry": is_link_code, "series": is_series})
_range = {"origin": _origin, "first": _is_serial, "last": _is_serial}
_itmo_range = _record({"first": is_itmo, "last": is_itmo})
_authorisation = _record({"id": _is_text, "version": _is_serial})
_attributes = _record(
    {
        "unit_type": _is_text,
        "first_transferring_party": is_party,
        "vintage": lambda value: type(value) is int and 2000 <= value <= 9999,
        "cooperative_approach": _matches("CA[0-9]{4}"),
        "metric": _is_text,
        "mitigation_type": _one_of("Emission reductions", "Removals", "Emission reductions and removals"),
        "sector": _is_text,
        "activity_type": _is_text,
        "activity": _is_text,
        "authorisation": lambda value: value is None or _authorisation(value),
    },
    {"underlying": _record({"registry": _is_text, "first": _is_text, "last": _is_text})},
)
_block_members = _record({**_range, "attributes": _attributes}, {"itmo": _itmo_range})
_finding = _record(
    {"code": lambda value: type(value) is int and 1000 <= value <= 9999},
    {"blocks": _list_of(_record(_range)), "detail": _is_text},
)
_findings = _list_of(_finding)
_address = _record({"registry": is_link_code, "party": is_party, "account": is_account})
is_named_message = _record({"id": is_uuid7, "sha256": is_hash})


def is_attributes(value: Any) -> bool:
    """Say whether ``value`` is a complete set of unit attributes."""
    return _attributes(value)


def is_block(value: Any) -> bool:
    """Say whether ``value`` is a unit block: its members, its order and its two names in step."""
    if not _block_members(value) or value["first"] > value["last"]:
        return False
    return "itmo" not in value or names_in_step(value["first"], value["last"], value["itmo"])


def names_in_step(first: int, last: int, itmo: Mapping[str, str]) -> bool:
    """Say whether an ITMO range has one stem and one constant offset to the serials ``first``..``last``."""
    low, high = split_itmo(itmo["first"]), split_itmo(itmo["last"])
    return low[0] == high[0] and high[1] - low[1] == last - first and high[1] <= MAX_INTEGER


def split_itmo(text: str) -> tuple[str, int]:
    """Give the stem (with ``{}`` for the serial) and the serial of an ITMO identifier."""
    approach, registry, party, serial, vintage = text.split("-")
    return f"{approach}-{registry}-{party}-{{}}-{vintage}", int(serial)


def _is_named_piece(value: Any) -> bool:
    return _record({**_range, "itmo": _itmo_range})(value) and names_in_step(
        value["first"], value["last"], value["itmo"]
    )


# ITMO identifiers in a record may be wrong: that is a finding on the record, not on the message.
_recorded_block = _record(
    {**_range, "attributes": _attributes}, {"itmo": _record({"first": _is_text, "last": _is_text})}
)
_recorded: dict[str, Check] = {
    "kind": _is_code,
    "action": lambda value: isinstance(value, str) and 1 <= len(value) <= 128 and value.isprintable(),
    "at": is_time,
    "section": is_link_code,
    "party": is_party,
    "registry": is_link_code,
    "authorisation": lambda value: value is None or _authorisation(value),
    "quantity": _is_serial,
    "blocks": _list_of(_recorded_block, 1),
}
_recorded_transfer = _record(
    {
        **_recorded,
        "type": _one_of("First transfer", "Transfer", "Acquisition"),
        "transfer": is_transfer,
        "transferring": _address,
        "acquiring": _address,
        "purpose": _is_purpose,
    }
)
_recorded_disposal = _record(
    {**_recorded, "type": _one_of("Use", "Cancellation"), "account": is_account, "to_account": is_account}
)

_years = _record({"first": lambda value: type(value) is int, "last": lambda value: type(value) is int})
_told: dict[str, Check] = {
    "kind": _is_code,
    "action": _recorded["action"],
    "at": is_time,
    "registry": is_link_code,
    "party": is_party,
    "account": is_account,
    "to_account": is_account,
    "blocks": _list_of(is_block, 1),
}
_told_use = _record(
    {**_told, "type": _one_of("use")},
    {"year": lambda value: type(value) is int, "ndc_period": _years, "entity": _is_text},
)
_told_cancellation = _record(
    {**_told, "type": _one_of("cancellation")}, {"purpose": _one_of("OP", "OMGE", "other"), "entity": _is_text}
)

_request = {
    "transferring": _address,
    "acquiring": _address,
    "purpose": _is_purpose,
    "quantity": _is_serial,
}
_hashes: dict[str, Check] = {"proposal": is_hash, "answer": is_hash}

HISTORY_TYPES = ("issuance", "transfer", "use", "cancellation", "adaptation", "first_transfer", "authorisation")

#: Members of each item kind beside ``kind`` that a registry receives or sends inside a transfer.
ITEMS: dict[str, Check] = {
    "request": _record({"kind": _is_code, "request": is_uuid7, **_request}, {"blocks": _list_of(_record(_range), 1)}),
    "propose": _record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            **_request,
            "authorisation": _authorisation,
            "blocks": _list_of(is_block, 1),
        },
        {"request": is_uuid7},
    ),
    "offer": _record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "proposal": is_hash,
            "verdict": _one_of("passed"),
            "findings": _findings,
            "answer_by": is_time,
        }
    ),
    "answer": _record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "offer": is_hash,
            "answer": _one_of("accepted", "rejected", "closed-here"),
            "findings": _findings,
        }
    ),
    "commit": _record({"kind": _is_code, "transfer": is_transfer, **_hashes}),
    "released": _record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "commit": is_named_message,
            "released_at": is_time,
            "first_transfer": lambda value: isinstance(value, bool),
            "itmo": _list_of(_is_named_piece),
        }
    ),
    "voided": _record({"kind": _is_code, "transfer": is_transfer, "findings": _findings}),
    "cancel": _record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "outcome": _one_of("refused", "rejected", "cancelled"),
            "findings": _findings,
        }
    ),
    "settle": _record({"kind": _is_code, "transfer": is_transfer, **_hashes, "release": is_hash}),
    "credited": _record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "settle": is_named_message,
            "credited_at": is_time,
            "account": is_account,
            "findings": _findings,
        }
    ),
    "closed": _record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "state": _one_of("completed", "refused", "rejected", "cancelled"),
            "findings": _findings,
        }
    ),
    "record": lambda value: _recorded_transfer(value) or _recorded_disposal(value),
    "action": lambda value: _told_use(value) or _told_cancellation(value),
    "history": _record(
        {
            "kind": _is_code,
            "registry": is_link_code,
            "transaction": _matches(r"(?s).{1,64}"),
            "type": _one_of(*HISTORY_TYPES),
            "at": is_time,
            "block": is_block,
            "first_transfer": lambda value: isinstance(value, bool),
        },
        {
            "from": _address,
            "to": _address,
            "purpose": _one_of("NDC", "IMP", "OP", "OMGE", "other"),
            "year": _is_serial,
            "corrects": is_hash,
        },
    ),
    "receipt": _record(
        {"kind": _is_code, "item": is_hash, "state": _is_text, "findings": _findings},
        {"transfer": is_transfer},
    ),
}

_is_jwk_okp = _record(
    {"kty": _one_of("OKP"), "crv": _one_of("Ed25519"), "x": is_hash, "alg": _one_of("Ed25519"), "kid": is_hash,
     "use": _one_of("sig")}
)  # fmt: skip
_is_jwk_ec = _record(
    {"kty": _one_of("EC"), "crv": _one_of("P-256"), "x": is_hash, "y": is_hash, "alg": _one_of("ES256"), "kid": is_hash,
     "use": _one_of("sig")}
)  # fmt: skip
_new_keys = _record({"keys": _list_of(lambda value: _is_jwk_okp(value) or _is_jwk_ec(value)), "not_before": is_time})


def _is_announcement(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    ends = value.get("retire", {})
    sound = isinstance(ends, dict) and all(is_hash(kid) and is_time(end) for kid, end in ends.items())
    return (
        sound and _new_keys({name: value[name] for name in value if name != "retire"}) and bool(value["keys"] or ends)
    )


_status_query = _record({"transfer": is_transfer, "my_state": _is_text}, {"message": is_named_message})
_status_answer = _record(
    {"transfer": is_transfer, "state": _is_text},
    {"message": _one_of("known", "not known"), "evidence": _list_of(lambda value: isinstance(value, str))},
)
_evidence_only = _record({}, {"evidence": _list_of(lambda value: isinstance(value, str))})
_nothing = _record({})
_cursor = _record({"number": _is_index, "digest": is_hash})
_feed: dict[str, Check] = {"of": is_link_code, "for": _record({"registry": is_link_code, "party": is_party})}
_of_page: dict[str, Check] = {**_feed, "after": _cursor, "until": _cursor}
_one_message = _list_of(lambda value: isinstance(value, str), 1)
_select = _record(
    {},
    {
        "account": is_account,
        "party": is_party,
        "activity": _is_text,
        "authorisation": _is_text,
        "vintage": _is_index,
        "units": _record(_range),
        "type": _is_text,
        "since": is_time,
        "until": is_time,
    },
)
_own_log = _record(
    {"checkpoint": _matches(r"(?s).{1,65536}"), "leaves": _list_of(_is_index, 1), "salts": _matches("[A-Za-z0-9_-]+")}
)

#: Bodies by message type; types that carry evidence may leave it out.
BODIES: dict[str, Check] = {
    "link.keys": _is_announcement,
    "transfer.request": _nothing,
    "transfer.offer": _evidence_only,
    "transfer.commit": _evidence_only,
    "transfer.cancel": _nothing,
    "transfer.settle": _evidence_only,
    "transfer.closed": _evidence_only,
    "action.record": _nothing,
    "action.notice": _nothing,
    "receipt": _nothing,
    "refusal": _record({"findings": _list_of(_finding, 1)}),
    "status.query": _status_query,
    "status.answer": _status_answer,
    "time.query": _nothing,
    "history.query": _record({**_feed, "after": _cursor, "limit": _is_serial}, {"select": _select}),
    "history.page": _record(
        {**_of_page, "more": lambda value: isinstance(value, bool)}, {"log": _own_log, "evidence": _one_message}
    ),
    "history.deliver": _record({**_of_page, "evidence": _one_message}),
    "positions.query": _record({**_feed, "limit": _is_serial}, {"after": _matches("(?s).{1,256}"), "select": _select}),
}


def check_item(item: Any, kind: str) -> None:
    """Raise ``Malformed`` unless ``item`` is an item of ``kind`` exactly as the contract writes it."""
    if not (isinstance(item, dict) and item.get("kind") == kind and ITEMS[kind](item)):
        raise Malformed(f"not a {kind} item")


def check_body(body: Any, message_type: str) -> None:
    """Raise ``Malformed`` unless ``body`` is what a message of this type has."""
    if not BODIES[message_type](body):
        raise Malformed(f"not the body of {message_type}")
