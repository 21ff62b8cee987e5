"""The registry's database: a pool, one kind of transaction, and the one place where it commits.

``Database.run`` gives work a ``Tx``, commits when it returns and rolls back when it raises. What lost to a
concurrent transaction (deadlock, or a row that somebody else inserted first) starts again a bounded number
of times; work must therefore change nothing but the database. Each transaction has a name of ``crash``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from psycopg import AsyncConnection, errors
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from .book_schema import BOOK_SCHEMA
from .crash import CrashPoints
from .history_schema import HISTORY_SCHEMA
from .log_schema import LOG_SCHEMA
from .schema import SCHEMA, SCHEMA_LOCK

#: Connections of one registry; several registries share one small server.
POOL_SIZE = 8
#: How often a transaction that lost to another one starts again.
CONFLICT_TRIES = 5

_TRY_AGAIN = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.UniqueViolation,
    errors.ExclusionViolation,
)

Row = dict[str, Any]
T = TypeVar("T")


@dataclass
class Tx:
    """An open transaction, and what is to be woken once it has committed."""

    connection: AsyncConnection[Row]
    wakes_sender: bool = False
    wakes_duties: bool = False

    async def rows(self, statement: str, *parameters: Any) -> list[Row]:
        """Run a statement and fetch all rows."""
        cursor = await self.connection.execute(statement.encode(), parameters)
        return await cursor.fetchall()

    async def one(self, statement: str, *parameters: Any) -> Row | None:
        """Run a statement and fetch the first row, if there is one."""
        cursor = await self.connection.execute(statement.encode(), parameters)
        return await cursor.fetchone()

    async def execute(self, statement: str, *parameters: Any) -> int:
        """Run a statement; gives the number of rows it touched."""
        return (await self.connection.execute(statement.encode(), parameters)).rowcount


class Database:
    """The one door to PostgreSQL of this process."""

    def __init__(self, url: str) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[Row]] = AsyncConnectionPool(
            url, kwargs={"row_factory": dict_row}, min_size=1, max_size=POOL_SIZE, open=False
        )
        self.crash = CrashPoints()
        self.sender_wake = asyncio.Event()
        self.duties_wake = asyncio.Event()

    async def open(self) -> None:
        """Connect, and make the schema where it is not there yet."""
        await self._pool.open(wait=True)
        await self.run("start.schema", _make_schema)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def run(self, name: str, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Run ``work`` in one transaction (R12) and commit it; raises ``Undeclared`` for an unknown name."""
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                return await self._attempt(name, work)
            except _TRY_AGAIN:
                if attempt == CONFLICT_TRIES:
                    raise
        raise AssertionError("unreachable")

    async def _attempt(self, name: str, work: Callable[[Tx], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            tx = Tx(connection)
            result = await work(tx)
            self.crash.passing(f"{name}.before-commit")
            await connection.commit()
            self.crash.passing(f"{name}.after-commit")
        if tx.wakes_sender:
            self.sender_wake.set()
        if tx.wakes_duties:
            self.duties_wake.set()
        return result


async def _make_schema(tx: Tx) -> None:
    await tx.execute("SELECT pg_advisory_xact_lock(%s)", SCHEMA_LOCK)
    await tx.connection.execute(SCHEMA)
    await tx.connection.execute(HISTORY_SCHEMA)
    await tx.connection.execute(BOOK_SCHEMA)
    await tx.connection.execute(LOG_SCHEMA)


def columns(rows: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
    """Turn rows into ``count`` arrays for ``unnest``; no rows give empty arrays."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]
