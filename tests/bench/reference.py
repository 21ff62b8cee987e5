"""What the figures are held against, measured in the same run on the same server: pgbench, a bare commit, a bare
signed round trip.
"""

import re
import statistics
import subprocess
import time
from collections.abc import Callable

import httpx
import psycopg

from gateway import embedded
from gateway.demo import processes
from tests.bench.bare import Signed

SCALE, CLIENTS, THREADS = 20, 8, 2
#: How often the bare things are done; the median counts.
TIMES = 500


def prepare(server: embedded.Server) -> None:
    """Make pgbench's tables, in a database of their own."""
    server.create_database("pgbench", "pgbench")
    with psycopg.connect(server.dsn("pgbench", "pgbench"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bare (id bigint GENERATED ALWAYS AS IDENTITY, body bytea)")
    _pgbench(server, "-i", "-s", str(SCALE), "-q")


def server_version() -> str:
    """What the server calls itself."""
    program = [str(embedded.binaries() / "postgres"), "--version"]
    return subprocess.run(program, check=True, capture_output=True, text=True).stdout.strip()


def tps(server: embedded.Server, seconds: int) -> float:
    """Transactions per second of pgbench (TPC-B-like, prepared)."""
    said = _pgbench(server, "-M", "prepared", "-c", str(CLIENTS), "-j", str(THREADS), "-T", str(seconds))
    found = re.search(r"tps = ([0-9.]+)", said)
    if found is None:
        raise RuntimeError(f"pgbench said no tps: {said}")
    return float(found[1])


def _pgbench(server: embedded.Server, *arguments: str) -> str:
    program = [str(embedded.binaries() / "pgbench"), *arguments, server.dsn("pgbench", "pgbench")]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pgbench ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def commit_ms(server: embedded.Server) -> float:
    """A transaction of one row, committed by one client that does nothing else: the median."""
    with psycopg.connect(server.dsn("pgbench", "pgbench"), autocommit=True) as connection:
        return _median_ms(lambda: connection.execute("INSERT INTO bare (body) VALUES (%s)", [b"0" * 1000]))


def round_trip_ms(size: int) -> float:
    """A signed message of ``size`` bytes posted over HTTP on loopback, verified there, and its signed answer verified.

    The median. The server is a process of its own, on the gateway's web stack; nothing is stored.
    """
    child = processes.start("bare", ["tests.bench.bare"])
    try:
        url, ours = child.ready()["url"], Signed()
        with httpx.Client(trust_env=False) as http:
            theirs = http.post(f"{url}/keys", json=ours.jwk).raise_for_status().json()

            def once() -> None:
                answer = http.post(f"{url}/messages", content=ours.sign("0" * size))
                Signed.verify(theirs, answer.text)

            return _median_ms(once)
    finally:
        child.stop()


def _median_ms(once: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        once()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)
