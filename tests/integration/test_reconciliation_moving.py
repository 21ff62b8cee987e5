"""What moves while books are compared is explained by what moved it, and is no finding."""

from datetime import timedelta

from gateway.reconciliation.findings import Found
from gateway.transfers.decisions import MARKED_SECONDS
from tests import differing, reconciling
from tests.reconciling import at_registry, later, reconcile, report, to_the_end, work
from tests.stage import Stage


async def test_units_that_were_released_and_not_yet_heard_of_are_explained_by_their_transfer(linked: Stage) -> None:
    await linked.issue(1_000)
    await linked.registries["MEC01"].post("faults", fault="lose-reply", type="transfer.commit", times=20)
    [transfer] = await linked.propose(100)

    async def released() -> bool:
        return await at_registry(linked, "MEC01", "SELECT 1 FROM transfer WHERE state = 'released'") == [(1,)]

    async with linked.working():
        await linked.until(released)
    assert await linked.states([transfer]) == ["committing"]
    found = await to_the_end(linked, await reconciling.ask(linked, "MEC01"))
    assert (found.run.status, found.found, found.explained) == (5, 0, 1)
    [one] = found.findings
    assert (one.code, one.last - one.first + 1, one.explained_by, one.case) == (6302, 100, [transfer], None)
    assert not await linked.count("flag WHERE closed_by IS NULL")
    assert await linked.doctor() == []


async def test_books_do_not_agree_while_an_open_case_has_units_though_a_transfer_explains_them(linked: Stage) -> None:
    await linked.issue(1_000)
    await linked.registries["KOR01"].post("faults", fault="lose-request", type="transfer.settle", times=1_000)
    [transfer] = await linked.propose(100)

    async def released() -> bool:
        return await linked.states([transfer]) == ["released"]

    async with linked.working():
        await linked.until(released)
    [(first, last)] = await linked.rows("SELECT first, last FROM claim WHERE released_by IS NULL")
    where = differing.units("MMR-A64", first, last)
    here = await differing.state(linked, where)
    [case] = await differing.opened(linked, Found("MEC01", 6302, where, here, None), link="MEC01")
    found = await reconcile(linked, "MEC01")
    assert (found.run.status, found.found, found.explained) == (99, 0, 1)
    assert await differing.inside(linked, case) == [(first, last)]
    await linked.registries["KOR01"].http.delete(f"{linked.registries['KOR01'].url}/admin/faults")
    assert await linked.relay([transfer]) == ["completed"]
    found = await reconcile(linked, "MEC01")
    assert (found.run.status, found.found) == (6, 0)
    assert await differing.standing(linked, case) == "closed"


async def test_a_proposal_waits_while_a_cut_is_taken_and_goes_on_at_once_when_it_is(linked: Stage) -> None:
    await linked.issue(1_000)
    await linked.registries["KOR01"].post("faults", fault="lose-reply", type="cut.query", times=1)
    run = await reconciling.ask(linked, "KOR01")
    await work(linked)
    assert (await report(linked, run)).run.state == "announced"
    assert not await linked.count("flag WHERE kind = 'reconciling' AND closed_by IS NULL")
    await linked.rows(
        "INSERT INTO flag (kind, registry, opened_by) SELECT 'reconciling', 'KOR01', max(id) FROM log_entry"
    )
    [transfer] = await linked.propose(10)

    async def delayed() -> bool:
        return await linked.states([transfer]) == ["delayed"]

    async with linked.working():
        await linked.until(delayed)
    soon = f"next_at <= now() + interval '{MARKED_SECONDS} s'"  # if the mark went while it was judged, nothing wakes it
    assert await linked.rows(f"SELECT {soon} FROM transfer WHERE state = 'delayed'") == [(True,)]

    async def ended() -> bool:
        await work(linked)
        return (await report(linked, run)).run.state == "ended"

    await linked.until(ended)
    assert await linked.relay([transfer]) == ["completed"]
    assert (await report(linked, run)).run.status == 5


async def test_books_under_load_are_compared_again_and_again_without_a_false_difference(linked: Stage) -> None:
    await linked.issue(10_000)
    transfers = [one for _ in range(20) for one in await linked.propose(*([3] * 10))]
    runs = []
    async with linked.working():
        for code in ("MEC01", "KOR01") * 3:
            runs.append(await reconcile(linked, code))
    assert [(one.run.status, one.found) for one in runs] == [(5, 0)] * 6
    assert set(await linked.relay(transfers)) == {"completed"}
    assert (await reconcile(linked, "KOR01")).books[0].codes == []


async def test_a_cut_is_announced_and_taken_at_its_moment(linked: Stage) -> None:
    await linked.issue(100)
    run = await reconciling.ask(linked, "KOR01", announce=3_600)
    await work(linked)
    announced = (await report(linked, run)).run
    assert (announced.state, announced.status, announced.round_trips) == ("announced", 1, 0)
    assert announced.cut_at is not None and announced.next_at == announced.cut_at
    assert await at_registry(linked, "KOR01", "SELECT count(*) FROM cut WHERE answer IS NULL") == [(1,)]
    assert not await work(linked)
    linked.clock.ahead = timedelta(hours=1)
    assert await work(linked)


async def test_units_that_are_lost_are_found_though_a_proposal_claims_them(linked: Stage) -> None:
    await linked.issue(1_000)
    [transfer] = await linked.propose(40)

    async def proposed() -> bool:
        return await linked.states([transfer]) == ["proposed"]

    await linked.until(proposed)
    [[first, last]] = await linked.rows("SELECT first, last FROM claim WHERE released_by IS NULL")
    await at_registry(linked, "MEC01", "DELETE FROM holding WHERE first = %s AND last = %s", first, last)
    found = await reconcile(linked, "MEC01")
    lost = [(one.code, one.first, one.last) for one in found.findings if one.case]
    assert (found.run.status, lost) == (99, [(6302, first, last)])
    assert await linked.rows("SELECT first, last FROM flag WHERE kind = 'discrepancy' AND closed_by IS NULL") == [
        (first, last)
    ]


async def test_what_is_released_and_not_credited_for_a_day_is_found_locked_and_clean_once_it_is_credited(
    linked: Stage,
) -> None:
    await linked.issue(1_000)
    await linked.registries["KOR01"].post("faults", fault="lose-request", type="transfer.settle", times=100_000)
    [transfer] = await linked.propose(40)

    async def released() -> bool:
        return await linked.states([transfer]) == ["released"]

    async with linked.working():
        await linked.until(released)
    assert (await reconcile(linked, "MEC01")).explained == 1
    await later(linked, timedelta(hours=25))
    found = await reconcile(linked, "MEC01")
    [one] = found.findings
    assert (found.run.status, one.code, one.last - one.first + 1) == (99, 6302, 40)
    assert one.case and f"transfer {transfer} is released here, released and not credited" in one.detail
    assert await linked.rows("SELECT first, last FROM flag WHERE kind = 'discrepancy' AND closed_by IS NULL") == [
        (one.first, one.last)
    ]
    await linked.registries["KOR01"].http.delete(f"{linked.registries['KOR01'].url}/admin/faults")
    assert await linked.relay([transfer]) == ["completed"]
    clean = await reconcile(linked, "MEC01")
    assert (clean.run.status, clean.found) == (6, 0)
    assert not await linked.count("flag WHERE kind = 'discrepancy' AND closed_by IS NULL")
    assert await linked.doctor() == []
