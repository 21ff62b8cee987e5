"""Corresponding adjustments: what first transfers add to a Party's account and what uses subtract, year by year.

The first transferring Party adds what it has first transferred, in the calendar year in which the mitigation occurred;
the using Party subtracts what it uses towards its NDC, in the year it uses it for; an acquisition alone does nothing
(2/CMA.3 annex para 8). In the account of a metric that is not greenhouse gases the signs are the other way round
(para 9). How a year's figure is applied is the Party's method (para 7). The decision's text was not available: the
rules are those of public summaries of it.

Quantities are whole tonnes (or whole units of the metric); an average is an exact quotient. Nothing here reads or
writes anything.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.actions import Towards
from gateway.domain.nomenclature import Metric


class Method(StrEnum):
    """How a Party applies corresponding adjustments over its NDC period; chosen once for the period."""

    TRAJECTORY = "trajectory"
    """Single-year target, with a trajectory for the years before it: each year's own figure."""
    AVERAGING = "averaging"
    """Single-year target: what has accumulated by a year over the years that have elapsed, in each year."""
    MULTI_YEAR = "multi-year"
    """Multi-year target: each year's own figure, and what has accumulated at the end."""


class Effect(StrEnum):
    """What a movement of units does to an account."""

    FIRST_TRANSFERRED = "first transferred"
    USED = "used"


@dataclass(frozen=True, slots=True)
class Movement:
    """What the accounting asks of units that were moved; ``party`` is whose books they were in.

    ``cause`` is the transfer or the registry's action; None for many together that agree in everything else.
    ``year`` is that of a use towards the NDC.
    """

    type: str
    party: str
    first_transferring_party: str
    vintage: int
    metric: str
    purpose: str | None
    year: int | None
    first_transfer: bool
    first_transferred: bool
    quantity: int
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An effect on one Party's account of one metric, in one year."""

    party: str
    metric: str
    year: int
    effect: Effect
    quantity: int
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Quotient:
    """A number of units divided by a number of years, exactly; ``by`` is at least 1."""

    total: int
    by: int

    @property
    def whole(self) -> int:
        """The whole units, towards zero."""
        return -(-self.total // self.by) if self.total < 0 else self.total // self.by

    @property
    def remainder(self) -> int:
        """What the whole units leave of ``total``: so many ``by``-ths of a unit."""
        return self.total - self.whole * self.by

    def __str__(self) -> str:
        """With three decimal places where it is not whole; what is below them is cut off, towards zero."""
        if self.remainder == 0:
            return str(self.whole)
        sign = "-" if self.total < 0 else ""
        return f"{sign}{abs(self.whole)}.{abs(self.remainder) * 1000 // self.by:03d}"


@dataclass(frozen=True, slots=True)
class Year:
    """One year of an account: ``annual`` is what it adds (negative: subtracts), ``cumulative`` all until its end.

    ``applied`` is the corresponding adjustment of the year by the Party's method.
    """

    year: int
    first_transferred: int
    used: int
    annual: int
    cumulative: int
    applied: Quotient


@dataclass(frozen=True, slots=True)
class Account:
    """A Party's account of one metric from the first to the last of ``years``.

    ``outside`` is how many units were first transferred or used for years that are not among these.
    """

    party: str
    metric: str
    method: Method
    years: tuple[Year, ...]
    outside: int


def entries(movement: Movement) -> Iterator[Entry]:
    """The effects of a movement. Only ITMOs count as used: what is none was added to nobody's account."""
    metric, quantity, cause = movement.metric, movement.quantity, movement.cause
    if movement.first_transfer:
        host, vintage = movement.first_transferring_party, movement.vintage
        yield Entry(host, metric, vintage, Effect.FIRST_TRANSFERRED, quantity, cause)
    towards_ndc = movement.purpose == Towards.NDC and movement.type == "Use"
    if towards_ndc and movement.first_transferred and movement.year is not None:
        yield Entry(movement.party, metric, movement.year, Effect.USED, quantity, cause)


def counted(movements: Iterable[Movement], party: str | None = None) -> list[Entry]:
    """All effects of movements on the accounts of one Party, or of all."""
    return [entry for moved in movements for entry in entries(moved) if party in (None, entry.party)]


def accounts(listed: Iterable[Entry], method: Method, first: int, last: int) -> list[Account]:
    """The accounts of all Parties and metrics of ``listed``, over the years ``first`` to ``last``, both included."""
    totals: dict[tuple[str, str], dict[tuple[int, Effect], int]] = defaultdict(lambda: defaultdict(int))
    for entry in listed:
        totals[entry.party, entry.metric][entry.year, entry.effect] += entry.quantity
    return [
        Account(party, metric, method, tuple(_years(found, metric, method, first, last)), _outside(found, first, last))
        for (party, metric), found in sorted(totals.items())
    ]


def _years(found: dict[tuple[int, Effect], int], metric: str, method: Method, first: int, last: int) -> Iterator[Year]:
    sign = 1 if metric == Metric.GHG else -1
    cumulative = 0
    for year in range(first, last + 1):
        added, used = (found.get((year, effect), 0) for effect in (Effect.FIRST_TRANSFERRED, Effect.USED))
        annual = sign * (added - used)
        cumulative += annual
        averaged = Quotient(cumulative, year - first + 1)
        yield Year(
            year, added, used, annual, cumulative, averaged if method is Method.AVERAGING else Quotient(annual, 1)
        )


def _outside(found: dict[tuple[int, Effect], int], first: int, last: int) -> int:
    return sum(quantity for (year, _), quantity in found.items() if not first <= year <= last)
