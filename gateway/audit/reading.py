"""A published log as its readers find it: checkpoint, tiles, bundles of entries, earlier checkpoints, keys.

``Source`` is what can be read, wherever it is kept; ``Files`` makes one of whatever gives the bytes at a path, a web
server or a folder. Every path is made here, of numbers: nothing that a log says of itself becomes a part of one.

Guarantees: of no answer more is taken than such a thing can have; nothing is believed. Fails with ``GatewayError``:
MALFORMED for keys and lists of checkpoints that are none, and whatever ``read`` fails with.
"""

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol

from gateway.audit import merkle
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.notes import Verifier

#: Before each entry of a bundle stands its length in so many bytes (C2SP tlog-tiles): no bundle and no tile is longer.
_LENGTH_BYTES = 2
_MAX_BUNDLE = merkle.TILE_WIDTH * (_LENGTH_BYTES + 0xFFFF)
MAX_TILE = merkle.TILE_WIDTH * merkle.HASH_BYTES
#: Keys of decades: the longest, of ML-DSA-44, takes 2 KB.
_MAX_KEYS = 1024 * 1024
#: Checkpoints asked for at once or kept in one file, and the bytes that these can have.
PAGE = 200
MAX_PAGE = PAGE * notes.MAX_NOTE


class Read(Protocol):
    """Gives the bytes at a path of a log, at most one more than ``most``; None where nothing is."""

    async def __call__(self, path: str, most: int) -> bytes | None:
        """Read."""


class Source(Protocol):
    """A log that can be read. What is not there is None."""

    async def checkpoint(self) -> bytes | None:
        """The note of the last checkpoint."""

    async def keys(self) -> bytes | None:
        """What the log says its keys are."""

    async def tile(self, level: int, nr: int, width: int) -> bytes | None:
        """The first ``width`` hashes of a tile."""

    async def bundle(self, nr: int, width: int) -> bytes | None:
        """The first ``width`` entries of a bundle, each after its length."""

    def checkpoints(self) -> AsyncGenerator[tuple[int, str], None]:
        """Size and note of every checkpoint that the log lists, smallest first; raises MALFORMED."""

    def narrower(self, path: Callable[[int], str], width: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """What is kept of a tile or bundle beside its first ``width``, as it was when it had less: width and bytes."""


class Files:
    """A log in files.

    ``query`` says that checkpoints are asked for by size before files of them are looked for; ``widths`` lists the
    widths of the partial tiles in a folder (``….p``), where folders can be listed.
    """

    def __init__(
        self, read: Read, *, query: bool = False, widths: Callable[[str], Iterable[int]] | None = None
    ) -> None:
        self._read = read
        self._query = query
        self._widths = widths

    async def checkpoint(self) -> bytes | None:
        """The note of the last checkpoint."""
        return await self._read("checkpoint", notes.MAX_NOTE)

    async def keys(self) -> bytes | None:
        """What the log says its keys are."""
        return await self._read("keys", _MAX_KEYS)

    async def tile(self, level: int, nr: int, width: int) -> bytes | None:
        """The first hashes of a tile; of the whole one where the partial one has gone (as C2SP lets it)."""
        found = await self._read(tile_path(level, nr, width), MAX_TILE)
        if found is None and width < merkle.TILE_WIDTH:
            found = await self._read(tile_path(level, nr, merkle.TILE_WIDTH), MAX_TILE)
            return found and found[: width * merkle.HASH_BYTES]
        return found

    async def bundle(self, nr: int, width: int) -> bytes | None:
        """The first entries of a bundle; of the whole one where the partial one has gone."""
        found = await self._read(bundle_path(nr, width), _MAX_BUNDLE)
        if found is None and width < merkle.TILE_WIDTH:
            found = await self._read(bundle_path(nr, merkle.TILE_WIDTH), _MAX_BUNDLE)
            return found and joined(cut(found, width))
        return found

    async def checkpoints(self) -> AsyncGenerator[tuple[int, str], None]:
        """Size and note of every checkpoint that the log lists, smallest first; raises MALFORMED."""
        last, page = 0, await self._asked(0)  # of no entries a server lists none
        if page is not None:
            while page:
                for last, note in parsed(page):
                    yield last, note
                page = await self._asked(last)
            return
        for nr in count():
            page = await self._read(list_path(nr), MAX_PAGE)
            if not page:
                return
            for listed in parsed(page):
                yield listed

    async def _asked(self, above: int) -> bytes | None:
        return await self._read(f"checkpoints?above={above}&limit={PAGE}", MAX_PAGE) if self._query else None

    async def narrower(self, path: Callable[[int], str], width: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """What is kept of a tile or bundle beside its first ``width``, as it was when it had less: width and bytes."""
        for found in self._widths(f"{path(merkle.TILE_WIDTH)}.p") if self._widths else ():
            if found < width and (data := await self._read(path(found), _MAX_BUNDLE)) is not None:
                yield found, data


def tile_path(level: int, nr: int, width: int) -> str:
    """Where a tile is."""
    return f"tile/{level}/{merkle.path(nr, width)}"


def bundle_path(nr: int, width: int) -> str:
    """Where a bundle of entries is."""
    return f"tile/entries/{merkle.path(nr, width)}"


def list_path(nr: int) -> str:
    """Where the so many-th file of checkpoints is, of a log in files."""
    return f"checkpoints/{merkle.path(nr, merkle.TILE_WIDTH)}"


def joined(entries: Iterable[bytes]) -> bytes:
    """The bundle of these entries."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def cut(bundle: bytes, number: int) -> list[bytes]:
    """The first entries of a bundle, as many of ``number`` as it has in whole."""
    found: list[bytes] = []
    at = 0
    while len(found) < number:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(bundle[at:start], "big")
        if start > len(bundle) or at > len(bundle):
            break
        found.append(bundle[start:at])
    return found


def listed(size: int, note: str) -> bytes:
    """The line of a list of checkpoints."""
    return json.dumps({"size": size, "note": note}, separators=(",", ":")).encode() + b"\n"


def parsed(page: bytes) -> Iterator[tuple[int, str]]:
    """The sizes and notes of a list of checkpoints; raises MALFORMED."""
    if len(page) > MAX_PAGE:
        raise _none("a list of checkpoints is too long")
    for line in page.splitlines():
        said = _json(line)
        if not isinstance(said, dict) or type(said.get("size")) is not int or not isinstance(said.get("note"), str):
            raise _none("a line of a list of checkpoints has no size and note")
        yield said["size"], said["note"]


def keys(text: bytes) -> Sequence[Verifier]:
    """The keys that a file lists, one vkey a line or as a log serves them; raises MALFORMED."""
    if len(text) > _MAX_KEYS:
        raise _none("these are too many keys")
    if not text.lstrip().startswith(b"{"):
        found = notes.read_keys(_decoded(text))
    else:
        said = _json(text)
        rows = said.get("keys") if isinstance(said, dict) else None
        if not isinstance(rows, list) or not all(isinstance(r, dict) and isinstance(r.get("vkey"), str) for r in rows):
            raise _none("the keys are not a list of vkeys")
        found = [Verifier.read(row["vkey"]) for row in rows]
    if not found:
        raise _none("there is no key in it")
    return found


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _none("not JSON") from None


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _none("not UTF-8") from None


def _none(why: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, why, code=2001)
