"""What the two sides of a transfer and the gateway know of it, held against each other: all is synthetic.

A difference in units that a completed transfer moved tells of the other side, too. A transfer that is locked or
accepted at one registry and over, or unknown, here is named; at once it proves nothing, unless its units are locked.
"""

from datetime import timedelta

import pytest

from gateway.reconciliation.view import Report
from gateway.signing.messages import new_message_id
from tests.reconciling import at_registry, later, reconcile
from tests.stage import AUTHORISATION, Stage

#: Longer than clocks are apart: what was told so long ago was told before any cut of now.
LONG = timedelta(minutes=10)
COLUMNS = "series, party, account, attributes, itmo, itmo_offset, first_transferred"


@pytest.fixture
async def relayed(linked: Stage) -> tuple[Stage, list[str]]:
    """Two transfers from MEC01 to Korea are completed, of neighbouring units."""
    await linked.issue(1_000)
    transfers = await linked.propose(100, 50)
    assert await linked.relay(transfers) == ["completed"] * 2
    return linked, transfers


async def units_of(stage: Stage, transfer: str) -> tuple[int, int]:
    [(first, last)] = await stage.rows(f"SELECT first, last FROM claim WHERE transfer_id = '{transfer}'")
    return first, last


def said(report: Report) -> list[tuple[int, int, int, str]]:
    return [(one.code, one.first, one.last, one.detail) for one in report.findings if one.case is not None]


async def test_what_was_not_credited_names_the_transfer_and_how_its_source_compared(
    relayed: tuple[Stage, list[str]],
) -> None:
    stage, (transfer, _) = relayed
    first, last = await units_of(stage, transfer)
    await at_registry(stage, "KOR01", "DELETE FROM holding WHERE first = %s", first)
    moved = f"KOR01 does not hold them; completed transfer {transfer} moved them from MEC01 to KOR01; the book of MEC01"
    assert said(await reconcile(stage, "KOR01")) == [(6302, first, last, f"{moved} has not been compared since")]
    assert (await reconcile(stage, "MEC01")).run.status == 5
    agreed = f"{moved} agreed when it was last compared"
    assert said(await reconcile(stage, "KOR01")) == [(6302, first, last, agreed)]


async def test_units_of_two_transfers_are_two_findings(relayed: tuple[Stage, list[str]]) -> None:
    stage, transfers = relayed
    await at_registry(stage, "KOR01", "DELETE FROM holding")
    found = said(await reconcile(stage, "KOR01"))
    expected = sorted([(*await units_of(stage, one), one) for one in transfers])
    assert [(first, last) for _, first, last, _ in found] == [(first, last) for first, last, _ in expected]
    for (*_, detail), (*_, transfer) in zip(found, expected, strict=True):
        assert f"completed transfer {transfer} moved them" in detail


async def test_what_its_source_never_gave_away_differs_on_both_sides(relayed: tuple[Stage, list[str]]) -> None:
    """MEC01 has again what it released, and Korea lost what it credited: each finding names the other's case."""
    stage, (transfer, _) = relayed
    first, last = await units_of(stage, transfer)
    await at_registry(
        stage, "MEC01", f"INSERT INTO holding (first, last, {COLUMNS}) SELECT %s, %s, {COLUMNS} FROM holding"
        " WHERE account = '100-1' ORDER BY first LIMIT 1", first, last,
    )  # fmt: skip
    source = await reconcile(stage, "MEC01")
    assert [(code, low, high) for code, low, high, _ in said(source)] == [(4007, first, last)]
    assert f"completed transfer {transfer} moved them from MEC01 to KOR01; the book of KOR01 has not" in (
        source.findings[0].detail
    )
    await at_registry(stage, "KOR01", "DELETE FROM holding WHERE first = %s", first)
    acquirer = await reconcile(stage, "KOR01")
    [(code, _, _, detail)] = said(acquirer)
    assert code == 6302
    assert detail.endswith(f"the book of MEC01 differs there, too (case {source.findings[0].case})")
    assert await stage.doctor() == []


async def test_units_that_were_never_transferred_name_no_transfer(relayed: tuple[Stage, list[str]]) -> None:
    stage, _ = relayed
    [[free]] = await at_registry(stage, "MEC01", "SELECT max(last) FROM holding WHERE account = '100-1'")
    await at_registry(stage, "MEC01", "UPDATE holding SET last = last - 2 WHERE last = %s", free)
    assert said(await reconcile(stage, "MEC01")) == [(6302, free - 1, free, "MEC01 does not hold them")]


async def astray(stage: Stage, code: str, transfer: str, role: str, state: str) -> None:
    """A registry has a transfer in flight, as a fault of its own would leave it."""
    await at_registry(
        stage, code, "INSERT INTO transfer (transfer, role, state) VALUES (%s, %s, %s)"
        " ON CONFLICT (transfer, role) DO UPDATE SET state = excluded.state", transfer, role, state,
    )  # fmt: skip


async def test_a_lock_that_nobody_here_has_heard_of_is_named_and_counts_when_it_still_stands(
    relayed: tuple[Stage, list[str]],
) -> None:
    stage, _ = relayed
    transfer = f"MEC01-{new_message_id()}"
    await astray(stage, "MEC01", transfer, "source", "locked")
    found = await reconcile(stage, "MEC01")
    assert (found.run.status, found.found, found.run.remarks) == (5, 0, [])  # its proposal may be on its way
    assert not await stage.count("alarm")
    await later(stage, LONG)
    remarks = [f"transfer {transfer} is in flight there and unknown here (6401)"]
    for status in (5, 99, 99):
        found = await reconcile(stage, "MEC01")
        assert (found.run.status, found.found, found.run.remarks) == (status, 0, remarks)
    assert await stage.rows("SELECT link, transfer_id, code FROM alarm") == [("MEC01", transfer, 6401)]
    await at_registry(stage, "MEC01", "DELETE FROM transfer WHERE transfer = %s", transfer)
    found = await reconcile(stage, "MEC01")
    assert (found.run.status, found.run.remarks) == (5, [])
    await astray(stage, "MEC01", f"MEC01-{new_message_id()}", "source", "locked")
    assert (await reconcile(stage, "MEC01")).run.status == 5


async def test_an_acceptance_of_what_is_over_here_is_named_and_counts_when_it_still_stands(
    relayed: tuple[Stage, list[str]],
) -> None:
    stage, (transfer, _) = relayed
    await astray(stage, "KOR01", transfer, "acquirer", "accepted")
    found = await reconcile(stage, "KOR01")
    assert (found.run.status, found.run.remarks) == (5, [])  # its cut may be of before it was told
    await later(stage, LONG)
    for status in (5, 99):
        found = await reconcile(stage, "KOR01")
        remarks = [f"transfer {transfer} is completed here and in flight there (6401)"]
        assert (found.run.status, found.found, found.run.remarks) == (status, 0, remarks)
    await astray(stage, "KOR01", transfer, "acquirer", "done")
    assert (await reconcile(stage, "KOR01")).run.status == 5


async def test_units_that_are_locked_for_a_transfer_that_is_over_are_a_finding(linked: Stage) -> None:
    await linked.issue(1_000)
    wish = {"party": "MMR", "to": {"registry": "KOR01", "party": "KOR", "account": "100-9"}, "quantity": 100}
    [transfer] = (
        await linked.registries["MEC01"].post("transfers", transfers=[wish | {"authorisation": AUTHORISATION}])
    )["transfers"]
    assert await linked.relay([transfer]) == ["rejected"]
    await astray(linked, "MEC01", transfer, "source", "locked")
    first, last = await units_of(linked, transfer)
    assert (await reconcile(linked, "MEC01")).run.status == 5  # its cut may be of before it was told
    await later(linked, LONG)
    found = await reconcile(linked, "MEC01")
    assert found.run.status == 99
    assert said(found) == [(6401, first, last, f"transfer {transfer} is rejected here and still locks them there")]
    await astray(linked, "MEC01", transfer, "source", "void")
    await astray(linked, "MEC01", transfer, "acquirer", "accepted")  # unlocked, and still not over there
    known = await reconcile(linked, "MEC01")
    assert (known.run.status, known.found) == (99, 0)
    assert await linked.rows("SELECT first, last FROM flag WHERE closed_by IS NULL") == [(first, last)]
    await astray(linked, "MEC01", transfer, "acquirer", "void")
    assert (await reconcile(linked, "MEC01")).run.status == 6
    assert await linked.doctor() == []


async def test_a_transfer_whose_end_is_still_to_be_told_is_explained(linked: Stage) -> None:
    """Korea has credited, and what closes the transfer there is under way: twice, and still it is nothing."""
    await linked.issue(1_000)
    await linked.registries["KOR01"].post("faults", fault="lose-request", type="transfer.closed", times=1_000)
    [transfer] = await linked.propose(40)
    assert await linked.relay([transfer], told=False) == ["completed"]
    there = await at_registry(linked, "KOR01", "SELECT state FROM transfer WHERE transfer = %s", transfer)
    assert there == [("credited",)]
    for _ in range(2):
        found = await reconcile(linked, "KOR01")
        assert (found.run.status, found.found, found.run.remarks) == (5, 0, [])


async def test_remarks_are_few_however_many_transfers_a_registry_tells_of(relayed: tuple[Stage, list[str]]) -> None:
    stage, _ = relayed
    for _ in range(25):
        await astray(stage, "MEC01", f"MEC01-{new_message_id()}", "source", "locked")
    await later(stage, LONG)
    found = await reconcile(stage, "MEC01")
    assert (len(found.run.remarks), found.run.remarks[-1]) == (21, "and 5 more (6401)")
    assert await stage.count("alarm") == 20
