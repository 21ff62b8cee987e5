"""Checks of what is recorded in the international registry: each action that must be, as it was, until it is answered.

What a record should say is read here once more from the signed words behind it: what checks the records does not take
the word of what makes them.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from gateway.doctor.report import Remark, finding
from gateway.doctor.scene import Scene
from gateway.domain import wire
from gateway.domain.identifiers import parse_itmo_id
from gateway.errors import GatewayError
from gateway.signing import compact, envelope
from gateway.signing.envelope import EnvelopeError

#: What tells the name of a further part of an action from that of the first.
_PART = re.compile(r"^([^/+]+)\+([2-9]|[1-9][0-9]+)/")
#: Type of a record → the side of a transfer whose action it is.
_SIDES = {"First transfer": "transferring", "Transfer": "transferring", "Acquisition": "acquiring"}
#: A block, or the name of one, as it is on the wire.
Block: TypeAlias = Mapping[str, Any]
_SAID_IN = {"record": "action.record", "notification": "action.notice"}
_COLUMNS = ("action", "type", "section", "party", "quantity")


def actions_recorded(action: Any, _scene: Scene) -> Iterable[Remark]:
    """Every completed action of a Party that had a section then has its record there, with all its units."""
    about: dict[str, str | int] = {"action": f"{action.cause} ({action.side})", "entry": action.entry_id}
    if action.recorded is None:
        yield finding(f"its record for section {action.section} is missing", **about)
    elif action.recorded != action.quantity:
        yield finding(f"{action.recorded:,} of its {action.quantity:,} units are recorded", **about)


def record_texts(record: Any, _scene: Scene) -> Iterable[Remark]:
    """A record says what its action was: whose, where, when, with whom, and which units under which identifiers."""
    if record.kind != "record":
        return
    about: dict[str, str | int] = {"record": record.action}
    if (record.section_party, record.section_link) != (record.party, record.link):
        yield finding(f"{record.section} is no section of {record.party} in {record.link}", **about)
    if record.completed != record.entry_id:
        yield finding(f"entry {record.entry_id} completed no such action", **about)
        return
    try:
        said, (expected, moved, names) = json.loads(record.item), _expected(record)
        for name in sorted(said.keys() | expected.keys() - {"blocks", "quantity"}):
            if name not in ("blocks", "quantity") and said.get(name) != expected.get(name):
                what = f"it says {name} {_short(said.get(name))}, the action had {_short(expected.get(name))}"
                yield finding(what, **about)
        yield from _columns(record, said, about)
        yield from _units(said["blocks"], sorted(moved, key=_begin), _apart(names), about)
    except (KeyError, TypeError, ValueError, AttributeError, GatewayError) as error:
        yield finding(f"its text cannot be read as that of such an action: {error!r}"[:200], **about)


def _expected(record: Any) -> tuple[dict[str, Any], list[Block], list[Block]]:
    """What a record should say beside its units; the units of its action, and the identifiers given to them by it."""
    if record.type in _SIDES:
        return _expected_of_transfer(record)
    notice = json.loads(record.notice)
    given = [block["attributes"]["authorisation"] for block in notice["blocks"]]
    expected = {name: notice[name] for name in ("at", "registry", "party", "account", "to_account")}
    expected["authorisation"] = given[0] if all(one == given[0] for one in given) else None
    named = _name(record.action, f"{notice['registry']}/{notice['action']}")
    kind = notice["type"].capitalize()
    return expected | {"kind": "record", "action": named, "type": kind, "section": record.section}, notice["blocks"], []


def _expected_of_transfer(record: Any) -> tuple[dict[str, Any], list[Block], list[Block]]:
    proposed, released, credited = (json.loads(t) for t in (record.proposed, record.released, record.credited))
    side = _SIDES[record.type]
    out = side == "transferring"
    kind = ("First transfer" if _is_first(record, proposed, released) else "Transfer") if out else "Acquisition"
    name = _name(record.action, f"{record.cause}/{'transfer' if out else 'acquisition'}")
    at = released["released_at"] if out else credited["credited_at"]
    expected = {"kind": "record", "action": name, "type": kind, "at": at, "section": record.section}
    expected |= {"party": proposed[side]["party"], "registry": proposed[side]["registry"], "transfer": record.cause}
    expected |= {name: proposed[name] for name in ("transferring", "acquiring", "purpose", "authorisation")}
    return expected, proposed["blocks"], released["itmo"]


def _is_first(record: Any, proposed: Mapping[str, Any], released: Mapping[str, Any]) -> bool:
    """Whether units are first transferred: as the checks have judged it, or the source says where that was lost."""
    said = released["first_transfer"] if record.judged_first is None else record.judged_first
    return said and any("itmo" not in block for block in proposed["blocks"])


def _name(action: str, whole: str) -> str:
    """The name a record should have: that of its action, or that with the number of a part in it."""
    return action if _PART.sub(r"\1/", action) == whole else whole


def _columns(record: Any, said: Mapping[str, Any], about: Mapping[str, Any]) -> Iterable[Remark]:
    """The row is found by what its text says."""
    for name in _COLUMNS:
        if getattr(record, name) != said[name]:
            yield finding(f"its row has {name} {getattr(record, name)}, its text has {_short(said[name])}", **about)
    if record.at != wire.parse_time(said["at"]):
        yield finding(f"its row has the time {record.at.isoformat()}, its text has {said['at']}", **about)
    if record.block_count != len(said["blocks"]):
        yield finding(f"its row has {record.block_count} blocks, its text has {len(said['blocks'])}", **about)
    if sum(_size(block) for block in said["blocks"]) != said["quantity"]:
        yield finding(f"its blocks are not {said['quantity']:,} units", **about)


def _units(
    said: Sequence[Block], moved: Sequence[Block], names: Sequence[Block], about: Mapping[str, Any]
) -> Iterable[Remark]:
    """Each block is (part of) one of the action's, with its attributes, and with its identifiers or those given."""
    for block in said:
        units = f"{block['origin']['registry']} {block['origin']['series']} {block['first']}-{block['last']}"
        whole = _around(block, moved)
        if whole is None or whole["attributes"] != block["attributes"]:
            yield finding("no such units were in the action", **about, units=units)
        elif "itmo" not in block and "itmo" in whole:
            yield finding("its units had ITMO identifiers, and the record has none", **about, units=units)
        elif "itmo" in block:
            named = whole if "itmo" in whole else _around(block, names)
            if named is None or _offset(named) != _offset(block):
                yield finding("its units were not given these ITMO identifiers", **about, units=units)


def _begin(block: Block) -> tuple[str, str, int]:
    return block["origin"]["registry"], block["origin"]["series"], block["first"]


def _apart(names: Sequence[Block]) -> list[Block]:
    """The names in order, without those that overlap one before them: of two names given to a unit the first counts."""
    apart: list[Block] = []
    for name in sorted(names, key=_begin):
        if not apart or apart[-1]["origin"] != name["origin"] or apart[-1]["last"] < name["first"]:
            apart.append(name)
    return apart


def _around(block: Block, blocks: Sequence[Block]) -> Block | None:
    """The one of ``blocks``, which are in order, that has all units of ``block``."""
    nr = bisect_right(blocks, _begin(block), key=_begin)
    found = blocks[nr - 1] if nr else None
    return found if found and found["origin"] == block["origin"] and block["last"] <= found["last"] else None


def _offset(block: Block) -> tuple[str, int, int]:
    first, last = parse_itmo_id(block["itmo"]["first"]), parse_itmo_id(block["itmo"]["last"])
    return first.stem, first.serial - block["first"], last.serial - block["last"]


def _size(block: Block) -> int:
    return int(block["last"] - block["first"] + 1)


def _short(value: object) -> str:
    return str(value)[:100]


def records_due(record: Any, _scene: Scene) -> Iterable[Remark]:
    """What is told is said in a message to its registry, owed until it is answered, and answered by that registry."""
    about: dict[str, str | int] = {record.kind: record.action}
    if record.message_id is None:
        return  # the next decision says it
    if (record.message_type, record.message_peer) != (_SAID_IN[record.kind], record.link):
        yield finding(f"no message of {record.kind}s to {record.link} says it", **about)
    if record.state == "sent" and not record.owed:
        yield finding("it was not answered, and nobody will send it again", **about)
    if record.answered_by is not None:
        answer = record.answer_type in ("receipt", "refusal") and record.answers
        if not answer or record.answer_peer != record.link:
            yield finding(f"it is {record.state}, and entry {record.answered_by} is no answer to it", **about)
        if record.state == "refused" and not record.alarm:
            yield finding("it is refused, and no alarm says so", **about)


def record_messages(message: Any, _scene: Scene) -> Iterable[Remark]:
    """A message of records or notifications says exactly those that are kept as said in it, to the letter."""
    about: dict[str, str | int] = {"entry": message.entry_id, "message": message.message_id}
    try:
        texts = envelope.read(bytes(message.body)).texts
    except EnvelopeError:
        return  # the check of messages says so
    said = {compact.digest(text) for text in texts}
    kept = {compact.encode(bytes(digest)) for digest in message.kept or ()}
    for what, number in (("says", len(said - kept)), ("does not say", len(kept - said))):
        if number:
            yield finding(f"it {what} {number} records {'that are not ' if what == 'says' else ''}kept of it", **about)
