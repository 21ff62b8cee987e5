"""(x) An export of very many entries: rows per second and the memory it takes; (u) the provenance of one unit among
very many blocks.

The rows are planted by SQL, as a gateway would have written them over years, and are synthetic. An export is the
command as an auditor runs it, a process of its own; a provenance is what the API asks for, without HTTP.
"""

import asyncio
import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from gateway import db, embedded
from gateway.domain.callers import EVERYTHING
from gateway.evidence import provenance
from gateway.evidence.export import Format
from gateway.signing.keys import SoftwareKey
from tests import stage as staging
from tests.bench import gate
from tests.bench.arithmetic import percentile, spread

#: The goals: resident memory of an export, and milliseconds of a provenance.
GOAL_RSS_MB, GOAL_MS = 300, 50
#: Units that are followed, chosen by chance, the same each time.
UNITS, SEED = 500, 20260101
#: The shortest block that is planted, in units; each unit lies in four blocks of other lengths.
WIDTH = 100

#: Constraints that hold by construction are not looked up a million times.
UNCHECKED = "SET session_replication_role = replica"
ENTRIES = """
INSERT INTO link (code, kind, url, state, capabilities, changed_by)
  VALUES ('MEC01', 'mechanism', 'http://127.0.0.1:9', 'active', '{}', 1);
INSERT INTO log_entry (at, kind, leaf, leaf_hash)
  SELECT timestamptz '2026-01-01Z' + n * interval '1 s', CASE n % 3 WHEN 0 THEN 'receipt' ELSE 'transfer.propose' END,
         convert_to('{"kind":"transfer.propose","record":"' || repeat('A', 43)
                    || '","time":"2026-01-01T00:00:00.000Z"}', 'UTF8'), sha256(int8send(n))
  FROM generate_series(1, {rows}) AS n;
INSERT INTO log_record (entry_id, salt, record)
  SELECT id, leaf_hash, convert_to('{"direction":"in","items":["' || repeat('B', 43) || '","' || repeat('C', 43)
         || '"],"key":"' || repeat('D', 43) || '","message":"' || gen_random_uuid() || '","peer":"MEC01","sha256":"'
         || repeat('E', 43) || '"}', 'UTF8') FROM log_entry;
INSERT INTO message (entry_id, direction, peer, message_id, type, seq, sha256, content_type, body, at)
  SELECT id, 'in', 'MEC01', gen_random_uuid(), kind, id, leaf_hash, 'application/jose', leaf_hash, at FROM log_entry;
INSERT INTO log_leaf (leaf_index, entry_id) SELECT id - 1, id FROM log_entry;
"""
#: Four layers of blocks over the same units: as issued, and as transferred three times in shorter and longer pieces.
BLOCKS = """
INSERT INTO unit_series (registry, series) VALUES ('MEC01', 'LONG');
INSERT INTO log_entry (at, kind, leaf, leaf_hash)
  SELECT now(), 'action.notice', '', sha256(int8send(n)) FROM generate_series(1, 1000) AS n;
INSERT INTO action (registry, action, type, at, quantity, item, entry_id)
  SELECT 'MEC01', n, 'issuance', now(), 1, '{}', 1 + n % 1000 FROM generate_series(1, {issued}) AS n;
INSERT INTO action_block
  SELECT n, 1, (n - 1) * 10 * {width} + 1, n * 10 * {width}, 100 FROM generate_series(1, {issued}) AS n;
CREATE TEMPORARY TABLE piece AS
  SELECT layer, long, nr, ceil(nr / 10.0) AS tenth FROM (VALUES (1, 5), (2, 2), (3, 1)) AS l(layer, long)
  CROSS JOIN LATERAL generate_series(1, {shortest} / long) AS p(nr);
INSERT INTO claim (transfer_id, series_id, first, last, released_by)
  SELECT 'MEC01-' || layer || '-' || tenth, 1, (nr - 1) * long * {width} + 1, nr * long * {width}, 1 FROM piece;
INSERT INTO transfer (id, source, acquirer, transferring_registry, transferring_party, transferring_account,
  acquiring_registry, acquiring_party, acquiring_account, purpose, quantity, block_count, state, version, deadline,
  created_at, changed_at)
  SELECT DISTINCT 'MEC01-' || layer || '-' || tenth, 'MEC01', 'KOR01', 'MEC01', 'MMR', '100-1', 'KOR01', 'KOR', '100-1',
    'NDC', 1, 10, 'completed', 6, now(), now(), now() FROM piece;
INSERT INTO transfer_event
  SELECT t.id, v.version, v.state, 'x', now(), 1 + v.version FROM transfer t CROSS JOIN (VALUES (1, 'proposed'),
    (2, 'checked'), (3, 'accepted'), (4, 'committing'), (5, 'released'), (6, 'completed')) AS v(version, state);
INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id, opened_by)
  SELECT 1, first, last, 'KOR01', 'KOR', 100, 1, 1 FROM claim WHERE transfer_id LIKE 'MEC01-3-%';
"""


def exports(folder: Path, rows: int) -> dict[str, Any]:
    """Rows per second and resident megabytes at most, of an export in each format there is."""
    found: dict[str, Any] = {"export.rows": rows, "export.goal_rss_mb": GOAL_RSS_MB}
    with embedded.running(folder / "postgres") as server:
        settings = _prepared(folder, server, ENTRIES.replace("{rows}", str(rows)))
        for format in Format:
            if format is Format.PARQUET and importlib.util.find_spec("pyarrow") is None:
                continue
            found |= {
                f"export.{format}.{name}": value for name, value in _export(folder, settings, format, rows).items()
            }
    return found


def _export(folder: Path, settings: dict[str, str], format: Format, rows: int) -> dict[str, Any]:
    out = folder / f"out.{format}"
    command = [sys.executable, "-m", "gateway", "audit", "export", "--format", format.value, "--out", str(out)]
    began = time.perf_counter()
    child = subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.PIPE, text=True)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.stderr is not None
    said, taken = child.stderr.read(), time.perf_counter() - began
    if child.returncode or (format is not Format.PARQUET and not said.startswith(f"{rows} entries")):
        raise gate.Failed(f"an export of {rows} entries as {format} ended with {child.returncode}: {said}")
    megabytes = round(usage.ru_maxrss / 1024, 1)
    size = out.stat().st_size
    out.unlink()
    return {"rows_per_second": round(rows / taken), "rss_mb": megabytes, "bytes": size}


def units(folder: Path, blocks: int) -> dict[str, Any]:
    """Milliseconds of a provenance, of units chosen by chance."""
    shortest = blocks * 10 // 18  # so many of the shortest, and of the others as many units in longer ones
    planted = BLOCKS.replace("{shortest}", str(shortest)).replace("{width}", str(WIDTH))
    with embedded.running(folder / "postgres") as server:
        settings = _prepared(folder, server, planted.replace("{issued}", str(shortest // 10)))
        found, counted = asyncio.run(_followed(settings["GATEWAY_DATABASE_URL"], shortest * WIDTH // 10 * 10))
        with psycopg.connect(server.dsn("gateway")) as connection:
            row = connection.execute("SELECT (SELECT count(*) FROM claim) + (SELECT count(*) FROM action_block)")
            [(there,)] = row.fetchall()
    return {
        "provenance.blocks": there,
        "provenance.steps": counted,
        "provenance.p50_ms": round(percentile(found, 50), 2),
        "provenance.p99_ms": round(percentile(found, 99), 2),
        "provenance.ms": {name: v for name, v in spread(found).items() if name != "runs"},
        "provenance.goal_ms": GOAL_MS,
    }


async def _followed(url: str, serials: int) -> tuple[list[float], int]:
    """The milliseconds of each, and the steps that each unit has."""
    chance, taken, steps = random.Random(SEED), [], set()  # noqa: S311 - chosen to be the same each time
    database = db.Database(url)
    try:
        for _ in range(UNITS):
            serial = chance.randint(1, serials)
            began = time.perf_counter()
            async with database.reading() as tx:
                found = await provenance.of(tx, EVERYTHING, f"MEC01/LONG/{serial}")
            taken.append(1000 * (time.perf_counter() - began))
            steps.add(len(found.steps))
    finally:
        await database.close()
    if steps != {1 + 3 * 6}:
        raise gate.Failed(f"units that were issued and transferred three times have {steps} steps")
    return taken, steps.pop()


def _prepared(folder: Path, server: embedded.Server, planted: str) -> dict[str, str]:
    """A gateway's database with what is planted, and its settings."""
    staging.make_template(server)
    with psycopg.connect(server.dsn("gateway"), autocommit=True) as connection:
        connection.execute(UNCHECKED)
        for statement in filter(str.strip, planted.split(";\n")):
            connection.execute(statement.encode())
        connection.execute("VACUUM (ANALYZE)")
    for name in ("key.pem", "tokens.pem"):
        SoftwareKey.generate().save(folder / name)
    return {
        "GATEWAY_DATABASE_URL": server.dsn("gateway", "gateway_app"),
        "GATEWAY_KEY_FILE": str(folder / "key.pem"),
        "GATEWAY_TOKEN_KEY_FILE": str(folder / "tokens.pem"),
    }
