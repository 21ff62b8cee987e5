"""PostgreSQL: one engine, two kinds of transaction, and a bounded retry where PostgreSQL asks for one.

Commands, the relay and the runs hand their work to ``Database.run``; everything below them takes the ``Tx`` and
never commits. Each commit has a name (``crash``), so that tests can die at it. ``ReadTx`` is a different type, so
that a reader cannot be handed a writer by mistake. No transaction is open while a request to another system is in
flight; one that stands idle all the same (its process was stopped) is ended by PostgreSQL, and its locks with it.

Fails with ``Kind.UNAVAILABLE`` when the database cannot be reached or will not take connections; a
deadlock or serialisation failure is repeated a bounded number of times before it is reported.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from typing import Any, Generic, NewType, TypeVar

import psycopg
from sqlalchemy import CursorResult, Row, TextClause, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway import arrays, crash
from gateway.errors import GatewayError, Kind

#: A transaction that may write; commits when its block ends, rolls back when it raises.
Tx = NewType("Tx", AsyncConnection)
#: A transaction that PostgreSQL itself holds to reading.
ReadTx = NewType("ReadTx", AsyncConnection)

#: Connections a process may hold. Embedded PostgreSQL takes 200; a serve and a worker leave room for others.
POOL_SIZE = 20
#: How long work waits for one of them before its caller is asked to come again: well within a sender's patience.
POOL_WAIT_SECONDS = 10.0
#: How long a process that ends waits for what still uses a connection: no statement of ours takes longer.
CLOSE_SECONDS = 10.0
#: After how long PostgreSQL ends a transaction that does nothing: far longer than anything between two statements
#: takes, well below the relay's lease, so that a process that was stopped holds up nobody and writes nothing late.
IDLE_MS = 15_000
_IDLE = "idle_in_transaction_session_timeout"
#: A transaction that lost to a deadlock or to a serialisation conflict starts again this often.
CONFLICT_TRIES = 5
#: How many different statements are kept as they were parsed: more than there are in the program.
STATEMENTS_KEPT = 500
#: SQLSTATEs after which the same transaction may succeed: deadlock, serialisation failure, and units that another
#: transaction put into the book meanwhile (exclusion), which the second try sees and judges.
_EXCLUDED = "23P01"
_TRY_AGAIN = {"40P01", "40001", _EXCLUDED}
#: Undefined table or column: an older schema, or none.
_NO_SCHEMA = {"42P01", "42703"}

T = TypeVar("T")
#: The channel on which sleeping workers are woken.
_BELL = "gateway_relay"
#: A worker that sleeps says so each second; one that has not for ten is gone.
_RING = f"""
SELECT pg_notify('{_BELL}', '')
WHERE EXISTS (SELECT FROM worker WHERE asleep AND seen_at > now() - interval '10 s')
"""

#: The workers that are not gone, as an array: the session of a worker's bell ends with its process, or by its machine's
#: silence. Workers see each other's sessions because all log in as one role.
ALIVE = """ARRAY(SELECT a.application_name FROM pg_stat_activity a
  WHERE a.datname = current_database() AND a.application_name IS NOT NULL)"""

#: In the FROM of a statement: its transaction ends without waiting for the disk. Only for what may be lost.
LAZILY = "(SELECT set_config('synchronous_commit', 'off', true)) AS lazily"

Parameters = Mapping[str, Any]


class Database:
    """The one door to PostgreSQL of a process."""

    def __init__(self, url: str, *, pool_wait_seconds: float = POOL_WAIT_SECONDS) -> None:
        self.url = libpq_address(url)
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=lambda: arrays.connect(self.url, _options(self.url)),
            pool_size=POOL_SIZE,
            pool_use_lifo=True,  # a connection keeps the room its largest message took: let few have been used for one
            pool_timeout=pool_wait_seconds,
            max_overflow=0,
            pool_pre_ping=False,
            isolation_level="READ COMMITTED",
        )
        self._in_use = 0
        self._closing = False
        self._unused = asyncio.Event()
        self._unused.set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[ReadTx]:
        """Open a transaction that PostgreSQL refuses every write in; there is nothing to commit at its end."""
        async with self._connected() as connection:
            yield ReadTx(await connection.execution_options(postgresql_readonly=True))

    async def run(self, work: Callable[[Tx], Awaitable[T]], name: str) -> T:
        """Run ``work`` in a transaction of its own, again from the start after a deadlock.

        ``name`` is that of its commit, one of ``crash.COMMITS``. Raises ``Kind.UNAVAILABLE`` without a database.
        """
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                return await self._once(work, name)
            except GatewayError as error:
                if _sqlstate(error.__cause__) not in _TRY_AGAIN or attempt == CONFLICT_TRIES:
                    raise
                await asyncio.sleep(0.01 * attempt)
        raise AssertionError("unreachable")

    async def _once(self, work: Callable[[Tx], Awaitable[T]], name: str) -> T:
        async with self._connected() as connection, connection.begin():
            done = await work(Tx(connection))
            crash.passing(f"{name}.before-commit")
        crash.passing(f"{name}.after-commit")
        return done

    async def check(self) -> None:
        """Raise ``Kind.UNAVAILABLE`` unless PostgreSQL can be reached and the schema is there; says why not.

        For the operator who starts a process: what is answered to other systems never carries these words.
        """
        try:
            async with self.reading() as tx:
                await one(tx, "SELECT 1 FROM transfer LIMIT 1")
        except GatewayError as error:
            if _sqlstate(error.__cause__) in _NO_SCHEMA:
                raise
            raise GatewayError(error.kind, words(error.__cause__), code=error.code) from error

    async def ring(self) -> None:
        """Wake the workers that sleep, once what they are to do is committed.

        A NOTIFY in every transaction would serialise their commits, so only a sleeper is rung for. A worker
        writes that it sleeps, looks once more whether anything is due, and only then waits: what is committed
        before it looks it finds, and whoever commits later finds that it sleeps.
        """
        with suppress(GatewayError):  # a bell that is not heard costs one nap, never work
            await self._notify()

    async def _notify(self) -> None:
        async with self._connected() as connection:
            alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
            crash.passing("ring.before-commit")
            await alone.execute(text(_RING))
            crash.passing("ring.after-commit")

    async def close(self) -> None:
        """Close every connection for good: whoever comes from now on finds no database.

        One that is opened afterwards would stay open until it is collected as garbage.
        """
        self._closing = True
        await self.disconnect()

    async def disconnect(self) -> None:
        """Close every connection, once nothing uses one any more; whoever comes afterwards has a new one opened.

        What does not end in ``CLOSE_SECONDS``, or begins just now, closes its own when it ends.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unused.wait(), CLOSE_SECONDS)
        await self._engine.dispose()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        if self._closing:
            raise GatewayError(Kind.UNAVAILABLE, "this process is about to end", code=9002)
        try:
            pool = self._engine.pool
            with self._counted():
                async with self._engine.connect() as connection:
                    try:
                        yield connection
                    finally:
                        if self._engine.pool is not pool:  # given back to it, it would stay open until it is garbage
                            await connection.invalidate()
        except PoolTimeoutError as error:
            raise GatewayError(Kind.UNAVAILABLE, "all connections to the database are in use", code=9003) from error
        except DBAPIError as error:
            raise _translated(error) from error

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._in_use += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._in_use -= 1
            if not self._in_use:
                self._unused.set()


async def execute(tx: Tx, statement: str, parameters: Parameters | None = None) -> CursorResult[Any]:
    """Execute one statement with named parameters (arrays are written ``CAST(:x AS bigint[])``)."""
    return await tx.execute(_parsed(statement), parameters or {})


async def rows(tx: Tx | ReadTx, statement: str, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
    """Fetch all rows of a query."""
    return (await tx.execute(_parsed(statement), parameters or {})).all()


async def one(tx: Tx | ReadTx, statement: str, parameters: Parameters | None = None) -> Row[Any] | None:
    """Fetch the first row of a query, or nothing."""
    return (await tx.execute(_parsed(statement), parameters or {})).first()


async def unless_excluded(tx: Tx, work: Callable[[], Awaitable[T]]) -> T | None:
    """What ``work`` gives; nothing, and nothing written, if an exclusion constraint refuses what it writes."""
    try:
        async with tx.begin_nested():
            return await work()
    except DBAPIError as error:
        if _sqlstate(error) != _EXCLUDED:
            raise
        return None


@lru_cache(maxsize=STATEMENTS_KEPT)
def _parsed(statement: str) -> TextClause:
    """The statement with its parameters found: the same few are executed all the time."""
    return text(statement)


def _sqlstate(error: BaseException | None) -> str | None:
    """PostgreSQL's five-character code of a failed statement."""
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def _translated(error: DBAPIError) -> GatewayError:
    """A fault of the database in our words: it may pass, the schema is missing, or a rule of ours was broken."""
    state = _sqlstate(error)
    if state in _NO_SCHEMA:
        return GatewayError(Kind.UNAVAILABLE, "the schema is not there: run 'gateway migrate'", code=9002)
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return GatewayError(Kind.UNAVAILABLE, "the database cannot be reached or cannot work now", code=9002)
    first_line = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error).__name__
    return GatewayError(Kind.INVARIANT, f"the database refused ({state}): {first_line}")


def libpq_address(url: str) -> str:
    """The address as libpq reads it (several hosts, ``target_session_attrs``, …); raises MALFORMED when it cannot."""
    address = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:
        raise GatewayError(Kind.MALFORMED, words(error)) from None
    return address


class Kept(Generic[T]):
    """What a transaction has read, kept for some seconds: for what everybody may ask for, as often as they like."""

    def __init__(self, database: Database, read: Callable[[ReadTx], Awaitable[T]], seconds: float) -> None:
        self._database, self._read, self._seconds = database, read, seconds
        self._reading = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self) -> T:
        """What was read no longer than ``seconds`` ago; whoever comes first reads for all."""
        async with self._reading:
            if self._found is None or time.monotonic() >= self._found[0]:
                async with self._database.reading() as tx:
                    found = await self._read(tx)
                self._found = time.monotonic() + self._seconds, found
            return self._found[1]


def _options(address: str) -> str:
    """What is asked of a session beside what the address itself asks for; an idle limit of its own stays.

    Times come in UTC: the last of the year 9999 is in another zone of a year that no program can read.
    """
    given = str(psycopg.conninfo.conninfo_to_dict(address).get("options") or "")
    mine = "" if _IDLE in given else f"-c {_IDLE}={IDLE_MS}"
    return f"{given} {mine} -c timezone=UTC".strip()


def words(error: BaseException | None) -> str:
    """What PostgreSQL or its driver said, in one line. It may name hosts and roles; it carries no password."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return "; ".join(line.strip() for line in str(said).splitlines() if line.strip())


async def note_worker(tx: Tx, worker_id: str, *, asleep: bool) -> None:
    """Write whether a worker sleeps."""
    await execute(
        tx,
        f"""
        INSERT INTO worker (id, asleep, seen_at) SELECT :id, CAST(:asleep AS boolean), now() FROM {LAZILY}
        ON CONFLICT (id) DO UPDATE SET asleep = excluded.asleep, seen_at = excluded.seen_at
        """,
        {"id": worker_id, "asleep": asleep},
    )


async def forget_worker(tx: Tx, worker_id: str) -> None:
    """Remove a worker that stops, and any that has not been seen for a day."""
    await execute(tx, "DELETE FROM worker WHERE id = :id OR seen_at < now() - interval '1 day'", {"id": worker_id})


class Bell:
    """A connection that listens for ``ring``, and by its name shows that the worker lives.

    A lost notification costs one nap, never work.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    async def hung(cls, url: str, worker_id: str) -> "Bell":
        """Open the connection of a worker; raises ``Kind.UNAVAILABLE`` when the database cannot be reached."""
        try:
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True, application_name=worker_id)
        except psycopg.OperationalError as error:
            raise GatewayError(Kind.UNAVAILABLE, "the database cannot be reached", code=9002) from error
        bell = cls(connection)
        try:
            await connection.execute(f"LISTEN {_BELL}")
        except BaseException:
            await bell.close()
            raise
        return bell

    @property
    def broken(self) -> bool:
        """Whether the connection is lost, so that nobody would be heard any more."""
        return self._connection.closed or self._connection.broken

    async def heard(self, longest_seconds: float) -> None:
        """Return when somebody rang, or after ``longest_seconds``."""
        async for _ in self._connection.notifies(timeout=longest_seconds, stop_after=1):
            pass

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
