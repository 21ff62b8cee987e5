"""What the rules made of the demo's units: deductions at issuance, and first transfer under each definition.

Read from the operator API and from the registry that issued, after everything has happened; nothing is moved but what
is cancelled last (``cancel``): the first transfer of units whose authorisation defines it as their use or cancellation.
"""

from dataclasses import dataclass

from gateway.demo.arrows import CANCELLED, DEFINED, KENYA
from gateway.demo.operating import Operators
from gateway.demo.watching import Watch

#: Accounts of what is deducted, as the sandbox registries number them.
PROCEEDS, OMGE = "410-1", "320-1"
#: Who holds the units under each definition at last.
HOLDER = "JPN01"


@dataclass(frozen=True, slots=True)
class Issued:
    """An issuance and its deductions, in tonnes."""

    host: str
    gross: int
    share_of_proceeds: int
    omge: int
    net: int


@dataclass(frozen=True, slots=True)
class Defined:
    """What became of units under a definition of first transfer: what the actions of the host's view say."""

    definition: str
    first_transfer: str
    tonnes: int
    moved_as: str

    @property
    def as_it_should(self) -> bool:
        """First transferred as defined, and moved as what is no first transfer."""
        spelt = self.definition.replace("Authorisation", "Authorization").lower()
        return self.first_transfer.lower() == spelt and self.moved_as == "Transfer"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is shown."""

    issuance: Issued
    definitions: tuple[Defined, ...]

    @property
    def as_they_should(self) -> bool:
        """Whether each definition had its way, and the deductions are 5 % and 2 %, rounded up."""
        one = self.issuance
        due = -(-one.gross * 5 // 100), -(-one.gross * 2 // 100)
        return all(d.as_it_should for d in self.definitions) and (one.share_of_proceeds, one.omge) == due


def cancel(operators: Operators) -> None:
    """Cancel the last units that are to be: by that they are first transferred."""
    operators.cancel(HOLDER, HOLDER[:3], DEFINED[-1], CANCELLED)


def seen(operators: Operators, watch: Watch) -> Rules:
    """What the gateway and the issuing registry say of it."""
    taken = operators.taken_of(KENYA)
    gross = int(KENYA.net or 0) + taken.get(PROCEEDS, 0) + taken.get(OMGE, 0)
    issued = Issued(KENYA.party, gross, taken.get(PROCEEDS, 0), taken.get(OMGE, 0), int(KENYA.net or 0))
    definitions = []
    actions = list(watch.pages("actions", party=KENYA.party))
    for lot in DEFINED:
        assert lot.authorisation is not None  # each is defined by one
        mine = [a for a in actions if a["authorisation"] == lot.authorisation.id]
        first = [a for a in mine if a["type"] == "First transfer"]
        moved = {a["type"] for a in mine if a["counterparty"] and a["type"] in ("Transfer", "First transfer")}
        moved -= {"First transfer"} if all(a["subtype"] == "Use or cancellation" for a in first) else set()
        subtypes = sorted({str(a["subtype"]) for a in first})
        tonnes = sum(int(a["quantity"]) for a in first)
        definitions.append(Defined(lot.authorisation.definition, ", ".join(subtypes), tonnes, ", ".join(sorted(moved))))
    return Rules(issued, tuple(definitions))
