"""Property: of what happens at one instant in two processes exactly one takes effect, however often it is tried.

Method: two gateways (their parts in this process, each with its own connections and listener) on one database,
between registries that the test plays; every race fifty times, and two hundred with ``FAULTS=long`` (``long``). Which
side wins may differ; that both win, or that the answers differ, may not.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway import wiring
from gateway.domain.addresses import LOOPBACK
from gateway.settings import Settings
from gateway.transfers.relay import Relay
from gateway.web import link
from gateway.web import server as web_server
from gateway.wiring import Gateway
from tests import stage as staging
from tests.faults.long import LONG
from tests.faults.postgres import Postgres
from tests.integration.test_races import streams_are_whole
from tests.integration.test_sandbox_play import Heard
from tests.played import Course, Played, block
from tests.stage import Clock, Stage

TIMES = 200 if LONG else 50
#: Races that run at one time.
AT_ONCE = 10
DAY = timedelta(hours=25)


@dataclass
class Pair:
    """A course, and a second gateway on its database, with a clock of its own."""

    course: Course
    second: Gateway
    second_url: str
    second_clock: Clock

    @property
    def stage(self) -> Stage:
        return self.course.stage

    async def said_to_both(self, played: Played, kind: str, body: bytes) -> Heard:
        """The same bytes at both gateways at once; the answer of both."""
        urls = (self.stage.link_url, self.second_url)
        one, other = await asyncio.gather(*(played.post(kind, body, url) for url in urls))
        assert one.raw == other.raw
        return one


@dataclass
class Doubled(Played):
    """A registry that says everything to two gateways at once."""

    other_url: str = ""

    async def say(self, message_type: str, items: list[dict[str, Any]], **members: Any) -> Heard:
        message = self.compose(message_type, [json.dumps(i) for i in items], **members)
        one, other = await asyncio.gather(self.post(*message), self.post(*message, self.other_url))
        assert one.raw == other.raw
        return one


@pytest.fixture
async def pair(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Pair]:
    async with staging.opened(postgres.server, tmp_path) as stage:
        dsn, clock = stage.server.dsn(stage.database_name, "gateway_app"), Clock()
        gateway = wiring.build(
            Settings(private_peers=LOOPBACK, database_url=dsn, key_file=tmp_path / "gateway.pem"), clock=clock
        )
        sock = web_server.listen("127.0.0.1:0")
        stop = asyncio.Event()
        serving = asyncio.create_task(
            web_server.run([(link.app(gateway.database, gateway.inbox, gateway.node), sock)], stop)
        )
        yield Pair(await Course.begun(stage), gateway, web_server.url(sock), clock)
        await streams_are_whole(stage)
        stop.set()
        await serving
        await gateway.close()


async def test_a_proposal_at_two_gateways_at_once_begins_one_transfer(pair: Pair) -> None:
    course = pair.course
    await course.issue(block(1, TIMES))

    async def race(serial: int) -> None:
        message = course.source.compose("transfer.propose", [json.dumps(course.proposal(block(serial, serial)))])
        heard = await pair.said_to_both(course.source, *message)
        assert heard.items[0]["state"] == "proposed"

    await _each(race, range(1, TIMES + 1))
    for table in ("transfer", "transfer_event", "claim", "message WHERE type = 'transfer.propose'"):
        assert await pair.stage.count(table) == TIMES


async def test_of_two_proposals_of_one_block_one_has_it(pair: Pair) -> None:
    course = pair.course
    await course.issue(block(1, TIMES))

    async def race(serial: int) -> None:
        rivals = [course.proposal(block(serial, serial)) for _ in "ab"]
        messages = [course.source.compose("transfer.propose", [json.dumps(item)]) for item in rivals]
        urls = (pair.stage.link_url, pair.second_url)
        heard = await asyncio.gather(*(course.source.post(*m, u) for m, u in zip(messages, urls, strict=True)))
        assert Counter(h.items[0]["state"] for h in heard) == {"proposed": 1, "ending": 1}
        assert [f["code"] for h in heard for f in h.items[0]["findings"]] == [4005]

    await _each(race, range(1, TIMES + 1))
    assert await pair.stage.count("claim WHERE released_by IS NULL") == TIMES
    assert await pair.stage.rows("SELECT count(DISTINCT first) FROM claim WHERE released_by IS NULL") == [(TIMES,)]
    codes = Counter(await pair.stage.rows("SELECT state FROM transfer"))
    assert codes == {("proposed",): TIMES, ("ending",): TIMES}


async def test_a_withdrawal_against_the_commit_ends_it_once_and_for_all(pair: Pair) -> None:
    transfers = await _accepted(pair)

    async def race(transfer: str) -> None:
        await _alone_due(pair, transfer)
        voided = {"kind": "voided", "transfer": transfer, "findings": []}
        message = pair.course.source.compose("transfer.voided", [json.dumps(voided)])
        turns = asyncio.gather(_begin(pair.stage.gateway.relay), _begin(pair.second.relay))
        heard = await pair.course.source.post(*message, pair.second_url)
        await turns
        assert heard.items[0]["state"] == "cancelled"

    for transfer in transfers:
        await race(transfer)
    courses = Counter(await pair.stage.rows(_COURSES))
    lost, won = ("voided",), ("commit-stored voided",)
    assert courses[lost] + courses[won] == TIMES, courses
    assert await pair.stage.count("transfer WHERE commit_id IS NOT NULL") == courses[won]
    assert await pair.stage.count("transfer WHERE cancel_id IS NOT NULL OR settle_id IS NOT NULL") == 0
    assert await pair.stage.count("claim WHERE released_by IS NULL") == 0


async def test_of_the_end_of_time_and_the_commit_one_is_stored(pair: Pair) -> None:
    transfers = await _accepted(pair)
    await pair.stage.rows("UPDATE transfer SET deadline = deadline + interval '30 days'")
    pair.second_clock.ahead = DAY

    async def race(transfer: str) -> None:
        await _alone_due(pair, transfer)
        await pair.stage.rows(f"UPDATE transfer SET deadline = now() + interval '1 hour' WHERE id = '{transfer}'")
        await asyncio.gather(_begin(pair.stage.gateway.relay), _begin(pair.second.relay))

    for transfer in transfers:
        await race(transfer)
    courses = Counter(await pair.stage.rows(_COURSES))
    ended, committed = ("time-over",), ("commit-stored",)
    assert courses[ended] + courses[committed] == TIMES, courses
    assert await pair.stage.count("transfer WHERE commit_id IS NOT NULL") == courses[committed]
    assert await pair.stage.count("transfer WHERE cancel_id IS NOT NULL") == courses[ended]
    assert await pair.stage.count("transfer WHERE cancel_id IS NOT NULL AND commit_id IS NOT NULL") == 0


async def test_whatever_is_said_to_two_gateways_at_once_counts_once(pair: Pair) -> None:
    course, urls = pair.course, pair.second_url
    source, acquirer = course.source, course.acquirer
    doubled = Course(
        pair.stage,
        Doubled(pair.stage, source.party, source.gateway_keys, urls),
        Doubled(pair.stage, acquirer.party, acquirer.gateway_keys, urls),
    )
    await course.issue(block(1, TIMES))
    items = [course.proposal(block(serial, serial)) for serial in range(1, TIMES + 1)]
    transfers = [str(i["transfer"]) for i in items]
    await course.propose(*items)
    await course.turn()
    await _each(lambda t: doubled.accept([t]), transfers)
    await course.turn()
    await _each(lambda t: doubled.release([t]), transfers)
    await _each(lambda t: doubled.credit([t]), transfers)
    assert Counter(await pair.stage.states(transfers)) == {"completed": TIMES}
    course_of_each = ["proposed", "checks-passed", "accepted", "commit-stored", "released", "credited"]
    events = "SELECT array_agg(event ORDER BY version) FROM transfer_event GROUP BY transfer_id"
    assert await pair.stage.rows(events) == [(course_of_each,)] * TIMES
    held = (
        "SELECT registry, sum(last - first + 1) FROM position WHERE closed_by IS NULL AND account_type < 300 GROUP BY 1"
    )
    assert await pair.stage.rows(held) == [("KOR01", TIMES)]
    for kind in ("answer", "released", "credited"):
        assert await pair.stage.count(f"message WHERE type = 'transfer.{kind}'") == TIMES


#: The events of each transfer after its acceptance, in order.
_COURSES = """
SELECT string_agg(event, ' ' ORDER BY version) FROM transfer_event
WHERE event NOT IN ('proposed', 'checks-passed', 'accepted') GROUP BY transfer_id
"""


async def _accepted(pair: Pair) -> list[str]:
    """As many transfers as there are races, accepted, and none of them due."""
    course = pair.course
    await course.issue(block(1, TIMES))
    items = [course.proposal(block(serial, serial)) for serial in range(1, TIMES + 1)]
    transfers = [str(i["transfer"]) for i in items]
    await course.propose(*items)
    await course.turn()
    await course.accept(transfers)
    return transfers


async def _alone_due(pair: Pair, transfer: str) -> None:
    """Nothing but this transfer is due, so that the turns of a race are short."""
    when = f"CASE id WHEN '{transfer}' THEN now() ELSE now() + interval '40 days' END"
    await pair.stage.rows(f"UPDATE transfer SET next_at = {when} WHERE next_at IS NOT NULL")


async def _begin(relay: Relay) -> None:
    """A turn of a worker."""
    await relay.turn()


async def _each(race: Any, of: Any) -> None:
    """Every race, some at one time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(value: Any) -> None:
        async with gate:
            await race(value)

    await asyncio.gather(*(one(value) for value in of))
