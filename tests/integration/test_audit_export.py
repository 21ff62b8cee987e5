"""An export is what a search finds, whole or seen not to be, in each format; and whoever reads slowly holds up nobody.

Method: a gateway with two played registries; pages are made small, so that an export takes many of them.
"""

import asyncio
import csv
import io
import json
import sys
from typing import Any

import pytest
from psycopg import conninfo

from gateway import db
from gateway.domain.callers import EVERYTHING, Sight
from gateway.errors import GatewayError
from gateway.evidence import export, search
from gateway.evidence.export import COLUMNS, Ending, Format
from gateway.evidence.search import Wanted
from gateway.web import guard
from tests.integration.test_audit_search import found
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, block

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: How the sessions of an export of a test's own are called.
READER = "slow-reader"


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WINDOW", 3)


async def exported(course: Course, format: Format, **wanted: str) -> bytes:
    answer = await course.stage.api.get("/api/v1/audit/export", params={**wanted, "format": format.value})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == format.media_type
    return answer.content


async def searched(course: Course, **wanted: str) -> list[dict[str, Any]]:
    """What the same search finds, in the order of an export."""
    return (await found(course.stage.api, **wanted))[::-1]


async def published(course: Course) -> dict[str, Any] | None:
    return dict(await _page(course)).get("checkpoint")


async def _page(course: Course) -> dict[str, Any]:
    return dict((await course.stage.api.get("/api/v1/audit/entries?limit=1")).json())


@pytest.mark.parametrize("wanted", [{}, {"type": "receipt"}, {"party": "KOR"}, {"type": "nothing.known"}])
async def test_ndjson_is_what_a_search_finds_with_its_end(course: Course, wanted: dict[str, str]) -> None:
    await course.propose(course.proposal(block(1, 10, series=uuid7())))
    lines = [json.loads(line) for line in (await exported(course, Format.NDJSON, **wanted)).splitlines()]
    entries, checkpoint = await searched(course, **wanted), await published(course)
    assert lines[0] == {"export": {"wanted": wanted, "checkpoint": checkpoint}}
    shown = [{**entry, "at": entry["at"][:23]} for entry in entries]
    assert [{**line, "at": line["at"][:23]} for line in lines[1:-1]] == shown
    assert lines[-1] == {"end": {"count": len(entries), "checkpoint": checkpoint}}


async def test_csv_has_the_same_rows_and_an_end(course: Course) -> None:
    await course.stage.transparency.turn()
    rows = list(csv.DictReader(io.StringIO((await exported(course, Format.CSV)).decode())))
    entries, checkpoint = await searched(course), await published(course)
    assert tuple(rows[0]) == COLUMNS
    for row, entry in zip(rows[:-1], entries, strict=True):
        assert row["record"] == entry["record"] and row["leaf"] == entry["leaf"]
        assert row["message_id"] == (entry["message"]["id"] if entry["message"] else "")
    assert list(rows[-1].values())[:2] == ["#end", str(len(entries))]
    assert json.loads(list(rows[-1].values())[2]) == checkpoint


async def test_parquet_has_the_same_rows_and_its_footer_counts_them(course: Course) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    file = parquet.ParquetFile(io.BytesIO(await exported(course, Format.PARQUET)))
    entries, table = await searched(course), file.read()
    assert table.column_names == list(COLUMNS)
    assert table["entry"].to_pylist() == [entry["entry"] for entry in entries]
    assert table["record"].to_pylist() == [entry["record"] for entry in entries]
    assert table["message_seq"].to_pylist() == [(entry["message"] or {}).get("seq") for entry in entries]
    said = file.metadata.metadata
    assert said[b"count"] == str(len(entries)).encode()
    assert json.loads(said[b"checkpoint"]) == await published(course)
    assert file.metadata.num_row_groups > 1


async def test_parquet_without_its_extra_is_refused_before_anything_is_sent(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = await course.stage.api.get("/api/v1/audit/export?format=parquet")
    assert answer.status_code == 415 and "'parquet'" in answer.json()["detail"]
    wrong = await course.stage.api.get("/api/v1/audit/export?format=xml")
    assert (wrong.status_code, wrong.json()["code"]) == (422, 2001)


@pytest.mark.parametrize("format", Format)
async def test_an_export_that_is_cut_off_anywhere_is_seen_not_to_be_whole(course: Course, format: Format) -> None:
    if format is Format.PARQUET:
        pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    whole = await exported(course, format, type="receipt")
    for cut in range(0, len(whole), 1 if len(whole) < 2**15 else 7):
        with pytest.raises(GatewayError) as refused:
            _ended(format, whole[:cut])
        assert refused.value.code == 9001
    ending = _ended(format, whole)
    count = len(await searched(course, type="receipt"))
    assert ending.count == (None if format is Format.PARQUET else count) and count > 2


@pytest.mark.parametrize("format", [Format.NDJSON, Format.CSV])
async def test_an_export_without_one_of_its_rows_is_seen_not_to_be_whole(course: Course, format: Format) -> None:
    lines = (await exported(course, format)).splitlines(keepends=True)
    for missing in range(1, len(lines)):
        with pytest.raises(GatewayError):
            _ended(format, b"".join(lines[:missing] + lines[missing + 1 :]))


def _ended(format: Format, content: bytes) -> Ending:
    ending = Ending(format)
    for begin in range(0, len(content), 1000):
        ending.feed(content[begin : begin + 1000])
    ending.require()
    return ending


async def test_whoever_reads_slowly_holds_no_transaction_and_gets_what_there_was_when_they_began(
    course: Course,
) -> None:
    """What holds a transaction is looked for among the sessions of the export alone: others of the process may."""
    before = await searched(course)
    own = course.stage.server.dsn(course.stage.database_name, "gateway_app")
    database = db.Database(conninfo.make_conninfo(own, application_name=READER))
    try:
        async with database.reading() as tx:
            await db.one(tx, "SELECT 1 FROM log_entry LIMIT 1")
            assert await transactions(course) == 1  # it would be seen
        begun = await export.begun(database, EVERYTHING, Wanted(), Format.NDJSON)
        read: list[bytes] = []
        async for chunk in begun.chunks():
            read.append(chunk)
            assert await transactions(course) == 0
            if len(read) == 2:
                await course.issue(block(1, 10, series=uuid7()))
    finally:
        await database.close()
    lines = [json.loads(line) for line in b"".join(read).splitlines()]
    assert [line["entry"] for line in lines[1:-1]] == [entry["entry"] for entry in before]
    assert len(await searched(course)) > len(before)


async def transactions(course: Course) -> int:
    """How many transactions the reader's sessions have open, as their own role sees it: others see no times."""
    of_reader = f"datname = current_database() AND application_name = '{READER}'"
    held = f"SELECT count(xact_start) FROM pg_stat_activity WHERE {of_reader}"
    [(count,)] = await course.stage.rows(held, "gateway_app")
    return int(count)


async def test_an_export_of_what_is_not_seen_is_empty_and_whole(course: Course) -> None:
    begun = await export.begun(course.stage.gateway.database, Sight("DEU01", "DEU"), Wanted(), Format.NDJSON)
    content = b"".join([chunk async for chunk in begun.chunks()])
    assert _ended(Format.NDJSON, content).count == 0


async def test_an_answer_may_take_longer_than_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds the arrival of a body does not end an answer that is streamed: it hears only that its reader left."""
    monkeypatch.setattr(guard, "READ_SECONDS", 0.0)  # over as soon as anything is waited for
    heard: list[str] = []

    async def answering(_scope: Any, receive: Any, _send: Any) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])

    messages = iter([{"type": "http.request", "body": b"x", "more_body": False}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        message = next(messages)
        if message["type"] == "http.disconnect":
            for _ in range(3):
                await asyncio.sleep(0)
        return message

    async def send(_message: Any) -> None:
        raise AssertionError("nothing is sent")

    await guard.Guard(answering, max_body=10)({"type": "http", "headers": []}, receive, send)  # type: ignore[arg-type]
    assert heard == ["http.request", "http.disconnect"]
