"""Property: a command of the gateway that dies at its commit has done all or nothing, and may be given again.

Method: the command is armed to kill itself just before its commit, then given again and killed just after it, then
given once more: it succeeds, or says that it was done before.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway import crash
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey
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

    #: Of a file of keys, and of the approval that waits, where one does.
    arguments: Callable[[Path, dict[str, Any]], tuple[str, ...]]
    written: str
    again: int = 0


#: What another log and another witness are called.
NAME = "another.example"


def _cosigner(keys: Path) -> str:
    return LogKey.load(keys.with_suffix(".log")).witness(NAME).vkey


COMMANDS = {
    # First, while every registry answers: what a link is told of a key is owed until it does.
    "keys.announce": Command(
        lambda keys, _: ("keys", "announce", str(keys.with_suffix(".pem"))),
        "(SELECT FROM own_key OFFSET 1) AS m",
        again=2,
    ),
    "keys.retire": Command(
        lambda keys, _: ("keys", "retire", rotation.kid(keys.with_suffix(".pem"))),
        "own_key WHERE retired_at IS NOT NULL",
        again=2,
    ),
    "keys.revoke": Command(
        lambda keys, _: ("keys", "revoke", rotation.kid(keys.with_suffix(".pem")), "--reason=superseded"),
        "own_key WHERE revoked_at IS NOT NULL",
        again=2,
    ),
    "log.add-key": Command(
        lambda keys, _: ("keys", "log", "add", str(keys.with_suffix(".log"))), "(SELECT FROM log_key OFFSET 1) AS k", 2
    ),
    "log.retire-key": Command(
        lambda keys, _: ("keys", "log", "retire", LogKey.load(keys.with_suffix(".log")).id),
        "log_key WHERE retired_at IS NOT NULL",
        again=2,
    ),
    "log.add-witness": Command(
        lambda keys, _: ("witnesses", "add", _cosigner(keys), "--url=https://witness.example"),
        f"log_witness WHERE name = '{NAME}'",
        again=2,
    ),
    "log.remove-witness": Command(
        lambda *_: ("witnesses", "remove", "kor01.sandbox.invalid/witness"),
        "log_witness WHERE removed_by IS NOT NULL",
        again=2,
    ),
    "log.watch": Command(
        lambda keys, _: ("witnesses", "watch", "KOR01", LogKey.load(keys.with_suffix(".log")).verifiers(NAME)[0].vkey),
        f"witnessed_log WHERE origin = '{NAME}'",
        again=2,
    ),
    "links.register": Command(
        lambda keys, _: ("links", "add", "JPN01", "--kind=party", "--party=JPN", "--url=https://x", f"--keys={keys}"),
        "link WHERE code = 'JPN01'",
        again=2,
    ),
    "approvals.request": Command(
        lambda keys, _: ("links", "keys", "add", "KOR01", f"--keys={keys}", "--by=one"),
        "approval WHERE kind = 'link.keys-add' AND state = 'open'",
    ),
    "approvals.approve": Command(
        lambda _, w: ("approvals", "approve", w["id"], f"--sha256={w['sha256']}", "--by=two"),
        "peer_key WHERE link = 'KOR01' AND revoked_at IS NOT NULL",
        again=2,
    ),
    "halt": Command(lambda *_: ("halt", "a drill"), "halt WHERE lifted_by IS NULL", again=2),
    "case": Command(
        lambda _, w: ("cases", "notify", w["case"]["id"], "--version=1", "--note=x", "--by=one"),
        "case_event WHERE event = 'notified'",
        again=2,
    ),
    "approvals.decline": Command(
        lambda _, w: ("approvals", "decline", w["id"], "--reason=not now", "--by=two"),
        "approval WHERE state = 'declined'",
        again=2,
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command_that_dies_has_done_all_or_nothing(network: Network, name: str, tmp_path: Path) -> None:
    command, keys, waiting = COMMANDS[name], tmp_path / "keys.jwks", {}
    keys.write_text(json.dumps(play.Party("KOR01").jwks()))
    LogKey.generate().save(keys.with_suffix(".log"))
    if name == "log.retire-key":
        ended, said = await networks.run(network, "keys", "log", "add", str(keys.with_suffix(".log")))
        assert ended == 0, said
    if name.startswith("keys."):
        SoftwareKey.generate().save(keys.with_suffix(".pem"))
    if name in ("keys.retire", "keys.revoke"):
        ended, said = await networks.run(network, "keys", "announce", str(keys.with_suffix(".pem")))
        assert ended == 0, said
        await network.settle()
    if name == "approvals.approve":
        [spare] = (await networks.decided(network, "links", "keys", "add", "KOR01", f"--keys={keys}"))["keys"]
        revoke = ("links", "keys", "revoke", "KOR01", spare, "--reason=compromised", "--by=one")
        waiting = await networks.told(network, *revoke)
    if name == "case":
        about = ("--source=secretariat", "--check=II03", "--party=KOR", "--detail=synthetic")
        waiting = await networks.told(network, "cases", "open", *about, "--by=one")
    if name == "approvals.decline":
        waiting = await networks.told(network, "links", "suspend", "KOR01", "--by=one")
    arguments = command.arguments(keys, waiting)
    for moment, written in (("before", 0), ("after", 1)):
        ended, said = await networks.run(network, *arguments, armed=f"{name}.{moment}-commit")
        assert (ended, await network.count(command.written)) == (KILLED, written), said
    ended, said = await networks.run(network, *arguments)
    assert (ended, await network.count(command.written)) == (command.again, 1), said
    if name == "halt":  # or nothing after it would come to its end
        assert (await networks.decided(network, "halt", "--lift"))["lifted"]
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
