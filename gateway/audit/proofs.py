"""Proofs out of tiles: that a leaf is in the tree, and that one tree begins another (RFC 6962 section 2.1).

Tiles come from wherever they are kept: ours from the database, another log's from its server. Each proof takes a fixed
number of tiles, read at once, however large the tree is. Raises MALFORMED for a leaf or a size that is not in the tree,
NOT_FOUND where a tile is missing.
"""

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from gateway import db
from gateway.audit import merkle, store
from gateway.audit.merkle import Range
from gateway.errors import GatewayError, Kind

#: Tiles ``(level, nr)`` → the hashes of each, as many as it has; those that are missing are left out.
Tiles = Callable[[Sequence[tuple[int, int]]], Awaitable[Mapping[tuple[int, int], bytes]]]


async def inclusion(tx: db.Tx | db.ReadTx, indexes: Sequence[int], size: int) -> list[list[bytes]]:
    """For each leaf of our log, the hashes that prove it in the tree of ``size``."""
    return await _hashes(partial(store.tiles, tx), [_spans(merkle.inclusion, index, size) for index in indexes])


async def consistency(tx: db.Tx | db.ReadTx, old: int, size: int) -> list[bytes]:
    """The hashes that prove that our tree of ``old`` leaves begins that of ``size``."""
    return await consistency_in(partial(store.tiles, tx), old, size)


async def consistency_in(tiles: Tiles, old: int, size: int) -> list[bytes]:
    """The same in the tree that consists of ``tiles``."""
    [found] = await _hashes(tiles, [_spans(merkle.consistency, old, size)])
    return found


async def root_in(tiles: Tiles, size: int) -> bytes:
    """The root that the tree of ``tiles`` had at this size."""
    if size == 0:
        return merkle.EMPTY_ROOT
    [[root]] = await _hashes(tiles, [[Range(0, size)]])
    return root


def tlog_proof(index: int, hashes: Iterable[bytes], note: str) -> str:
    """An inclusion proof as C2SP writes it (tlog-proof@v1): a receipt that verifies without us."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(base64.b64encode(h).decode() for h in hashes), ""]
    return "\n".join(lines) + "\n" + note


def _spans(path: Callable[[int, int], list[Range]], at: int, size: int) -> list[Range]:
    try:
        return path(at, size)
    except ValueError as error:
        raise GatewayError(Kind.MALFORMED, str(error), code=2014) from None


async def _hashes(tiles: Tiles, proofs: Sequence[Sequence[Range]]) -> list[list[bytes]]:
    spans = {span for proof in proofs for span in proof}
    places = {span: [merkle.place(node) for node in merkle.whole(span)] for span in spans}
    wanted = sorted({(place.level, place.nr) for row in places.values() for place in row})
    found = {at: merkle.cut(hashes) for at, hashes in (await tiles(wanted)).items()} if wanted else {}
    hashed = {}
    for span, row in places.items():
        parts = [found.get((p.level, p.nr), [])[p.first : p.first + p.number] for p in row]
        if any(len(part) != place.number for part, place in zip(parts, row, strict=True)):
            raise GatewayError(Kind.NOT_FOUND, "the tree has not as many leaves yet", code=3001)
        hashed[span] = merkle.fold([merkle.subtree(part) for part in parts])
    return [[hashed[span] for span in proof] for proof in proofs]
