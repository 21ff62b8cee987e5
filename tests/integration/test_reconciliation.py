"""Books are compared with what registries hold: what agrees, what moves, what differs."""

from tests import reconciling
from tests.stage import Stage


async def test_books_that_agree_are_compared_by_their_roots(linked: Stage) -> None:
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100, 50)) == ["completed"] * 2
    for code in ("MEC01", "KOR01"):
        report = await reconciling.reconcile(linked, code)
        assert (report.run.status, report.found, report.explained, report.run.remarks) == (5, 0, 0, [])
        assert [(one.registry, one.root == one.theirs, one.codes) for one in report.books] == [(code, True, [])]
        assert report.run.round_trips == 1
    found = await linked.doctor()
    assert found == []
