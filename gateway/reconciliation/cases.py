"""Cases of reconciliations: what a run found that nobody can explain is kept together until a run finds it no more.

There is one case for each book, code and run. Its units are flagged, so no transfer of them passes (4008), and nothing
beside them is. A difference that is in an open case stays in it; what is found under another code goes over into
another case. It ends when a later run finds its units equal, whoever corrected what; where no run can, two persons
close it (``inconsistencies``). Both administrators are told when it is opened: the registry's by the signed result of
the run, both by an alarm, and so is whoever has units in the book that the registry claims (4007).

Guarantees: units are flagged as a discrepancy exactly as long as an open case has them, because flags, units and cases
change in one transaction, one after the other. Fails only with the database.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway import db
from gateway.alarms import store as alarms
from gateway.alarms.store import Alarm
from gateway.audit import log
from gateway.domain import wire
from gateway.domain.check_codes import text
from gateway.domain.facts import Flag
from gateway.domain.unit_ranges import Spread, common, joined, minus
from gateway.domain.units import UnitRange
from gateway.holdings import book, flags, registries
from gateway.holdings.book import know_series
from gateway.links import store as links
from gateway.messages.outbox import Node
from gateway.reconciliation import case_store as store
from gateway.reconciliation.case_store import Case, Entered, Live, Source, State, Step
from gateway.reconciliation.findings import Found

#: Ranges of units that an entry of the log names; of more it says how many there are, and the case has all of them.
MOST_NAMED = 1_000
#: Who does what nobody in particular does.
RECONCILIATION = "reconciliation"
#: Codes of what is found of transfers, not of books.
_OF_TRANSFERS = frozenset({"6401", "6402"})
#: The code of units that a registry has while the book has them elsewhere.
_CLAIMED = 4007
#: The code of what is left to persons.
_TO_PERSONS = 6901
#: Codes of differences that change how many units somebody has.
_QUANTITIES = frozenset({_CLAIMED, 6301, 6302, 6304})


async def open_for(
    tx: db.Tx, node: Node, link: str, reconciliation: str, found: Sequence[Found], entry_id: int
) -> list[str]:
    """Put each difference that a run found into a case, and flag its units; the ids of the cases, in the order given.

    All are of one book, and those of one code MUST lie on different units. ``entry_id`` is the run's entry of the log.
    """
    if not found:
        return []
    await store.alone(tx)
    await know_series(tx, [f.units.origin for f in found])
    registry = found[0].registry
    sorting = _Sorting(await store.live(tx, registry), found)
    opened = await _open(tx, node, link, reconciliation, sorting.new, entry_id)
    named = [opened[f.code] if case is None else case for f, case in zip(found, sorting.cases, strict=True)]
    entered = [Entered(opened[f.code] if case is None else case, units, f.here, f.there, f.detail)
               for case, units, f in sorting.entered]  # fmt: skip
    await store.leave(tx, sorting.left, entry_id)
    await store.enter(tx, [*sorting.stay, *entered], entry_id)
    await align(tx, Flag.DISCREPANCY, [f.units for f in found], entry_id)
    claimed = [(case, f.units) for case, f in zip(named, found, strict=True) if f.code == _CLAIMED]
    await _warn_holders(tx, node, registry, claimed, entry_id)
    moved = {one.case for one in sorting.superseded}
    await _leave_behind(tx, node, moved, f"what was left differs in another way since reconciliation {reconciliation}")
    return named


async def settle(
    tx: db.Tx, node: Node, registry: str, reconciliation: str, still: Sequence[UnitRange], entry_id: int
) -> list[str]:
    """Let the units of a book out of its cases that differ no more, and close the cases that are then empty.

    ``still`` are all units of the book that differ, or could not be compared. Returns the cases that were closed.
    """
    await store.alone(tx)
    differing = joined(still)
    spread = Spread(differing, lambda one: one)
    left: list[Live] = []
    stay: list[Entered] = []
    for one in await store.live(tx, registry):
        rest = common([one.units], spread.on(one.units))
        if rest != [one.units]:
            left.append(one)
            stay += [Entered(one.case, part, one.here, one.there, one.detail) for part in rest]
    if not left:
        return []
    await store.leave(tx, [one.id for one in left], entry_id)
    await store.enter(tx, stay, entry_id)
    await align(tx, Flag.DISCREPANCY, [one.units for one in left], entry_id)
    return await _leave_behind(tx, node, {one.case for one in left}, f"found equal by reconciliation {reconciliation}")


async def remind(tx: db.Tx, node: Node, registries: Sequence[str], entry_id: int) -> None:
    """Sound an alarm for each case of these books that is open beyond the time for a response: once a case."""
    now = node.clock()
    late = [
        Alarm(
            one.link, one.id, _TO_PERSONS, f"case {one.id} is still open, and was due by {one.due:%Y-%m-%d}", entry_id
        )
        for one in await store.overdue(tx, registries, now)
    ]
    await alarms.sound(tx, late, now)


async def any_left(tx: db.Tx, registries: Iterable[str]) -> bool:
    """Whether an open case of any of these books has units."""
    for registry in registries:
        if await store.live(tx, registry):
            return True
    return False


async def of_transfers(tx: db.Tx, registry: str) -> list[UnitRange]:
    """The units of a book that are in open cases because a transfer is known to one side alone."""
    await store.alone(tx)
    return [one.units for one in await store.live(tx, registry) if one.check_id in _OF_TRANSFERS]


async def align(tx: db.Tx, flag: Flag, units: Iterable[UnitRange], entry_id: int) -> None:
    """Flag these units exactly where an open case flags them."""
    missing, surplus = await store.misflagged(tx, flag, joined(units))
    if missing:
        await flags.raise_on_units(tx, flag, missing, entry_id)
    if surplus:
        await flags.lift_from_units(tx, flag, surplus, entry_id)


def named_units(units: Sequence[UnitRange]) -> dict[str, Any]:
    """Units as an entry of the log names them."""
    return {
        "quantity": sum(one.quantity for one in units),
        "ranges": len(units),
        "units": [wire.range_to_wire(one) for one in units[:MOST_NAMED]],
    }


@dataclass
class _Sorting:
    """What becomes of the units in open cases, and where the differences of a run go."""

    live: Sequence[Live]
    found: Sequence[Found]
    #: For each difference the open case that it is in; None: a new one.
    cases: list[str | None] = field(default_factory=list)
    #: Units that are taken in, into which open case (None: a new one).
    entered: list[tuple[str | None, UnitRange, Found]] = field(default_factory=list)
    #: Rows of units that end, and what goes on of them as it was.
    left: set[int] = field(default_factory=set)
    stay: list[Entered] = field(default_factory=list)
    superseded: list[Live] = field(default_factory=list)

    def __post_init__(self) -> None:
        by_code = _by_code(self.found)
        known = {str(code): [one for one in self.live if one.check_id == str(code)] for code in by_code}
        spread = {code: Spread(of, lambda one: one.units) for code, of in known.items()}
        for f in self.found:
            met = spread[str(f.code)].on(f.units)
            self.cases.append(met[0].case if met else None)
            case = self.cases[-1]
            self.entered += [(case, part, f) for part in minus([f.units], [one.units for one in met])]
        everything = {code: Spread(of, lambda f: f.units) for code, of in by_code.items()}
        for one in self.live:
            self._look_at(one, everything)

    def _look_at(self, one: Live, found: dict[int, Spread[Found]]) -> None:
        """What is to be done with units that are in a case: nothing as a rule."""
        of_code = {code: spread.on(one.units) for code, spread in found.items()}
        mine = [f for code, there in of_code.items() if str(code) == one.check_id for f in there]
        others = [f for code, there in of_code.items() if str(code) != one.check_id for f in there]
        changed = [f for f in mine if (f.here, f.there) != (one.here, one.there)]
        elsewhere = minus([f.units for f in others], [f.units for f in mine])
        gone = common([one.units], [*(f.units for f in changed), *elsewhere])
        if not gone:
            return
        self.left.add(one.id)
        self.stay += [Entered(one.case, part, one.here, one.there, one.detail) for part in minus([one.units], gone)]
        self.entered += [(one.case, part, f) for f in changed for part in common([one.units], [f.units])]
        if common([one.units], elsewhere):
            self.superseded.append(one)

    @property
    def new(self) -> dict[int, list[Found]]:
        """What goes into new cases, by code."""
        return _by_code(f for f, case in zip(self.found, self.cases, strict=True) if case is None)


def _by_code(found: Iterable[Found]) -> dict[int, list[Found]]:
    by_code: dict[int, list[Found]] = defaultdict(list)
    for one in found:
        by_code[one.code].append(one)
    return by_code


async def _open(
    tx: db.Tx, node: Node, link: str, reconciliation: str, new: dict[int, list[Found]], run_entry: int
) -> dict[int, str]:
    """Open a case for each code; their ids."""
    if not new:
        return {}
    registry, now = next(iter(new.values()))[0].registry, node.clock()
    number, party = await store.next_number(tx, registry), await registries.party_of(tx, registry)
    ids = {code: f"{registry}-{number + nr}" for nr, code in enumerate(sorted(new))}
    about = {"source": Source.RECONCILIATION.value, "reconciliation": reconciliation, "entry": run_entry}
    drafts = [
        log.draft(
            "case.opened",
            now,
            {"case": ids[code], "registry": registry, "check": str(code), **about,
             **named_units([f.units for f in new[code]])},
        )
        for code in ids
    ]  # fmt: skip
    entries = await log.append(tx, drafts)
    made = [
        Case(
            ids[code], registry, Source.RECONCILIATION, str(code), link, registry, (party,) if party else (),
            code in _QUANTITIES, Flag.DISCREPANCY, reconciliation, f"not so: {text(code)}", State.NOTIFIED,
            now + node.response_due, entry,
        )
        for code, entry in zip(ids, entries, strict=True)
    ]  # fmt: skip
    await store.open_cases(tx, made, RECONCILIATION, now, entries)
    sounded = [
        Alarm(link, case.id, int(case.check_id), _announced(case, new[int(case.check_id)]), case.opened_by)
        for case in made
    ]
    await alarms.sound(tx, sounded, now)
    return ids


async def _warn_holders(
    tx: db.Tx, node: Node, registry: str, claimed: Sequence[tuple[str, UnitRange]], entry_id: int
) -> None:
    """Tell the registries that have these units that they do not move, because another one claims them: once a case."""
    if not claimed:
        return
    pieces = await book.held(tx, [units for _, units in claimed])
    holders = {(case, piece.registry) for (case, _), held in zip(claimed, pieces, strict=True) for piece in held}
    behind = await links.behind(tx, sorted({holder for _, holder in holders}))
    said = "case {}: {} claims units of {}; they do not move until it is closed"
    sounded = {
        Alarm(behind[holder].code, case, _CLAIMED, said.format(case, registry, holder), entry_id)
        for case, holder in holders
        if holder in behind and holder != registry
    }
    await alarms.sound(tx, sorted(sounded, key=lambda one: (one.link, one.transfer, one.detail)), node.clock())


def _announced(case: Case, found: Sequence[Found]) -> str:
    quantity = sum(f.units.quantity for f in found)
    return f"case {case.id}: {quantity:,} units of {case.registry} differ; they do not move until it is closed"


async def _leave_behind(tx: db.Tx, node: Node, cases: Collection[str], why: str) -> list[str]:
    """Note of cases that units have left, and close those in which none is left; these."""
    if not cases:
        return []
    standing, now = await store.standing(tx, cases), node.clock()
    events = {case: "settled" if one.units else "closed" for case, one in standing.items()}
    drafts = [
        log.draft(f"case.{events[case]}", now, {"case": case, "version": one.version + 1, "left": one.units,
                                                "by": RECONCILIATION, "why": why})
        for case, one in standing.items()
    ]  # fmt: skip
    entries = await log.append(tx, drafts)
    steps: list[Step] = []
    for (case, one), entry in zip(standing.items(), entries, strict=True):
        ended: dict[str, Any] = {} if one.units else {"closed_at": now, "corrected_by": one.corrected_by or why}
        state = one.state if one.units else State.CLOSED
        steps.append(Step(case, one.version, events[case], state, RECONCILIATION, why, entry, ended))
    await store.take_steps(tx, steps, now)
    return [case for case, event in events.items() if event == "closed"]
