"""Controlled values of unit attributes.

The lists are dated data (``nomenclatures/``), after the UNFCCC common nomenclatures for the agreed electronic format.
What the gateway's own logic branches on is an enumeration here and equals the edition in force. A value outside these
lists is found by check 2014, a cooperative approach that is not ``CANNNN`` by 2012.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from gateway.domain.editions import editions
from gateway.domain.identifiers import Standing
from gateway.errors import GatewayError, Kind


class UnitType(StrEnum):
    """What was issued. Labels are synthetic: no public text gives the codes' descriptions."""

    #: An Article 6.4 emission reduction, issued by the mechanism registry.
    A64ER = "A6.4ER"
    #: A mitigation outcome issued as a unit by the additional registry services or a Party's registry.
    MO = "MO"


class Metric(StrEnum):
    """What a unit counts: tonnes of CO2 equivalent, or something else."""

    GHG = "GHG"
    NON_GHG = "non-GHG"


class MitigationType(StrEnum):
    """How the outcome was achieved."""

    REDUCTIONS = "Emission reductions"
    REMOVALS = "Removals"
    BOTH = "Emission reductions and removals"


@dataclass(frozen=True, slots=True)
class ListedAccountType:
    """An account type; ``mark`` says what about it is not of the source (empty: nothing)."""

    code: int
    standing: Standing
    label: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class ListedSubtype:
    """A subtype of an action, and the action types that may bear it."""

    value: str
    under: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nomenclature:
    """One edition: its date, where it is from, its lists in their own order.

    ``marks`` says of a value what about it is not of the source, or not as it stands there.
    """

    date: date
    source: str
    account_types: tuple[ListedAccountType, ...]
    unit_types: tuple[str, ...]
    metrics: tuple[str, ...]
    mitigation_types: tuple[str, ...]
    purposes: tuple[str, ...]
    first_transfer_definitions: tuple[str, ...]
    action_types: tuple[str, ...]
    action_subtypes: tuple[ListedSubtype, ...]
    sectors: tuple[str, ...]
    activity_types: tuple[str, ...]
    underlying_registries: tuple[str, ...]
    marks: Mapping[str, str]


def _edition(raw: dict[str, Any]) -> Nomenclature:
    lists = {name: tuple(value) for name, value in raw.items() if isinstance(value, list)}
    rows = [row | {"standing": Standing(row["standing"])} for row in raw["account_types"]]
    lists["account_types"] = tuple(ListedAccountType(**row) for row in rows)
    lists["action_subtypes"] = tuple(ListedSubtype(row["value"], tuple(row["under"])) for row in raw["action_subtypes"])
    return Nomenclature(**(raw | lists | {"marks": MappingProxyType(raw["marks"])}))


#: Every edition, the newest last.
EDITIONS = tuple(_edition(raw) for raw in editions("nomenclatures"))
#: The edition in force: the newest there is.
in_force = EDITIONS[-1]

SECTORS = frozenset(in_force.sectors)
ACTIVITY_TYPES = frozenset(in_force.activity_types)
UNDERLYING_REGISTRIES = frozenset(in_force.underlying_registries)

#: ITMOs are mitigation outcomes from 2021 on (2/CMA.3 annex para 1).
FIRST_VINTAGE = 2021

_UNIT_TYPES: frozenset[str] = frozenset(UnitType)
_METRICS: frozenset[str] = frozenset(Metric)
_MITIGATION_TYPES: frozenset[str] = frozenset(MitigationType)
_COOPERATIVE_APPROACH = re.compile(r"CA[0-9]{4}")


def parse_unit_type(text: str) -> UnitType:
    """Read a unit type; raises MALFORMED with code 2014."""
    return UnitType(_listed(text, _UNIT_TYPES, "unit type"))


def parse_metric(text: str) -> Metric:
    """Read a metric; raises MALFORMED with code 2014."""
    return Metric(_listed(text, _METRICS, "metric"))


def parse_mitigation_type(text: str) -> MitigationType:
    """Read a mitigation type; raises MALFORMED with code 2014."""
    return MitigationType(_listed(text, _MITIGATION_TYPES, "mitigation type"))


def parse_sector(text: str) -> str:
    """Read a sector; raises MALFORMED with code 2014."""
    return _listed(text, SECTORS, "sector")


def parse_activity_type(text: str) -> str:
    """Read an activity type; raises MALFORMED with code 2014."""
    return _listed(text, ACTIVITY_TYPES, "activity type")


def parse_underlying_registry(text: str) -> str:
    """Read the code of an underlying registry; raises MALFORMED with code 2014."""
    return _listed(text, UNDERLYING_REGISTRIES, "underlying registry")


def unlisted(sector: str, activity_type: str, underlying_registry: str | None) -> list[str]:
    """What is wrong with values of the open lists, in words: one for each that the edition in force does not have.

    These lists grow with every edition, so a registry may be ahead of ours: what it says of its own units is kept.
    """
    values = ((parse_sector, sector), (parse_activity_type, activity_type))
    wrong = []
    for read, value in (*values, (parse_underlying_registry, underlying_registry)):
        try:
            if value is not None:
                read(value)
        except GatewayError as error:
            wrong.append(error.detail)
    return wrong


def parse_cooperative_approach(text: str) -> str:
    """Read a cooperative approach ID, ``CANNNN``; raises MALFORMED with code 2012."""
    if not _COOPERATIVE_APPROACH.fullmatch(text):
        raise GatewayError(Kind.MALFORMED, "a cooperative approach ID is CA and four digits", code=2012)
    return text


def _listed(text: str, allowed: frozenset[str], what: str) -> str:
    if text not in allowed:
        raise GatewayError(Kind.MALFORMED, f"not a {what} of the nomenclature: {text[:64]!r}", code=2014)
    return text
