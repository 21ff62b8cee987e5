"""(e) How fast the log takes entries in and publishes them, and (p) how long a proof takes in a large tree.

No network: a gateway's database, and the sequencer that a worker runs. Entries are appended as messages append them,
while the sequencer takes its turns; the clock runs from the first entry appended to the last one published. The large
tree is of synthetic leaves, integrated by the same code.
"""

import asyncio
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway import db, embedded, wiring
from gateway.audit import log, merkle, own_keys, proofs, store
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import Growth
from gateway.audit.own_keys import Identity
from gateway.audit.sequencing import Sequencer
from gateway.signing import notes
from gateway.signing.log_keys import LogKey
from tests.bench.arithmetic import percentile, spread
from tests.stage import fresh_database, make_template

#: Entries of one transaction that appends: those of a full message and its answer are two, of a busy turn some hundred.
PART = 100
WRITERS = 4
#: Proofs that are timed.
PROOFS = 2_000
ORIGIN = "bench.example/log"


def measured(folder: Path, runs: int, entries: int, leaves: int, wanted: str) -> dict[str, Any]:
    """The figures that ``wanted`` names, ``e`` and ``p``."""
    with embedded.running(folder) as server:
        make_template(server)

        async def all_of_it() -> dict[str, Any]:
            found: dict[str, Any] = {}
            if "e" in wanted:
                found |= await _integration(server, runs, entries)
            if "p" in wanted:
                found |= await _proofs(server, leaves)
            return found

        return asyncio.run(all_of_it())


async def _opened(server: embedded.Server) -> tuple[db.Database, Sequencer]:
    database = db.Database(server.dsn(fresh_database(server), "gateway_app"))
    own = Identity(ORIGIN, "", LogKey.generate())
    await database.run(lambda tx: own_keys.start(tx, own, wiring.utc_now()), "log-keys")
    return database, Sequencer(database, own.origin, own.key, wiring.utc_now)


async def _integration(server: embedded.Server, runs: int, entries: int) -> dict[str, Any]:
    rates, waits = [], []
    for _ in range(runs):
        database, sequencer = await _opened(server)
        begun, over = time.perf_counter(), asyncio.Event()
        sequencing = asyncio.create_task(_sequence(database, sequencer, over))
        await asyncio.gather(*(_append(database, entries // WRITERS) for _ in range(WRITERS)))
        appended = time.perf_counter()
        over.set()
        size = await sequencing
        done = time.perf_counter()
        await _agrees(database, size)
        rates.append(size / (done - begun))
        waits.append(done - appended)
        await database.close()
    return {
        "log.entries_per_second": spread(rates),
        "log.published_after_last_s": spread(waits),
        "log.entries_per_run": entries,
    }


async def _append(database: db.Database, number: int) -> None:
    for start in range(0, number, PART):
        drafts = [log.draft("bench", datetime.now(UTC), {"nr": nr}) for nr in range(start, min(number, start + PART))]
        await database.run(lambda tx, drafts=drafts: log.append(tx, drafts), "request")  # type: ignore[misc]


async def _sequence(database: db.Database, sequencer: Sequencer, over: asyncio.Event) -> int:
    """Take turns until everything is in; how many leaves there are then."""
    while True:
        last = over.is_set()
        more = await sequencer.turn()
        if last and not more:
            async with database.reading() as tx:
                return (await store.head(tx)).size


async def _agrees(database: db.Database, size: int) -> None:
    """What is published is the tree over every entry, or there is no figure."""
    async with database.reading() as tx:
        newest = await store.latest(tx)
        leaves = [bytes(r.leaf_hash) for r in await db.rows(
            tx, "SELECT e.leaf_hash FROM log_leaf l JOIN log_entry e ON e.id = l.entry_id ORDER BY leaf_index"
        )]  # fmt: skip
        entries = await db.one(tx, "SELECT count(*) AS number FROM log_entry")
    assert newest is not None and entries is not None
    published = Checkpoint.read(notes.read(newest.note).text)
    assert published == Checkpoint(ORIGIN, size, merkle.subtree(leaves)) and entries.number == size


async def _proofs(server: embedded.Server, leaves: int) -> dict[str, Any]:
    database, _ = await _opened(server)
    root = await _planted(database, leaves)
    taken = []
    for _ in range(PROOFS):
        index = secrets.randbelow(leaves)
        begun = time.perf_counter()
        async with database.reading() as tx:
            [proof] = await proofs.inclusion(tx, [index], leaves)
        taken.append(1000 * (time.perf_counter() - begun))
        assert merkle.included(_leaf(index), index, leaves, proof, root)
    await database.close()
    return {"log.proof_p50_ms": percentile(taken, 50), "log.proof_p99_ms": percentile(taken, 99), "log.leaves": leaves}


def _leaf(index: int) -> bytes:
    return merkle.leaf_hash(index.to_bytes(8, "big"))


async def _planted(database: db.Database, leaves: int) -> bytes:
    """Store the tiles of a tree of synthetic leaves; its root."""
    grown = Growth.of(0, {})
    step = 1 << 17
    for start in range(0, leaves, step):
        grown.add([_leaf(index) for index in range(start, min(leaves, start + step))])
        last = leaves <= start + step
        edges = {(level, grown.size // 256 ** (level + 1)) for level in range(8)}
        whole = {at: tile for at, tile in grown.tiles.items() if last or at not in edges}
        await database.run(lambda tx, whole=whole: _store(tx, whole), "integrate")  # type: ignore[misc]
        grown.tiles = {} if last else {at: tile for at, tile in grown.tiles.items() if at in edges}
    return grown.root


async def _store(tx: db.Tx, tiles: dict[tuple[int, int], bytes]) -> None:
    at = sorted(tiles)
    await db.execute(
        tx,
        "INSERT INTO log_tile SELECT level, nr, octet_length(hashes) / 32, hashes FROM unnest("
        "CAST(:levels AS smallint[]), CAST(:nrs AS bigint[]), CAST(:hashes AS bytea[])) AS t(level, nr, hashes)",
        {"levels": [level for level, _ in at], "nrs": [nr for _, nr in at], "hashes": [tiles[one] for one in at]},
    )
