"""Verifies a whole published log: every signature, every entry, every tile, every checkpoint; plain arithmetic.

Entries are hashed again and the tree is grown of them alone, so that a tile can only agree with it or be wrong. Where
an entry and its tile differ, the hash above them says which of the two is at fault. Each earlier checkpoint is held
against the tree when it has that size: then each is consistent with the next, and nothing was rewritten in between.

Guarantees: nothing the log says is believed but what follows from a signature under ``keys``; memory does not depend on
its size. What is wrong is a ``Fault`` with its place; ``GatewayError`` is raised only by a source that cannot be read.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

from gateway.audit import merkle, reading
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import HASH_BYTES, TILE_WIDTH, Growth
from gateway.audit.reading import Source
from gateway.audit.verdict import KINDS, Verdict, Wrong
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.notes import Signed, Verifier

#: Bundles that are read at once with their tiles: enough to keep a distant server busy.
_AHEAD = 8
_LAST = "checkpoint"
#: A bundle's number, its bytes, and those of its tile.
_Read = tuple[int, bytes | None, bytes | None]


async def verify(
    source: Source, keys: Sequence[Verifier], progress: Callable[[int, int], None] = lambda done, size: None
) -> Verdict:
    """Verify all of ``source``; ``progress`` is told how many entries of how many are done.

    The last checkpoint MUST be signed under each name and each kind of signature that ``keys`` has, by one of them.
    """
    verdict = Verdict()
    try:
        head, signed = opened(await source.checkpoint(), keys, _LAST)
        demand(head, signed, keys, _LAST)
        verdict.checkpoint, verdict.signed = head, signed
        await _Walk(source, keys, head, verdict).over(progress)
    except Wrong as wrong:
        verdict.faults.append(wrong.fault)
    return verdict


def opened(note: bytes | None, keys: Sequence[Verifier], place: str) -> tuple[Checkpoint, list[Signed]]:
    """The checkpoint that a note states, and who of ``keys`` signed it; raises ``Wrong``."""
    if note is None:
        raise Wrong(place, "is not there")
    try:
        read = notes.read(note.decode())
        return Checkpoint.read(read.text), read.signed_by(keys)
    except UnicodeDecodeError:
        raise Wrong(place, "is not UTF-8") from None
    except GatewayError as error:
        raise Wrong(place, error.detail) from None


def demand(head: Checkpoint, signed: Sequence[Signed], keys: Sequence[Verifier], place: str) -> None:
    """Raise ``Wrong`` unless a key of the log itself is among ``keys``, and one of each name and kind has signed.

    Otherwise whoever breaks one kind of signature would take away the line of the other, and be believed.
    """
    if head.origin not in {key.name for key in keys}:
        raise Wrong(place, f"is of the log {head.origin}, and none of the keys is")
    for name, kind in sorted({(k.name, k.kind) for k in keys} - {(s.by.name, s.by.kind) for s in signed}):
        raise Wrong(place, f"has no {KINDS[kind]} signature of {name}")


class _Walk:
    """One way through the log, from the first entry to the last."""

    def __init__(self, source: Source, keys: Sequence[Verifier], head: Checkpoint, verdict: Verdict) -> None:
        self._source, self._keys, self._head, self._verdict = source, keys, head, verdict
        self._growth = Growth.of(0, {})
        self._earlier = self._checkpoints()
        self._next: Checkpoint | None = None

    async def over(self, progress: Callable[[int, int], None]) -> None:
        """All of it; raises ``Wrong`` where it cannot go on."""
        async with aclosing(self._bundles()) as bundles, aclosing(self._earlier):
            self._next = await anext(self._earlier, None)
            await self._grow([])  # a checkpoint may be of the empty tree
            async for nr, bundle, tile in bundles:
                hashes = await self._leaves(nr, bundle, tile)
                await self._grow(hashes)
                await self._compare(whole=True)
                progress(self._growth.size, self._head.size)
        await self._compare(whole=False)
        if self._growth.root != self._head.root:
            self._verdict.found(_LAST, f"its root is not that of the {self._head.size} entries")

    def _width(self, nr: int, level: int = 0) -> int:
        return min(TILE_WIDTH, (self._head.size >> 8 * level) - nr * TILE_WIDTH)

    async def _bundles(self) -> AsyncGenerator[_Read, None]:
        """Each bundle with its tile, some of them asked for ahead."""
        numbers = iter(range(-(-self._head.size // TILE_WIDTH)))
        asked: deque[asyncio.Task[_Read]] = deque()
        try:
            while True:
                while len(asked) < _AHEAD and (nr := next(numbers, None)) is not None:
                    asked.append(asyncio.create_task(self._read(nr)))
                if not asked:
                    return
                yield await asked.popleft()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _read(self, nr: int) -> _Read:
        width = self._width(nr)
        return nr, await self._source.bundle(nr, width), await self._source.tile(0, nr, width)

    async def _leaves(self, nr: int, bundle: bytes | None, tile: bytes | None) -> list[bytes]:
        """The leaf hashes of a bundle, held against its tile; those of the tile if that is the right one."""
        width = self._width(nr)
        of_bundle, of_tile = partial(reading.bundle_path, nr), partial(reading.tile_path, 0, nr)
        entries = self._entries(nr, of_bundle(width), bundle)
        hashes = self._hashes(of_tile(width), width, tile)
        if entries is None or hashes is None:
            if (found := hashes or (entries and _hashed(entries))) is None:
                raise Wrong(of_bundle(width), "neither it nor its tile can be read")
            return found
        if (made := _hashed(entries)) != hashes:
            return await self._judged(nr, made, hashes)
        await self._narrower(of_bundle, width, lambda less: reading.joined(entries[:less]))
        await self._narrower(of_tile, width, lambda less: b"".join(hashes[:less]))
        return made

    def _entries(self, nr: int, path: str, bundle: bytes | None) -> list[bytes] | None:
        width = self._width(nr)
        entries = reading.cut(bundle or b"", width)
        if bundle is None:
            self._verdict.found(path, "is not there")
        elif len(entries) < width:
            self._verdict.found(path, f"breaks off in entry {nr * TILE_WIDTH + len(entries)}")
        elif len(reading.joined(entries)) != len(bundle):
            self._verdict.found(path, f"goes on after entry {nr * TILE_WIDTH + width - 1}")
        else:
            self._verdict.entries += width
            return entries
        return None

    def _hashes(self, path: str, width: int, tile: bytes | None) -> list[bytes] | None:
        if tile is None:
            self._verdict.found(path, "is not there")
        elif len(tile) != width * HASH_BYTES:
            self._verdict.found(path, f"is not {width} hashes long")
        else:
            self._verdict.tiles += 1
            return merkle.cut(tile)
        return None

    async def _judged(self, nr: int, entries: list[bytes], hashes: list[bytes]) -> list[bytes]:
        """Which of two rows of leaf hashes, of the entries and of their tile, the tree above them has."""
        bundle, tile = reading.bundle_path(nr, self._width(nr)), reading.tile_path(0, nr, self._width(nr))
        at = _first_other(entries, hashes)
        if await self._belongs(nr, entries):
            self._verdict.found(tile, f"hash {at} is not that of entry {nr * TILE_WIDTH + at}")
        elif await self._belongs(nr, hashes):
            self._verdict.found(bundle, f"entry {nr * TILE_WIDTH + at} is not the one that {tile} and the tree have")
            return hashes
        else:
            self._verdict.found(bundle, f"entry {nr * TILE_WIDTH + at} is not the one that {tile} has")
        return entries

    async def _belongs(self, nr: int, row: list[bytes]) -> bool:
        """Whether the log has such leaf hashes at this place, by the hash above them or, at the end, by its root."""
        if len(row) == TILE_WIDTH:
            up, at = divmod(nr, TILE_WIDTH)
            above = await self._source.tile(1, up, self._width(up, 1)) or b""
            return above[at * HASH_BYTES : (at + 1) * HASH_BYTES] == merkle.subtree(row)
        trial = Growth.of(self._growth.size, {level: b"".join(edge) for level, edge in self._growth.edge.items()})
        trial.add(row)
        return trial.root == self._head.root

    async def _grow(self, hashes: list[bytes]) -> None:
        """Let the tree grow, and hold against it each checkpoint of a size it has on the way."""
        done, end = 0, self._growth.size + len(hashes)
        while self._next and self._next.size <= end:
            step = self._next.size - self._growth.size
            self._growth.add(hashes[done : done + step])
            done += step
            if self._growth.root != self._next.root:
                self._verdict.found(_of_size(self._next.size), "its root is not that of the entries up to it")
            self._verdict.checkpoints += 1
            self._next = await anext(self._earlier, None)
        self._growth.add(hashes[done:])

    async def _compare(self, *, whole: bool) -> None:
        """Hold the tiles that are complete (at the end: those that are not) against what is served of them."""
        grown = self._growth.tiles
        for level, nr in [at for at, row in grown.items() if (len(row) == TILE_WIDTH * HASH_BYTES) is whole]:
            rebuilt = merkle.cut(grown.pop((level, nr)))
            if level:  # those of level 0 were held against their entries
                await self._above(partial(reading.tile_path, level, nr), level, nr, rebuilt)

    async def _above(self, path: Callable[[int], str], level: int, nr: int, rebuilt: list[bytes]) -> None:
        width = len(rebuilt)
        served = self._hashes(path(width), width, await self._source.tile(level, nr, width))
        if served is not None and served != rebuilt:
            self._verdict.found(path(width), f"hash {_first_other(rebuilt, served)} is not that of what is below it")
        await self._narrower(path, width, lambda less: b"".join(rebuilt[:less]))

    async def _narrower(self, path: Callable[[int], str], width: int, wanted: Callable[[int], bytes]) -> None:
        """What is kept of the same tile or bundle as it was before begins it."""
        async with aclosing(self._source.narrower(path, width)) as kept:
            async for less, data in kept:
                if data != wanted(less):
                    self._verdict.found(path(less), f"does not begin {path(width)}")

    async def _checkpoints(self) -> AsyncGenerator[Checkpoint, None]:
        """The checkpoints that the log lists, up to the last one, as far as their signatures verify."""
        last = -1
        try:
            async with aclosing(self._source.checkpoints()) as listed:
                async for size, note in listed:
                    if size <= last:
                        raise Wrong("checkpoints", f"size {size} is listed after size {last}")
                    last, found = size, self._earlier_one(size, note)
                    if size > self._head.size:
                        return  # the log has grown meanwhile
                    if found is not None:
                        yield found
        except GatewayError as error:
            if error.kind is not Kind.MALFORMED:
                raise
            raise Wrong("checkpoints", error.detail) from None

    def _earlier_one(self, size: int, note: str) -> Checkpoint | None:
        place, own = _of_size(size), [key for key in self._keys if key.name == self._head.origin]
        try:
            found, signed = opened(note.encode(errors="surrogatepass"), self._keys, place)
            demand(found, signed, own, place)
        except Wrong as wrong:
            self._verdict.found(wrong.fault.place, wrong.fault.why)
            return None
        if (found.origin, found.size) != (self._head.origin, size):
            self._verdict.found(place, f"is of size {found.size} of the log {found.origin}")
            return None
        return found


def _hashed(entries: Sequence[bytes]) -> list[bytes]:
    return [merkle.leaf_hash(entry) for entry in entries]


def _first_other(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    return next(nr for nr, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)


def _of_size(size: int) -> str:
    return f"checkpoint of size {size}"
