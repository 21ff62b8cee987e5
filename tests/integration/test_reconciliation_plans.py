"""What a run looks up of claims, transfers and messages: by indexes, however many there ever were."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from gateway import db, embedded
from gateway.domain.identifiers import parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.holdings.book import block_columns
from gateway.reconciliation import arrival, moving_store, settled_store
from tests.fingerprinting import Books
from tests.integration.test_fingerprint_cuts import plant

NUMBER = 60_000
UNITS = [UnitRange(Origin(parse_registry_code("MEC01"), "PLANTED"), 590_000, 590_400)]
NOW = datetime(2030, 1, 1, tzinfo=UTC)
#: The same, as a UUIDv7 says it.
_MOMENT = int(NOW.timestamp() * 1000)
NAMED = [f"MEC01-01920000-0000-7000-8000-{nr:012d}" for nr in range(5)]
STATEMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "live": (moving_store.LIVE, {**block_columns(UNITS), "book": "MEC01", "late": NOW}),
    "completed": (moving_store.COMPLETED, {**block_columns(UNITS), "book": "MEC01", "late": NOW, "fence": 59_900}),
    "settled": (settled_store.COMPLETED, {**block_columns(UNITS), "book": "MEC01"}),
    "held": (moving_store.HELD, block_columns(UNITS)),
    "unknown-there": (moving_store.UNKNOWN_THERE, {"link": "MEC01", "moving": NAMED, "fence": 59_900}),
    "over-here": (moving_store.OVER_HERE, {"link": "MEC01", "moving": NAMED, "before": NOW}),
    "unknown-here": (moving_store.UNKNOWN_HERE, {"moving": NAMED}),
    "refused-here": (moving_store.REFUSED_HERE, {"link": "MEC01", "moving": NAMED}),
    "arrived": (arrival.ARRIVED, {"link": "MEC01", "told": 59_000, "wanted": 1_000}),
    "unanswered": (arrival.UNANSWERED, {"link": "MEC01", "before": NOW}),
}
TABLES = ("transfer", "transfer_event", "claim", "position", "message", "log_entry", "log_leaf")


@pytest.fixture
async def books(postgres: embedded.Server) -> AsyncIterator[Books]:
    opened = Books.opened(postgres)
    plant(postgres, opened, NUMBER)
    name = psycopg.conninfo.conninfo_to_dict(opened.database.url)["dbname"]
    with psycopg.connect(postgres.dsn(str(name), "gateway_owner"), autocommit=True) as connection:
        connection.execute(LINK)
        connection.execute(TRANSFERS.format(one_in=1_000))
    yield opened
    await opened.database.close()


LINK = (
    "INSERT INTO link (code, kind, url, state, capabilities, changed_by)"
    " VALUES ('MEC01', 'mechanism', 'http://x', 'active', '{}', 1)"
)
#: As many transfers, one in a thousand of them on its way, and for each an event, a claim and a message.
TRANSFERS = """
  INSERT INTO transfer (id, source, transferring_registry, transferring_party, transferring_account,
    acquiring_registry, acquiring_party, acquiring_account, purpose, quantity, block_count, state, version, deadline,
    created_at, changed_at)
  SELECT 'MEC01-01920000-0000-7000-8000-' || lpad(CAST(id AS text), 12, '0'), 'MEC01', 'MEC01', 'MMR', '100-1', 'KOR01',
    'KOR', '100-1', 'IMP', 9, 1, CASE WHEN id % {one_in} = 0 THEN 'released' ELSE 'completed' END, 1, now(), now(),
    now()
  FROM log_entry;
  INSERT INTO transfer_event (transfer_id, version, state, event, at, entry_id)
  SELECT t.id, 1, t.state, 'planted', now(), CAST(right(t.id, 12) AS bigint) FROM transfer t;
  INSERT INTO claim (transfer_id, series_id, first, last, released_by)
  SELECT t.id, 1, 10 * e.entry_id, 10 * e.entry_id + 8, CASE t.state WHEN 'completed' THEN e.entry_id END
  FROM transfer t JOIN transfer_event e ON e.transfer_id = t.id;
  INSERT INTO message (entry_id, direction, peer, message_id, type, seq, sha256, content_type, body, at)
  SELECT id, 'in', 'MEC01', gen_random_uuid(), CASE WHEN id % 7 = 0 THEN 'transfer.propose' ELSE 'receipt' END, id,
    sha256('x'), 'x', 'x', now() FROM log_entry;
  ANALYZE
"""


async def test_no_statement_looks_through_what_ever_was(books: Books) -> None:
    async with books.database.reading() as tx:
        for name, (statement, given) in STATEMENTS.items():
            plan = [row[0] for row in await db.rows(tx, f"EXPLAIN {statement}", given)]
            read = [line for line in plan for table in TABLES if f"Seq Scan on {table} " in line]
            assert not read, (name, plan)


#: A proposal of one transfer, and our refusal of the whole message.
REFUSED = """
  INSERT INTO message (entry_id, direction, peer, message_id, in_reply_to, type, sha256, content_type, body, at)
  SELECT e.id, e.direction, 'MEC01', CAST(e.message AS uuid), CAST(e.answered AS uuid), e.type, sha256('x'), 'x',
    convert_to(e.body, 'UTF8'), now()
  FROM (VALUES (1, 'in', '{0}1', NULL, 'transfer.propose', '{{"transfer":"{1}"}}'),
               (2, 'out', '{0}2', '{0}1', 'refusal', 'x')) AS e(id, direction, message, answered, type, body)
"""


async def test_of_what_is_unknown_here_what_was_refused_as_a_message_and_what_is_young_is_no_news(
    postgres: embedded.Server,
) -> None:
    books = Books.opened(postgres)
    plant(postgres, books, 2)
    refused, unknown = NAMED[1:3]
    young = f"MEC01-{UUID(int=_MOMENT << 80)}"
    name = psycopg.conninfo.conninfo_to_dict(books.database.url)["dbname"]
    with psycopg.connect(postgres.dsn(str(name), "gateway_owner"), autocommit=True) as connection:
        connection.execute(LINK)
        connection.execute(REFUSED.format("00000000-0000-7000-8000-00000000000", refused))
    before = NOW - timedelta(minutes=5)
    later = f"MEC01-{UUID(int=(2**48 - 1) << 80)}"  # of a time that nobody has seen
    async with books.database.reading() as tx:
        asked = sorted([refused, unknown, young, later])
        assert await moving_store.unknown_here(tx, asked, before, NOW) == sorted([refused, unknown, later])
        assert await moving_store.refused_here(tx, "MEC01", asked) == {refused}
    await books.database.close()


async def test_what_a_registry_does_not_tell_of_is_named_and_is_old_only_before_the_fence(
    postgres: embedded.Server,
) -> None:
    books = Books.opened(postgres)
    plant(postgres, books, 4)
    name = psycopg.conninfo.conninfo_to_dict(books.database.url)["dbname"]
    with psycopg.connect(postgres.dsn(str(name), "gateway_owner"), autocommit=True) as connection:
        connection.execute(LINK)
        connection.execute(TRANSFERS.format(one_in=1))
    async with books.database.reading() as tx:
        found = await moving_store.unknown_there(tx, "MEC01", NAMED[:2], 3)
    assert [(one.transfer, one.old) for one in found] == [(NAMED[2], True), (NAMED[3], True), (NAMED[4], False)]
    assert [(units.first, units.last) for units in found[0].units] == [(20, 28)]
    await books.database.close()
