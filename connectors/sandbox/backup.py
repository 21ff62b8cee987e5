"""Backup and restore of everything a registry remembers, inside its own database.

A backup is a copy of every table in a schema of its own, taken in one snapshot; a restore puts it back in one
transaction. A restore that is known leaves a mark (R15): until the registry has asked the gateway, nothing is
served and nothing is sent. Logs are apart (``log_schema``): they never fall back. The mark is a row, so it survives
a crash, and every message that comes in reads it in the transaction of its effect. A restore that goes unnoticed
leaves none.
"""

from . import clock
from .books import plain
from .database import Tx
from .units import Declined

#: The setting that marks a restored registry which has not asked yet; its value names the new key.
MARK = "restored"


class NotServing(Exception):
    """The registry was restored and has not asked the gateway yet."""


async def take(tx: Tx) -> str:
    """Remember the whole database in place of an earlier backup; gives the time."""
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    await serving(tx)
    at = clock.now()
    await tx.execute("DROP SCHEMA IF EXISTS backup CASCADE")
    await tx.execute("CREATE SCHEMA backup")
    for table in await _tables(tx):
        await tx.execute(f"CREATE TABLE backup.{table} AS TABLE {table}")
    return at


async def put_back(tx: Tx, new_kid: str | None) -> None:
    """Make the database what it was at the backup; a new key marks the registry as restored (R15, R16).

    Raises ``Declined`` without a backup, and for a restore that would hide an earlier one.
    """
    tables = await _tables(tx)
    if await restored(tx) is not None and new_kid is None:
        raise Declined(3002, "restored and not yet synchronised: only another known restore")
    if await tx.one("SELECT FROM pg_namespace WHERE nspname = 'backup'") is None:
        raise Declined(3001, "there is no backup")
    # In the order in which a message takes them: what is under way ends first, what comes then reads the mark.
    await tx.execute(f"LOCK TABLE received, sent, {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
    for table in tables:
        await tx.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    await tx.execute(f"TRUNCATE {', '.join(tables)}")
    for table in tables:
        await tx.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM backup.{table}")
        await tx.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    if new_kid is not None:
        # Nobody trusts the old key any more: what comes again is judged again, by the steps taken, and signed anew.
        await tx.execute("UPDATE sent SET answers = NULL WHERE answers IS NOT NULL")
        await tx.execute("INSERT INTO setting (name, value) VALUES (%s, %s::jsonb)", MARK, plain({"kid": new_kid}))


async def restored(tx: Tx) -> str | None:
    """Give the thumbprint of the new key while the registry has not asked yet."""
    found = await tx.one("SELECT value FROM setting WHERE name = %s", MARK)
    return str(found["value"]["kid"]) if found else None


async def serving(tx: Tx) -> None:
    """Raise ``NotServing`` while the registry has not asked yet."""
    if await restored(tx) is not None:
        raise NotServing


async def serve_again(tx: Tx) -> None:
    """Everything has been asked: take the mark away."""
    await tx.execute("DELETE FROM setting WHERE name = %s", MARK)


async def _tables(tx: Tx) -> list[str]:
    # In the order they were made: a table comes after those it refers to.
    found = await tx.rows(
        "SELECT quote_ident(relname) AS name FROM pg_class"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY oid"
    )
    return [row["name"] for row in found]
