"""What came of verifying a log: how much was looked at, and each place that is not as it must be."""

import base64
from dataclasses import dataclass, field
from typing import Any

from gateway.audit.checkpoint import Checkpoint
from gateway.signing import notes
from gateway.signing.notes import Signed

#: A log with more faults than this is not looked at any further.
MAX_FAULTS = 20
KINDS = {notes.ED25519: "Ed25519", notes.COSIGNATURE: "Ed25519 cosignature", notes.ML_DSA_44: "ML-DSA-44"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A place of the log (a path, with an entry or a hash of it, or a checkpoint), and what is wrong there."""

    place: str
    why: str

    def __str__(self) -> str:
        return f"{self.place}: {self.why}"


class Wrong(Exception):
    """A fault beyond which nothing can be verified."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.fault = Fault(place, why)


@dataclass
class Verdict:
    """The last checkpoint with who signed it, what was verified against it, and what was found."""

    checkpoint: Checkpoint | None = None
    signed: list[Signed] = field(default_factory=list)
    entries: int = 0
    tiles: int = 0
    #: How many checkpoints before the last one were held against the tree.
    checkpoints: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether everything is as it must be."""
        return self.checkpoint is not None and not self.faults

    def found(self, place: str, why: str) -> None:
        """Note a fault; raises ``Wrong`` when there are so many that it is enough."""
        if len(self.faults) == MAX_FAULTS:
            raise Wrong(place, f"{why}; looked no further after {MAX_FAULTS} faults")
        self.faults.append(Fault(place, why))

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        head = self.checkpoint
        return {
            "valid": self.valid,
            "origin": head and head.origin,
            "size": head and head.size,
            "root": head and base64.b64encode(head.root).decode(),
            "signatures": [
                {"name": s.by.name, "kind": KINDS[s.by.kind], "at": s.at and s.at.isoformat()} for s in self.signed
            ],
            "entries": self.entries,
            "tiles": self.tiles,
            "checkpoints": self.checkpoints,
            "faults": [{"place": fault.place, "why": fault.why} for fault in self.faults],
        }
