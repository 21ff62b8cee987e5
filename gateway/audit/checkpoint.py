"""A checkpoint: what a log's tree was at one size, in the text that is signed (C2SP tlog-checkpoint).

Three lines: the log's origin, the size, the root. We write no extension lines, and read none: they are not covered by
every kind of signature. Raises MALFORMED for a text that is no checkpoint.
"""

import base64
import re
from dataclasses import dataclass

from gateway.audit import merkle
from gateway.errors import GatewayError, Kind
from gateway.signing import notes

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of the log ``origin`` had ``size`` leaves under ``root`` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def read(cls, text: str) -> "Checkpoint":
        """The checkpoint that a note's text states; raises MALFORMED."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise _none("it is three lines: origin, size, root")
        if not _SIZE.fullmatch(lines[1]) or int(lines[1]) > merkle.MAX_SIZE:
            raise _none("the size is a number without leading zeros")
        root = notes.unbase64(lines[2])
        if root is None or len(root) != merkle.HASH_BYTES:
            raise _none("the root is 32 bytes in base64")
        return cls(lines[0], int(lines[1]), root)


def _none(why: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"not a checkpoint: {why}", code=2001)
