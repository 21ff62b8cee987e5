"""The check table: every code this gateway applies or understands, with severity, stage, text and source.

The rows are in ``check_table.toml``. The same codes in both directions; modelled on the Kyoto data exchange standards.
Severity E refuses, W accepts and flags. ``Finding`` is the value a check leaves: a code, the serials concerned, and a
detail for people. A code that is not in the table came from a peer: it is kept as it is and treated as E.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from importlib import resources
from types import MappingProxyType

from gateway.domain.units import UnitRange


class Severity(StrEnum):
    """What a finding leads to."""

    #: The message, or the transfer, is refused.
    ERROR = "E"
    #: It goes on and is flagged.
    WARNING = "W"


class Stage(IntEnum):
    """When a check is applied; a later stage begins only when the earlier ones found no error."""

    AUTHORITY = 1
    DATA_INTEGRITY = 2
    SEQUENCE = 3
    GENERAL = 4
    SPECIFIC = 5
    RECONCILIATION = 6
    PEER = 7
    HISTORY = 8
    SYSTEM = 9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found wrong, and with which units (none named: with the item as a whole)."""

    code: int
    blocks: tuple[UnitRange, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the check table."""

    severity: Severity
    stage: Stage
    text: str
    #: The decision, standard or tool that asks for it; ``design`` where it is this gateway's own.
    source: str


def _read_table() -> dict[int, Check]:
    """The rows of ``check_table.toml``: one a code, under the name of its stage."""
    table = tomllib.loads(resources.files("gateway.domain").joinpath("check_table.toml").read_text("utf-8"))
    return {
        int(code): Check(Severity(letter), Stage[stage.upper()], text, source)
        for stage, rows in table.items()
        for code, (letter, text, source) in rows.items()
    }


#: Code → row. Texts say what holds when the check is passed.
CHECKS: Mapping[int, Check] = MappingProxyType(_read_table())


def severity(code: int) -> Severity:
    """Severity of a code; a code we do not interpret (7xxx, a peer's own) is an error."""
    check = CHECKS.get(code)
    return Severity.ERROR if check is None else check.severity


def text(code: int) -> str:
    """What the check demands, for people; says so when the code is a peer's own."""
    check = CHECKS.get(code)
    return "a code of the peer's, relayed as it came" if check is None else check.text


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same findings, those of one code and detail as one that names all their units, each once."""
    together: dict[tuple[int, str], dict[UnitRange, None]] = {}
    for finding in findings:
        together.setdefault((finding.code, finding.detail), {}).update(dict.fromkeys(finding.blocks))
    return tuple(Finding(code, tuple(units), detail) for (code, detail), units in together.items())
