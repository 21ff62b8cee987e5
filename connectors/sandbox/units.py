"""Units in memory: holdings, the pieces cut from them, and how both look in a message. No database here.

A cut keeps every attribute, ``first_transferred`` and the ITMO offset of the block it was cut from. Where a
quantity is asked for and not particular serials, the owner keeps the first part of a block and the
transferee gets the last: what stays is one range whose beginning does not move.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import shapes


class Declined(Exception):
    """What was asked of the books cannot be done; ``code`` is a code of the check table."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Holding:
    """A range of units of one series in one account, alike in every respect."""

    series: int
    registry: str
    name: str
    first: int
    last: int
    party: str
    account: str
    attributes_id: int
    attributes: Mapping[str, Any]
    itmo: int | None
    stem: str | None
    itmo_offset: int | None
    first_transferred: bool
    locked_by: str | None

    @property
    def quantity(self) -> int:
        """Units in the range, in tonnes."""
        return self.last - self.first + 1

    def part(self, first: int, last: int, **changes: Any) -> "Holding":
        """Cut ``first``..``last`` out, everything else inherited."""
        return replace(self, first=first, last=last, **changes)

    def block(self) -> dict[str, Any]:
        """Write the range as a block of the wire contract."""
        named = {}
        if self.stem is not None and self.itmo_offset is not None:
            named["itmo"] = itmo_range(self.stem, self.first + self.itmo_offset, self.last + self.itmo_offset)
        origin = {"registry": self.registry, "series": self.name}
        return {
            "origin": origin,
            "first": self.first,
            "last": self.last,
            "attributes": dict(self.attributes),
            **named,
        }


def section_of(party: str) -> str:
    """Give the registry code of a Party's section of the international registry (a synthetic convention)."""
    return f"{party}99"


def itmo_range(stem: str, first: int, last: int) -> dict[str, str]:
    """Write the identifiers of a named range."""
    return {"first": stem.format(first), "last": stem.format(last)}


def itmo_stem(attributes: Mapping[str, Any]) -> str:
    """Give the stem for units named here: the host's section (``PPP99``, a synthetic convention)."""
    host = attributes["first_transferring_party"]
    return f"{attributes['cooperative_approach']}-{section_of(host)}-{host}-{{}}-{attributes['vintage']}"


def cut_quantity(holdings: Iterable[Holding], quantities: Sequence[int]) -> tuple[list[Holding], list[list[Holding]]]:
    """Cut one group of pieces per quantity from the ends of ``holdings``, in order.

    Gives what stays and the groups; raises ``Declined`` (4018) when the holdings do not suffice.
    """
    source = iter(holdings)
    rest: Holding | None = None
    groups: list[list[Holding]] = []
    for quantity in quantities:
        group: list[Holding] = []
        while quantity > 0:
            rest = rest or next(source, None)
            if rest is None:
                raise Declined(4018, "the account does not hold that many free units")
            taken = min(quantity, rest.quantity)
            group.append(rest.part(rest.last - taken + 1, rest.last))
            rest = rest.part(rest.first, rest.last - taken) if taken < rest.quantity else None
            quantity -= taken
        groups.append(group)
    return ([rest] if rest else []) + list(source), groups


def cut_ranges(
    holdings: Iterable[Holding], ranges: Sequence[Sequence[Mapping[str, Any]]]
) -> tuple[list[Holding], list[list[Holding]]]:
    """Cut one group of pieces per list of ranges out of ``holdings``.

    Gives what stays and the groups; raises ``Declined`` (4003) for serials that are not there or are asked
    for twice.
    """
    by_series: dict[tuple[str, str], list[Holding]] = {}
    for holding in sorted(holdings, key=lambda holding: holding.first):
        by_series.setdefault((holding.registry, holding.name), []).append(holding)
    groups: list[list[Holding]] = []
    for wanted in ranges:
        group: list[Holding] = []
        for asked in wanted:
            origin = asked["origin"]
            taken = _cut_range(by_series.get((origin["registry"], origin["series"]), []), asked["first"], asked["last"])
            if sum(piece.quantity for piece in taken) != asked["last"] - asked["first"] + 1:
                raise Declined(4003, "units asked for are not held here, or are asked for twice")
            group.extend(taken)
        groups.append(group)
    return [holding for series in by_series.values() for holding in series], groups


def _cut_range(ordered: list[Holding], first: int, last: int) -> list[Holding]:
    """Take ``first``..``last`` out of one series' holdings, in place."""
    begin = max(bisect_right(ordered, first, key=lambda holding: holding.first) - 1, 0)
    end = bisect_right(ordered, last, key=lambda holding: holding.first)
    taken, stays = [], []
    for holding in ordered[begin:end]:
        low, high = max(holding.first, first), min(holding.last, last)
        if low > high:
            stays.append(holding)
            continue
        taken.append(holding.part(low, high))
        if holding.first < low:
            stays.append(holding.part(holding.first, low - 1))
        if high < holding.last:
            stays.append(holding.part(high + 1, holding.last))
    ordered[begin:end] = stays
    return taken


def name_blocks(blocks: Sequence[Mapping[str, Any]], given: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lay the identifiers a release gave over proposed blocks: pieces that have ``itmo``, and the rest."""
    by_origin: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in sorted(given, key=lambda entry: int(entry["first"])):
        by_origin.setdefault(_origin(entry), []).append(entry)
    for block in blocks:
        there = by_origin.get(_origin(block), [])
        # Of entries that do not overlap, only the one before the first that begins inside may reach into the block.
        begin = max(bisect_right(there, block["first"], key=lambda entry: int(entry["first"])) - 1, 0)
        end = bisect_right(there, block["last"], key=lambda entry: int(entry["first"]))
        yield from name_pieces(block, there[begin:end])


def _origin(block: Mapping[str, Any]) -> tuple[str, str]:
    return block["origin"]["registry"], block["origin"]["series"]


def name_pieces(block: Mapping[str, Any], given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lay identifiers, in the order of their units and of the block's origin, over one block."""
    pieces: list[dict[str, Any]] = []
    at = block["first"]
    for entry in given:
        if entry["last"] < at or entry["first"] > block["last"]:
            continue
        first, last = max(at, entry["first"]), min(entry["last"], block["last"])
        if at < first:
            pieces.append({**block, "first": at, "last": first - 1})
        stem, serial = shapes.split_itmo(entry["itmo"]["first"])
        offset = serial - entry["first"]
        pieces.append({**block, "first": first, "last": last, "itmo": itmo_range(stem, first + offset, last + offset)})
        at = last + 1
    if at <= block["last"]:
        pieces.append({**block, "first": at, "last": block["last"]})
    return pieces
