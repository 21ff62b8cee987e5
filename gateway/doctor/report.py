"""What an examination found: per check how many things were looked at, what does not fit, and what is worth knowing.

A *finding* is something that no run of the gateway, interrupted wherever, leaves behind: data were lost or
changed by other hands, or the program is wrong. A *note* is true and legal, and a person may want to know it.
Of very many the first are kept and all are counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: Findings, and notes, kept of one check; the others are counted.
MOST_KEPT = 100


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing found: what is wrong (or, as a ``note``, worth knowing), and which rows it is about.

    ``about`` names them by what they are: transfer, entry, units, peer, message, registry, request, …
    """

    what: str
    about: Mapping[str, str | int]
    note: bool = False

    def as_dict(self) -> dict[str, str | int]:
        """As machines read it."""
        return {**self.about, "what": self.what}

    def __str__(self) -> str:
        """As people read it."""
        named = ", ".join(f"{name} {value}" for name, value in self.about.items())
        return f"{named}: {self.what}" if named else self.what


def finding(what: str, **about: str | int) -> Remark:
    """Something that does not fit."""
    return Remark(what, about)


def note(what: str, **about: str | int) -> Remark:
    """Something that a person may want to know; everything fits all the same."""
    return Remark(what, about, note=True)


@dataclass(slots=True)
class Result:
    """What one check found. ``rule`` is what it enforces, in a sentence."""

    name: str
    rule: str
    examined: int = 0
    found: int = 0
    noted: int = 0
    findings: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)

    def add(self, remarks: Iterable[Remark]) -> None:
        """Count one more thing that was looked at, and what was found of it."""
        self.examined += 1
        for remark in remarks:
            if remark.note:
                self.noted += 1
            else:
                self.found += 1
            kept = self.notes if remark.note else self.findings
            if len(kept) < MOST_KEPT:
                kept.append(remark)

    def as_dict(self) -> dict[str, Any]:
        """As machines read it; ``found`` and ``noted`` count those that are not listed, too."""
        return {
            "name": self.name,
            "rule": self.rule,
            "examined": self.examined,
            "found": self.found,
            "findings": [remark.as_dict() for remark in self.findings],
            "noted": self.noted,
            "notes": [remark.as_dict() for remark in self.notes],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The database at one moment, as all checks found it."""

    at: datetime
    results: tuple[Result, ...]

    @property
    def fits(self) -> bool:
        """Whether no check found anything; notes do not count."""
        return not any(result.found for result in self.results)

    @property
    def findings(self) -> list[tuple[str, Remark]]:
        """The findings that were kept, each with the name of its check."""
        return [(result.name, remark) for result in self.results for remark in result.findings]

    @property
    def notes(self) -> list[tuple[str, Remark]]:
        """The notes that were kept, each with the name of its check."""
        return [(result.name, remark) for result in self.results for remark in result.notes]

    def as_dict(self) -> dict[str, Any]:
        """As machines read it."""
        checks = [result.as_dict() for result in self.results]
        return {"at": self.at.isoformat(), "fits": self.fits, "checks": checks}
