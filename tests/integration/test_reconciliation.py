"""Books are compared with what registries hold: what agrees, what moves, what differs and is closed again."""

from typing import Any

from gateway.reconciliation.view import Report
from tests import reconciling
from tests.stage import Stage


async def _relayed(stage: Stage) -> Stage:
    await stage.issue(1_000)
    assert await stage.relay(await stage.propose(100, 50)) == ["completed"] * 2
    return stage


def _said(report: Report) -> list[tuple[int, str, int, int]]:
    return [(one.code, one.series, one.first, one.last) for one in report.findings]


async def _flagged(stage: Stage) -> list[tuple[Any, ...]]:
    return await stage.rows(
        "SELECT first, last FROM flag WHERE kind = 'discrepancy' AND closed_by IS NULL ORDER BY first"
    )


async def _korean(stage: Stage) -> list[tuple[int, int]]:
    """What Korea's registry holds, by its own books."""
    found = await reconciling.at_registry(stage, "KOR01", "SELECT first, last FROM holding ORDER BY first")
    return [(first, last) for first, last in found]


async def test_books_that_agree_are_compared_by_their_roots(linked: Stage) -> None:
    await _relayed(linked)
    for code in ("MEC01", "KOR01"):
        report = await reconciling.reconcile(linked, code)
        assert (report.run.status, report.found, report.explained, report.run.remarks) == (5, 0, 0, [])
        assert [(one.registry, one.root == one.theirs, one.codes) for one in report.books] == [(code, True, [])]
        assert report.run.round_trips == 1
    assert await linked.rows("SELECT count(*) FROM flag WHERE kind = 'reconciling' AND closed_by IS NULL") == [(0,)]
    assert await linked.doctor() == []


async def test_the_result_is_told_until_it_is_receipted_and_both_ends_know_it(linked: Stage) -> None:
    await _relayed(linked)
    report = await reconciling.reconcile(linked, "KOR01")

    async def receipted() -> bool:
        return not await linked.count("owed")

    async with linked.working():
        await linked.until(receipted)
    [told] = (await linked.registries["KOR01"].get("reconciliations"))["reconciliations"]
    assert (told["cut"], told["status"]) == (report.run.cut, 5)
    assert await linked.doctor() == []


async def test_a_lost_credit_is_found_locked_and_let_go_when_it_is_put_right(linked: Stage) -> None:
    await _relayed(linked)
    [(first, last), *_] = await _korean(linked)
    [lost] = await reconciling.at_registry(
        linked, "KOR01", "DELETE FROM holding WHERE first = %s RETURNING series, party, account, attributes, itmo,"
        " itmo_offset, first_transferred", first,
    )  # fmt: skip
    report = await reconciling.reconcile(linked, "KOR01")
    assert (report.run.status, report.found, report.books[0].codes) == (99, 1, [6201])
    assert [(code, low, high) for code, _, low, high in _said(report)] == [(6302, first, last)]
    assert report.findings[0].case is not None and await _flagged(linked) == [(first, last)]
    again = await reconciling.reconcile(linked, "KOR01")
    assert again.findings[0].case == report.findings[0].case
    await reconciling.at_registry(
        linked, "KOR01", "INSERT INTO holding (series, first, last, party, account, attributes, itmo, itmo_offset,"
        " first_transferred) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", lost[0], first, last, *lost[1:],
    )  # fmt: skip
    clean = await reconciling.reconcile(linked, "KOR01")
    assert (clean.run.status, clean.found) == (6, 0)
    assert await _flagged(linked) == []
    assert await linked.doctor() == []
