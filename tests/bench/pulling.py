"""(d) A history of very many records pulled from its beginning: verified and stored records per second, and what COPY
of the same rows into the same tables, indexes and all, manages on the same server.

The gateway is in this process, as a worker would be; the source is a program of its own. Nothing is handed on, because
the viewer's registry does not answer. All records are synthetic.
"""

import asyncio
import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import psycopg

from gateway import embedded
from tests import played
from tests import stage as staging
from tests.bench.arithmetic import spread
from tests.integration.test_sandbox_play import Party
from tests.stage import Stage

TABLES = ("history_record", "history_entry", "history_page")


def measured(folder: Path, runs: int, records: int) -> dict[str, Any]:
    """The figures over ``runs`` pulls, each into a database of its own."""
    with embedded.running(folder / "postgresql") as server:
        staging.make_template(server)
        found = [asyncio.run(_run(server, folder, nr, records)) for nr in range(runs)]
    for one in found:
        one["ratio_to_copy"] = one["records_per_second"] / one["copied_per_second"]
    figures: dict[str, Any] = {f"history.{name}": spread([one[name] for one in found]) for name in found[0]}
    return {**figures, "history.records_per_run": records}


async def _run(server: embedded.Server, folder: Path, nr: int, records: int) -> dict[str, float]:
    place = folder / str(nr)
    place.mkdir()
    async with staging.opened(server, place) as stage:
        party = Party("MEC01")
        (place / "source.jwk").write_text(json.dumps(party.key.as_dict(private=True)))
        command = [sys.executable, "-m", "tests.bench.feed_source", str(place), str(records)]
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        source = await asyncio.create_subprocess_exec(*command, **pipes)
        assert source.stdout is not None and source.stdin is not None
        try:
            url = (await source.stdout.readline()).decode().strip()
            await played.join(stage, "MEC01", "mechanism", url=url, signer=party)
            await played.join(stage, "KOR01", "party", "KOR")
            return await _pulled(stage, records) | await _copied(stage, records)
        finally:
            source.stdin.close()
            await source.wait()


async def _pulled(stage: Stage, records: int) -> dict[str, float]:
    at = [time.perf_counter()]
    pulled = await stage.history.pull("MEC01", "KOR01", lambda _: at.append(time.perf_counter()))
    assert (pulled.number, pulled.waiting) == (records, None), pulled
    assert await stage.count("history_entry") == records
    pages = [after - before for before, after in pairwise(at)]
    tenth = max(1, len(pages) // 10)
    before = await stage.count("message WHERE type = 'history.query'")
    begun = time.perf_counter()
    await stage.history.pull("MEC01", "KOR01")
    empty = time.perf_counter() - begun
    return {
        "records_per_second": records / (at[-1] - at[0]),
        "first_tenth_ms_per_page": 1000 * sum(pages[:tenth]) / tenth,
        "last_tenth_ms_per_page": 1000 * sum(pages[-tenth:]) / tenth,
        "rss_mb": psutil.Process().memory_info().rss / 1e6,
        "empty_pull_ms": 1000 * empty,
        "empty_pull_round_trips": await stage.count("message WHERE type = 'history.query'") - before,
        "seconds": at[-1] - at[0],
    }


async def _copied(stage: Stage, records: int) -> dict[str, float]:
    """COPY what was pulled into tables like those it is in."""
    seconds = 0.0
    dsn = stage.server.dsn(stage.database_name)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA copied")
        for table in TABLES:
            await connection.execute(f"CREATE TABLE copied.{table} (LIKE {table} INCLUDING ALL)")  # type: ignore[arg-type]
            with tempfile.TemporaryFile() as rows:
                async with connection.cursor().copy(f"COPY {table} TO STDOUT") as out:  # type: ignore[arg-type]
                    async for piece in out:
                        rows.write(piece)
                rows.seek(0)
                begun = time.perf_counter()
                async with connection.cursor().copy(f"COPY copied.{table} FROM STDIN") as into:  # type: ignore[arg-type]
                    while piece := rows.read(1 << 20):
                        await into.write(piece)
                seconds += time.perf_counter() - begun
    return {"copied_per_second": records / seconds}
