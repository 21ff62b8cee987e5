"""Sets of units, as ranges of serials: joined, one without another, and things found again by the units they lie on.

Exact, and of a cost that follows the number of ranges, never that of units.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from gateway.domain.units import Origin, UnitRange

T = TypeVar("T")


def joined(units: Iterable[UnitRange]) -> list[UnitRange]:
    """The same units in as few ranges as possible, by origin and serial."""
    found: list[UnitRange] = []
    for one in sorted(units):
        if found and found[-1].origin == one.origin and one.first <= found[-1].last + 1:
            found[-1] = UnitRange(one.origin, found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return found


def minus(these: Iterable[UnitRange], those: Iterable[UnitRange]) -> list[UnitRange]:
    """The units in ``these`` that are not in ``those``."""
    taken = Spread(joined(those), lambda one: one)
    left: list[UnitRange] = []
    for one in joined(these):
        at = one.first
        for gone in taken.on(one):
            if at < gone.first:
                left.append(UnitRange(one.origin, at, gone.first - 1))
            at = gone.last + 1
        if at <= one.last:
            left.append(UnitRange(one.origin, at, one.last))
    return left


def common(these: Iterable[UnitRange], those: Iterable[UnitRange]) -> list[UnitRange]:
    """The units that are in both."""
    ours = list(these)
    return minus(ours, minus(ours, those))


class Spread(Generic[T]):
    """Things that lie on units, no two of them on the same unit."""

    def __init__(self, things: Iterable[T], units: Callable[[T], UnitRange]) -> None:
        self._units = units
        self._things: dict[Origin, list[T]] = {}
        for thing in sorted(things, key=units):
            self._things.setdefault(units(thing).origin, []).append(thing)

    def on(self, units: UnitRange) -> Sequence[T]:
        """Those that lie on any of these units, by serial."""
        things = self._things.get(units.origin, [])
        begin = bisect_left(things, units.first, key=lambda thing: self._units(thing).last)
        end = begin
        while end < len(things) and self._units(things[end]).first <= units.last:
            end += 1
        return things[begin:end]
