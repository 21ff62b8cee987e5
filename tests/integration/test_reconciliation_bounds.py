"""However much differs, or is known of what differs: the work is bounded, and nothing is let go that still differs."""

import hashlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psycopg
import pytest

from gateway import db, embedded
from gateway.domain.identifiers import parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.reconciliation import judging
from gateway.reconciliation.classify import Differing
from gateway.reconciliation.findings import Found
from gateway.reconciliation.judging import Compared, Outcome, Verdict
from gateway.reconciliation.reading import Cut, TheirBook
from gateway.reconciliation.store import Run, State
from gateway.signing import compact
from tests import differing
from tests.fingerprinting import Books
from tests.integration.test_fingerprint_cuts import plant
from tests.reconciling import at_registry, reconcile
from tests.stage import Stage

PLANTED = Origin(parse_registry_code("MEC01"), "PLANTED")
STATE = '{"party": "JPN", "account_type": 100}'


@pytest.fixture
async def books(postgres: embedded.Server) -> AsyncIterator[Books]:
    opened = Books.opened(postgres)
    yield opened
    await opened.database.close()


async def judged(
    database: db.Database, registry: str, *differences: Differing, more: bool = False, fence: int = 0
) -> Verdict:
    """What a run that compared one book, with these differences, comes to."""
    now = datetime.now(UTC)
    run = Run("-", registry, State.TAKEN, 0, False, 1, "-", now, fence, 1, fence, None, now, 0, 1)
    book = Compared(registry, b"", TheirBook(), {}, differences)
    cut = Cut(now, 0, True, {registry: TheirBook()}, {}, more)
    return await database.run(lambda tx: judging.judge(tx, run, Outcome(None, [book], cut), now), "request")


async def test_a_difference_over_twenty_thousand_positions_is_judged_in_seconds(
    books: Books, postgres: embedded.Server
) -> None:
    """Each a block of its own with a gap behind it: of these, more than are looked at one by one."""
    plant(postgres, books, 20_000)
    begun = time.monotonic()
    whole = Differing("JPN01", UnitRange(PLANTED, 1, 250_000), None, STATE)
    [one] = (await judged(books.database, "JPN01", whole, fence=20_000)).judged
    assert (one.found.code, one.found.units, one.explained_by) == (4007, whole.units, None)
    assert "not divided" in one.found.detail
    part = Differing("JPN01", UnitRange(PLANTED, 1, 50_000), None, STATE)
    assert len((await judged(books.database, "JPN01", part, fence=20_000)).judged) == 10_000
    assert time.monotonic() - begun < 5


async def test_neighbours_in_one_book_are_one_piece(books: Books, postgres: embedded.Server) -> None:
    plant(postgres, books, 20_000)
    name = psycopg.conninfo.conninfo_to_dict(books.database.url)["dbname"]
    with psycopg.connect(postgres.dsn(str(name), "gateway_owner"), autocommit=True) as connection:
        connection.execute("INSERT INTO unit_series (registry, series) VALUES ('MEC01', 'DENSE')")
        connection.execute(
            "INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id, opened_by)"
            " SELECT (SELECT id FROM unit_series WHERE series = 'DENSE'), id, id, 'KOR01', 'KOR', 100, 1, 1"
            " FROM generate_series(1, 20000) AS id"
        )
    dense = Origin(parse_registry_code("MEC01"), "DENSE")
    whole = Differing("JPN01", UnitRange(dense, 1, 20_000), None, STATE)
    [one] = (await judged(books.database, "JPN01", whole, fence=20_000)).judged
    assert (one.found.code, one.found.units) == (4007, whole.units)
    assert "not divided" not in one.found.detail


async def test_of_a_book_with_more_findings_than_are_kept_nothing_is_let_go(books: Books) -> None:
    many = [
        Differing("KOR01", UnitRange(PLANTED, 2 * nr, 2 * nr), STATE, None)
        for nr in range(1, 3 + judging.MOST_FINDINGS)
    ]
    verdict = await judged(books.database, "KOR01", *many)
    assert len(verdict.judged) == judging.MOST_FINDINGS and verdict.cut_off == {"KOR01"}
    assert verdict.still["KOR01"] == [one.units for one in many]
    assert verdict.remarks == (f"there are {len(many)} findings; the first {judging.MOST_FINDINGS} are kept",)


async def test_what_is_not_kept_stays_locked_in_its_case(linked: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100, 50)) == ["completed"] * 2
    await at_registry(linked, "KOR01", "DELETE FROM holding")
    assert (await reconcile(linked, "KOR01")).found == 2
    locked = await linked.rows("SELECT first, last FROM flag WHERE closed_by IS NULL ORDER BY first")
    monkeypatch.setattr(judging, "MOST_FINDINGS", 1)
    again = await reconcile(linked, "KOR01")
    assert (again.run.status, again.found) == (99, 1)
    assert await linked.rows("SELECT first, last FROM flag WHERE closed_by IS NULL ORDER BY first") == locked
    assert not await linked.count("inconsistency_case WHERE state = 'closed'")


async def test_where_more_transfers_move_than_are_told_no_case_of_a_transfer_is_closed(linked: Stage) -> None:
    await linked.issue(1_000)
    units = differing.units("MMR-A64", 1, 10)
    await differing.opened(linked, Found("MEC01", 6402, units, None, None), link="MEC01")
    verdict = await judged(linked.gateway.database, "MEC01", more=True)
    assert verdict.still["MEC01"] == [units] and "are told" in verdict.remarks[0]
    assert (await judged(linked.gateway.database, "MEC01")).still["MEC01"] == []


async def test_the_log_binds_every_finding_the_totals_and_the_remarks(linked: Stage) -> None:
    await linked.issue(1_000)
    assert await linked.relay(await linked.propose(100, 50)) == ["completed"] * 2
    await at_registry(linked, "KOR01", "DELETE FROM holding")
    report = await reconcile(linked, "KOR01")
    [[record]] = await linked.rows(
        "SELECT convert_from(record, 'UTF8') FROM log_record JOIN log_entry ON id = entry_id"
        " WHERE kind = 'reconciliation.compared'"
    )
    said = json.loads(record)
    said = said.get("record", said)
    texts = [
        json.dumps(
            {
                "registry": one.registry,
                "code": one.code,
                "units": {
                    "origin": {"registry": one.origin_registry, "series": one.series},
                    "first": one.first,
                    "last": one.last,
                },
                "here": one.here,
                "there": one.there,
                "detail": one.detail,
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )
        for one in report.findings
    ]
    digest = hashlib.sha256("".join(f"{text}\n" for text in texts).encode()).digest()
    assert said["sha256"] == compact.encode(digest)
    assert (said["found"], said["books"][0]["codes"], said["remarks"]) == (2, [6201], [])
