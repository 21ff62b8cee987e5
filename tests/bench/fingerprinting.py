"""(f) What the fingerprints of a book cost: the first cut, and a later one after 10,000 fresh changes.

No network: a gateway's database with a planted book, as many positions of one registry in contiguous blocks of ten
units, no two neighbours in one state. Then blocks that are chosen by chance among all move to another registry, by the
book's own code. The figure of a cut is that of its transaction. All units are synthetic.
"""

import asyncio
import json
import random
import resource
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from gateway import db, embedded
from gateway.audit import log
from gateway.domain import wire
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Block, Origin
from gateway.holdings import book, fingerprints
from gateway.holdings.book import Move, Place
from tests import played
from tests.bench.arithmetic import spread
from tests.stage import fresh_database, make_template

#: Blocks that change between two cuts.
CHANGES = 10_000
#: Moves of one transaction, as of a busy turn of the relay.
PART = 100
SERIES = 20
UNITS = 10
#: Vintages, so that neighbouring blocks differ.
STATES = 16
#: Positions that are planted in one transaction.
PLANTED = 1_000_000
HOME, AWAY = Place("KOR01", "KOR", 100), Place("JPN01", "JPN", 100)


def measured(folder: Path, runs: int, sizes: Sequence[int]) -> dict[str, Any]:
    """The figures at each size of the book."""
    found = []
    with embedded.running(folder) as server:
        make_template(server)
        for size in sizes:
            found.append(asyncio.run(_at(server, size, runs)))
    return {"fingerprints.cut_s": found[-1]["cut_s"]["median"], "fingerprints": found}


async def _at(server: embedded.Server, size: int, runs: int) -> dict[str, Any]:
    name = fresh_database(server)
    owner = server.dsn(name, "gateway_owner")
    began = time.perf_counter()
    _plant(owner, size)
    planted = time.perf_counter()
    database = db.Database(server.dsn(name, "gateway_app"))
    tree = _sequence(owner)
    first = await _taken(database, tree)
    cuts, equal = [], []
    for nr in range(runs):
        await _change(database, size, nr)
        tree = _sequence(owner)
        cuts.append(await _taken(database, tree))
        equal.append(await _taken(database, tree))
    with psycopg.connect(owner) as connection:
        [kept] = connection.execute("SELECT pg_total_relation_size('fingerprint_node')").fetchone() or (0,)
    await database.close()
    return {
        "positions": size,
        "planted_s": round(planted - began, 1),
        "first_s": round(first, 2),
        "changes": CHANGES,
        "cut_s": spread(cuts),
        "cut_without_changes_s": spread(equal),
        "nodes_bytes": kept,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


async def _taken(database: db.Database, size: int) -> float:
    began = time.perf_counter()
    await database.run(lambda tx: fingerprints.take(tx, HOME.registry, size), "request")
    return time.perf_counter() - began


async def _change(database: db.Database, size: int, nr: int) -> None:
    """Let blocks move away, each once."""
    chance = random.Random(nr)  # noqa: S311
    chosen = [at * runs_apart(size) + chance.randrange(runs_apart(size)) for at in range(min(CHANGES, size))]
    moves = [Move(_block(at), AWAY if nr % 2 == 0 else HOME) for at in chosen]
    for start in range(0, len(moves), PART):
        part = moves[start : start + PART]

        async def moved(tx: db.Tx, part: Sequence[Move] = part) -> None:
            [entry] = await log.append(tx, [log.draft("bench", datetime.now(UTC), {})])
            await book.move(tx, part, entry)

        await database.run(moved, "request")


def runs_apart(size: int) -> int:
    """How many blocks there are for each that changes."""
    return max(1, size // CHANGES)


def _block(at: int) -> Block:
    first = UNITS * (at // SERIES) + 1
    origin = Origin(RegistryCode(LinkCode("MEC01")), f"SYNTHETIC-{at % SERIES}")
    read = wire.read_block(played.block(1, 1), wire.Faults())
    assert read is not None
    return Block(origin, first, first + UNITS - 1, read.attributes)


def _plant(owner: str, size: int) -> None:
    """As many positions, a hundred to a log entry."""
    with psycopg.connect(owner, autocommit=True) as connection:
        entries = f"generate_series(1, {-(-size // PART)})"
        connection.execute(
            "INSERT INTO log_entry (at, kind, leaf, leaf_hash)"
            f" SELECT now(), 'planted', 'x', sha256('x') FROM {entries}"
        )
        attributes = played.block(1, 1)["attributes"]
        for nr in range(STATES):
            text = json.dumps({**attributes, "vintage": 2021 + nr})
            connection.execute(
                "INSERT INTO unit_attributes (digest, attributes) VALUES (sha256(%s), %s)", (text.encode(), text)
            )
        for nr in range(SERIES):
            connection.execute("INSERT INTO unit_series (registry, series) VALUES ('MEC01', %s)", (f"SYNTHETIC-{nr}",))
        for start in range(0, size, PLANTED):
            connection.execute(
                "INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id, opened_by)"
                f" SELECT 1 + at %% {SERIES}, {UNITS} * (at / {SERIES}) + 1, {UNITS} * (at / {SERIES}) + {UNITS},"
                f" %s, %s, %s, 1 + (at / {SERIES}) %% {STATES}, 1 + at / {PART}"
                f" FROM generate_series({start}, {min(size, start + PLANTED) - 1}) AS at",
                (HOME.registry, HOME.party, HOME.account_type),
            )
        connection.execute("VACUUM (ANALYZE)")


def _sequence(owner: str) -> int:
    """Give all entries leaves, as the sequencer does, without tiles: nobody asks for a proof here."""
    with psycopg.connect(owner) as connection:
        connection.execute(
            "INSERT INTO log_leaf SELECT (SELECT size FROM log_head) + row_number() OVER (ORDER BY e.id) - 1, e.id"
            " FROM log_entry e WHERE e.id > (SELECT swept FROM log_head)"
        )
        connection.execute(
            "UPDATE log_head SET size = (SELECT max(leaf_index) + 1 FROM log_leaf),"
            " swept = (SELECT max(entry_id) FROM log_leaf), root = sha256(CAST(size::text AS bytea))"
        )
        [size] = connection.execute("SELECT size FROM log_head").fetchone() or (0,)
        return int(size)
