"""Authorisations as they are told: one version is ``Authorisation``, all that is known of one is ``Authorised``.

The content is that of CMA 6's decision on Article 6.2 and of Table 2 of the agreed electronic format; the decision's
text was not available to us, so that everything is optional but what public summaries call required: identifier,
version, date, cooperative approach, purposes, period, and the definition of first transfer where other purposes than
the NDC are authorised. A version is never changed; a change is the next version, and which of them governs a unit is
``Authorised.governing``. Made by ``authorisation_terms``, which has checked what one version shows by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import PartyCode
from gateway.domain.nomenclature import Metric
from gateway.domain.transfers import Purpose


class Kind(StrEnum):
    """What is authorised, together or separately."""

    COOPERATIVE_APPROACH = "cooperative approach"
    ITMOS = "ITMOs"
    ENTITIES = "entities"


class Definition(StrEnum):
    """When units for other purposes than the NDC are first transferred (2/CMA.3 annex para 2(b))."""

    AUTHORISATION = "Authorisation"
    ISSUANCE = "Issuance"
    USE_OR_CANCELLATION = "Use or Cancellation"


#: The purposes for which ITMOs can be authorised, as they are spelt, and which of a transfer each covers.
PURPOSES: Mapping[str, frozenset[Purpose]] = MappingProxyType(
    {
        "NDC": frozenset({Purpose.NDC}),
        "OIMP": frozenset({Purpose.IMP, Purpose.OP}),
        "IMP": frozenset({Purpose.IMP}),
        "OP": frozenset({Purpose.OP}),
        "NDC and OIMP": frozenset(Purpose),
        "NDC and IMP": frozenset({Purpose.NDC, Purpose.IMP}),
        "NDC and OP": frozenset({Purpose.NDC, Purpose.OP}),
    }
)


@dataclass(frozen=True, slots=True)
class Years:
    """Calendar years, both included."""

    first: int
    last: int

    def cover(self, year: int) -> bool:
        """Whether ``year`` is one of them."""
        return self.first <= year <= self.last


@dataclass(frozen=True, slots=True)
class Days:
    """Calendar days (UTC), both included; None is open."""

    first: date | None = None
    last: date | None = None

    def cover(self, day: date) -> bool:
        """Whether ``day`` is one of them."""
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


@dataclass(frozen=True, slots=True)
class Authorisation:
    """One version. ``quantity`` in tonnes, None is no limit; an empty set of values is any value."""

    id: str
    version: int
    party: PartyCode
    kinds: frozenset[Kind]
    given_on: date
    cooperative_approach: str
    purposes: str
    period: Days
    definition: Definition | None = None
    oimp: str | None = None
    use_period: Days = Days()
    vintages: Years | None = None
    quantity: int | None = None
    metric: Metric = Metric.GHG
    gwp: str | None = None
    non_ghg_metric: str | None = None
    sectors: frozenset[str] = frozenset()
    activity_types: frozenset[str] = frozenset()
    parties: frozenset[PartyCode] = frozenset()
    entities: frozenset[str] = frozenset()
    affects_first_transferred: bool = False
    terms: str | None = None
    documentation: str | None = None
    initial_report: date | None = None
    ndc_period: Years | None = None

    def covers(self, purpose: Purpose) -> bool:
        """Whether units may move, be used or cancelled for this purpose."""
        return purpose in PURPOSES[self.purposes]

    @property
    def for_ndc(self) -> bool:
        """Whether it is, alone or beside other purposes, for use towards an NDC."""
        return self.covers(Purpose.NDC)


@dataclass(frozen=True, slots=True)
class Authorised:
    """All that is known of one Party's authorisation: its versions from 1 on, without gaps, and what it has served for.

    ``drawn`` is the number of units that have moved, or are about to, under any of its versions.
    """

    versions: tuple[Authorisation, ...]
    revoked: bool = False
    drawn: int = 0

    @property
    def current(self) -> Authorisation:
        """The version in force for what is not first transferred yet."""
        return self.versions[-1]

    def version(self, number: int) -> Authorisation | None:
        """The version of this number, if it was told."""
        return self.versions[number - 1] if 1 <= number <= len(self.versions) else None

    def governing(self, transferred_under: int | None) -> Authorisation:
        """The version that governs units first transferred under that version (None: that never were).

        Changes do not affect ITMOs already first transferred, unless the authorisation's own terms say so (decision on
        Article 6.2 of CMA 6, as summarised publicly).
        """
        kept = None if transferred_under is None else self.version(transferred_under)
        return self.current if kept is None or kept.affects_first_transferred else kept

    def ended(self, transferred_under: int | None) -> bool:
        """Whether its revocation reaches units first transferred under that version (None: that never were)."""
        kept = None if transferred_under is None else self.version(transferred_under)
        return self.revoked and (kept is None or kept.affects_first_transferred)

    @property
    def left(self) -> int | None:
        """Tonnes that may still move under it; None without a limit."""
        return None if self.current.quantity is None else max(self.current.quantity - self.drawn, 0)


def succession(known: Authorised | None, new: Authorisation) -> list[Finding]:
    """What stands against taking ``new`` as the next version: 3006 a skipped one, 2004 a repeated one, 5103 one after
    the revocation, 5107 a quantity below what moved already, 2015 another cooperative approach.
    """
    told = len(known.versions) if known else 0
    if new.version <= told:
        return [Finding(2004, (), f"authorisation.version: version {new.version} was told with another content")]
    if new.version > told + 1:
        return [Finding(3006, (), f"authorisation.version: version {told + 1} was not told yet")]
    if known is None:
        return []
    found = []
    if known.revoked:
        found.append(Finding(5103, (), "authorisation: it is revoked"))
    if new.quantity is not None and new.quantity < known.drawn:
        found.append(Finding(5107, (), f"authorisation.quantity: {known.drawn} units have moved under it already"))
    if new.cooperative_approach != known.current.cooperative_approach:
        found.append(Finding(2015, (), "authorisation.cooperative_approach: a change keeps the cooperative approach"))
    return found


def revocation(known: Authorised | None, version: int) -> list[Finding]:
    """What stands against revoking it by naming ``version``: 3006 one that was not told, 5103 a second revocation."""
    if known is None or known.version(version) is None:
        return [Finding(3006, (), "authorisation: this version was not told")]
    return [Finding(5103, (), "authorisation: it is revoked already")] if known.revoked else []
