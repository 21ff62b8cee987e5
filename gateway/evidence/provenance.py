"""The provenance of one unit: every action that ever covered it, across splits, in the order of the log, from issuance.

What registries announced of it (issuance with what was levied, opening balances, use, cancellation), every transfer
that claimed it with each state it came to, its first transfer, the authorisations these rest on, and what of all that
was recorded or notified. Each step names the block that the unit lay in then, its log entry, that entry's place in the
tree, and the message behind it. Of a bound caller's unit those steps are told that concern them.

Raises FORBIDDEN (8001) for a unit of which nothing is seen, NOT_FOUND (4003) to who sees everything, and MALFORMED as
``search.parse_unit`` does.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import AccountType, ItmoId, parse_itmo_stem
from gateway.evidence import search, unit_store
from gateway.evidence.search import Checkpoint, Message
from gateway.evidence.unit_store import Unit
from gateway.holdings.actions import ENTERING

#: Accounts that an issuance puts units into for good: what is levied of it.
LEVIES = {
    AccountType.SHARE_OF_PROCEEDS.value: "share of proceeds",
    AccountType.CANCELLATION_OMGE.value: "overall mitigation",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the unit is now: a registry, a Party's books in it, and the type of the account there."""

    registry: str
    party: str
    account_type: int


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done with the unit, or said of it.

    ``what`` is the type of an action, ``transfer``, ``first transfer``, ``authorisation``, ``revocation``, ``record``
    or ``notification``; ``subject`` the name of that action, transfer or authorisation; ``state`` what it came to.
    ``first`` and ``last`` are the block the unit lay in, None where there is none. ``at`` is when it was done by the
    words of whoever did it, in UTC; ``details`` has what else there is to say, by name.
    """

    what: str
    subject: str
    at: datetime
    entry: int
    state: str | None = None
    first: int | None = None
    last: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    leaf_index: int | None = None
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """A unit by its origin and its ITMO identifier, where it is (None: elsewhere than is seen), and its history."""

    registry: str
    series: str
    serial: int
    itmo: str | None
    place: Place | None
    steps: list[Step]
    checkpoint: Checkpoint | None


async def of(tx: db.ReadTx, sight: Sight, text: str) -> Provenance:
    """The provenance of the unit REGISTRY/SERIES/SERIAL, or of that with an ITMO identifier."""
    unit = await search.unit(tx, text)
    steps = await _steps(tx, sight, unit) if unit is not None else []
    if unit is None or not steps:
        raise sight.absent(f"nothing is known of a unit {text}", 4003)
    known = await unit_store.entries(tx, [step.entry for step in steps])
    placed = [replace(s, leaf_index=known[s.entry].leaf_index, message=search.message(known[s.entry])) for s in steps]
    now = await unit_store.place(tx, sight, unit)
    itmo = None if now is None or now.stem is None else str(ItmoId(parse_itmo_stem(now.stem), int(now.itmo_serial)))
    where = None if now is None else Place(now.registry, now.party, now.account_type)
    checkpoint = await search.checkpoint(tx)
    return Provenance(unit.registry, unit.series, unit.serial, itmo, where, placed, checkpoint)


async def _steps(tx: db.ReadTx, sight: Sight, unit: Unit) -> list[Step]:
    actions = await unit_store.actions(tx, sight, unit)
    transfers = await unit_store.transfers(tx, sight, unit)
    events = await unit_store.events(tx, [t.id for t in transfers])
    claimed_by, covered_by, causes = await unit_store.causes(tx, unit)
    records = await unit_store.records(tx, sight, causes)
    authorisations = await unit_store.authorisations(tx, sight, claimed_by, covered_by)
    found = [
        *map(_action, actions),
        *_relayed(transfers, events),
        *_told(records, unit),
        *map(_authorisation, authorisations),
    ]
    return sorted(found, key=lambda step: step.entry)


def _action(row: Any) -> Step:
    levy = LEVIES.get(row.account_type) if row.type in ENTERING else None
    details = {"registry": row.registry, "account_type": row.account_type, **({"levy": levy} if levy else {})}
    subject = f"{row.registry}/{row.action}"
    return Step(row.type, subject, row.at, row.entry_id, None, row.first, row.last, details)


def _relayed(transfers: Sequence[Any], events: Sequence[Any]) -> Iterator[Step]:
    """Each state of each transfer; and the first transfer of the unit, which is the first that says it is one."""
    of_transfer = {t.id: t for t in transfers}
    named = False
    for row in sorted(events, key=lambda e: (e.entry_id, e.version)):
        transfer = of_transfer[row.transfer_id]
        said = json.loads(row.item) if row.item is not None else {}
        at = datetime.fromisoformat(said.get("released_at") or said.get("credited_at") or row.at.isoformat())
        details = {
            "from": transfer.transferring_registry,
            "from_party": transfer.transferring_party,
            "to": transfer.acquiring_registry,
            "to_party": transfer.acquiring_party,
            "purpose": transfer.purpose,
            "event": row.event,
        }
        step = Step(
            "transfer", transfer.id, at, row.entry_id, row.state, transfer.first, transfer.last, details
        )  # fmt: skip
        yield step
        if said.get("first_transfer") is True and not named:
            named = True
            yield replace(step, what="first transfer", state=None)


def _told(records: Sequence[Any], unit: Unit) -> Iterator[Step]:
    """What is recorded or notified of the unit: saying so, and the answer, are a step each."""
    for row in records:
        block = _covering(json.loads(row.item)["blocks"], unit)
        if block is None:
            continue  # another part of the action has the unit
        details = {"type": row.type, "section": row.section, "party": row.party, "cause": row.cause}
        said = Step(row.kind, row.action, row.at, row.entry_id, "waiting", *block, details)
        if row.said_by is not None:
            said = replace(said, entry=row.said_by, state="sent")
        yield said
        if row.answered_by is not None:
            yield replace(said, entry=row.answered_by, state=row.state)


def _covering(blocks: Iterable[Mapping[str, Any]], unit: Unit) -> tuple[int, int] | None:
    origin = {"registry": unit.registry, "series": unit.series}
    spans = ((b["first"], b["last"]) for b in blocks if b["origin"] == origin)
    return next(((first, last) for first, last in spans if first <= unit.serial <= last), None)


def _authorisation(row: Any) -> Step:
    subject = f"{row.party}/{row.name}"
    if row.version is None:
        return Step("revocation", subject, row.at, row.entry_id, details={"reason": row.reason})
    return Step("authorisation", subject, row.at, row.entry_id, details={"version": row.version})
