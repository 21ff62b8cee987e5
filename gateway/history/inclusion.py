"""Whether the records of a page are in their registry's own log, and whether that log is still the one we knew.

A ``Tree`` is the tree of one checkpoint. Its last tiles are proven by its root, every other tile by the hash of it that
the tile above holds, once, however many leaves are looked at in it. Tiles are fetched before a page is stored, outside
of any transaction (``Shown.fetched``); afterwards nothing is asked (``Shown.judge``).

A log shows a lie in two ways. What does not fit under its own root is refused (8004) and proves nothing more, because
whoever serves tiles may be broken. A root that fits and is not that of the tree we knew is signed by the log: its
past has changed (``Changed``). A log that cannot be reached raises UNAVAILABLE or NOT_FOUND and is asked again.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from gateway.audit import merkle
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import Growth
from gateway.audit.proofs import Tiles
from gateway.audit.witness_store import Watched
from gateway.domain import wire
from gateway.domain.history import HASH_BYTES, Record, canonical
from gateway.errors import GatewayError, Kind
from gateway.history.store import Seen
from gateway.signing import compact, notes
from gateway.signing.notes import Verifier

#: The tiles of another log's tree of one size.
TilesOf = Callable[[Watched, int], Tiles]
_LOG = frozenset({"checkpoint", "leaves", "salts"})


class Changed(GatewayError):
    """A log has signed two trees of which neither begins the other."""


@dataclass
class Tree:
    """The tree of ``size`` leaves of the log ``origin``; ``kept`` are tiles proven to be under its ``root``."""

    origin: str
    size: int
    root: bytes
    tiles: Tiles
    kept: dict[tuple[int, int], bytes] = field(default_factory=dict)

    async def prove(self, wanted: Collection[tuple[int, int]]) -> None:
        """Fetch these tiles and prove them; of those proven before the ones that are needed no more are forgotten.

        Raises UNTRUSTED with 8004 for one that is not in the tree, NOT_FOUND for one that the log does not show.
        """
        edges = {(level, self.size >> (8 * level + 8)) for level, width in enumerate(merkle.widths(self.size)) if width}
        if not edges <= self.kept.keys():
            fetched = await self._fetch(edges)
            grown = Growth.of(self.size, {level: fetched[level, nr] for level, nr in edges})
            if grown.root != self.root:
                raise _not_in("the last tiles of the log are not under its root")
            self.kept |= fetched
        needed = set(edges)
        for level, nr in wanted:
            while (level, nr) not in needed:
                needed.add((level, nr))
                level, nr = level + 1, nr // merkle.TILE_WIDTH
        fetched = await self._fetch(needed - self.kept.keys())
        self.kept = {at: tile for at, tile in self.kept.items() if at in needed}
        for level, nr in sorted(fetched, reverse=True):  # the tile above first
            above = self.kept[level + 1, nr // merkle.TILE_WIDTH]
            tile = fetched[level, nr]
            if merkle.subtree(merkle.cut(tile)) != merkle.cut(above)[nr % merkle.TILE_WIDTH]:
                raise _not_in(f"tile {nr} of level {level} is not under the root of the log")
            self.kept[level, nr] = tile

    async def _fetch(self, wanted: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        if not wanted:
            return {}
        fetched = dict(await self.tiles(sorted(wanted)))
        for level, nr in wanted:
            width = min(merkle.TILE_WIDTH, (self.size >> (8 * level)) - nr * merkle.TILE_WIDTH)
            if len(fetched.get((level, nr), b"")) != width * merkle.HASH_BYTES:
                raise GatewayError(Kind.NOT_FOUND, f"the log does not show its tile {nr} of level {level}", code=3001)
        return fetched

    def leaf(self, index: int) -> bytes:
        """The hash of a leaf whose tile is proven."""
        nr, at = divmod(index, merkle.TILE_WIDTH)
        return self.kept[0, nr][at * merkle.HASH_BYTES :][: merkle.HASH_BYTES]

    async def root_at(self, size: int) -> bytes:
        """The root of the tree of this size that begins this one (``0 < size <= self.size``)."""
        edges = {level: size >> (8 * level + 8) for level, width in enumerate(merkle.widths(size)) if width}
        await self.prove(edges.items())
        return Growth.of(size, {level: self.kept[level, nr] for level, nr in edges.items()}).root


def _not_in(why: str) -> GatewayError:
    return GatewayError(Kind.UNTRUSTED, why, code=8004)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page says of its records' places in a log: under which checkpoint, as which leaves, with which salts."""

    checkpoint: Checkpoint
    leaves: tuple[int, ...]
    salts: bytes
    log: Watched

    @classmethod
    def read(cls, value: Any, logs: Sequence[Watched], number: int) -> "Shown":
        """Read ``log`` of a page of ``number`` records of a link that has ``logs``.

        Raises MALFORMED 2001, UNTRUSTED 8004.
        """
        raw = wire.members(value, "log", _LOG)
        if type(raw["checkpoint"]) is not str or type(raw["salts"]) is not str:
            raise wire.malformed("a checkpoint and salts are texts")
        listed = wire.array(raw["leaves"], "leaves")
        if len(listed) != number:  # before anything is fetched for them
            raise wire.malformed("there is a leaf for each record")
        leaves = tuple(wire.whole(one, "leaf") for one in listed)
        try:
            salts = compact.decode(raw["salts"])
            note = notes.read(raw["checkpoint"])
            checkpoint = Checkpoint.read(note.text)
        except ValueError:
            raise wire.malformed("salts are base64url") from None
        log = next((one for one in logs if one.origin == checkpoint.origin), None)
        if log is None:
            raise _not_in(f"the log {checkpoint.origin} is none of this link's")
        try:
            note.signed_by([Verifier.read(vkey) for vkey in log.vkeys])
        except GatewayError as error:
            raise _not_in(f"the checkpoint is not signed by the log: {error.detail}") from None
        if not all(0 <= index < checkpoint.size for index in leaves) or len(salts) != HASH_BYTES * len(leaves):
            raise _not_in("each record has a leaf in the tree of the checkpoint, and a salt of 32 bytes")
        return cls(checkpoint, leaves, salts, log)

    async def fetched(self, tiles_of: TilesOf, before: Tree | None, seen: Seen | None) -> Tree:
        """The tree of the checkpoint with what ``judge`` needs of it.

        ``before`` is a tree that may be this one, ``seen`` the largest that was found before: of one log there is
        nothing in another. Raises UNTRUSTED 8004, ``Changed`` where the log does not go on from what it had signed.
        """
        here = self.checkpoint
        tree = Tree(here.origin, here.size, here.root, tiles_of(self.log, here.size))
        if before is not None and (before.origin, before.size, before.root) == (tree.origin, tree.size, tree.root):
            tree = before
        else:
            known = [(self.log.size, self.log.root)] if self.log.size else []
            known += [(seen.size, seen.root)] if seen is not None and seen.origin == here.origin else []
            for size, root in known:
                await _agree(tree, Tree(here.origin, size, root, tiles_of(self.log, size)))
        await tree.prove({(0, index // merkle.TILE_WIDTH) for index in self.leaves})
        return tree

    def judge(self, tree: Tree, records: Sequence[Record]) -> None:
        """Raise UNTRUSTED 8004 unless each record's entry is at its leaf of the tree."""
        for nr, (record, index) in enumerate(zip(records, self.leaves, strict=True)):
            salt = self.salts[nr * HASH_BYTES :][:HASH_BYTES]
            digest = sha256(salt + record.text.encode()).hexdigest()
            entry = canonical({"at": wire.time_to_wire(record.at), "digest": digest, "kind": "history"})
            if merkle.leaf_hash(entry.encode()) != tree.leaf(index):
                raise _not_in(f"leaf {index} of the log is not the entry of record {record.sha256}")


async def _agree(one: Tree, other: Tree) -> None:
    small, large = sorted((one, other), key=lambda tree: tree.size)
    if await large.root_at(small.size) != small.root:
        why = f"the log has signed a tree of {large.size} leaves that does not go on from that of {small.size}"
        raise Changed(Kind.UNTRUSTED, why, code=8004)
