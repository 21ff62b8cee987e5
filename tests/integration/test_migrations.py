"""The schema: migrating again or twice at once changes nothing, and the rows of the code are those of the tables."""

import asyncio
import importlib
import json
import pkgutil
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect
from sqlmodel import SQLModel

import gateway
from gateway import embedded, migrations

OWNER = "gateway_owner"
MIGRATE = "import sys; from gateway import migrations; migrations.apply(sys.argv[1])"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(postgres: embedded.Server) -> str:
    """The address of a new database without a schema."""
    name = f"gateway_{secrets.token_hex(4)}"
    postgres.create_database(name, OWNER)
    return postgres.dsn(name, OWNER)


def schema(dsn: str) -> list[str]:
    """Everything in a database but its rows, and the version it says it has."""
    found = subprocess.run(
        [str(embedded.binaries() / "pg_dump"), "--schema-only", dsn], check=True, capture_output=True, text=True
    ).stdout
    with psycopg.connect(dsn) as connection:
        versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    lines = [line for line in found.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
    return [*lines, *(version for (version,) in versions)]


def test_migrating_again_changes_nothing(postgres: embedded.Server, empty: str) -> None:
    migrations.apply(empty)
    once = schema(empty)
    migrations.apply(empty)
    assert schema(empty) == once == schema(postgres.dsn("gateway", OWNER))
    assert sum(line.startswith("CREATE TABLE") for line in once) > 10


async def test_processes_that_migrate_at_once_migrate_once(postgres: embedded.Server, empty: str) -> None:
    command = [sys.executable, "-c", MIGRATE, empty]
    started = [await asyncio.create_subprocess_exec(*command, cwd=ROOT) for _ in range(2)]
    assert [await process.wait() for process in started] == [0, 0]
    assert schema(empty) == schema(postgres.dsn("gateway", OWNER))


def test_rows_of_the_code_are_those_of_the_tables(postgres: embedded.Server) -> None:
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.startswith(("gateway.migrations", "gateway.__main__")):
            importlib.import_module(module.name)
    mapped = SQLModel.metadata.tables
    assert {"link", "link_registry", "peer_key"} <= mapped.keys()
    engine = create_engine(postgres.dsn("gateway", OWNER).replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        tables = inspect(engine)
        for name, table in mapped.items():
            real = {column["name"]: column["nullable"] for column in tables.get_columns(name)}
            mine = {column.name: column.nullable for column in table.columns}
            assert (name, mine) == (name, {column: real.get(column) for column in mine})
            assert (name, {c.name for c in table.primary_key}) == (
                name,
                set(tables.get_pk_constraint(name)["constrained_columns"]),
            )
    finally:
        engine.dispose()


def test_first_schema_is_not_taken_back() -> None:
    first = importlib.import_module("gateway.migrations.versions.0001_first")
    with pytest.raises(NotImplementedError):
        first.downgrade()


def test_what_is_due_when_requests_get_a_table_for_it_stays_due(empty: str) -> None:
    migrated(empty, "0002")
    with psycopg.connect(empty) as connection:
        for statement in (
            "INSERT INTO log_entry (at, kind, leaf, leaf_hash) VALUES (now(), 'link.registered', '', sha256(''))",
            "INSERT INTO link VALUES ('MEC01', 'mechanism', 'http://127.0.0.1:9', 'active', 24, 1, 1)",
            "INSERT INTO transfer_request SELECT gen_random_uuid(), 'operator', key, sha256(''), 'MEC01', "
            "gen_random_uuid(), state, '[]', 2, due, due, why, now(), by FROM (VALUES ('open', 'sent', now(), 'why',"
            "'worker'), ('answered', 'recorded', NULL, NULL, NULL)) AS made(key, state, due, why, by)",
        ):
            connection.execute(statement)
    migrations.apply(empty)
    with psycopg.connect(empty) as connection:
        owed = connection.execute(
            "SELECT q.idempotency_key, o.peer, o.attempts, o.next_at = o.leased_until, o.leased_by, o.waiting"
            " FROM owed o JOIN transfer_request q USING (message_id)"
        ).fetchall()
    assert owed == [("open", "MEC01", 2, True, "worker", "why")]


#: Transfers of an earlier schema: id → how far it came, whether its unit had an identifier, whether the release first
#: transfers it, and who sees it from now on.
EARLIER: dict[str, tuple[str, bool, bool | None, set[str]]] = {
    "MEC01-refused": ("nothing", False, None, {"MEC01", "INT01", "KOR99"}),
    "MEC01-offered": ("offer", False, None, {"MEC01", "INT01", "KOR99"}),
    "MEC01-first": ("release", False, True, {"MEC01", "INT01", "KOR99", "MMR"}),
    "MEC01-plain": ("release", False, False, {"MEC01", "INT01", "KOR99"}),
    "MEC01-onward": ("offer", True, None, {"MEC01", "INT01", "KOR99", "MMR"}),
    "MEC01-claimed": ("nothing", True, None, {"MEC01", "INT01", "KOR99"}),
}


def test_transfers_of_an_earlier_schema_are_seen_by_whom_they_concern(empty: str) -> None:
    migrated(empty, "0004")
    with psycopg.connect(empty) as connection:
        connection.execute(
            "INSERT INTO log_entry (at, kind, leaf, leaf_hash) VALUES (now(), 'link.registered', '', sha256(''))"
        )
        for code, kind, registry in (("MEC01", "mechanism", "MEC01"), ("INT01", "international", "KOR99")):
            connection.execute(
                "INSERT INTO link VALUES (%s, %s, 'http://127.0.0.1:9', 'active', 24, 1, 1)", [code, kind]
            )
            connection.execute("INSERT INTO link_registry VALUES (%s, %s)", [registry, code])
        connection.execute(
            "INSERT INTO message SELECT 1, 'in', 'MEC01', gen_random_uuid(), 'transfer.propose', 1, NULL, sha256(''), "
            "'x', '', now()"
        )
        for transfer, (reached, named, first, _) in EARLIER.items():
            earlier(connection, transfer, reached, named=named, first=first)
    migrations.apply(empty)
    with psycopg.connect(empty) as connection:
        seen = dict(
            connection.execute("SELECT transfer_id, array_agg(viewer) FROM transfer_viewer GROUP BY 1").fetchall()
        )
    assert {transfer: set(viewers) for transfer, viewers in seen.items()} == {
        transfer: viewers for transfer, (*_, viewers) in EARLIER.items()
    }


def test_what_was_used_and_cancelled_before_is_told_to_its_hosts_as_it_was_announced(empty: str) -> None:
    migrated(empty, "0010")
    blocks = [
        {"attributes": {"first_transferring_party": host}, "first": first, "last": first + 2}
        for host, first in (("THA", 1), ("KOR", 1), ("GHA", 5), ("THA", 11))
    ]
    notice = {"registry": "KOR01", "action": "a", "party": "KOR", "type": "use", "blocks": blocks}
    with psycopg.connect(empty) as connection:
        connection.execute(
            "INSERT INTO log_entry (at, kind, leaf, leaf_hash) VALUES (now(), 'action.notice', '', sha256(''))"
        )
        for name, members in (("a", notice), ("own", notice | {"action": "own", "blocks": blocks[1:2]})):
            connection.execute(
                "INSERT INTO action (registry, action, type, at, quantity, item, entry_id)"
                " VALUES ('KOR01', %s, 'use', now(), 1, %s, 1)",
                [name, json.dumps(members)],
            )
    migrations.apply(empty)
    columns = "kind, action, cause, type, link, section, party, quantity, block_count, state, entry_id, item"
    with psycopg.connect(empty) as connection:
        found = connection.execute(f"SELECT {columns} FROM action_record ORDER BY id").fetchall()
    told = [(*row[:-1], json.loads(row[-1])) for row in found]
    same = ("notification", "KOR01/a", "KOR01/a", "Use", None, None)
    assert told == [
        (*same, "GHA", 3, 1, "waiting", 1, notice | {"blocks": blocks[2:3]}),
        (*same, "THA", 6, 2, "waiting", 1, notice | {"blocks": [blocks[0], blocks[3]]}),
    ]


def earlier(connection: Any, transfer: str, reached: str, *, named: bool, first: bool | None) -> None:
    """A transfer as version 0004 stored it; one that was refused at once has a text that no JSON column takes."""
    block: dict[str, Any] = {"attributes": {"first_transferring_party": "MMR"}}
    block |= {"itmo": {"first": "CA0001-MMR99-MMR-1-2021"}} if named else {}
    odd = {"odd": "\x00"} if reached == "nothing" else {}
    offer = "gen_random_uuid()" if reached != "nothing" else "NULL"
    connection.execute(
        "INSERT INTO transfer (id, source, acquirer, transferring_registry, transferring_party, transferring_account,"
        " acquiring_registry, acquiring_party, acquiring_account, purpose, quantity, block_count, state, version,"
        " deadline, created_at, changed_at, offer_id) VALUES (%s, 'MEC01', 'INT01', 'MEC01', 'MMR', '100-1', 'KOR99',"
        f" 'KOR', '100-1', 'NDC', 1, 1, 'checked', 1, now(), now(), now(), {offer})",
        [transfer],
    )
    words = {"propose": {"blocks": [block], **odd}}
    words |= {"released": {"first_transfer": first}} if reached == "release" else {}
    for step, said in words.items():
        connection.execute(
            "INSERT INTO transfer_step VALUES (%s, %s, %s, sha256(''), 1)", [transfer, step, json.dumps(said)]
        )


def migrated(dsn: str, revision: str) -> None:
    """Bring a database to an earlier schema, as an earlier version did."""
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
