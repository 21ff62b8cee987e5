"""What a registry had told by its cut and has not arrived: what was lost on its way is asked for again."""

from tests.reconciling import reconcile
from tests.stage import Stage

MISSING = """
  SELECT count(*) FROM generate_series(1, (SELECT max(seq) FROM message WHERE direction = 'in' AND peer = 'KOR01')) AS n
  WHERE NOT EXISTS (SELECT FROM message WHERE direction = 'in' AND peer = 'KOR01' AND seq = n)
"""


async def test_an_answer_that_was_lost_for_good_is_asked_for_again_and_keeps_no_run_waiting(linked: Stage) -> None:
    """KOR01 says by messages of its own what it has done; what is lost is the receipt that it gave before."""
    await linked.issue(1_000)
    await linked.registries["KOR01"].post("faults", fault="lose-reply", type="transfer.settle", times=1)
    assert await linked.relay(await linked.propose(100)) == ["completed"]
    assert await linked.rows(MISSING) == [(1,)]
    found = await reconcile(linked, "KOR01")
    assert (found.run.status, found.run.remarks) == (5, [])
    assert await linked.rows(MISSING) == [(0,)]
    assert await linked.count("message WHERE type = 'transfer.settle'") == 1
    assert await linked.states([row[0] for row in await linked.rows("SELECT id FROM transfer")]) == ["completed"]
    assert await linked.doctor() == []
