"""A full reconciliation: what is kept of a book is made anew from its positions, and it is said if it was wrong."""

import pytest

from tests import reconciling
from tests.reconciling import at_registry, reconcile, to_the_end
from tests.stage import Stage

WRONG = "KOR01: what was kept of its book here was wrong, and was made anew"
DIGEST_SPOILED = "UPDATE fingerprint_series SET digest = sha256(digest) WHERE registry = 'KOR01'"
#: A run is its first serial, its last one, and the hash of its state.
STATE_SPOILED = (
    "UPDATE fingerprint_node SET content = overlay(content PLACING sha256(content) FROM 17) WHERE registry = 'KOR01'"
)
ALL_SERIALS = (
    "UPDATE fingerprint_node SET content = overlay(content PLACING int8send(1) || int8send(9007199254740991) FROM 1)"
    " WHERE registry = 'KOR01'"
)
ALARMS = "SELECT code, detail LIKE '%full reconciliation has made it anew%' FROM alarm ORDER BY id"


@pytest.fixture
async def compared(linked: Stage) -> Stage:
    """KOR01 has been compared, so that what is kept of its book is there."""
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100)) == ["completed"]
    assert (await reconcile(linked, "KOR01")).run.status == 5
    return linked


async def mended(stage: Stage) -> list[str]:
    """The books that were made anew, as the log has it of the last run."""
    [(books,)] = await stage.rows(
        "SELECT convert_from(r.record, 'UTF8')::jsonb -> 'mended'"
        " FROM log_entry e JOIN log_record r ON r.entry_id = e.id WHERE e.kind = 'reconciliation.ended'"
        " ORDER BY e.id DESC LIMIT 1"
    )
    return list(books)


async def test_a_digest_that_is_not_that_of_its_node_is_made_right(compared: Stage) -> None:
    await compared.rows(DIGEST_SPOILED)
    found = await reconcile(compared, "KOR01")
    assert (found.run.status, found.findings) == (99, [])
    assert "a full run makes it anew (6901)" in found.run.remarks[0]
    assert not await compared.count("flag WHERE closed_by IS NULL")
    full = await reconcile(compared, "KOR01", whole=True)
    assert (full.run.status, full.run.remarks, full.findings) == (5, [WRONG], [])
    assert await mended(compared) == ["KOR01"]
    assert await compared.rows(ALARMS) == [(6901, False), (6901, True)]
    again = await reconcile(compared, "KOR01", whole=True)
    assert (again.run.status, again.run.remarks) == (5, [])
    assert await mended(compared) == []


async def test_a_node_that_is_wrong_hides_no_difference_from_a_full_run(compared: Stage) -> None:
    await compared.rows(STATE_SPOILED)
    [(last,)] = await at_registry(compared, "KOR01", "UPDATE holding SET last = last - 1 RETURNING last")
    found = await reconcile(compared, "KOR01")
    assert (found.run.status, found.findings) == (99, [])
    assert "a full run makes it anew (6901)" in found.run.remarks[0]
    full = await reconcile(compared, "KOR01", whole=True)
    assert full.run.remarks == [WRONG]
    assert [(one.first, one.last) for one in full.findings] == [(last + 1, last + 1)]


async def test_a_book_that_cannot_be_brought_up_to_any_cut_is_given_up_and_a_full_run_mends_it(compared: Stage) -> None:
    await compared.rows(ALL_SERIALS)
    assert await compared.relay(await compared.propose(100)) == ["completed"]
    found = await to_the_end(compared, await reconciling.ask(compared, "KOR01"))
    assert (found.run.status, found.books) == (7, [])
    assert "units come that are there" in found.run.remarks[0]
    assert not await compared.count("flag WHERE closed_by IS NULL")
    full = await reconcile(compared, "KOR01", whole=True)
    assert (full.run.status, full.run.remarks, full.findings) == (5, [WRONG], [])
    assert await compared.doctor() == []
