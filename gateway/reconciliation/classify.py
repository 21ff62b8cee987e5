"""What differences are: their code, and whether something that was moving explains them. Pure.

A difference is cut where what is known of its units changes: which transfer claimed them, in which other registry they
are. Each part is then judged alone, and neighbours that are judged alike are joined again, so that a finding names
exactly the units it is about. A transfer explains only what it can do to a book: units that its source has released
are gone there, and those that its acquirer has credited have come; anything else is a difference, whoever claims the
units. The cost follows the number of pieces, each of which is looked at once.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from gateway.domain.unit_ranges import joined
from gateway.domain.units import Origin, UnitRange
from gateway.reconciliation.findings import Found
from gateway.reconciliation.moving_store import Elsewhere, Moving, Standing
from gateway.reconciliation.settled_store import Settled

#: States of a transfer in which its units may be gone from its source's book, and be in its acquirer's already: who
#: acquires credits when told to settle, which is stored with the release, and states are read after both cuts.
_GONE = frozenset({"committing", "released", "completed"})
_COME = frozenset({"released", "completed"})
#: What stands behind the findings of transfers that take too long, by what the source's word for them is.
_STUCK = {"committing": "committed and not told to be released", "released": "released and not credited"}


@dataclass(frozen=True, slots=True)
class Differing:
    """Units of one book and their states here and there, None where they are not in that book."""

    registry: str
    units: UnitRange
    here: str | None
    there: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the units of a difference.

    ``claimed`` by transfers since before the cuts; ``moved`` by anything since then; ``held`` now, and where;
    ``settled`` by completed transfers from or to that book, at any time. ``beyond``: there is more of one of them than
    is looked at, and the difference is not divided by where its units are.
    """

    claimed: Sequence[Moving] = ()
    moved: Sequence[UnitRange] = ()
    held: Sequence[Elsewhere] = ()
    settled: Sequence[Settled] = ()
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding; ``explained_by`` the transfers that were moving its units, None where nothing explains it."""

    found: Found
    explained_by: tuple[str, ...] | None


def judge(differing: Differing, known: Known) -> list[Judged]:
    """The findings of one difference, in the order of its serials."""
    return _joined(_judged(differing, part) for part in _parts(differing.units, known))


def orphaned(standing: Standing) -> list[Judged]:
    """A transfer that is over here and told to be, and still locks its units there (6401)."""
    detail = f"transfer {standing.transfer} is {standing.state} here and still locks them there"
    return _of_transfer(standing, 6401, detail)


def one_sided(standing: Standing) -> list[Judged]:
    """A transfer that is committed or released here and that its registry does not tell of (6402)."""
    return _of_transfer(standing, 6402, f"transfer {standing.transfer} is {standing.state} here and unknown there")


def distinct(judged: Sequence[Judged]) -> list[Judged]:
    """Each unit once in each book and code: of those that lie on it, the first has it, and the others keep the rest."""
    last: dict[tuple[str, int, Origin], int] = {}
    kept: list[Judged] = []
    for one in sorted(judged, key=lambda one: one.found.units):
        found = one.found
        key = found.registry, found.code, found.units.origin
        first = max(found.units.first, last.get(key, 0) + 1)
        if first <= found.units.last:
            last[key] = found.units.last
            kept.append(replace(one, found=replace(found, units=replace(found.units, first=first))))
    return kept


def for_its_people(registry: str, code: int | str, detail: str) -> str:
    """What the people of a book are told of a finding in it: not who else has the units, nor how others compared."""
    first, *more = detail.split("; ")
    if str(code) == "4007":
        first = f"{registry} holds them, and so does another registry"
    return "; ".join([first, *(one for one in more if not one.startswith(("completed transfer ", "the book of ")))])


def _of_transfer(standing: Standing, code: int, detail: str) -> list[Judged]:
    return [Judged(Found(standing.registry, code, units, None, None, detail), None) for units in standing.units]


@dataclass(frozen=True, slots=True)
class _Part:
    """Units of a difference of which the same is known."""

    units: UnitRange
    claimed: Sequence[Moving]
    moved: bool
    holders: frozenset[str]
    settled: Sequence[Settled]
    beyond: bool


def _parts(whole: UnitRange, known: Known) -> Iterator[_Part]:
    """The units of a difference, cut where what is known of them changes, in order: one sweep over what is known."""
    layers: Mapping[str, Sequence[tuple[UnitRange, Any]]] = {
        "claimed": [(one.units, one) for one in known.claimed],
        "moved": [(units, units) for units in joined(known.moved)],
        "held": [(whole if known.beyond else one.units, one.registry) for one in known.held],
        "settled": [(one.units, one) for one in known.settled],
    }
    begin: dict[int, list[tuple[str, int, Any]]] = {whole.first: [], whole.last + 1: []}
    end: dict[int, list[tuple[str, int]]] = {}
    for name, pieces in layers.items():
        for nr, (units, thing) in enumerate(pieces):
            if inside := whole.intersect(units):
                begin.setdefault(inside.first, []).append((name, nr, thing))
                end.setdefault(inside.last + 1, []).append((name, nr))
    there: dict[str, dict[int, Any]] = {name: {} for name in layers}
    for first, after in pairwise(sorted(begin.keys() | end.keys())):
        for name, nr in end.get(first, ()):
            del there[name][nr]
        for name, nr, thing in begin.get(first, ()):
            there[name][nr] = thing
        yield _Part(
            UnitRange(whole.origin, first, after - 1),
            tuple(there["claimed"].values()),
            bool(there["moved"]),
            frozenset(there["held"].values()),
            tuple(there["settled"].values()),
            known.beyond,
        )


def _judged(differing: Differing, part: _Part) -> Judged:
    explaining = tuple(sorted({m.transfer for m in part.claimed if _explains(m, differing)}))
    code, detail = _code(differing, sorted(part.holders - {differing.registry}))
    # The last completed transfer of these units: if they are where it took them, nothing has moved them since.
    last = max(part.settled, key=lambda one: one.at, default=None)
    if last is not None and last.acquirer in part.holders:
        detail = f"{detail}; {last.told}"
    for moving in part.claimed:
        if _is_shape_of(moving, differing) and not _explains(moving, differing):
            stuck = _STUCK.get(moving.reached or "", "not committed")
            detail = f"{detail}; transfer {moving.transfer} is {moving.state} here, {stuck}"
    if part.beyond:
        detail = f"{detail}; not divided, because more is known of its units than is looked at"
    found = Found(differing.registry, code, part.units, differing.here, differing.there, detail)
    return Judged(found, explaining if explaining or part.moved else None)


def _is_shape_of(moving: Moving, differing: Differing) -> bool:
    """Whether a transfer, as far as it has come, makes such a difference; none changes a state in place."""
    state = moving.reached if moving.state == "attention" else moving.state
    if differing.there is None:
        return differing.registry == moving.source and state in _GONE
    return differing.here is None and differing.registry == moving.acquirer and state in _COME


def _explains(moving: Moving, differing: Differing) -> bool:
    """Whether it is all there is to say: not of one that waits for persons, or longer than any transfer takes."""
    return _is_shape_of(moving, differing) and not moving.late and moving.state != "attention"


def _code(differing: Differing, others: Sequence[str]) -> tuple[int, str]:
    here, there = differing.here, differing.there
    if here is None:
        if others:
            return 4007, f"{differing.registry} holds them, and so does {others[0]}"
        return 6301, f"{differing.registry} holds them, and the gateway knows nothing of that"
    if there is None:
        return 6302, f"{differing.registry} does not hold them"
    if _place(here) == _place(there):
        return 6303, "their attributes are not the same here and there"
    return 6304, "they are in another account here than there"


def _place(state: str) -> tuple[object, object]:
    """Party and account type of a state; one that a registry wrote and nobody can read is in no place of ours."""
    try:
        said = json.loads(state)
    except (ValueError, RecursionError):
        return None, state
    return (said.get("party"), said.get("account_type")) if isinstance(said, dict) else (None, state)


def _joined(judged: Iterable[Judged]) -> list[Judged]:
    joined: list[Judged] = []
    for one in judged:
        last = joined[-1] if joined else None
        if last is not None and replace(one, found=replace(one.found, units=last.found.units)) == last:
            units = replace(last.found.units, last=one.found.units.last)
            joined[-1] = replace(last, found=replace(last.found, units=units))
        else:
            joined.append(one)
    return joined
