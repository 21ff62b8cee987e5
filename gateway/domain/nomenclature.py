"""Controlled values of unit attributes.

From the UNFCCC common nomenclatures for the agreed electronic format (list of 17 February 2026) where they
could be read: metrics, mitigation types, sectors, activity types, underlying registries. Unit types have
unpublished descriptions there; the two labels here are synthetic. A value outside these lists is refused by
check 2014, a cooperative approach that is not ``CANNNN`` by 2012.
"""

import re
from enum import StrEnum

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


SECTORS = frozenset(
    {
        "Agriculture",
        "Building and construction",
        "Cross-sectoral mechanisms",
        "Energy generation",
        "Forestry and land use",
        "Industrial processes",
        "Transportation",
        "Urban development",
        "Waste management",
    }
)

#: "C02 usage" is spelt with a zero in the source, and a value is compared as it is written there.
ACTIVITY_TYPES = frozenset(
    {
        "Afforestation",
        "Agriculture",
        "Biogas",
        "Biomass Energy",
        "Cement",
        "C02 usage",
        "Coal bed/mine methane",
        "Energy distribution",
        "Energy Efficiency households",
        "Energy Efficiency Industry",
        "Energy Efficiency own generation",
        "Energy Efficiency service",
        "Energy Efficiency supply side",
        "Fossil fuel switch",
        "Fugitive",
        "Geothermal",
        "Hydro",
        "Landfill gas",
        "Methane avoidance",
        "N2O",
        "PFCs and SF6",
        "Reforestation",
        "Solar",
        "Tidal",
        "Transport",
        "Waste",
        "Wind",
    }
)

#: ``CDM`` is our addition, for certified emission reductions under A6.4ERs: the list has no code for them.
UNDERLYING_REGISTRIES = frozenset(
    {"VCS", "GS", "CAR", "ACR", "ART", "GCC", "Cercarbono", "Isometric", "ISFL", "FCPF", "T-VER", "JCM", "CDM"}
)

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


def parse_cooperative_approach(text: str) -> str:
    """Read a cooperative approach ID, ``CANNNN``; raises MALFORMED with code 2012."""
    if not _COOPERATIVE_APPROACH.fullmatch(text):
        raise GatewayError(Kind.MALFORMED, "a cooperative approach ID is CA and four digits", code=2012)
    return text


def _listed(text: str, allowed: frozenset[str], what: str) -> str:
    if text not in allowed:
        raise GatewayError(Kind.MALFORMED, f"not a {what} of the nomenclature: {text[:64]!r}", code=2014)
    return text
