"""Every planted difference to its end: found, classified, locked, corrected, clean afterwards; the log has it all.

The faults are those of a registry's own people and programs: its books are changed by hand, and nobody is told. They
are put right by two people of the registry, or, where the gateway's book does not fit, by two of the gateway. All is
synthetic.
"""

import json
from datetime import datetime
from typing import Any

import pytest

from gateway.domain.callers import EVERYTHING, Caller, Scope
from gateway.reconciliation.view import FindingRow, Report
from tests.deciding import asked, decided
from tests.reconciling import reconcile
from tests.stage import Stage

ORIGIN = {"registry": "MEC01", "series": "MMR-A64"}
#: What is told of a difference and its end, in this order.
STORY = ["reconciliation.cut", "reconciliation.cut-over", "reconciliation.result", "case.opened", "case.closed"]


@pytest.fixture
async def world(linked: Stage) -> Stage:
    """MEC01 holds most of what it issued, Korea two blocks; the books agree."""
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100, 50)) == ["completed"] * 2
    for code in ("MEC01", "KOR01"):
        assert (await reconcile(linked, code)).run.status == 5
    return linked


async def by_hand(world: Stage, code: str, what: str, **wish: Any) -> None:
    await world.registries[code].post(f"books/{what}", **wish)


async def block(world: Stage, code: str, quantity: int) -> dict[str, Any]:
    """The first units of the holding account of a registry."""
    blocks = (await world.registries[code].get("books?blocks=true"))["blocks"]
    found = next(b["block"] for b in blocks if b["account"] == "100-1")
    return {**found, "last": found["first"] + quantity - 1}


def units(of: dict[str, Any]) -> dict[str, Any]:
    return {name: of[name] for name in ("origin", "first", "last")}


async def found(world: Stage, code: str, number: int) -> list[FindingRow]:
    """What a reconciliation finds: differences of one code, each in a case, and its units locked."""
    report = await reconcile(world, code)
    assert (report.run.status, {one.code for one in report.findings}) == (99, {number})
    locked = await world.rows(
        "SELECT first, last FROM flag WHERE kind = 'discrepancy' AND closed_by IS NULL ORDER BY 1"
    )
    assert locked == [(one.first, one.last) for one in report.findings]
    await told(world, code, 99)
    assert await world.doctor() == []
    return report.findings


async def told(world: Stage, code: str, status: int) -> None:
    """Wait until the registry has a result of this status."""

    async def receipted() -> bool:
        results = (await world.registries[code].get("reconciliations"))["reconciliations"]
        return any(one["status"] == status for one in results)

    async with world.working():
        await world.until(receipted)


async def put_right(world: Stage, code: str, finding: FindingRow) -> None:
    """Two people of the registry make their books say what the gateway's says."""
    named = {"origin": ORIGIN, "first": finding.first, "last": finding.last}
    who, why = ["registrar", "second registrar"], "a fault of ours (synthetic)"
    await by_hand(world, code, "correct", units=named, state=finding.here, case=finding.case, who=who, why=why)


async def clean(world: Stage, code: str) -> Report:
    report = await reconcile(world, code)
    assert (report.run.status, report.found) == (6, 0)
    assert not await world.count("flag WHERE closed_by IS NULL")
    assert not await world.count("inconsistency_case WHERE state <> 'closed'")
    kinds = [kind for (kind,) in await world.rows("SELECT kind FROM log_entry ORDER BY id")]
    assert [kind for kind in STORY if kind not in kinds] == []
    assert await world.doctor() == []
    return report


async def test_scenario_13_a_block_that_is_missing_at_its_registry(world: Stage) -> None:
    """A lost credit: 6302, its units locked, left to persons (99), and restored by two."""
    lost = await block(world, "KOR01", 30)
    await by_hand(world, "KOR01", "lose", units=units(lost))
    [finding] = await found(world, "KOR01", 6302)
    assert (finding.first, finding.last, finding.there) == (lost["first"], lost["last"], None)
    [(clean_at,)] = await world.rows("SELECT cut_at FROM reconciliation WHERE link = 'KOR01' AND status = 5")
    trail = (await asked(world, f"cases/{finding.case}/trail", "GET")).json()
    assert (datetime.fromisoformat(trail["since"]), trail["moved"]) == (clean_at, [])
    trail = (await asked(world, f"cases/{finding.case}/trail?since=2020-01-01T00:00:00Z", "GET")).json()
    assert {one["what"] for one in trail["moved"]} == {"opened", "closed"}
    await put_right(world, "KOR01", finding)
    await clean(world, "KOR01")


async def test_a_double_credit_is_taken_out(world: Stage) -> None:
    """Of units that MEC01 has, too: they exist twice, and while that is so they do not move."""
    doubled = await block(world, "MEC01", 20)
    await by_hand(world, "KOR01", "invent", party="KOR", account="100-1", block=doubled)
    [finding] = await found(world, "KOR01", 4007)
    assert (finding.first, finding.last, finding.here) == (doubled["first"], doubled["last"], None)
    wish = {"party": "MMR", "to": {"registry": "KOR01", "party": "KOR", "account": "100-1"}, "quantity": 20}
    [transfer] = (
        await world.registries["MEC01"].post(
            "transfers", transfers=[wish | {"blocks": [units(doubled)], "authorisation": None}]
        )
    )["transfers"]
    assert await world.relay([transfer]) == ["refused"]
    assert 4008 in {one["code"] for one in (await world.transfer(transfer))["transfer"]["findings"]}
    await put_right(world, "KOR01", finding)
    await clean(world, "KOR01")


async def test_who_claims_what_another_has_does_not_hold_it_fast(world: Stage) -> None:
    """The holder's own books agree with the gateway's after the claim: two of the gateway may set the units free."""
    whole = await block(world, "MEC01", 40)
    doubled, more = [{**whole, "first": whole["first"] + at, "last": whole["first"] + at + 19} for at in (0, 20)]
    await by_hand(world, "KOR01", "invent", party="KOR", account="100-1", block=doubled)
    [finding] = await found(world, "KOR01", 4007)
    wish = {"version": 1, "reason": "MEC01 has proved that it has them (synthetic)"}
    refused = await asked(world, f"cases/{finding.case}/close", **wish)
    assert (refused.status_code, refused.json()["code"]) == (409, 3003)
    assert (await reconcile(world, "MEC01")).run.status == 5
    await by_hand(world, "KOR01", "invent", party="KOR", account="100-1", block=more)
    assert {one.case for one in (await reconcile(world, "KOR01")).findings} == {finding.case}
    refused = await asked(world, f"cases/{finding.case}/close", **wish)
    assert (refused.status_code, refused.json()["code"]) == (409, 3003)  # MEC01 was compared before they entered it
    assert (await reconcile(world, "MEC01")).run.status == 5
    done = await decided(world, f"cases/{finding.case}/close", **wish)
    assert done["result"] == {"case": finding.case, "closed": True}
    assert not await world.count("flag WHERE closed_by IS NULL")
    assert await world.doctor() == []


async def test_a_changed_attribute_is_changed_back(world: Stage) -> None:
    changed = await block(world, "KOR01", 10)
    await by_hand(world, "KOR01", "change", units=units(changed), attributes={"activity": "another (synthetic)"})
    [finding] = await found(world, "KOR01", 6303)
    assert finding.there is not None and json.loads(finding.there)["attributes"]["activity"] == "another (synthetic)"
    await put_right(world, "KOR01", finding)
    await clean(world, "KOR01")


async def test_a_block_moved_by_hand_is_moved_back(world: Stage) -> None:
    moved = await block(world, "KOR01", 10)
    await by_hand(world, "KOR01", "move", units=units(moved), party="KOR", account="300-9")
    [finding] = await found(world, "KOR01", 6304)
    assert finding.there is not None and json.loads(finding.there)["account_type"] == 300
    await put_right(world, "KOR01", finding)
    await clean(world, "KOR01")


async def test_what_two_registries_moved_by_hand_is_what_the_book_is_corrected_to(world: Stage) -> None:
    """MEC01 gave units out of hand and Korea took them: the book, by two of the gateway, follows what both signed."""
    moved = await block(world, "MEC01", 25)
    await by_hand(world, "MEC01", "lose", units=units(moved))
    await by_hand(world, "KOR01", "invent", party="KOR", account="100-1", block=moved)
    await found(world, "MEC01", 6302)
    report = await reconcile(world, "KOR01")
    assert [one.code for one in report.findings] == [4007]
    case = str(report.findings[0].case)
    version = (await world.api.get(f"/api/v1/cases/{case}")).json()["case"]["version"]
    one, two = [
        await world.calling(Caller(f"of the gateway {nr}", person=True, sight=EVERYTHING, scopes=frozenset(Scope)))
        for nr in (1, 2)
    ]
    wish = {"version": version, "reason": "moved by agreement (synthetic)", "evidence": "letters of both (synthetic)"}
    first = await one.post(f"/api/v1/cases/{case}/correct", json=wish)
    assert first.is_success, first.text
    agreed = await two.post(f"/api/v1/approvals/{first.json()['id']}/approve", json={"sha256": first.json()["sha256"]})
    assert agreed.json()["state"] == "approved", agreed.text
    assert await world.count("flag WHERE kind = 'discrepancy' AND closed_by IS NULL")  # until it is proved
    assert (await reconcile(world, "MEC01")).run.status == 6
    await clean(world, "KOR01")


async def test_what_was_released_and_never_credited_is_explained_and_then_credited(world: Stage) -> None:
    """The acquirer does not answer: the difference is the transfer's, and ends with it; nothing is locked for it."""
    await world.registries["KOR01"].post("faults", fault="lose-request", type="transfer.settle", times=1_000)
    [transfer] = await world.propose(40)

    async def released() -> bool:
        return await world.states([transfer]) == ["released"]

    async with world.working():
        await world.until(released)
    report = await reconcile(world, "MEC01")
    assert (report.run.status, report.found, report.explained) == (5, 0, 1)
    assert report.findings[0].explained_by == [transfer]
    await world.registries["KOR01"].http.delete(f"{world.registries['KOR01'].url}/admin/faults")
    assert await world.relay([transfer]) == ["completed"]
    for code in ("MEC01", "KOR01"):
        report = await reconcile(world, code)
        assert (report.run.status, report.found, report.explained) == (5, 0, 0)
