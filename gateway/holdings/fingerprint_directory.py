"""The kept nodes of a book's directory: prefixes with more than ``MOST_RUNS`` series, and their sixteen children.

What lies below a prefix without a row is read from the series themselves. So the rows depend on the series alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from struct import Struct

from gateway import db
from gateway.domain.fingerprints import (
    DEEPEST,
    FANOUT,
    MOST_RUNS,
    SeriesEntry,
    Summary,
    hashed,
    of_prefixes,
    of_series,
)
from gateway.holdings import fingerprint_store as store

_CHILD = Struct(">Q32s")
Children = list[Summary]


async def kept(tx: db.Tx | db.ReadTx, registry: str, prefixes: Sequence[str]) -> dict[str, Children]:
    """The children of those of these prefixes that have more than ``MOST_RUNS`` series."""
    found = await db.rows(
        tx,
        """
        SELECT prefix, content FROM fingerprint_directory
        WHERE registry = :registry AND prefix = ANY(CAST(:prefixes AS text[]))
        """,
        {"registry": registry, "prefixes": list(prefixes)},
    )
    return {r.prefix: [Summary(*child) for child in _CHILD.iter_unpack(bytes(r.content))] for r in found}


async def follow(tx: db.Tx, registry: str, touched: Iterable[bytes]) -> Summary:
    """Bring the directory up to what series there are now, of which ``touched`` changed; its root.

    ``touched`` are SHA-256 of names. One statement for each level of prefixes, down and up again.
    """
    names = sorted({name.hex() for name in touched})
    inner: dict[str, Children] = {}
    lists: list[str] = []
    level = [""]
    while level:
        found = await kept(tx, registry, level)
        inner |= found
        lists += [prefix for prefix in level if prefix not in found]
        depth = len(level[0]) + 1
        below = [name[:depth] for name in names if name[: depth - 1] in found]
        level = [prefix for prefix, _ in groupby(below)]
    made: dict[str, Summary] = {}
    rows: dict[str, Children] = {}
    gone: set[str] = set()
    for prefix, series in (await store.series_in(tx, registry, lists)).items():
        made[prefix] = _build(prefix, series, rows)
    for depth in sorted({len(prefix) for prefix in inner}, reverse=True):
        few = [p for p in inner if len(p) == depth and not _fits(p, inner[p], made, rows)]
        for prefix, series in (await store.series_in(tx, registry, few)).items():
            made[prefix] = of_series(series)
            gone.add(prefix)
    await _keep(tx, registry, rows, gone)
    return made[""]


def _fits(prefix: str, children: Children, made: dict[str, Summary], rows: dict[str, Children]) -> bool:
    """Whether a prefix still has so many series that it has children; if so they are noted."""
    new = [made.get(f"{prefix}{which:x}", child) for which, child in enumerate(children)]
    if sum(child.count for child in new) <= MOST_RUNS:
        return False
    rows[prefix], made[prefix] = new, of_prefixes(new)
    return True


def _build(prefix: str, series: Sequence[SeriesEntry], rows: dict[str, Children]) -> Summary:
    """What is said of a prefix with these series, which are in order; its rows go into ``rows``."""
    if len(series) <= MOST_RUNS or len(prefix) == DEEPEST:
        return of_series(series)
    below: list[list[SeriesEntry]] = [[] for _ in range(FANOUT)]
    for entry in series:
        below[int(hashed(entry.name).hex()[len(prefix)], FANOUT)].append(entry)
    rows[prefix] = [_build(f"{prefix}{which:x}", own, rows) for which, own in enumerate(below)]
    return of_prefixes(rows[prefix])


async def _keep(tx: db.Tx, registry: str, rows: Mapping[str, Children], gone: Iterable[str]) -> None:
    await db.execute(
        tx,
        "DELETE FROM fingerprint_directory WHERE registry = :registry AND prefix = ANY(CAST(:gone AS text[]))",
        {"registry": registry, "gone": sorted(gone)},
    )
    await db.execute(
        tx,
        """
        INSERT INTO fingerprint_directory (registry, prefix, content)
        SELECT :registry, w.* FROM unnest(CAST(:prefixes AS text[]), CAST(:contents AS bytea[])) AS w
        ON CONFLICT (registry, prefix) DO UPDATE SET content = excluded.content
        """,
        {
            "registry": registry,
            "prefixes": list(rows),
            "contents": [b"".join(_CHILD.pack(c.count, c.digest) for c in children) for children in rows.values()],
        },
    )
