"""Who asks for a reconciliation gets one: by the command, whatever is under way, and without holding up others."""

import asyncio
import json
import subprocess
from datetime import timedelta

import pytest

from gateway.domain.callers import Caller, Scope, Sight
from gateway.errors import GatewayError
from gateway.reconciliation import commands
from gateway.reconciliation.commands import Announcing
from tests import reconciling
from tests.e2e import programs
from tests.reconciling import at_registry, report, work
from tests.stage import Stage

#: Each second unit of a holding goes: as many differences as the others are.
EACH_SECOND = (
    "WITH gone AS (DELETE FROM holding RETURNING series, first, last, party, account, attributes, itmo, itmo_offset,"
    " first_transferred)"
    " INSERT INTO holding (series, first, last, party, account, attributes, itmo, itmo_offset, first_transferred)"
    " SELECT series, one, one, party, account, attributes, itmo, itmo_offset, first_transferred"
    " FROM gone, generate_series(first, last, 2) one"
)


@pytest.fixture
async def relayed(linked: Stage) -> Stage:
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(300)) == ["completed"]
    return linked


async def command(stage: Stage, *options: str, log_key: str = "log.pem") -> "subprocess.CompletedProcess[str]":
    settings = {
        "GATEWAY_LOG_KEY_FILE": stage.folder / log_key,
        "GATEWAY_DATABASE_URL": stage.server.dsn(stage.database_name, "gateway_app"),
        "GATEWAY_KEY_FILE": stage.folder / "gateway.pem",
        "GATEWAY_PRIVATE_PEERS": "127.0.0.0/8",
    }
    return await asyncio.to_thread(programs.run, "reconcile", "--link", "KOR01", "--json", *options, **settings)


async def test_a_run_that_is_under_way_is_waited_for(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01", announce=3)
    await work(relayed)
    assert (await report(relayed, run)).run.state == "announced"
    done = await command(relayed)
    assert done.returncode == 0, done.stderr
    [told] = json.loads(done.stdout)
    assert (told["run"]["id"], told["run"]["status"]) == (run, 5)


async def test_a_run_under_way_is_not_taken_for_a_full_one(relayed: Stage) -> None:
    await reconciling.ask(relayed, "KOR01", announce=600)
    await work(relayed)
    done = await command(relayed, "--full", "--patience", "1")
    assert (done.returncode, done.stdout) == (2, "") and "3002" in done.stderr


async def test_nor_where_every_link_is_asked_for(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01", announce=600)
    await work(relayed)
    for whole in (True, False):
        asked = await relayed.api.post("/api/v1/reconciliations", json={"whole": whole, "announce_seconds": 0})
        if whole:
            assert (asked.status_code, asked.json()["code"]) == (409, 3002)
        else:
            assert {one["link"]: one["state"] for one in asked.json()} == {"KOR01": "announced", "MEC01": "planned"}
    assert not (await report(relayed, run)).run.whole


async def test_what_cannot_be_done_is_not_told_as_books_that_differ(relayed: Stage) -> None:
    done = await command(relayed, "--announce", "0", log_key="none.pem")
    assert (done.returncode, done.stdout) == (2, "") and "GATEWAY_LOG_KEY_FILE" in done.stderr


async def test_every_finding_is_told_however_many_there_are(relayed: Stage) -> None:
    await at_registry(relayed, "KOR01", EACH_SECOND)
    done = await command(relayed, "--announce", "0")
    assert done.returncode == 1, done.stderr
    [told] = json.loads(done.stdout)
    assert len(told["findings"]) == told["found"] == 150 and told["next"] is None
    assert len({one["first"] for one in told["findings"]}) == 150


async def test_people_of_one_book_of_several_hold_up_no_other(stage: Stage) -> None:
    await stage.link("INT01", "international", sections=["THA", "GHA"])
    scopes = frozenset({Scope.RECONCILIATION_RUN})
    section = Caller("thai", True, Sight("THA99", "THA"), scopes)
    whole = Caller("international", True, Sight("INT01"), scopes)

    async def ask(caller: Caller, wanted: int | None) -> str:
        announcing = Announcing(900, wanted)
        return await stage.run(
            lambda tx: commands.request(tx, stage.gateway.node, "INT01", caller=caller, announcing=announcing)
        )

    for wanted in (0, 899, 86_400):
        with pytest.raises(GatewayError) as refused:
            await ask(section, wanted)
        assert refused.value.code == 8001
    run = await ask(section, None)
    assert await ask(section, 900) == run
    assert await stage.rows("SELECT announce_seconds FROM reconciliation WHERE link = 'INT01'") == [(900,)]
    assert await ask(whole, 5) == run
    assert await stage.rows("SELECT announce_seconds FROM reconciliation WHERE link = 'INT01'") == [(5,)]


async def test_a_run_that_is_far_ahead_begins_when_it_is_asked_for(relayed: Stage) -> None:
    await work(relayed)
    [(planned,)] = await relayed.rows("SELECT id::text FROM reconciliation WHERE link = 'KOR01'")
    before = relayed.clock()
    assert await reconciling.ask(relayed, "KOR01") == planned
    due = (await report(relayed, planned)).run.next_at
    assert due is not None and due < before + timedelta(minutes=1)
