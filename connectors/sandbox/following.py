"""Following the gateway's log: one look fetches its checkpoint and the leaves that are new, and judges the promises.

A head is believed when a pinned key signed it and the leaves known here, with those just fetched behind them, give
its root. So the log is append-only by construction: nothing that was seen once can be changed or left out later
without another root. A signed head with another root is a *fork*: an alarm, both notes are kept, nothing is believed
of it. What cannot be fetched or proven is a problem that ``/admin/log`` shows; it stops nothing else, and the next
look begins where the last good one ended.
"""

from dataclasses import dataclass

from . import clock, merkle, notes, promises, tiles, transfers
from .database import Row, Tx
from .keys import KeysMissing
from .log_keys import Pinned
from .merkle import HASH_BYTES
from .notes import Checkpoint, UnknownLog, Unproven
from .registry import Registry
from .sender import NoAnswer, Sender
from .strictjson import Malformed
from .tiles import Address

#: Code of a fork: a consistency proof cannot exist.
FORKED = 8004
#: Most tiles one look fetches: two million leaves, 64 MiB. A head further ahead is a problem, not a longer look.
MAX_TILES = 8_192
#: Leaves read at a time where an earlier tree is computed again.
CHUNK = 65_536

_ALREADY = "SELECT FROM log.fork WHERE known = %s AND shown = %s"


@dataclass(frozen=True)
class Head:
    """A head that was believed, and its peaks; the empty tree where there was none."""

    size: int
    root: bytes
    peaks: list[bytes]
    note: str

    @classmethod
    def of(cls, row: Row | None) -> "Head":
        """Make it of its row."""
        if row is None:
            return cls(0, merkle.EMPTY, [], "")
        return cls(row["size"], bytes(row["root"]), _split(bytes(row["peaks"])), row["note"])


class Forked(Exception):
    """Two signed heads that cannot both be true: their notes, the one known here first."""

    def __init__(self, known: str, shown: str) -> None:
        super().__init__("the log shows another tree than before")
        self.known, self.shown = known, shown


async def look(registry: Registry, sender: Sender, pinned: Pinned) -> None:
    """Look once, and judge the promises by what is known then."""
    logs = registry.logs
    async with logs.looking:
        logs.problem = ""
        begun = clock.present()
        try:
            await _look(registry, sender, pinned)
        except Forked as fork:
            logs.problem = str(fork)
            await registry.database.run("log.follow", lambda tx, fork=fork: note_fork(tx, fork.known, fork.shown))  # type: ignore[misc]
        except KeysMissing as missing:
            logs.problem = f"the keys of {missing} are not at hand"
        except UnknownLog as unknown:
            logs.problem = f"no key of the log {unknown} is pinned"
        except (NoAnswer, Unproven, Malformed) as error:
            logs.problem = str(error)
        await registry.database.run("log.follow", lambda tx: promises.judge(tx, begun, logs.problem))


async def note_fork(tx: Tx, known: str, shown: str) -> None:
    """Keep two notes that cannot both be true, and raise the alarm; the same two once."""
    if await tx.one(_ALREADY, known, shown) is None:
        await tx.execute("INSERT INTO log.fork (at, known, shown) VALUES (%s, %s, %s)", clock.present(), known, shown)
        await transfers.alarm(
            tx, "", FORKED, f"the log of the gateway has forked at {notes.parse(shown.encode()).size}"
        )


async def head(tx: Tx) -> Head:
    """Give the last head that was believed."""
    return Head.of(await tx.one("SELECT size, root, peaks, note FROM log.followed_head ORDER BY size DESC LIMIT 1"))


async def believed(tx: Tx, size: int) -> Head | None:
    """Give the head of this size, if one was believed."""
    row = await tx.one("SELECT size, root, peaks, note FROM log.followed_head WHERE size = %s", size)
    return Head.of(row) if row else None


async def _look(registry: Registry, sender: Sender, pinned: Pinned) -> None:
    keys = pinned.keys()
    raw = await sender.fetch("send.log.checkpoint", "/log/checkpoint", notes.MAX_NOTE_BYTES)
    shown = notes.read(raw, keys)
    known, cosigned = await registry.database.run("log.look", lambda tx: _known(tx, shown.origin))
    if shown.size <= known.size:
        before = await registry.database.run("log.look", lambda tx: _earlier(tx, known, shown.size))
        _agree(before.root, before.note or known.note, shown)
        return
    leaves = await _fetch(sender, known.size, shown.size)
    peaks = merkle.grow(known.peaks, known.size, leaves)
    _agree(merkle.root(peaks), known.note, shown)
    if cosigned is not None and known.size < cosigned["size"] <= shown.size:
        # What was cosigned here on the way must be the same tree, too.
        there = merkle.grow(known.peaks, known.size, leaves[: cosigned["size"] - known.size])
        if merkle.root(there) != bytes(cosigned["root"]):
            raise Forked(cosigned["note"], shown.note)
    new = Head(shown.size, shown.root, peaks, shown.note)
    await registry.database.run("log.follow", lambda tx: _believe(tx, known, new, leaves))


def _agree(root: bytes, known: str, shown: Checkpoint) -> None:
    if root != shown.root:
        raise Forked(known, shown.note)


async def _known(tx: Tx, origin: str) -> tuple[Head, Row | None]:
    cosigned = await tx.one("SELECT size, root, note FROM log.witnessed WHERE origin = %s AND size > 0", origin)
    return await head(tx), cosigned


async def _earlier(tx: Tx, known: Head, size: int) -> Head:
    """Give the tree of ``size`` leaves as it was: an old checkpoint is no fork, if it is of this tree."""
    found = await believed(tx, size)
    if found is not None:
        return found
    peaks: list[bytes] = []
    for start in range(0, size, CHUNK):
        rows = await tx.rows(
            "SELECT hash FROM log.followed_leaf WHERE leaf_index >= %s AND leaf_index < %s ORDER BY leaf_index",
            start,
            min(start + CHUNK, size),
        )
        peaks = merkle.grow(peaks, start, [bytes(row["hash"]) for row in rows])
    return Head(size, merkle.root(peaks), peaks, known.note)


async def _fetch(sender: Sender, old: int, size: int) -> list[bytes]:
    """Fetch the leaf hashes from ``old`` to ``size``; raises ``NoAnswer``."""
    if size // tiles.WIDTH - old // tiles.WIDTH > MAX_TILES:
        raise NoAnswer(f"more new leaves than one look fetches: {size - old}")
    leaves: list[bytes] = []
    for address in tiles.needed(old, size):
        hashes = _split(await _tile(sender, address))
        leaves += hashes[max(old - address.number * tiles.WIDTH, 0) :]
    return leaves


async def _tile(sender: Sender, address: Address) -> bytes:
    """Fetch a tile; a partial one may have been given up for the full one by now (C2SP tlog-tiles)."""
    wanted = address.width * HASH_BYTES
    try:
        tile = await sender.fetch("send.log.tile", f"/log/tile/{address.path}", tiles.FULL_BYTES)
    except NoAnswer:
        if address.width == tiles.WIDTH:
            raise
        full = await sender.fetch("send.log.tile", f"/log/tile/{Address(0, address.number).path}", tiles.FULL_BYTES)
        tile = full[:wanted] if len(full) == tiles.FULL_BYTES else b""
    if len(tile) != wanted:
        raise NoAnswer(f"tile {address.path} has not {wanted} bytes")
    return tile


async def _believe(tx: Tx, known: Head, new: Head, leaves: list[bytes]) -> None:
    if (await head(tx)).size != known.size:
        return  # another look was faster; what it stored was proven like this
    await tx.execute(
        "INSERT INTO log.followed_leaf (leaf_index, hash)"
        " SELECT %s + n - 1, h FROM unnest(%b::bytea[]) WITH ORDINALITY AS l (h, n)",
        known.size,
        leaves,
    )
    await tx.execute(
        "INSERT INTO log.followed_head (size, root, peaks, note, at) VALUES (%s, %s, %s, %s, %s)",
        new.size,
        new.root,
        b"".join(new.peaks),
        new.note,
        clock.present(),
    )


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
