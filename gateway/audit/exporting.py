"""Writes the published log into a folder: C2SP tiles and bundles, the keys, every checkpoint; any web server does then.

The tree is grown of the entries on from what the folder has, so a folder never gets a checkpoint that its own entries
do not have the root of. Bundles and tiles are written once and stay; the checkpoint is replaced last, when the rest
would outlast a loss of power. Whatever ended it, the next run adds what is missing. Memory does not depend on the size.

Fails with ``GatewayError``: NOT_FOUND if nothing is published, CONFLICT for a folder that holds something else, another
log, one that this log never was, or tiles that are not those of its checkpoint; INVARIANT if the log itself does not
fit together. Then the folder's checkpoint is the one it had.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.audit import merkle, reading
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.folder import Folder
from gateway.audit.merkle import TILE_WIDTH, Growth
from gateway.audit.store import Published
from gateway.errors import GatewayError, Kind, invariant
from gateway.signing import notes

#: Entries that are read at once: some megabytes, and far from one statement for each bundle.
_BATCH = 32 * TILE_WIDTH


class Log(Protocol):
    """What is exported."""

    async def latest(self) -> Published | None:
        """The last checkpoint, if there is one."""

    async def published(self, above: int, limit: int) -> Sequence[Published]:
        """Checkpoints of more than ``above`` entries, smallest first."""

    async def entries(self, first: int, number: int) -> Sequence[bytes]:
        """The leaves ``[first, first + number)``."""

    async def keys(self) -> bytes:
        """The list of keys as it is served."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What the folder holds now, and how much of that was not there before."""

    origin: str
    size: int
    entries: int
    files: int


async def export(log: Log, to: Path, progress: Callable[[int, int], None] = lambda done, size: None) -> Exported:
    """Bring the folder ``to`` up to the last checkpoint; ``progress`` is told how many entries of how many it has."""
    last = await log.latest()
    if last is None:
        raise GatewayError(Kind.NOT_FOUND, "nothing is published yet")
    folder = Folder(to)
    with folder.alone():
        return await _Export(log, folder, to, last).run(progress)


class _Export:
    """One run, up to one checkpoint."""

    def __init__(self, log: Log, folder: Folder, to: Path, last: Published) -> None:
        self._log, self._folder, self._to = log, folder, to
        self._note = last.note
        self._head = _stated(last.note)
        self._files = 0

    async def run(self, progress: Callable[[int, int], None]) -> Exported:
        """Write what is missing, the checkpoint last."""
        growth = await self._begun()
        had = growth.size
        await self._grow(growth, progress)
        await self._list()
        self._folder.replace("keys", await self._log.keys())
        self._folder.kept()
        self._folder.replace("checkpoint", self._note.encode())
        self._folder.kept()
        return Exported(self._head.origin, self._head.size, self._head.size - had, self._files)

    async def _begun(self) -> Growth:
        """The tree that the folder has, if it is an earlier one of this log; raises CONFLICT."""
        note = self._folder.bytes_at("checkpoint", notes.MAX_NOTE)
        if note is None:
            if not self._folder.is_ours():
                raise self._other("is not empty and holds no log")
            return Growth.of(0, {})
        try:
            held = _stated(note.decode())
        except (GatewayError, UnicodeDecodeError):
            raise self._other("has a checkpoint that is none") from None
        if held.origin != self._head.origin:
            raise self._other(f"holds another log, {held.origin}")
        if held.size > self._head.size:
            raise self._other(f"holds {held.size} entries, and this log has {self._head.size}")
        known = [row for row in await self._log.published(held.size - 1, 1) if _stated(row.note) == held]
        if not known:
            raise self._other(f"holds a checkpoint of size {held.size} that this log has not published")
        return self._edge(held)

    def _edge(self, held: Checkpoint) -> Growth:
        edge = {}
        for level, width in enumerate(merkle.widths(held.size)):
            path = reading.tile_path(level, held.size >> 8 * (level + 1), width)
            edge[level] = (self._folder.bytes_at(path, reading.MAX_TILE) or b"") if width else b""
        try:
            growth = Growth.of(held.size, edge)
        except ValueError:
            raise self._other("lacks tiles of its checkpoint") from None
        if growth.root != held.root:
            raise self._other("has tiles that are not those of its checkpoint")
        return growth

    async def _grow(self, growth: Growth, progress: Callable[[int, int], None]) -> None:
        size = self._head.size
        for first in range(growth.size // TILE_WIDTH * TILE_WIDTH, size, _BATCH):
            number = min(_BATCH, size - first)
            entries = await self._log.entries(first, number)
            invariant(len(entries) == number, f"the log lacks entries from {first + len(entries)} on")
            for at in range(0, number, TILE_WIDTH):
                part = entries[at : at + TILE_WIDTH]
                self._put(reading.bundle_path((first + at) // TILE_WIDTH, len(part)), reading.joined(part))
            growth.add([merkle.leaf_hash(entry) for entry in entries[growth.size - first :]])
            self._put_tiles(growth, whole=True)
            progress(growth.size, size)
        invariant(growth.root == self._head.root, f"the {size} entries do not have the root of their checkpoint")
        self._put_tiles(growth, whole=False)

    def _put_tiles(self, growth: Growth, *, whole: bool) -> None:
        """Those that are complete, or at the end those that are not."""
        for level, nr in [at for at, row in growth.tiles.items() if (len(row) == reading.MAX_TILE) is whole]:
            row = growth.tiles.pop((level, nr))
            self._put(reading.tile_path(level, nr, len(row) // merkle.HASH_BYTES), row)

    async def _list(self) -> None:
        """Every checkpoint that no file lists yet, in files that stay as they are written."""
        nr, last = self._listed()
        while rows := [row for row in await self._log.published(last, reading.PAGE) if row.size <= self._head.size]:
            self._put(reading.list_path(nr), b"".join(reading.listed(row.size, row.note) for row in rows))
            nr, last = nr + 1, rows[-1].size

    def _listed(self) -> tuple[int, int]:
        """How many files of checkpoints there are, and the size of the last one in them."""
        nr, last = 0, b""
        while (page := self._folder.bytes_at(reading.list_path(nr), reading.MAX_PAGE)) is not None:
            nr, last = nr + 1, page
        try:
            return nr, max((size for size, _ in reading.parsed(last)), default=-1)
        except GatewayError as error:
            raise self._other(f"has a list of checkpoints that is none ({error.detail})") from None

    def _put(self, path: str, data: bytes) -> None:
        self._files += self._folder.put(path, data)

    def _other(self, why: str) -> GatewayError:
        return GatewayError(Kind.CONFLICT, f"{self._to} {why}; export to another folder")


def _stated(note: str) -> Checkpoint:
    return Checkpoint.read(notes.read(note).text)
