"""What happens at one instant: on two gateways that serve the same database, and between two workers of it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from gateway import wiring
from gateway.domain.addresses import LOOPBACK
from gateway.domain.transfers import Event, Progress, State
from gateway.settings import Settings
from gateway.transfers import store
from gateway.transfers.relay import Relay
from gateway.transfers.store import Change
from gateway.web import link
from gateway.web import server as web_server
from gateway.wiring import Gateway
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, block
from tests.stage import Stage

#: Locks that somebody waits for, in this database.
WAITING = "pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT granted AND datname = current_database()"


@dataclass
class Second:
    """Another gateway process, in all but its process, on the database of a stage."""

    gateway: Gateway
    link_url: str


@pytest.fixture
async def second(stage: Stage) -> AsyncIterator[Second]:
    dsn = stage.server.dsn(stage.database_name, "gateway_app")
    gateway = wiring.build(
        Settings(private_peers=LOOPBACK, database_url=dsn, key_file=stage.folder / "gateway.pem"), clock=stage.clock
    )
    sock = web_server.listen("127.0.0.1:0")
    stop = asyncio.Event()
    serving = asyncio.create_task(
        web_server.run([(link.app(gateway.database, gateway.inbox, gateway.node), sock)], stop)
    )
    yield Second(gateway, web_server.url(sock))
    stop.set()
    await serving
    await gateway.close()


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    yield await Course.begun(stage)


async def streams_are_whole(stage: Stage) -> None:
    """To every peer, the numbers of our messages run from 1 without a gap and without a double."""
    found = await stage.rows(
        "SELECT s.peer, s.last_seq, count(m.seq), count(DISTINCT m.seq), min(m.seq), max(m.seq) FROM outgoing_stream s "
        "JOIN message m ON m.peer = s.peer AND m.direction = 'out' GROUP BY s.peer"
    )
    assert {peer for peer, *_ in found} == {"MEC01", "KOR01"}
    for peer, last, *numbers in found:
        assert (peer, numbers) == (peer, [last, last, 1, last])


async def test_one_message_at_two_gateways_at_once_has_one_effect_and_one_answer(
    course: Course, second: Second
) -> None:
    stage = course.stage
    await course.issue(block(1, 100))
    for nr in range(10):
        item = course.proposal(block(10 * nr + 1, 10 * nr + 10))
        message = course.source.compose("transfer.propose", [json.dumps(item)])
        urls = [stage.link_url, second.link_url] * 2
        heard = await asyncio.gather(*(course.source.post(*message, url) for url in urls))
        assert len({h.raw for h in heard}) == 1
        assert heard[0].items[0]["state"] == "proposed"
    assert await stage.count("transfer") == await stage.count("claim") == 10
    assert await stage.count("message WHERE type = 'transfer.propose'") == 10
    assert await stage.count("transfer_event") == 10
    # Two activations, the authorisation, the issuance, ten proposals: one receipt each.
    assert await stage.count("message WHERE type = 'receipt'") == 14
    await streams_are_whole(stage)


async def test_of_proposals_of_one_block_at_once_exactly_one_claims(course: Course, second: Second) -> None:
    stage = course.stage
    await course.issue(block(1, 1_000))
    for nr in range(6):
        base = 100 * nr
        rivals = [
            course.proposal(block(base + 10 * n + 1, base + 10 * n + 5), block(base + 80 + n, base + 90))
            for n in range(4)
        ]
        urls = [stage.link_url, second.link_url] * 2
        messages = [course.source.compose("transfer.propose", [json.dumps(item)]) for item in rivals]
        heard = await asyncio.gather(*(course.source.post(*m, u) for m, u in zip(messages, urls, strict=True)))
        receipts = {h.items[0]["transfer"]: h.items[0] for h in heard}
        assert Counter(r["state"] for r in receipts.values()) == {"proposed": 1, "ending": 3}
        [winner] = [t for t, r in receipts.items() if r["state"] == "proposed"]
        losers = sorted(receipts.keys() - {winner})
        for loser in losers:
            [finding] = receipts[loser]["findings"]
            [taken] = finding["blocks"]
            assert (finding["code"], taken["last"]) == (4005, base + 90)
        live = f"claim WHERE released_by IS NULL AND first BETWEEN {base} AND {base + 99}"
        assert await stage.rows(f"SELECT transfer_id, count(*) FROM {live} GROUP BY 1") == [(winner, 2)]
        await course.void(losers)
        assert await stage.states([winner, *losers]) == ["proposed", "refused", "refused", "refused"]
    await course.turn()
    assert await stage.rows("SELECT state, count(*) FROM transfer GROUP BY 1 ORDER BY 1") == [
        ("checked", 6),
        ("refused", 18),
    ]
    await streams_are_whole(stage)


async def test_units_proposed_before_they_are_announced_are_claimed(course: Course) -> None:
    """The announcement may be overtaken on its way; the proposal that overtook it holds its units all the same."""
    first, rival = course.proposal(block(1, 10)), course.proposal(block(5, 6))
    await course.propose(first)
    await course.issue(block(1, 10))
    [receipt] = (await course.propose(rival)).items
    assert (receipt["state"], receipt["findings"][0]["code"]) == ("ending", 4005)
    await course.turn()
    assert await course.stage.states([first["transfer"], rival["transfer"]]) == ["checked", "ending"]


async def test_units_are_not_used_and_transferred_at_once(course: Course, second: Second) -> None:
    """A notice of use is held up in the middle of its transaction while the same units are proposed and checked."""
    stage = course.stage
    await course.issue(block(1, 10))
    proposal = course.proposal(block(1, 10))
    dsn = stage.server.dsn(stage.database_name, "gateway_owner")
    async with await psycopg.AsyncConnection.connect(dsn) as holder:
        await holder.execute("LOCK TABLE action_block IN SHARE MODE")
        used = asyncio.create_task(course.use(block(1, 10)))
        await stage.until(lambda: stage.count(WAITING))
        proposed = asyncio.create_task(
            course.source.post(*course.source.compose("transfer.propose", [json.dumps(proposal)]), second.link_url)
        )

        async def in_or_waiting() -> bool:
            return proposed.done() or await stage.count(WAITING) == 2

        await stage.until(in_or_waiting)
        await course.turn()
        await holder.rollback()
    assert [r["state"] for r in (await used).items] == ["recorded"]
    await proposed
    await course.turn()
    assert await stage.states([proposal["transfer"]]) == ["ending"]
    [(codes,)] = await stage.rows("SELECT jsonb_path_query_array(findings, '$[*].code') FROM transfer")
    assert 4006 in codes


async def test_units_that_move_away_while_their_use_is_judged_are_not_used(course: Course) -> None:
    """The other transaction does what a credit does: it moves the units and releases the claim."""
    stage = course.stage
    await course.issue(block(1, 10))
    await course.propose(course.proposal(block(1, 10)))
    columns = "series_id, first, last, party, account_type, attributes_id, opened_by"
    dsn = stage.server.dsn(stage.database_name, "gateway_owner")
    async with await psycopg.AsyncConnection.connect(dsn) as credit:
        await credit.execute("LOCK TABLE claim IN ACCESS EXCLUSIVE MODE")
        used = asyncio.create_task(course.use(block(1, 10)))
        await stage.until(lambda: stage.count(WAITING))
        await credit.execute("UPDATE position SET closed_by = 1")
        held = f"SELECT 'KOR01', {columns} FROM position WHERE account_type = 100"
        await credit.execute(f"INSERT INTO position (registry, {columns}) {held}")
        await credit.execute("UPDATE claim SET released_by = 1")
    [refused] = (await used).items
    assert (refused["state"], refused["findings"][0]["code"]) == ("refused", 4004)
    left = "SELECT registry, account_type FROM position WHERE closed_by IS NULL AND account_type <> 320"
    assert await stage.rows(left) == [("KOR01", 100)]


async def test_units_are_used_once_whatever_is_announced_at_once(course: Course, second: Second) -> None:
    stage = course.stage
    await course.issue(block(1, 100))
    for nr in range(6):
        use = {"party": "MMR", "account": "100-1", "to_account": "200-1", "blocks": [block(10 * nr + 1, 10 * nr + 5)]}
        messages = [course.source.compose("action.notice", [json.dumps(course.action("use", **use))]) for _ in "ab"]
        urls = (stage.link_url, second.link_url)
        heard = await asyncio.gather(*(course.source.post(*m, u) for m, u in zip(messages, urls, strict=True)))
        assert Counter(h.items[0]["state"] for h in heard) == {"recorded": 1, "refused": 1}
        [codes] = [[f["code"] for f in h.items[0]["findings"]] for h in heard if h.items[0]["findings"]]
        assert codes == [4006]
    assert await stage.rows("SELECT sum(quantity) FROM action WHERE type = 'use'") == [(30,)]


async def test_use_of_claimed_units_is_refused(course: Course) -> None:
    await course.issue(block(1, 10))
    await course.propose(course.proposal(block(4, 5)))
    [refused] = (await course.use(block(5, 10))).items
    assert (refused["state"], refused["findings"][0]["code"]) == ("refused", 4005)
    assert [r["state"] for r in (await course.use(block(6, 10))).items] == ["recorded"]


async def test_step_from_an_older_version_is_not_written(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 10))
    item = course.proposal(block(1, 10))
    await course.propose(item)
    transfer = str(item["transfer"])
    read = (await stage.run(lambda tx: store.lock(tx, [transfer])))[transfer]
    await course.turn()
    now = datetime.now(UTC)

    async def late(row: store.Row) -> set[str]:
        change = Change(row, Event.CHECKS_FAILED, Progress(State.DELAYED), 1, next_at=now)
        return await stage.run(lambda tx: store.apply(tx, [change], now))

    before = await stage.rows("SELECT * FROM transfer")
    assert await late(read) == set()  # another state, another version
    assert await late(replace(read, state=State.CHECKED)) == set()  # the same state, another version
    assert await late(replace(read, version=read.version + 1)) == set()  # another state, the same version
    assert await stage.rows("SELECT * FROM transfer") == before
    assert await stage.rows("SELECT version, event FROM transfer_event ORDER BY version") == [
        (1, "proposed"),
        (2, "checks-passed"),
    ]
    assert await late(replace(read, state=State.CHECKED, version=read.version + 1)) == {transfer}


async def test_two_workers_take_each_step_of_a_transfer_once(linked: Stage, second: Second) -> None:
    stage = linked
    held = await stage.issue(10_000)
    wish: dict[str, Any] = {
        "party": "MMR",
        "to": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
        "quantity": held // 50,
        "authorisation": {"id": "MMR-SYNTHETIC-2026-1", "version": 1},
    }
    made = stage.registries["MEC01"].post("transfers", transfers=[wish] * 50, one_message_each=True)
    over = asyncio.Event()

    async def work(relay: Relay) -> None:
        while not over.is_set():
            if not await relay.turn():
                await asyncio.sleep(0.005)

    workers = [asyncio.create_task(work(g.relay)) for g in (stage.gateway, second.gateway) for _ in range(2)]
    try:
        transfers = list((await made)["transfers"])

        async def told() -> bool:
            done = await stage.count("transfer WHERE state = 'completed' AND next_at IS NULL")
            return done == 50 or any(worker.done() for worker in workers)

        await stage.until(told)
    finally:
        over.set()
        await asyncio.gather(*workers)
    assert await stage.states(transfers) == ["completed"] * 50
    course = ["proposed", "checks-passed", "accepted", "commit-stored", "released", "credited"]
    events = await stage.rows("SELECT array_agg(event ORDER BY version) FROM transfer_event GROUP BY transfer_id")
    assert events == [(course,)] * 50
    await _said_once(stage, transfers)
    assert await stage.rows(
        "SELECT sum(last - first + 1) FROM position WHERE closed_by IS NULL AND registry = 'KOR01'"
    ) == [(held // 50 * 50,)]
    await streams_are_whole(stage)


async def _said_once(stage: Stage, transfers: list[str]) -> None:
    """Of all the messages the gateway ever signed, one to each side it concerns says each thing of each transfer."""
    said: Counter[tuple[str, str]] = Counter()
    for kind, body in await stage.rows(
        "SELECT replace(type, 'transfer.', ''), body FROM message WHERE direction = 'out' AND type LIKE 'transfer.%'"
    ):
        items = [json.loads(text) for text in json.loads(body)["items"]]
        said.update((i["transfer"], i["kind"]) for i in items if i["kind"] == kind)
    times = {"offer": 1, "commit": 1, "settle": 1, "closed": 2}
    assert said == {(t, kind): number for t in transfers for kind, number in times.items()}


async def test_a_registry_cannot_freeze_units_that_another_holds(course: Course) -> None:
    await course.issue(block(1, 100))
    here, there = ({"registry": c, "party": p, "account": "100-1"} for c, p in (("KOR01", "KOR"), ("MEC01", "MMR")))
    for first, last in ((1, 100), (1, 2**53 - 1), (101, 200)):
        grab = course.proposal(block(first, last), transferring=here, acquiring=there, transfer=f"KOR01-{uuid7()}")
        heard = await course.acquirer.say("transfer.propose", [grab])
        assert heard.items[0]["state"] == "ending", (first, last, heard.items)
        assert {4003, 4007} & {finding["code"] for finding in heard.items[0]["findings"]}
    assert await course.stage.count("claim WHERE released_by IS NULL") == 0
    heard = await course.propose(course.proposal(block(1, 100)))
    assert (heard.items[0]["state"], heard.items[0]["findings"]) == ("proposed", [])
