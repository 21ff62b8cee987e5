"""Whatever a registry says or stops a worker, a run ends after so many tries, with an alarm and the reason."""

from datetime import timedelta

import pytest

from gateway.reconciliation import store
from gateway.reconciliation.findings import Found
from gateway.reconciliation.run import CUT_SECONDS, TRIES, Running
from gateway.reconciliation.store import UNMARKED_SECONDS
from tests import differing, reconciling
from tests.reconciling import at_registry, reconcile, report, to_the_end, work
from tests.stage import Stage

MARKED = "flag WHERE kind = 'reconciling' AND closed_by IS NULL"
WAITS = "SELECT state, waiting FROM reconciliation WHERE link = 'KOR01' AND ended_at IS NULL"


@pytest.fixture
async def relayed(linked: Stage) -> Stage:
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100)) == ["completed"]
    return linked


async def lie(stage: Stage, lie: str, code: str = "KOR01") -> None:
    await stage.registries[code].post("cuts/lies", lie=lie, times=100, skip=0)


async def silent(stage: Stage, type: str, times: int = 100) -> None:
    await stage.registries["KOR01"].post("faults", fault="lose-reply", type=type, times=times)


async def tried(stage: Stage, run: str, attempts: int) -> None:
    """Leave a run as one that was begun so often, and is due."""
    await stage.rows(
        f"UPDATE reconciliation SET attempts = {attempts}, next_at = now(), leased_until = NULL, leased_by = NULL"
        f" WHERE id = '{run}'"
    )


@pytest.mark.parametrize("said", ["no-book", "long-ago", "to-come"])
async def test_a_cut_without_a_book_or_of_another_time_is_left_to_persons(relayed: Stage, said: str) -> None:
    await lie(relayed, said)
    found = await to_the_end(relayed, await reconciling.ask(relayed, "KOR01"))
    assert (found.run.status, found.books) == (99, [])
    assert "(6901)" in found.run.remarks[0]
    assert await relayed.rows("SELECT code, link FROM alarm") == [(6901, "KOR01")]
    assert not await relayed.count("flag WHERE closed_by IS NULL")
    assert await relayed.doctor() == []


async def test_a_fault_of_the_program_ends_the_run_after_so_many_tries(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01")
    await at_registry(relayed, "KOR01", "UPDATE holding SET last = last - 1")
    await silent(relayed, "positions.query", 1)
    await work(relayed)
    assert (await report(relayed, run)).run.state == "taken"
    await relayed.rows(f"UPDATE reconciliation SET size = NULL WHERE id = '{run}'")
    found = await to_the_end(relayed, run)
    assert (found.run.status, found.books, found.findings) == (99, [], [])
    assert "could not go on" in found.run.remarks[0]
    assert await relayed.rows("SELECT code, link FROM alarm") == [(6901, "KOR01")]


@pytest.mark.parametrize("state", ["announced", "marked", "taken"])
async def test_a_run_in_which_every_worker_dies_ends_whatever_its_state(relayed: Stage, state: str) -> None:
    run = await reconciling.ask(relayed, "KOR01")
    await silent(relayed, "positions.query" if state == "taken" else "cut.query", 1)
    await at_registry(relayed, "KOR01", "UPDATE holding SET last = last - 1")
    await work(relayed)
    if state == "marked":
        [(entry,)] = await relayed.rows("SELECT mark_id FROM reconciliation WHERE mark_id IS NOT NULL")
        await relayed.rows(f"INSERT INTO flag (kind, registry, opened_by) VALUES ('reconciling', 'KOR01', {entry})")
        await relayed.rows(
            f"UPDATE reconciliation SET state = 'marked', marked_until = now() + interval '1 min' WHERE id = '{run}'"
        )
    await tried(relayed, run, TRIES)
    await work(relayed)
    found = await report(relayed, run)
    assert (found.run.state, found.run.status, found.findings) == ("ended", 99, [])
    assert f"{TRIES} workers" in found.run.remarks[0]
    assert not await relayed.count(MARKED)
    assert await relayed.count("alarm WHERE link = 'KOR01' AND code = 6901") == 1


async def test_a_registry_that_forgets_each_cut_is_asked_for_so_many_and_no_more(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01", announce=600)
    for cuts in range(1, TRIES + 1):
        await work(relayed)
        assert await relayed.rows("SELECT state, cuts FROM reconciliation WHERE link = 'KOR01'") == [
            ("announced", cuts)
        ]
        await relayed.rows(f"UPDATE reconciliation SET cut_at = now() - interval '10 min' WHERE id = '{run}'")
        await at_registry(relayed, "KOR01", "DELETE FROM cut")
        await relayed.rows(f"UPDATE reconciliation SET next_at = now() WHERE id = '{run}'")
        await work(relayed)
        await relayed.rows(f"UPDATE reconciliation SET next_at = now() WHERE id = '{run}' AND ended_at IS NULL")
    found = await report(relayed, run)
    assert (found.run.state, found.run.status) == ("ended", 7)
    assert "6101" in found.run.remarks[0]
    assert await relayed.count("log_entry WHERE kind = 'reconciliation.named'") == TRIES
    assert not await relayed.count(MARKED)


async def test_a_run_that_is_denied_reminds_of_a_case_that_is_open_too_long(relayed: Stage) -> None:
    where = differing.units("MMR-A64", 1, 10)
    [case] = await differing.opened(relayed, Found("KOR01", 6301, where, None, None), due=timedelta(0))
    await silent(relayed, "cut.query")
    found = await to_the_end(relayed, await reconciling.ask(relayed, "KOR01"))
    assert (found.run.status, found.books) == (7, [])
    late = await relayed.rows(f"SELECT link, code FROM alarm WHERE transfer_id = '{case}' AND code = 6901")
    assert late == [("KOR01", 6901)]
    assert await differing.standing(relayed, case) == "notified"


async def test_books_whose_mark_stood_too_long_are_left_alone_for_a_while(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01")
    await silent(relayed, "cut.query", 1)
    await work(relayed)
    [(entry,)] = await relayed.rows("SELECT mark_id FROM reconciliation WHERE mark_id IS NOT NULL")
    await relayed.rows(f"INSERT INTO flag (kind, registry, opened_by) VALUES ('reconciling', 'KOR01', {entry})")
    await relayed.rows(
        "UPDATE reconciliation SET state = 'marked', next_at = now(), leased_by = 'gateway-reconcile-dead',"
        f" leased_until = now() + interval '5 min', marked_until = now() + interval '{CUT_SECONDS} s'"
        f" WHERE id = '{run}'"
    )
    relayed.clock.ahead = timedelta(seconds=CUT_SECONDS + 1)
    await relayed.rows(
        f"UPDATE reconciliation SET leased_by = '{relayed.reconciliation.shift.worker_id}' WHERE id = '{run}'"
    )
    assert not await work(relayed)
    assert not await relayed.count(MARKED)
    [(state, left)] = await relayed.rows(
        f"SELECT state, extract(epoch FROM next_at - now()) FROM reconciliation WHERE id = '{run}'"
    )
    assert state == "announced" and left > CUT_SECONDS + UNMARKED_SECONDS / 2
    relayed.clock.ahead = timedelta(seconds=CUT_SECONDS + UNMARKED_SECONDS + 2)
    assert await work(relayed)
    assert (await report(relayed, run)).run.status == 5


async def test_who_has_lost_a_run_writes_nothing_of_how_it_failed(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01", announce=600)
    await silent(relayed, "cut.query")
    await work(relayed)
    await tried(relayed, run, TRIES - 1)
    means, now = relayed.reconciliation._means, relayed.clock()
    until = now + timedelta(minutes=1)
    leased = await relayed.run(lambda tx: store.lease_due(tx, "one", now + timedelta(seconds=5), until, but=[]))
    assert leased is not None and leased.id == run
    await relayed.rows(f"UPDATE reconciliation SET leased_by = 'another' WHERE id = '{run}'")
    running = Running(means, leased, "one")
    await running.go_on()
    assert running.over
    assert await relayed.rows("SELECT state, leased_by FROM reconciliation WHERE link = 'KOR01'") == [
        ("announced", "another")
    ]


async def test_totals_that_do_not_follow_from_what_differs_are_left_to_persons(relayed: Stage) -> None:
    await at_registry(relayed, "KOR01", "UPDATE holding SET last = last - 1")
    await lie(relayed, "totals")
    found = await reconcile(relayed, "KOR01")
    assert (found.run.status, found.found, found.books[0].codes) == (99, 1, [])
    assert found.run.remarks == ["KOR01: its totals are not those of its positions (6901)"]


@pytest.mark.parametrize(("said", "code"), [("totals", 6201), ("by-type", 6202)])
async def test_totals_are_held_against_a_listing_too(relayed: Stage, said: str, code: int) -> None:
    await relayed.link("JPN01", "party", "JPN", more=["--no-ranges"])
    assert await relayed.relay(await relayed.propose(30, 20, to="JPN01")) == ["completed"] * 2
    await lie(relayed, said, "JPN01")
    found = await reconcile(relayed, "JPN01")
    assert (found.run.status, found.found, found.books[0].codes) == (99, 0, [code])
    assert "6901" in found.run.remarks[0]


async def test_what_has_not_arrived_is_waited_for_with_the_cut_kept_and_in_the_end_remarked(relayed: Stage) -> None:
    run = await reconciling.ask(relayed, "KOR01")
    await at_registry(relayed, "KOR01", "UPDATE stream SET last_seq = last_seq + 1")
    await work(relayed)
    [(state, why)] = await relayed.rows(WAITS)
    assert state == "taken" and "(3007)" in why
    cut = (await report(relayed, run)).run.cut
    await tried(relayed, run, TRIES - 1)
    await work(relayed)
    found = await report(relayed, run)
    assert (found.run.state, found.run.status, found.run.cut) == ("ended", 5, cut)
    assert "(3007)" in found.run.remarks[0]


@pytest.mark.parametrize(("said", "status"), [("totals", 3), ("by-type", 98)])
async def test_a_run_shows_by_the_numbers_of_the_kyoto_log_how_far_it_is(
    relayed: Stage, said: str, status: int
) -> None:
    await relayed.rows(
        "CREATE TABLE seen (status integer);"
        " CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO public.seen VALUES (NEW.status); RETURN NEW; END $$;"
        " CREATE TRIGGER sees AFTER UPDATE OF status ON reconciliation FOR EACH ROW EXECUTE FUNCTION see()"
    )
    await lie(relayed, said)
    await at_registry(relayed, "KOR01", "UPDATE holding SET first = first + 10000, last = last + 10000")
    await reconcile(relayed, "KOR01")
    assert await relayed.rows("SELECT status FROM seen") == [(one,) for one in (1, 2, status, 4, 99)]
