"""Property: a command of the gateway that dies at its commit has done all or nothing, and may be given again.

Method: the command is armed to kill itself just before its commit, then given again and killed just after it, then
given once more: it succeeds, or says that it was done before.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from gateway import crash
from gateway.signing.keys import SoftwareKey
from tests.faults import network as networks
from tests.faults import rotation
from tests.faults.agreement import healthy
from tests.faults.network import Network
from tests.handmade import play

pytestmark = pytest.mark.asyncio(loop_scope="module")

KILLED = -9


@dataclass(frozen=True)
class Command:
    """A command, what it writes (as a table with a condition), and how the last of three calls ends."""

    arguments: Callable[[Path], tuple[str, ...]]
    written: str
    again: int = 0


COMMANDS = {
    # First, while every registry answers: what a link is told of a key is owed until it does.
    "keys.announce": Command(
        lambda keys: ("keys", "announce", str(keys.with_suffix(".pem"))), "(SELECT FROM own_key OFFSET 1) AS m", again=2
    ),
    "keys.retire": Command(
        lambda keys: ("keys", "retire", rotation.kid(keys.with_suffix(".pem"))),
        "own_key WHERE retired_at IS NOT NULL",
        again=2,
    ),
    "keys.revoke": Command(
        lambda keys: ("keys", "revoke", rotation.kid(keys.with_suffix(".pem")), "--reason=superseded"),
        "own_key WHERE revoked_at IS NOT NULL",
        again=2,
    ),
    "links.register": Command(
        lambda keys: ("links", "add", "JPN01", "--kind=party", "--party=JPN", "--url=https://x", f"--keys={keys}"),
        "link WHERE code = 'JPN01'",
        again=2,
    ),
    "links.limit-time": Command(
        lambda keys: ("links", "time-limit", "KOR01", "48"), "link WHERE code = 'KOR01' AND time_limit_hours = 48"
    ),
    "links.add-keys": Command(
        lambda keys: ("links", "keys", "add", "KOR01", f"--keys={keys}"),
        "(SELECT FROM peer_key WHERE link = 'KOR01' OFFSET 1) AS more",
        again=2,
    ),
    "links.revoke-key": Command(
        lambda keys: ("links", "keys", "revoke", "KOR01", kid(keys), "--reason=compromised"),
        "peer_key WHERE revoked_at IS NOT NULL",
        again=2,
    ),
    "links.restored": Command(
        lambda keys: ("links", "restored", "MEC01", f"--keys={keys}", f"--since={datetime.now(UTC).isoformat()}"),
        "peer_key WHERE link = 'MEC01' AND revoked_at IS NOT NULL",
        again=2,
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command_that_dies_has_done_all_or_nothing(network: Network, name: str, tmp_path: Path) -> None:
    command, keys = COMMANDS[name], tmp_path / "keys.jwks"
    keys.write_text(json.dumps(play.Party("KOR01").jwks()))
    if name == "links.revoke-key":
        ended, said = await networks.run(network, "links", "keys", "add", "KOR01", f"--keys={keys}")
        assert ended == 0, said
    if name.startswith("keys."):
        SoftwareKey.generate().save(keys.with_suffix(".pem"))
    if name in ("keys.retire", "keys.revoke"):
        ended, said = await networks.run(network, "keys", "announce", str(keys.with_suffix(".pem")))
        assert ended == 0, said
        await network.settle()
    arguments = command.arguments(keys)
    for moment, written in (("before", 0), ("after", 1)):
        ended, said = await networks.run(network, *arguments, armed=f"{name}.{moment}-commit")
        assert (ended, await network.count(command.written)) == (KILLED, written), said
    ended, said = await networks.run(network, *arguments)
    assert (ended, await network.count(command.written)) == (command.again, 1), said
    await healthy(network)


async def test_a_migration_that_dies_has_made_the_whole_schema_or_nothing(network: Network) -> None:
    server, name = network.postgres.server, "unmigrated"
    server.create_database(name, "gateway_owner")
    owner = {"GATEWAY_OWNER_DATABASE_URL": server.dsn(name, "gateway_owner")}
    there = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"

    async def tables() -> int:
        async with await psycopg.AsyncConnection.connect(server.dsn(name)) as connection:
            [number] = await (await connection.execute(there)).fetchone() or [0]
            return int(number)

    for moment, made in (("before", False), ("after", True)):
        ended, said = await networks.run(network, "migrate", armed=f"migrate.{moment}-commit", **owner)
        assert (ended, await tables() > 0) == (KILLED, made), said
    ended, said = await networks.run(network, "migrate", **owner)
    assert ended == 0, said


async def test_every_point_of_a_command_is_tried() -> None:
    assert set(crash.COMMANDS) == {*COMMANDS, "migrate"}


def kid(keys: Path) -> str:
    return str(json.loads(keys.read_text())["keys"][0]["kid"])
