"""Property: without disk space, file handles or the right time the gateway refuses clearly, and goes on by itself.

Method: real processes under load, each deprived of one thing and given it back: the database's disk is filled to the
last byte, new file handles are forbidden to a running process, the clock of the gateway's processes is stepped by ten
minutes either way. Meanwhile whoever asks is told to come again later (503, Retry-After) or gets no answer; nothing
else. Afterwards nobody mends anything by hand, except that PostgreSQL, if it ended, is started again.
Peers that are silent for an hour and for a day: ``tests/integration/test_recovery.py``.
"""

import asyncio
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from gateway import embedded
from tests import stage as staging
from tests.faults import courses, load, long
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.members import REGISTRIES
from tests.faults.network import Network
from tests.faults.postgres import Postgres

#: Room for PostgreSQL's programs, an empty database, and what the tests write.
DISK_MB = 700
#: Beyond what a message may be from the future (300 s).
TEN_MINUTES = 600.0
#: How long a process is left without something.
WITHOUT_SECONDS = 4.0
#: How long somebody who asks waits.
ASKING_SECONDS = 3.0
NO_ANSWER = 0
#: Back-offs of some seconds; less than a lease takes (60 s).
WITHOUT_A_LEASE_SECONDS = 30.0


@pytest.fixture
async def network(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Network]:
    async with networks.opened(postgres, tmp_path) as opened:
        yield opened


@pytest.fixture
def small_disk() -> Iterator[tuple[Postgres, Path]]:
    """A server whose whole folder is a disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk for the database")
    with tempfile.TemporaryDirectory(prefix="gateway-faults-") as folder, mounted() as disk:
        (Path(folder) / "postgres").symlink_to(disk)
        postgres = Postgres(Path(folder))
        try:
            staging.make_template(postgres.server)
            yield postgres, disk
        finally:
            postgres.close()


@contextmanager
def mounted() -> Iterator[Path]:
    """A file system in memory, closed to other users as the embedded server's folder must be."""
    disk = Path(tempfile.mkdtemp(prefix="gateway-faults-", dir=embedded.ROOT_DATA))
    options = f"size={DISK_MB}m,mode=0710,gid={embedded.PRIVATE_GROUPS[0]}"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], capture_output=True, text=True)
    if made.returncode != 0:
        disk.rmdir()
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        disk.rmdir()


async def test_a_full_disk_is_waited_for(small_disk: tuple[Postgres, Path], tmp_path: Path) -> None:
    postgres, disk = small_disk
    async with networks.opened(postgres, tmp_path) as network:
        await load.begin(network)
        await network.until(lambda: enough(network), "the load is under way")
        ballast = disk / "ballast"
        fill(ballast)
        heard = await asked_all_the_time(network, WITHOUT_SECONDS)
        assert heard[503] and set(heard) <= {200, 202, 503, NO_ANSWER}, heard
        ballast.unlink()
        if not answers(postgres):
            postgres.kill()
            postgres.restart()
        await load.end(network)
        await network.settle()
        await agree(network, doctor=True)


@pytest.mark.parametrize("name", ["serve", "worker"])
async def test_file_handles_that_run_out_are_waited_for(network: Network, name: str) -> None:
    await load.begin(network)
    process = psutil.Process(network[name].pid)
    usual = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(), usual[1]))
    loading = asyncio.create_task(load.propose(network, [load.wish(1)] * load.UNDER_WAY))
    heard = await asked_all_the_time(network, WITHOUT_SECONDS)
    assert set(heard) <= {200, 202, 503, NO_ANSWER}, heard
    assert name == "worker" or heard[NO_ANSWER] or heard[503], heard
    assert not network[name].ended()
    process.rlimit(psutil.RLIMIT_NOFILE, usual)
    await loading
    await load.end(network)
    await network.settle()
    await agree(network, doctor=True)


@long.only
async def test_a_gateway_ten_minutes_ahead_is_refused_and_goes_on_when_that_time_has_come(network: Network) -> None:
    await load.begin(network)
    await network.until(lambda: enough(network), "the load is under way")
    network.step_clock(TEN_MINUTES)
    await load.decide(network, True)
    await load.propose(network, [load.wish(1)] * load.UNDER_WAY)
    refused = "transfer WHERE waiting LIKE '%refused transfer%1009%'"
    await network.until(lambda: network.count(refused), "what the gateway says is refused as from the future")
    assert len(await network.under_way()) >= load.UNDER_WAY
    network.step_clock(0)
    before = await network.count("transfer WHERE state = 'completed'")
    await load.propose(network, [load.wish(1)] * load.UNDER_WAY)
    new = f"transfer WHERE state = 'completed' HAVING count(*) >= {before + load.UNDER_WAY}"
    await network.until(lambda: network.rows(f"SELECT 1 FROM {new}"), "new transfers complete at once")
    for code in REGISTRIES:
        await network.admin(code, "POST", "clock", seconds=TEN_MINUTES + 30)
    network.step_clock(TEN_MINUTES + 30)
    await network.settle()
    await agree(network, doctor=True)


async def test_a_gateway_ten_minutes_behind_refuses_and_goes_on_when_its_clock_is_right(network: Network) -> None:
    await load.begin(network)
    await network.until(lambda: enough(network), "the load is under way")
    # What MEC01 says then is not heard: units it has freed by then and proposes again would still be claimed (R13).
    ended = f"SELECT 1 FROM transfer WHERE source = 'MEC01' AND state = 'refused' HAVING count(*) >= {load.REFUSED}"
    await network.until(lambda: network.rows(ended), "what MEC01 may not do has ended")
    network.step_clock(-TEN_MINUTES)
    proposed = await network.propose(*[1] * load.UNDER_WAY)
    refused = "log_entry WHERE kind = 'refused'"
    await network.until(lambda: network.count(refused), "what registries say is refused as from the future")
    assert set(await network.states(proposed)) == {"absent"}
    network.step_clock(0)
    await load.end(network)
    await network.settle()
    assert set(await network.states(proposed)) == {"completed"}
    await agree(network, doctor=True)


async def test_after_an_outage_of_the_database_nothing_waits_for_the_end_of_a_lease(network: Network) -> None:
    """The database is away just while answers come back: what was sent is sent again as soon as it is there."""
    await network.admin("MEC01", "POST", "faults", fault="delay-reply", type="transfer.commit", seconds=1.0)
    await network.propose(*[1] * load.UNDER_WAY)
    await network.until(lambda: network.count("transfer WHERE leased_until > now() AND state = 'committing'"), "sent")
    network.postgres.kill()
    await asyncio.sleep(WITHOUT_SECONDS)
    network.postgres.restart()
    await network.until(network.at_rest, "everything is at rest", patience_seconds=WITHOUT_A_LEASE_SECONDS)
    await agree(network, doctor=True)


async def asked_all_the_time(network: Network, seconds: float) -> "Counter[int]":
    """What operators and a registry hear meanwhile, by status; each refusal says when to come again."""
    heard: Counter[int] = Counter()
    over = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < over:
        asked = await asyncio.gather(*(ask(network) for _ in range(5)), post(network))
        heard.update(asked)
        await asyncio.sleep(0.1)
    return heard


async def ask(network: Network) -> int:
    """Ask for a transfer that no registry has units for, on a connection of its own."""
    wanted = {"transferring": {"registry": "MEC01", "party": "MMR", "account": "100-77"}, "purpose": "NDC"}
    wanted |= {"acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"}, "quantity": 1}
    key = {"idempotency-key": os.urandom(8).hex()}
    url = f"{network.operator_url}/api/v1/transfers"
    return await _status("POST", url, json=wanted, headers=key, auth=network.bearer)


async def post(network: Network) -> int:
    """A registry asks what time it is."""
    _, kind, body = courses.message(network, "MEC01", "MEC01", "GWY01", "time.query")
    return await _status("POST", f"{network.link_url}/messages", content=body, headers={"content-type": kind})


async def _status(method: str, url: str, **what: object) -> int:
    async with httpx.AsyncClient(timeout=ASKING_SECONDS, trust_env=False) as http:
        with suppress(httpx.TransportError):
            answer = await http.request(method, url, **what)  # type: ignore[arg-type]
            assert answer.status_code != 503 or int(answer.headers["retry-after"]) > 0
            return answer.status_code
    return NO_ANSWER


async def enough(network: Network) -> bool:
    return len(await network.rows("SELECT 1 FROM transfer WHERE state = 'checked'")) >= load.UNDER_WAY


def fill(ballast: Path) -> None:
    """Write until nothing more fits."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024 * 1024))
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def answers(postgres: Postgres) -> bool:
    """Whether PostgreSQL takes connections, now or when it has recovered."""
    with suppress(psycopg.OperationalError):
        psycopg.connect(postgres.server.dsn(), connect_timeout=10).close()
        return True
    return False
