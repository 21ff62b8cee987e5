"""The published log as it is kept: stands here until the log's tables do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that was published."""

    size: int
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key that signs checkpoints, or did."""

    vkey: str
    not_before: datetime
    not_after: datetime | None


async def tile(tx: db.Tx | db.ReadTx, level: int, nr: int, width: int) -> bytes | None:
    """The first ``width`` hashes of a tile."""
    raise NotImplementedError


async def entries(tx: db.Tx | db.ReadTx, first: int, number: int) -> Sequence[bytes]:
    """The leaves ``[first, first + number)``."""
    raise NotImplementedError


async def published(tx: db.Tx | db.ReadTx, above: int, limit: int) -> Sequence[Published]:
    """The checkpoints of more than ``above`` leaves, smallest first."""
    raise NotImplementedError


async def latest(tx: db.Tx | db.ReadTx) -> Published | None:
    """The last checkpoint."""
    raise NotImplementedError


async def keys(tx: db.Tx | db.ReadTx) -> Sequence[LogKey]:
    """Every key of the log."""
    raise NotImplementedError
