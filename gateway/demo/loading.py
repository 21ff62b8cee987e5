"""The story of ``--blocks``: each real block underlies the net block of a synthetic A6.4ER issuance, relayed whole.

Real are the blocks: serials, host Parties, unit types, projects. Synthetic are the issuances over them with their
authorisations, vintages (from 2021, as no unit under the Paris Agreement is older) and acquirers. Everything is issued
in order and proposed in order, each call in one transaction of the registry's, so a story that was interrupted is
taken up at the first call that was not made.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.demo.blocks import RealBlock
from gateway.demo.members import FOR_BLOCKS
from gateway.demo.operating import Operators
from gateway.demo.outcome import Way
from gateway.demo.plan import ACCOUNT, Arrow, Authorisation
from gateway.demo.watching import Watch
from gateway.domain.identifiers import MAX_SERIAL, PartyCode
from gateway.domain.nomenclature import FIRST_VINTAGE
from gateway.domain.parties import EXEMPT_FROM_PROCEEDS
from gateway.errors import GatewayError, Kind

#: What is taken at issuance, in per cent: for overall mitigation, and for adaptation where the host is not exempt.
OMGE_PERCENT, SOP_PERCENT = 2, 5
#: Issuances, and transfers, of one call: a few full messages.
AT_ONCE = 3_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """A real block, and the serials of the issuance whose net block it underlies."""

    real: RealBlock
    first: int
    gross: int
    to: str
    to_party: str

    @property
    def series(self) -> str:
        """The mechanism registry's own: one for each host Party and type of underlying unit."""
        return _series(self.real)

    @property
    def authorisation(self) -> Authorisation:
        """One for each host Party."""
        return Authorisation(f"{self.real.party}-SYNTHETIC-CDM")

    def issuance(self) -> dict[str, Any]:
        """What the operator of the mechanism registry fills in to issue."""
        real = self.real
        stem = f"{real.alpha2}-{real.unit_type}"
        underlying = {"registry": "CDM", "first": f"{stem}-{real.first}", "last": f"{stem}-{real.last}"}
        return {
            "activity": f"CDM {real.project}, synthetic issuance",
            "party": real.party,
            "series": self.series,
            "net": real.quantity,
            "vintage": max(FIRST_VINTAGE, real.completed_at.year),
            "omge_percent": OMGE_PERCENT,
            "sop_percent": _sop_percent(real.party),
            "authorisation": self.authorisation.form(),
            "attributes": {"underlying": underlying},
        }

    def wish(self) -> dict[str, Any]:
        """What the operator fills in to have the net block transferred whole."""
        origin = {"registry": "MEC01", "series": self.series}
        return {
            "party": self.real.party,
            "account": ACCOUNT,
            "to": {"registry": self.to, "party": self.to_party, "account": ACCOUNT},
            "quantity": self.real.quantity,
            "blocks": [{"origin": origin, "first": self.first, "last": self.first + self.real.quantity - 1}],
            "purpose": "NDC",
            "authorisation": self.authorisation.form(),
        }


def loaded(blocks: Sequence[RealBlock]) -> list[Loaded]:
    """Each block with the serials it gets and the registry it goes to: in turn, but never to its host Party's own.

    Raises MALFORMED, naming the line, when the serials of a series do not suffice for what it takes to issue.
    """
    acquirers = [member for member in FOR_BLOCKS if member.party]
    next_serial: dict[str, int] = defaultdict(lambda: 1)
    made = []
    for nr, real in enumerate(blocks):
        others = [member for member in acquirers if member.party != real.party]
        to = others[nr % len(others)]
        first, gross = next_serial[_series(real)], gross_for(real.quantity, OMGE_PERCENT, _sop_percent(real.party))
        next_serial[_series(real)] = first + gross
        if first + gross - 1 > MAX_SERIAL:
            detail = f"line {real.line}: with what is deducted, series {_series(real)} has no serials left for it"
            raise GatewayError(Kind.MALFORMED, detail)
        made.append(Loaded(real, first, gross, to.code, to.party))
    return made


def gross_for(net: int, omge_percent: int, sop_percent: int) -> int:
    """The smallest quantity of which ``net`` is left when both shares, each rounded up, are deducted."""
    gross = -(-net * 100 // (100 - omge_percent - sop_percent))
    while gross - sum(-(-gross * percent // 100) for percent in (omge_percent, sop_percent)) != net:
        gross += 1
    return gross


def load(operators: Operators, watch: Watch, made: Sequence[Loaded]) -> None:
    """Issue and propose everything that has not been; the gateway is left to relay it.

    While the gateway hears of what one call has issued, the next issues more. Raises CONFLICT when the mechanism
    registry has issued or proposed something else.
    """
    calls = [made[at : at + AT_ONCE] for at in range(0, len(made), AT_ONCE)]
    gross = [sum(one.gross for one in call) for call in calls]
    issued = _made_before(operators.get("MEC01", "books")["issued"], gross)
    proposed = _made_before(len(operators.proposed("MEC01")), list(map(len, calls)))
    for nr in range(len(calls) + 1):
        if issued <= nr < len(calls):
            operators.post("MEC01", "issuances", {"issuances": [one.issuance() for one in calls[nr]]})
        if nr > proposed:
            watch.until_issued(sum(gross[:nr]))
            operators.post("MEC01", "transfers", {"transfers": [one.wish() for one in calls[nr - 1]]})


def ways(made: Sequence[Loaded], books: Mapping[str, Any]) -> tuple[Way, ...]:
    """What came of it, for each acquiring registry: the tonnes are those the gateway's book says have come in."""
    come = {row["registry"]: row["moved_in"] for row in books["registries"]}
    state = " and ".join(sorted(books["transfers"])) or "absent"
    return tuple(
        Way(Arrow.MECHANISM_TO_PARTY, "MEC01", to, "real CDM blocks", come.get(to, 0), number, state)
        for to, number in sorted(Counter(one.to for one in made).items())
    )


def _made_before(done: int, sizes: Sequence[int]) -> int:
    """How many of the calls were made before, when what they bring adds up to ``done``."""
    for number in range(len(sizes) + 1):
        if sum(sizes[:number]) == done:
            return number
    raise GatewayError(Kind.CONFLICT, "MEC01 has issued or proposed something else than these blocks")


def _series(real: RealBlock) -> str:
    return f"{real.party}-A64-{real.unit_type}"


def _sop_percent(party: PartyCode) -> int:
    return 0 if party in EXEMPT_FROM_PROCEEDS else SOP_PERCENT
