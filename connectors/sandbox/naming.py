"""Identifiers by which records name units: a unit bears one, and one means a unit.

In memory, for the records of one message: ``Names`` starts with what the database knows around their blocks
(``books`` keeps the names of what is *held*; nothing of that is read here). A refused record leaves nothing behind.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import shapes

#: Registry and series in which units were issued.
Series = tuple[str, str]


@dataclass(frozen=True)
class Naming:
    """A range of units of one series whose identifiers have one stem and one constant offset."""

    series: Series
    first: int
    last: int
    stem: str
    offset: int


def of_block(block: Mapping[str, Any]) -> Naming:
    """Give the naming of a block that shows identifiers; they MUST be in step."""
    stem, serial = shapes.split_itmo(block["itmo"]["first"])
    origin = block["origin"]
    series = (origin["registry"], origin["series"])
    return Naming(series, block["first"], block["last"], stem, serial - block["first"])


class _Ranges:
    """Namings that do not overlap, in the order of their units (or of their identifiers)."""

    def __init__(self, *, shifted: bool) -> None:
        self._shifted = shifted
        self._there: list[tuple[int, int, Naming]] = []

    def add(self, naming: Naming) -> None:
        insort(self._there, self._entry(naming), key=lambda entry: entry[0])

    def remove(self, naming: Naming) -> None:
        self._there.remove(self._entry(naming))

    def meeting(self, naming: Naming) -> Iterator[Naming]:
        """Give those that share a unit (or an identifier) with ``naming``, in order."""
        low, high, _ = self._entry(naming)
        at = max(bisect_right(self._there, low, key=lambda entry: entry[0]) - 1, 0)
        while at < len(self._there) and self._there[at][0] <= high:
            if self._there[at][1] >= low:
                yield self._there[at][2]
            at += 1

    def _entry(self, naming: Naming) -> tuple[int, int, Naming]:
        shift = naming.offset if self._shifted else 0
        return naming.first + shift, naming.last + shift, naming


class Names:
    """The names known so far: those of earlier records, and of the records taken before in the same message."""

    def __init__(self, known: Iterable[Naming]) -> None:
        self._units: dict[Series, _Ranges] = {}
        self._identifiers: dict[str, _Ranges] = {}
        for naming in known:
            self._add(naming)

    def take(self, namings: Sequence[Naming]) -> tuple[list[Naming], list[tuple[int, Naming]]]:
        """Take the names of one record: all, or none if one does not agree with what is known.

        Gives what is new of them, and (code, naming) of those that do not agree: 4010 for units known under
        another name, 4007 for identifiers of other units.
        """
        new: list[Naming] = []
        wrong: list[tuple[int, Naming]] = []
        for naming in namings:
            code = self._disagreement(naming)
            if code is not None:
                wrong.append((code, naming))
                continue
            for piece in self._gaps(naming):
                self._add(piece)
                new.append(piece)
        for piece in new if wrong else ():
            self._units[piece.series].remove(piece)
            self._identifiers[piece.stem].remove(piece)
        return ([], wrong) if wrong else (new, [])

    def _disagreement(self, naming: Naming) -> int | None:
        if any((n.stem, n.offset) != (naming.stem, naming.offset) for n in self._meeting_units(naming)):
            return 4010
        identifiers = self._identifiers.get(naming.stem)
        met = identifiers.meeting(naming) if identifiers else ()
        return 4007 if any((n.series, n.offset) != (naming.series, naming.offset) for n in met) else None

    def _gaps(self, naming: Naming) -> list[Naming]:
        """Give the parts of ``naming`` that are not known yet."""
        gaps, at = [], naming.first
        for known in self._meeting_units(naming):
            if at < known.first:
                gaps.append(replace(naming, first=at, last=known.first - 1))
            at = known.last + 1
        return [*gaps, replace(naming, first=at)] if at <= naming.last else gaps

    def _meeting_units(self, naming: Naming) -> Iterator[Naming]:
        units = self._units.get(naming.series)
        return units.meeting(naming) if units else iter(())

    def _add(self, naming: Naming) -> None:
        self._units.setdefault(naming.series, _Ranges(shifted=False)).add(naming)
        self._identifiers.setdefault(naming.stem, _Ranges(shifted=True)).add(naming)
