"""The shapes of items and bodies, closed: a member that is not listed is refused.

``check_item`` and ``check_body`` raise ``Malformed`` and otherwise promise that every member named in the
wire contract is there with the right type, so that the code behind them indexes without asking.
"""

from collections.abc import Mapping
from typing import Any

from . import cut_shapes
from .shaping import UUID7, is_index, list_of, matches, one_of, record
from .shaping import Check as Check
from .shaping import is_hash as is_hash
from .shaping import is_link_code as is_link_code
from .shaping import is_serial as is_serial
from .shaping import is_time as is_time
from .shaping import is_uuid7 as is_uuid7
from .strictjson import MAX_INTEGER, Malformed

#: Blocks one message may name over its own items (or its carried proposals).
MAX_BLOCKS = 3000
#: Own items of one message.
MAX_ITEMS = 1000


is_transfer = matches(f"[A-Z]{{3}}[0-9]{{2}}-{UUID7}")
is_account = matches("[0-9]{3}-[1-9][0-9]{0,8}")
is_party = matches("[A-Z]{3}")
is_series = matches("[A-Za-z0-9._-]{1,64}")
is_itmo = matches("CA[0-9]{4}-[A-Z]{3}[0-9]{2}-[A-Z]{3}-[1-9][0-9]{0,15}-[0-9]{4}")
_is_text = matches(r"(?s).{1,500}")
_is_code = matches("[A-Za-z0-9._:-]{1,64}")
_is_purpose = one_of("NDC", "IMP", "OP")

_origin = record({"registry": is_link_code, "series": is_series})
_range = {"origin": _origin, "first": is_serial, "last": is_serial}
_itmo_range = record({"first": is_itmo, "last": is_itmo})
_authorisation = record({"id": _is_text, "version": is_serial})
_attributes = record(
    {
        "unit_type": _is_text,
        "first_transferring_party": is_party,
        "vintage": lambda value: type(value) is int and 2000 <= value <= 9999,
        "cooperative_approach": matches("CA[0-9]{4}"),
        "metric": _is_text,
        "mitigation_type": one_of("Emission reductions", "Removals", "Emission reductions and removals"),
        "sector": _is_text,
        "activity_type": _is_text,
        "activity": _is_text,
        "authorisation": lambda value: value is None or _authorisation(value),
    },
    {"underlying": record({"registry": _is_text, "first": _is_text, "last": _is_text})},
)
_block_members = record({**_range, "attributes": _attributes}, {"itmo": _itmo_range})
_finding = record(
    {"code": lambda value: type(value) is int and 1000 <= value <= 9999},
    {"blocks": list_of(record(_range)), "detail": _is_text},
)
_findings = list_of(_finding)
_address = record({"registry": is_link_code, "party": is_party, "account": is_account})
is_named_message = record({"id": is_uuid7, "sha256": is_hash})


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
    return record({**_range, "itmo": _itmo_range})(value) and names_in_step(
        value["first"], value["last"], value["itmo"]
    )


# ITMO identifiers in a record may be wrong: that is a finding on the record, not on the message.
_recorded_block = record({**_range, "attributes": _attributes}, {"itmo": record({"first": _is_text, "last": _is_text})})
_recorded: dict[str, Check] = {
    "kind": _is_code,
    "action": lambda value: isinstance(value, str) and 1 <= len(value) <= 128 and value.isprintable(),
    "at": is_time,
    "section": is_link_code,
    "party": is_party,
    "registry": is_link_code,
    "authorisation": lambda value: value is None or _authorisation(value),
    "quantity": is_serial,
    "blocks": list_of(_recorded_block, 1),
}
_recorded_transfer = record(
    {
        **_recorded,
        "type": one_of("First transfer", "Transfer", "Acquisition"),
        "transfer": is_transfer,
        "transferring": _address,
        "acquiring": _address,
        "purpose": _is_purpose,
    }
)
_recorded_disposal = record(
    {**_recorded, "type": one_of("Use", "Cancellation"), "account": is_account, "to_account": is_account}
)


_years = record({"first": lambda value: type(value) is int, "last": lambda value: type(value) is int})
_told: dict[str, Check] = {
    "kind": _is_code,
    "action": _recorded["action"],
    "at": is_time,
    "registry": is_link_code,
    "party": is_party,
    "account": is_account,
    "to_account": is_account,
    "blocks": list_of(is_block, 1),
}
_told_use = record(
    {**_told, "type": one_of("use")},
    {"year": lambda value: type(value) is int, "ndc_period": _years, "entity": _is_text},
)
_told_cancellation = record(
    {**_told, "type": one_of("cancellation")}, {"purpose": one_of("OP", "OMGE", "other"), "entity": _is_text}
)

_request = {
    "transferring": _address,
    "acquiring": _address,
    "purpose": _is_purpose,
    "quantity": is_serial,
}
_hashes: dict[str, Check] = {"proposal": is_hash, "answer": is_hash}

HISTORY_TYPES = ("issuance", "transfer", "use", "cancellation", "adaptation", "first_transfer", "authorisation")

#: Members of each item kind beside ``kind`` that a registry receives or sends inside a transfer.
ITEMS: dict[str, Check] = {
    "request": record({"kind": _is_code, "request": is_uuid7, **_request}, {"blocks": list_of(record(_range), 1)}),
    "propose": record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            **_request,
            "authorisation": _authorisation,
            "blocks": list_of(is_block, 1),
        },
        {"request": is_uuid7},
    ),
    "offer": record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "proposal": is_hash,
            "verdict": one_of("passed"),
            "findings": _findings,
            "answer_by": is_time,
        }
    ),
    "answer": record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "offer": is_hash,
            "answer": one_of("accepted", "rejected", "closed-here"),
            "findings": _findings,
        }
    ),
    "commit": record({"kind": _is_code, "transfer": is_transfer, **_hashes}),
    "released": record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "commit": is_named_message,
            "released_at": is_time,
            "first_transfer": lambda value: isinstance(value, bool),
            "itmo": list_of(_is_named_piece),
        }
    ),
    "voided": record({"kind": _is_code, "transfer": is_transfer, "findings": _findings}),
    "cancel": record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "outcome": one_of("refused", "rejected", "cancelled"),
            "findings": _findings,
        }
    ),
    "settle": record({"kind": _is_code, "transfer": is_transfer, **_hashes, "release": is_hash}),
    "credited": record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "settle": is_named_message,
            "credited_at": is_time,
            "account": is_account,
            "findings": _findings,
        }
    ),
    "closed": record(
        {
            "kind": _is_code,
            "transfer": is_transfer,
            "state": one_of("completed", "refused", "rejected", "cancelled"),
            "findings": _findings,
        }
    ),
    "record": lambda value: _recorded_transfer(value) or _recorded_disposal(value),
    "action": lambda value: _told_use(value) or _told_cancellation(value),
    "history": record(
        {
            "kind": _is_code,
            "registry": is_link_code,
            "transaction": matches(r"(?s).{1,64}"),
            "type": one_of(*HISTORY_TYPES),
            "at": is_time,
            "block": is_block,
            "first_transfer": lambda value: isinstance(value, bool),
        },
        {
            "from": _address,
            "to": _address,
            "purpose": one_of("NDC", "IMP", "OP", "OMGE", "other"),
            "year": is_serial,
            "corrects": is_hash,
        },
    ),
    "finding": cut_shapes.finding,
    "receipt": record(
        {"kind": _is_code, "item": is_hash, "state": _is_text, "findings": _findings},
        {"transfer": is_transfer},
    ),
}

_is_jwk_okp = record(
    {"kty": one_of("OKP"), "crv": one_of("Ed25519"), "x": is_hash, "alg": one_of("Ed25519"), "kid": is_hash,
     "use": one_of("sig")}
)  # fmt: skip
_is_jwk_ec = record(
    {"kty": one_of("EC"), "crv": one_of("P-256"), "x": is_hash, "y": is_hash, "alg": one_of("ES256"), "kid": is_hash,
     "use": one_of("sig")}
)  # fmt: skip
_new_keys = record({"keys": list_of(lambda value: _is_jwk_okp(value) or _is_jwk_ec(value)), "not_before": is_time})


def _is_announcement(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    ends = value.get("retire", {})
    sound = isinstance(ends, dict) and all(is_hash(kid) and is_time(end) for kid, end in ends.items())
    return (
        sound and _new_keys({name: value[name] for name in value if name != "retire"}) and bool(value["keys"] or ends)
    )


_status_query = record({"transfer": is_transfer, "my_state": _is_text}, {"message": is_named_message})
_status_answer = record(
    {"transfer": is_transfer, "state": _is_text},
    {"message": one_of("known", "not known"), "evidence": list_of(lambda value: isinstance(value, str))},
)
_evidence_only = record({}, {"evidence": list_of(lambda value: isinstance(value, str))})
_nothing = record({})
_cursor = record({"number": is_index, "digest": is_hash})
_feed: dict[str, Check] = {"of": is_link_code, "for": record({"registry": is_link_code, "party": is_party})}
_of_page: dict[str, Check] = {**_feed, "after": _cursor, "until": _cursor}
_one_message = list_of(lambda value: isinstance(value, str), 1)
_select = record(
    {},
    {
        "account": is_account,
        "party": is_party,
        "activity": _is_text,
        "authorisation": _is_text,
        "vintage": is_index,
        "units": record(_range),
        "type": _is_text,
        "since": is_time,
        "until": is_time,
    },
)
_own_log = record(
    {"checkpoint": matches(r"(?s).{1,65536}"), "leaves": list_of(is_index, 1), "salts": matches("[A-Za-z0-9_-]+")}
)

_views = record({**_feed, "limit": is_serial}, {"after": matches("(?s).{1,256}"), "select": _select})

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
    "refusal": record({"findings": list_of(_finding, 1)}),
    "status.query": _status_query,
    "status.answer": _status_answer,
    "time.query": _nothing,
    "history.query": record({**_feed, "after": _cursor, "limit": is_serial}, {"select": _select}),
    "history.page": record(
        {**_of_page, "more": lambda value: isinstance(value, bool)}, {"log": _own_log, "evidence": _one_message}
    ),
    "history.deliver": record({**_of_page, "evidence": _one_message}),
    "positions.query": lambda value: _views(value) or cut_shapes.asks(value),
    "cut.query": cut_shapes.query,
    "reconciliation.result": cut_shapes.result,
}


def check_item(item: Any, kind: str) -> None:
    """Raise ``Malformed`` unless ``item`` is an item of ``kind`` exactly as the contract writes it."""
    if not (isinstance(item, dict) and item.get("kind") == kind and ITEMS[kind](item)):
        raise Malformed(f"not a {kind} item")


def check_body(body: Any, message_type: str) -> None:
    """Raise ``Malformed`` unless ``body`` is what a message of this type has."""
    if not BODIES[message_type](body):
        raise Malformed(f"not the body of {message_type}")
