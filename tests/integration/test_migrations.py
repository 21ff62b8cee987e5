"""The schema: migrating again or twice at once changes nothing, and the rows of the code are those of the tables."""

import asyncio
import importlib
import pkgutil
import secrets
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
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
