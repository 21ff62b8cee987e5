"""Notes who is to be told of completed actions: sections what to record, first transferring Parties what was used.

In the transaction that completes a transfer or applies a notice, each action of such a Party becomes a record: the
exact text of the item that its section is to be told, made from the signed words of the registries concerned and from
nothing else, so that whoever makes it again makes the same. A use or cancellation of units of another Party than the
one in whose books they were becomes a notification of that Party as well, in the words of the registry that told it.
Neither moves anything. One statement asks which Parties have a section, one inserts what is noted, whatever the number;
where there is nothing to note, nothing else is done.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gateway import db
from gateway.domain import wire
from gateway.domain.proposals import MAX_BLOCKS
from gateway.domain.transfers import Proposal
from gateway.domain.units import Attributes, Block
from gateway.messages.receipts import dumps

#: The longest list of blocks of one record: it fits into a message that is alone, escaped quotes and all. What is
#: longer, or has more blocks than a message may have, is recorded in parts.
MAX_PART_BYTES = 3 * 1024 * 1024


class Told(StrEnum):
    """As what an action is told."""

    #: To the section of a Party that acted, which keeps it for ever.
    RECORD = "record"
    #: To the first transferring Party of units that were used or cancelled in another's books. Its arrangements are to
    #: see to that (guidance of CMA 6, known to us from a summary; the text was not available).
    NOTIFICATION = "notification"


class Type(StrEnum):
    """What a record says was done, in the words of the reporting tables."""

    FIRST_TRANSFER = "First transfer"
    TRANSFER = "Transfer"
    ACQUISITION = "Acquisition"
    USE = "Use"
    CANCELLATION = "Cancellation"


@dataclass(frozen=True, slots=True)
class Relayed:
    """A completed transfer: its proposal to the letter and as read, and its blocks with their ITMO identifiers.

    The blocks are pieces of the proposed ones, in their order; times are as they were signed. ``first`` is the subtype
    under which the units that had not been first transferred are by this release, None where they are not.
    """

    transfer: str
    proposed: str
    proposal: Proposal
    released_at: str
    credited_at: str
    first: str | None
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class _Section:
    registry: str
    link: str


@dataclass(frozen=True, slots=True)
class _Action:
    """An action to be recorded: what its item says before its units, and these as (text, quantity)."""

    cause: str
    #: The name of the action; that of a further part begins otherwise.
    name: tuple[str, str]
    type: Type
    at: str
    party: str
    registry: str
    said: Mapping[str, Any]
    blocks: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class _Record:
    """A row: who keeps the books of a Party that is notified is asked when it is told."""

    kind: Told
    action: str
    cause: str
    type: str
    at: datetime
    section: _Section | None
    party: str
    quantity: int
    block_count: int
    item: str


async def relayed(tx: db.Tx, completed: Iterable[Relayed], entry_id: int) -> None:
    """Note both sides' actions of transfers that log entry ``entry_id`` completes."""
    sections = await _sections(tx)
    if sections:
        attributes: dict[Attributes, str] = {}
        sides = (action for one in completed for action in _sides(one, sections, attributes))
        await _insert(tx, [record for action in sides for record in _records(action, sections)], entry_id)


async def disposed(tx: db.Tx, notices: Iterable[Mapping[str, Any]], entry_id: int) -> None:
    """Note uses and cancellations, given as the items of the notices that log entry ``entry_id`` applies."""
    notices = list(notices)
    if notices:
        sections = await _sections(tx)
        actions = [_disposal(notice) for notice in notices if notice["party"] in sections]
        records = [record for action in actions for record in _records(action, sections)]
        await _insert(tx, records + [told for notice in notices for told in _notifications(notice)], entry_id)


async def _sections(tx: db.Tx) -> dict[str, _Section]:
    """Which Parties have a section; nobody gets one before this transaction ends."""
    found = await db.rows(tx, "SELECT party, registry, link FROM sections()")
    return {r.party: _Section(r.registry, r.link) for r in found}


def _sides(one: Relayed, sections: Mapping[str, _Section], attributes: dict[Attributes, str]) -> Iterator[_Action]:
    """The actions of both sides, of those that have a section."""
    proposed = json.loads(one.proposed)
    transferring, acquiring = proposed["transferring"], proposed["acquiring"]
    if not sections.keys() & {transferring["party"], acquiring["party"]}:
        return
    said = {name: proposed[name] for name in ("transferring", "acquiring", "purpose", "authorisation")}
    said = {"transfer": one.transfer} | said
    blocks = [(_block_text(block, attributes), block.quantity) for block in one.blocks]
    out = Type.TRANSFER if one.first is None else Type.FIRST_TRANSFER
    for address, name, kind, at in (
        (transferring, "transfer", out, one.released_at),
        (acquiring, "acquisition", Type.ACQUISITION, one.credited_at),
    ):
        if address["party"] in sections:
            where = address["party"], address["registry"]
            yield _Action(one.transfer, (one.transfer, name), kind, at, *where, said, blocks)


def _disposal(notice: Mapping[str, Any]) -> _Action:
    """A use or cancellation; the authorisation it rests on is that of its units, where they have one in common."""
    given = [block["attributes"]["authorisation"] for block in notice["blocks"]]
    said = {
        "account": notice["account"],
        "to_account": notice["to_account"],
        "authorisation": given[0] if all(one == given[0] for one in given) else None,
    }
    registry, name = notice["registry"], notice["action"]
    blocks = [(dumps(block), block["last"] - block["first"] + 1) for block in notice["blocks"]]
    kind = Type(notice["type"].capitalize())
    where = notice["party"], registry
    return _Action(f"{registry}/{name}", (registry, name), kind, notice["at"], *where, said, blocks)


def _notifications(notice: Mapping[str, Any]) -> Iterator[_Record]:
    """What each first transferring Party other than that of the books is told: the notice, of its own units alone.

    It is no longer than the notice, which came in a message of the same type, so it is never told in parts.
    """
    by_host: dict[str, list[dict[str, Any]]] = {}
    for block in notice["blocks"]:
        by_host.setdefault(block["attributes"]["first_transferring_party"], []).append(block)
    name, kind = f"{notice['registry']}/{notice['action']}", Type(notice["type"].capitalize())
    at = wire.parse_time(notice["at"])
    for host, blocks in by_host.items():
        if host != notice["party"]:
            quantity = sum(block["last"] - block["first"] + 1 for block in blocks)
            item = dumps({**notice, "blocks": blocks})
            yield _Record(Told.NOTIFICATION, name, name, kind.value, at, None, host, quantity, len(blocks), item)


def _records(action: _Action, sections: Mapping[str, _Section]) -> Iterator[_Record]:
    """The record of an action, or its parts."""
    section, (origin, name) = sections[action.party], action.name
    for nr, (blocks, quantity) in enumerate(_parts(action.blocks), 1):
        known_as = f"{origin}/{name}" if nr == 1 else f"{origin}+{nr}/{name}"
        heading = {
            "kind": "record",
            "action": known_as,
            "type": action.type.value,
            "at": action.at,
            "section": section.registry,
            "party": action.party,
            "registry": action.registry,
            **action.said,
            "quantity": quantity,
        }
        item = f'{dumps(heading)[:-1]},"blocks":[{",".join(blocks)}]}}'
        at = wire.parse_time(action.at)
        yield _Record(
            *(Told.RECORD, known_as, action.cause, action.type.value, at, section),
            *(action.party, quantity, len(blocks), item),
        )


def _parts(blocks: Sequence[tuple[str, int]]) -> Iterator[tuple[list[str], int]]:
    """The blocks in as few parts as the limits allow, each with its quantity."""
    part: list[str] = []
    quantity = size = 0
    for text, units in blocks:
        weight = len(text.encode())
        if part and (len(part) == MAX_BLOCKS or size + weight > MAX_PART_BYTES):
            yield part, quantity
            part, quantity, size = [], 0, 0
        part.append(text)
        quantity += units
        size += weight
    yield part, quantity


def _block_text(block: Block, attributes: dict[Attributes, str]) -> str:
    """The block as on the wire; ``attributes`` keeps the texts of attributes, which most blocks share."""
    if block.attributes not in attributes:
        attributes[block.attributes] = dumps(wire.attributes_to_wire(block.attributes))
    text = f'{dumps(wire.range_to_wire(block.range))[:-1]},"attributes":{attributes[block.attributes]}'
    if block.itmo is not None:
        text += f',"itmo":{dumps({"first": str(block.itmo_first), "last": str(block.itmo_last)})}'
    return text + "}"


async def _insert(tx: db.Tx, records: Sequence[_Record], entry_id: int) -> None:
    if not records:
        return
    await db.execute(
        tx,
        """
        INSERT INTO action_record
          (kind, action, cause, type, at, link, section, party, quantity, block_count, item, entry_id)
        SELECT *, :entry FROM unnest(
          CAST(:kind AS text[]), CAST(:action AS text[]), CAST(:cause AS text[]), CAST(:type AS text[]),
          CAST(:at AS timestamptz[]), CAST(:link AS text[]), CAST(:section AS text[]), CAST(:party AS text[]),
          CAST(:quantity AS bigint[]), CAST(:blocks AS integer[]), CAST(:item AS text[]))
        """,
        {
            "kind": [r.kind.value for r in records],
            "action": [r.action for r in records],
            "cause": [r.cause for r in records],
            "type": [r.type for r in records],
            "at": [r.at for r in records],
            "link": [r.section and r.section.link for r in records],
            "section": [r.section and r.section.registry for r in records],
            "party": [r.party for r in records],
            "quantity": [r.quantity for r in records],
            "blocks": [r.block_count for r in records],
            "item": [r.item for r in records],
            "entry": entry_id,
        },
    )
