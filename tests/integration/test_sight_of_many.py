"""Among a hundred thousand transfers of others, who sees a few gets their pages by reading these few.

Method: rows written by hand, then PostgreSQL's own count of what it reads for each statement a listing is made of.
"""

import asyncio
import json
from itertools import product
from typing import Any

import psycopg
import pytest

from gateway import db
from gateway.approvals import store as approvals
from gateway.domain.callers import EVERYTHING, Caller, Scope, Sight
from gateway.recordings import store as records
from gateway.reports import store as reports
from gateway.transfers import view
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, block, join
from tests.stage import Stage

MANY, FEW = 100_000, 40

#: Transfers of MEC01 to KOR01 and, now and then, to JPN01; some of them of units first transferred by Myanmar.
ROWS = f"""
INSERT INTO transfer (id, source, acquirer, transferring_registry, transferring_party, transferring_account,
  acquiring_registry, acquiring_party, acquiring_account, purpose, quantity, block_count, state, version, deadline,
  created_at, changed_at)
SELECT 'MEC01-' || lpad(n::text, 8, '0'), 'MEC01', 'KOR01', 'MEC01', 'MMR', '100-1', to_registry, 'KOR', '100-1', 'NDC',
  1, 1, CASE n % 10 WHEN 0 THEN 'proposed' ELSE 'completed' END, 1, now(), at, at
FROM generate_series(1, {MANY}) AS n
CROSS JOIN LATERAL (SELECT CASE n % {MANY // FEW} WHEN 0 THEN 'JPN01' ELSE 'KOR01' END,
  timestamptz '2026-01-01' + n * interval '1 second') AS made(to_registry, at)
"""
VIEWERS = f"""
INSERT INTO transfer_viewer
SELECT viewer, created_at, id FROM transfer
CROSS JOIN LATERAL (VALUES ('MEC01'), (acquiring_registry), (CASE WHEN right(id, 4)::int % {MANY // FEW} = 7 THEN 'MMR' END))
  AS v(viewer) WHERE viewer IS NOT NULL
"""  # noqa: E501


#: The parameters of a listing, as PostgreSQL numbers them in a plan that does not know their values.
NAMED = {"sight_party": "$2", "sight": "$1", "limit": "$3", "state": "$4", "edge": "$5", "before": "$6"}


async def read(stage: Stage, statement: str, sight: Sight) -> tuple[int, str]:
    """How many pages of the database a statement reads for a sight, by the plan for any sight; that plan."""
    for name, number in NAMED.items():
        statement = statement.replace(f":{name}", number)
    code, party = f"'{sight.code}'", f"'{sight.party}'" if sight.party else "NULL"
    given = f"{code}, {party}, {view.FEW}, 'proposed', now(), 'X'"
    dsn = stage.server.dsn(stage.database_name, "gateway_app")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(
            f"PREPARE listing (text, text, bigint, text, timestamptz, text) AS {statement}".encode()
        )
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE listing ({given})"
        found: Any = await (await connection.execute(explain.encode())).fetchone()
    plan = found[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], json.dumps(plan)


#: Approvals of KOR01 and, now and then, of JPN01; none of them about anything.
APPROVALS = f"""
INSERT INTO approval (id, kind, registry, canonical, sha256, initiator, requested_at, expires_at, requested_by,
  state, decided_at, decided_by)
SELECT gen_random_uuid(), 'x', CASE n % {MANY // FEW} WHEN 0 THEN 'JPN01' ELSE 'KOR01' END, n::text,
  sha256(convert_to(n::text, 'UTF8')), 'p', at, at + interval '1 day', entry, 'expired', at, entry
FROM generate_series(1, {MANY}) AS n
CROSS JOIN LATERAL (SELECT timestamptz '2026-01-01' + n * interval '1 second') AS made(at)
CROSS JOIN (SELECT min(id) FROM log_entry) AS first(entry)
"""


async def test_approvals_and_records_are_listed_by_an_index(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await Course.begun(stage)
    for statement in (APPROVALS, "VACUUM ANALYZE approval"):
        await stage.rows(statement)
    sight, said = Sight("JPN01", "JPN"), []
    plain = db.rows

    async def heard(tx: Any, statement: str, given: Any = None) -> Any:
        said.append((statement, given))
        return await plain(tx, statement, given)

    async with stage.gateway.database.reading() as tx:
        monkeypatch.setattr(db, "rows", heard)
        found = await approvals.listing(tx, sight, stage.clock(), state=None, limit=50, before=None)
        await records.listing(tx, sight)
        monkeypatch.undo()
        plans = [(await plain(tx, f"EXPLAIN (FORMAT JSON) {asked}", given))[0][0] for asked, given in said]
    assert len(found) == FEW
    assert "approval_of_registry" in json.dumps(plans[0]), plans[0]
    assert '"action_record_of_section"' in json.dumps(plans[1]), plans[1]


#: Movements from MEC01 to KOR01 and, now and then, to JPN01; some of them of units first transferred by Myanmar.
MOVEMENTS = f"""
INSERT INTO unit_movement (cause, part, type, at, party, registry, acquiring_party, acquiring_registry, acquired_at,
  first_transferring_party, vintage, metric, cooperative_approach, first_transfer, first_transferred, quantity, entry_id)
SELECT 'MEC01-' || n, 1, 'Transfer', now(), 'GHA', 'MEC01', 'KOR', CASE n % {MANY // FEW} WHEN 0 THEN 'JPN01'
  ELSE 'KOR01' END, now(), CASE n % {MANY // FEW} WHEN 7 THEN 'MMR' ELSE 'GHA' END, 2021, 'GHG', 'CA0001', false, true, 1, 1
FROM generate_series(1, {MANY}) AS n
"""  # noqa: E501


async def test_actions_are_listed_by_the_indexes_of_their_sides(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await Course.begun(stage)
    for code in ("JPN01", "MMR01"):
        await join(stage, code, "party", code[:3])
    for statement in (MOVEMENTS, "VACUUM ANALYZE unit_movement"):
        await stage.rows(statement)
    plain = db.rows
    async with stage.gateway.database.reading() as tx:
        for sight, sides in (
            (Sight("JPN01", "JPN"), 2 * FEW),
            (Sight("MMR01", "MMR"), 2 * FEW),
            (Sight("KOR01", "KOR"), 100),
        ):
            said: list[tuple[str, Any]] = []

            async def heard(tx: Any, statement: str, given: Any = None, said: Any = said) -> Any:
                said.append((statement, given))
                return await plain(tx, statement, given)

            monkeypatch.setattr(db, "rows", heard)
            found, _ = await reports.actions(tx, sight, limit=50)
            monkeypatch.undo()
            [(asked, given)] = said
            explained = (await plain(tx, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked}", given))[0][0][0]["Plan"]
            assert len(found) == sides
            read = explained["Shared Hit Blocks"] + explained["Shared Read Blocks"]
            assert read <= view.FEW * 8 + 50, (sight, read, json.dumps(explained))


async def test_a_listing_reads_what_it_shows(stage: Stage) -> None:
    await Course.begun(stage)
    for statement in (ROWS, VIEWERS, "VACUUM ANALYZE transfer", "VACUUM ANALYZE transfer_viewer"):
        await stage.rows(statement)
    for sight in (Sight("JPN01", "JPN"), Sight("MMR01", "MMR"), Sight("KOR01", "KOR"), Sight("MEC01"), Sight("CHE01")):
        for of_state, onward in product((False, True), repeat=2):
            statement = view.page(bound=True, few=True, of_state=of_state, onward=onward)
            pages, plan = await read(stage, statement, sight)
            # A row is on one page, found by three of an index; one of ten is in the state asked for.
            assert pages <= view.FEW * (4 + 40 * of_state) + 50, (sight, of_state, onward, pages, plan)
            assert "Seq Scan" not in plan, plan
    async with stage.gateway.database.reading() as tx:
        assert len(await view.listing(tx, Sight("JPN01", "JPN"), limit=500)) == FEW
        assert len(await view.listing(tx, Sight("MMR01", "MMR"), limit=500)) == FEW
        assert len(await view.listing(tx, EVERYTHING, limit=7)) == 7
        everybody = await view.tally(tx, Sight("MEC01"))
    assert everybody == {"proposed": MANY // 10, "completed": MANY - MANY // 10}


async def test_rows_written_at_once_have_their_viewers(stage: Stage) -> None:
    course, series = await Course.begun(stage), uuid7()
    await course.issue(block(1, 40, series=series))
    items = [course.proposal(block(n, n, series=series)) for n in range(1, 21)]
    await asyncio.gather(*(course.propose(item) for item in items))
    korean = await stage.calling(Caller("korean", True, Sight("KOR01", "KOR"), frozenset({Scope.TRANSFERS_READ})))
    listed = (await korean.get("/api/v1/transfers", params={"limit": 500})).json()["transfers"]
    assert {row["id"] for row in listed} == {str(item["transfer"]) for item in items}
