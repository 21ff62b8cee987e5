"""Whatever interrupts a reconciliation, it goes on or is given up in order: no mark stays, and there is one result."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.reconciliation.run import CUT_SECONDS
from tests import reconciling
from tests.reconciling import at_registry, report, to_the_end, work
from tests.stage import Stage

MARKED = "flag WHERE kind = 'reconciling' AND closed_by IS NULL"
RUNS = "SELECT id::text, state FROM reconciliation WHERE link = 'KOR01' AND ended_at IS NULL"


@pytest.fixture
async def relayed(linked: Stage) -> Stage:
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100)) == ["completed"]
    return linked


async def lies(stage: Stage, lie: str, code: str = "KOR01", times: int = 100) -> None:
    await stage.registries[code].post("cuts/lies", lie=lie, times=times, skip=0)


async def differ(stage: Stage) -> None:
    await at_registry(stage, "KOR01", "UPDATE holding SET last = last - 1")


async def test_a_registry_that_is_silent_is_asked_again_and_in_the_end_the_run_is_denied(relayed: Stage) -> None:
    await relayed.registries["KOR01"].post("faults", fault="lose-reply", type="cut.query", times=100)
    found = await to_the_end(relayed, await reconciling.ask(relayed, "KOR01"))
    assert (found.run.status, found.books, found.findings) == (7, [], [])
    assert "no answer from KOR01" in found.run.remarks[0]
    assert not await relayed.count(MARKED)
    [(code, link)] = await relayed.rows("SELECT code, link FROM alarm")
    assert (code, link) == (9001, "KOR01")
    assert await relayed.doctor() == []


async def test_a_registry_that_is_heard_again_is_compared_after_all(relayed: Stage) -> None:
    await relayed.registries["KOR01"].post("faults", fault="lose-reply", type="cut.query", times=3)
    found = await to_the_end(relayed, await reconciling.ask(relayed, "KOR01"))
    assert found.run.status == 5


@pytest.mark.parametrize("lie", ["root", "endless", "nothing", "garbage", "overlap", "other-registry", "short"])
async def test_a_registry_that_lies_is_left_to_persons_or_given_up_and_locks_nothing(relayed: Stage, lie: str) -> None:
    await differ(relayed)
    await lies(relayed, lie)
    found = await to_the_end(relayed, await reconciling.ask(relayed, "KOR01"))
    assert found.run.status in (7, 99) and found.findings == [] and found.run.remarks
    assert not await relayed.count("flag WHERE closed_by IS NULL")
    assert await relayed.count("alarm WHERE link = 'KOR01' AND code IN (6901, 9001)") == 1
    assert await relayed.count("message WHERE type = 'cut.answer' AND direction = 'in'") > 0


@pytest.mark.parametrize("lie", ["other-book", "moving"])
async def test_a_cut_that_cannot_be_true_ends_the_run_and_the_mark(relayed: Stage, lie: str) -> None:
    await lies(relayed, lie)
    found = await to_the_end(relayed, await reconciling.ask(relayed, "KOR01"))
    assert found.run.status in (7, 99) and found.books == []
    assert not await relayed.count("flag WHERE closed_by IS NULL")


async def test_totals_that_are_not_those_of_the_root_are_left_to_persons(relayed: Stage) -> None:
    await lies(relayed, "totals")
    found = await to_the_end(relayed, await reconciling.ask(relayed, "KOR01"))
    assert (found.run.status, found.books[0].codes) == (99, [6201])
    assert "6901" in found.run.remarks[0]


async def _as_if_dead(stage: Stage, run: str, **columns: str) -> None:
    """Leave a run as a worker that died leaves it."""
    columns |= {"leased_by": "'gateway-reconcile-dead'", "leased_until": "now() + interval '1 min'", "next_at": "now()"}
    changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
    await stage.rows(f"UPDATE reconciliation SET {changes} WHERE id = '{run}'")


async def test_another_worker_goes_on_where_one_died(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01", announce=3_600)
    await work(relayed)
    await _as_if_dead(relayed, run)
    relayed.clock.ahead = timedelta(seconds=3_590)
    await work(relayed)
    assert (await report(relayed, run)).run.state == "announced"
    await relayed.rows(f"UPDATE reconciliation SET cut_at = now(), announce_seconds = 0 WHERE id = '{run}'")
    relayed.clock.ahead = timedelta()
    await at_registry(relayed, "KOR01", "DELETE FROM cut")
    found = await to_the_end(relayed, run)
    assert found.run.status == 5
    assert await relayed.count("message WHERE type = 'reconciliation.result'") == 1


async def test_a_mark_that_nobody_takes_away_is_taken_away(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01")
    await relayed.registries["KOR01"].post("faults", fault="lose-reply", type="cut.query", times=1)
    await work(relayed)
    [(entry,)] = await relayed.rows("SELECT mark_id FROM reconciliation WHERE mark_id IS NOT NULL")
    marked = {"state": "'marked'", "marked_until": f"now() + interval '{CUT_SECONDS} s'"}
    await relayed.rows(f"INSERT INTO flag (kind, registry, opened_by) VALUES ('reconciling', 'KOR01', {entry})")
    await _as_if_dead(relayed, run, **marked)
    await relayed.rows("UPDATE link SET state = 'suspended' WHERE code = 'KOR01'")
    await work(relayed)
    assert await relayed.count(MARKED) == 1
    relayed.clock.ahead = timedelta(seconds=CUT_SECONDS + 1)
    await work(relayed)
    assert not await relayed.count(MARKED)
    assert await relayed.rows(RUNS) == [(run, "announced")]
    await relayed.rows("UPDATE link SET state = 'active' WHERE code = 'KOR01'")
    relayed.clock.ahead = timedelta()
    assert (await to_the_end(relayed, run)).run.status == 5


async def test_a_link_that_is_suspended_is_not_reconciled(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01")
    await relayed.rows("UPDATE link SET state = 'suspended' WHERE code = 'KOR01'")
    assert not await work(relayed)
    assert await relayed.rows(RUNS) == [(run, "planned")]


async def test_every_link_is_reconciled_each_day(relayed: Stage) -> None:
    assert not await work(relayed)
    planned = await relayed.rows("SELECT link, state FROM reconciliation ORDER BY link")
    assert planned == [("KOR01", "planned"), ("MEC01", "planned")]
    relayed.clock.ahead = timedelta(hours=24)
    assert await work(relayed)
    announced = await relayed.rows("SELECT state, cut_at - begun_at >= interval '899 s' FROM reconciliation")
    assert announced == [("announced", True)] * 2


async def test_a_registry_that_tells_no_nodes_is_compared_by_its_listing(relayed: Stage) -> None:
    await relayed.link("JPN01", "party", "JPN", more=["--no-ranges"])
    assert await relayed.relay(await relayed.propose(30, 20, to="JPN01")) == ["completed"] * 2
    clean = await reconciling.reconcile(relayed, "JPN01")
    assert (clean.run.status, clean.books[0].theirs, clean.found) == (5, None, 0)
    [changed] = await at_registry(
        relayed, "JPN01", "UPDATE holding SET last = last - 2 WHERE first = (SELECT min(first) FROM holding)"
        " RETURNING last",
    )  # fmt: skip
    found = await reconciling.reconcile(relayed, "JPN01")
    [one] = found.findings
    assert (found.run.status, one.code, one.first, one.last) == (99, 6302, changed[0] + 1, changed[0] + 2)


async def test_one_result_is_written_by_who_holds_the_run(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01")
    await to_the_end(relayed, run)
    before: list[Any] = await relayed.rows("SELECT max(id) FROM log_entry")
    assert not await work(relayed)
    assert await relayed.rows("SELECT max(id) FROM log_entry") == before
    assert await relayed.count("message WHERE type = 'reconciliation.result'") == 1
