"""What differences are: their code, and whether something that was moving explains them. Pure.

A difference is cut where what is known of its units changes: which transfer claimed them, in which other registry they
are. Each part is then judged alone, and neighbours that are judged alike are joined again, so that a finding names
exactly the units it is about.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from gateway.domain.units import Origin, UnitRange
from gateway.reconciliation.findings import Found
from gateway.reconciliation.moving_store import Moving, Standing
from gateway.reconciliation.settled_store import Settled


@dataclass(frozen=True, slots=True)
class Differing:
    """Units of one book and their states here and there, None where they are not in that book."""

    registry: str
    units: UnitRange
    here: str | None
    there: str | None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Units that are in the book of a registry now."""

    units: UnitRange
    registry: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the units of a difference.

    ``claimed`` by transfers since before the cuts; ``moved`` by anything since then; ``held`` now, and where;
    ``settled`` by completed transfers from or to that book, at any time.
    """

    claimed: Sequence[Moving] = ()
    moved: Sequence[UnitRange] = ()
    held: Sequence[Elsewhere] = ()
    settled: Sequence[Settled] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding; ``explained_by`` the transfers that were moving its units, None where nothing explains it."""

    found: Found
    explained_by: tuple[str, ...] | None


def judge(differing: Differing, known: Known) -> list[Judged]:
    """The findings of one difference, in the order of its serials."""
    pieces = [one.units for of in (known.claimed, known.held, known.settled) for one in of]
    edges = _edges(differing.units, [*pieces, *known.moved])
    parts = [UnitRange(differing.units.origin, first, after - 1) for first, after in pairwise(edges)]
    return _joined(_judged(differing, known, part) for part in parts)


def orphaned(standing: Standing) -> list[Judged]:
    """A transfer that is over here and told to be, and still locks its units there (6401)."""
    detail = f"transfer {standing.transfer} is {standing.state} here and still locks them there"
    return _of_transfer(standing, 6401, detail)


def one_sided(standing: Standing) -> list[Judged]:
    """A transfer that is committed or released here and that its registry does not tell of (6402)."""
    return _of_transfer(standing, 6402, f"transfer {standing.transfer} is {standing.state} here and unknown there")


def distinct(judged: Sequence[Judged]) -> list[Judged]:
    """Without those whose units another of the same book and code has, in whole or in part: it stands for both."""
    last: dict[tuple[str, int, Origin], int] = {}
    kept: list[Judged] = []
    for one in sorted(judged, key=lambda one: one.found.units):
        found = one.found
        key = found.registry, found.code, found.units.origin
        if found.units.first > last.get(key, 0):
            last[key] = found.units.last
            kept.append(one)
    return kept


def _of_transfer(standing: Standing, code: int, detail: str) -> list[Judged]:
    return [Judged(Found(standing.registry, code, units, None, None, detail), None) for units in standing.units]


def _edges(whole: UnitRange, known: Iterable[UnitRange]) -> list[int]:
    """Where a part of the range begins, and behind its last serial."""
    edges = {whole.first, whole.last + 1}
    for one in known:
        if inside := whole.intersect(one):
            edges |= {inside.first, inside.last + 1}
    return sorted(edges)


def _judged(differing: Differing, known: Known, part: UnitRange) -> Judged:
    claimed = tuple(sorted({m.transfer for m in known.claimed if m.units.intersect(part)}))
    moved = any(units.intersect(part) for units in known.moved)
    holders = {e.registry for e in known.held if e.units.intersect(part)}
    code, detail = _code(differing, sorted(holders - {differing.registry}))
    if (last := _last_settled(known, part)) is not None and last.acquirer in holders:
        detail = f"{detail}; {last.told}"
    found = Found(differing.registry, code, part, differing.here, differing.there, detail)
    return Judged(found, claimed if claimed or moved else None)


def _last_settled(known: Known, part: UnitRange) -> Settled | None:
    """The last completed transfer of these units: if they are where it took them, nothing has moved them since."""
    return max((one for one in known.settled if one.units.intersect(part)), key=lambda one: one.at, default=None)


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
    except ValueError:
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
