"""Measures the relay between two sandbox registries and prints one JSON: medians of the runs, and their spread.

The reference is pgbench (TPC-B-like, prepared, 8 clients) on the same server with the relay idle and
synchronous_commit on, so the ratios carry over to other machines better than the figures do. Everything runs
on this machine: gateway, worker, two registries and PostgreSQL share its cores. All units are synthetic.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway import embedded
from tests import stage as staging
from tests.stage import Stage

#: How often the meter looks. It shares the process with what it measures, so it must not look all the time.
METER_SECONDS = 0.02


def main() -> None:
    """Run the bench in a temporary folder and print its JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1000, help="transfers a batched run relays")
    parser.add_argument("--alone", type=int, default=1000, help="transfers proposed in messages of their own")
    parser.add_argument("--seconds", type=int, default=10, help="length of the pgbench reference")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, embedded.running(Path(folder)) as server:
        staging.make_template(server)
        reference = _pgbench(server, wanted.seconds)
        found = asyncio.run(_measure(server, Path(folder), wanted))
    batched = found["batched_transfers_per_second"]["median"]
    print(
        json.dumps({"pgbench_tps": reference, "batched_to_pgbench": round(batched / reference, 3), **found}, indent=1)
    )


def _pgbench(server: embedded.Server, seconds: int) -> float:
    program = [str(embedded.binaries() / "pgbench")]
    dsn = server.dsn("postgres")
    subprocess.run([*program, "-i", "-s", "20", "-q", dsn], check=True, capture_output=True)
    measured = subprocess.run(
        [*program, "-M", "prepared", "-c", "8", "-j", "2", "-T", str(seconds), dsn],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"tps = ([0-9.]+)", measured.stdout)
    if found is None:
        raise SystemExit(f"pgbench said no tps: {measured.stdout}")
    return float(found[1])


async def _measure(server: embedded.Server, folder: Path, wanted: argparse.Namespace) -> dict[str, Any]:
    async with staging.opened(server, folder) as stage:
        await stage.link("MEC01", "mechanism")
        await stage.link("KOR01", "party", "KOR")
        await stage.issue(10_000_000)
        async with stage.working():
            batched = [wanted.batch / await _relayed(stage, wanted.batch) for _ in range(wanted.runs)]
            alone = [wanted.alone / await _relayed(stage, wanted.alone, each_alone=True) for _ in range(wanted.runs)]
            single = [await _relayed(stage, 1) for _ in range(wanted.runs * 5)]
        return {
            "batched_transfers_per_second": _spread(batched),
            "alone_transfers_per_second": _spread(alone),
            "transfers_per_outgoing_message_alone": round(await _together(stage, wanted), 2),
            "one_transfer_seconds": _spread(single),
        }


async def _relayed(stage: Stage, number: int, *, each_alone: bool = False) -> float:
    """Propose ``number`` transfers of a tonne; the seconds until the last is completed."""
    before = await _completed(stage)
    to = {"registry": "KOR01", "party": "KOR", "account": "100-1"}
    wishes = [{"party": "MMR", "to": to, "quantity": 1, "authorisation": staging.AUTHORISATION}] * number
    began = time.perf_counter()
    await stage.registries["MEC01"].post("transfers", transfers=wishes, one_message_each=each_alone)
    while await _completed(stage) < before + number:  # noqa: ASYNC110 - what is measured must not wait for its meter
        await asyncio.sleep(METER_SECONDS)
    return time.perf_counter() - began


async def _completed(stage: Stage) -> int:
    async with stage.gateway.database.reading() as tx:
        return (await staging.view.tally(tx)).get("completed", 0)


async def _together(stage: Stage, wanted: argparse.Namespace) -> float:
    """How many transfers one offer carried on average, over those that were proposed alone."""
    found = await stage.rows(
        "SELECT count(*), count(DISTINCT offer_id) FROM transfer t WHERE (SELECT count(*) FROM transfer_step s "
        "JOIN transfer_step p ON p.entry_id = s.entry_id WHERE s.transfer_id = t.id AND s.step = 'propose') = 1"
    )
    return float(found[0][0] / max(found[0][1], 1))


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 4),
        "lowest": round(min(values), 4),
        "highest": round(max(values), 4),
    }


if __name__ == "__main__":
    main()
