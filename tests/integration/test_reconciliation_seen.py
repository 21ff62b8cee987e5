"""Who is bound to a registry is told of its own book alone: not who else has its units, nor what is said of others."""

import json

from gateway.domain.callers import Caller, Scope, Sight
from gateway.reconciliation import view
from tests.reconciling import at_registry, reconcile
from tests.stage import Stage

KOREAN = Caller("korean", True, Sight("KOR01", "KOR"), frozenset(Scope))
SWEDISH, GHANAIAN = [Sight(f"{one}99", one) for one in ("SWE", "GHA")]
RUN = "01920000-0000-7000-8000-000000000001"
REMARKS = [
    "GHA99: its totals are not those of its root (6901)",
    "the states of GHA99 are not those of their hashes",
    "SWE99: more differs, or is told, than can be compared",
    "not all that INT01 had told by then has arrived (3007)",
    "transfer INT01-01920000-0000-7000-8000-000000000002 is in flight there and unknown here (6401)",
]


async def test_who_else_has_the_units_is_nobody_elses_business(linked: Stage) -> None:
    """Korea credited what MEC01 has, and lost what a transfer brought: its people learn that, and nothing of MEC01."""
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100, 50)) == ["completed"] * 2
    [[free]] = await linked.rows("SELECT max(last) - 4 FROM position WHERE registry = 'MEC01' AND closed_by IS NULL")
    await at_registry(
        linked, "KOR01", "INSERT INTO holding (series, first, last, party, account, attributes, itmo, itmo_offset,"
        " first_transferred) SELECT series, %s, %s, party, account, attributes, itmo, itmo_offset, first_transferred"
        " FROM holding ORDER BY first LIMIT 1", free, free + 4,
    )  # fmt: skip
    await at_registry(linked, "KOR01", "DELETE FROM holding WHERE first = (SELECT min(first) FROM holding)")
    run = await reconcile(linked, "KOR01")
    assert sorted(one.code for one in run.findings) == [4007, 6302]
    assert all("MEC01" in one.detail for one in run.findings)
    korean = await linked.calling(KOREAN)
    answer = await korean.get(f"/api/v1/reconciliations/{run.run.id}")
    assert answer.is_success, answer.text
    assert sorted(one["detail"] for one in answer.json()["findings"]) == [
        "KOR01 does not hold them", "KOR01 holds them, and so does another registry"]  # fmt: skip
    case = next(one.case for one in run.findings if one.code == 4007)
    [unit] = (await korean.get(f"/api/v1/cases/{case}/findings")).json()["findings"]
    assert unit["detail"] == "KOR01 holds them, and so does another registry"
    page = (await korean.get(f"/api/v1/reconciliations/{run.run.id}/report")).text
    assert "and so does another registry" in page and "so does MEC01" not in page


async def test_what_explains_a_finding_is_named_to_who_sees_it(linked: Stage) -> None:
    await linked.issue(1_000)
    await linked.registries["KOR01"].post("faults", fault="lose-request", type="transfer.settle", times=1_000)
    [transfer] = await linked.propose(40)

    async def released() -> bool:
        return await linked.states([transfer]) == ["released"]

    async with linked.working():
        await linked.until(released)
    run = (await reconcile(linked, "MEC01")).run.id
    async with linked.gateway.database.reading() as tx:
        seen = await view.report(tx, Sight("MEC01"), run)
    assert [one.explained_by for one in seen.findings] == [[transfer]]
    await linked.rows(
        "INSERT INTO reconciliation_finding (reconciliation_id, registry, code, origin_registry, series, first, last,"
        " detail, explained_by) SELECT reconciliation_id, registry, 6302, origin_registry, series, 990, 990, detail,"
        " ARRAY['KOR01-of-others'] FROM reconciliation_finding RETURNING 1"
    )
    async with linked.gateway.database.reading() as tx:
        seen = await view.report(tx, Sight("MEC01"), run)
    assert [one.explained_by for one in seen.findings] == [[transfer], []]


async def test_remarks_of_another_section_and_of_transfers_are_not_shown(stage: Stage) -> None:
    await stage.link("INT01", "international", sections=("GHA", "SWE"))
    await stage.rows(
        "INSERT INTO reconciliation (id, link, state, status, announce_seconds, remarks, begun_at, ended_at, entry_id)"
        f" SELECT '{RUN}', 'INT01', 'ended', 99, 0, CAST('{json.dumps(REMARKS)}' AS jsonb), now(), now(), max(id)"
        " FROM log_entry RETURNING 1"
    )
    async with stage.gateway.database.reading() as tx:
        shown = {
            sight.code: (await view.report(tx, sight, RUN)).run.remarks
            for sight in (SWEDISH, GHANAIAN, Sight("INT01"), Sight(None))
        }
    assert shown == {
        "SWE99": [REMARKS[2], REMARKS[3]],
        "GHA99": [REMARKS[0], REMARKS[1], REMARKS[3]],
        "INT01": REMARKS,
        None: REMARKS,
    }
