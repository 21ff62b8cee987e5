"""The books as an operator reads them: totals, accounts, holdings, transfers, messages."""

from collections.abc import Iterable
from typing import Any

from . import books, clock
from .database import Tx
from .registry import Registry
from .units import Holding

#: Where a unit is, by account type: use accounts are 2xx, cancellation accounts 3xx, all others hold.
_TOTALS = """
SELECT coalesce(sum(q) FILTER (WHERE kind NOT IN ('2', '3')), 0)::bigint AS held,
       coalesce(sum(q) FILTER (WHERE locked), 0)::bigint AS locked,
       coalesce(sum(q) FILTER (WHERE kind = '2'), 0)::bigint AS used,
       coalesce(sum(q) FILTER (WHERE kind = '3'), 0)::bigint AS cancelled
  FROM (SELECT left(account, 1) AS kind, locked_by IS NOT NULL AS locked, last - first + 1 AS q
          FROM holding) h
"""
_MOVED = """
SELECT coalesce(sum(quantity) FILTER (WHERE entry = 'issuance'), 0)::bigint AS issued,
       coalesce(sum(quantity) FILTER (WHERE entry = 'credit'), 0)::bigint AS moved_in,
       coalesce(sum(quantity) FILTER (WHERE entry = 'debit'), 0)::bigint AS moved_out FROM journal
"""
_ACCOUNTS = """
SELECT a.party, a.account, a.name, a.open, coalesce(h.quantity, 0)::bigint AS quantity,
       coalesce(h.locked, 0)::bigint AS locked
  FROM account a LEFT JOIN (
    SELECT party, account, sum(last - first + 1) AS quantity,
           sum(last - first + 1) FILTER (WHERE locked_by IS NOT NULL) AS locked
      FROM holding GROUP BY party, account) h USING (party, account)
 ORDER BY a.party, a.account
"""


async def totals(tx: Tx, registry: Registry, *, blocks: bool) -> dict[str, Any]:
    """Give issued + moved_in = held + used + cancelled + moved_out, and what it is made of."""
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    held, moved = await tx.one(_TOTALS) or {}, await tx.one(_MOVED) or {}
    alarms = await tx.rows("SELECT at::text AS at, transfer, code, detail FROM alarm ORDER BY id")
    outbox = (
        await tx.one(
            "SELECT count(*) AS waiting FROM sent WHERE owed AND (expires_at IS NULL OR expires_at > %s)",
            clock.present(),
        )
        or {}
    )
    counted = "SELECT count(*) AS count, coalesce(sum(quantity), 0)::bigint AS quantity FROM record"
    recorded = {"records": await tx.one(counted)} if registry.kind == "international" else {}
    listed = [
        {"party": h.party, "account": h.account, "locked_by": h.locked_by, "block": h.block()}
        for h in (await books.everything(tx) if blocks else [])
    ]
    return {
        "registry": registry.code,
        **moved,
        **held,
        "accounts": await tx.rows(_ACCOUNTS),
        "outbox": outbox["waiting"],
        "alarms": alarms,
        **recorded,
        **({"blocks": listed} if blocks else {}),
    }


async def transfer_list(tx: Tx, state: str | None, after: str, limit: int) -> list[dict[str, Any]]:
    """Give transfers in the order of their ids, those after ``after``."""
    return await tx.rows(
        "SELECT transfer, role, state, request::text AS request, terms, changed_at::text AS changed_at"
        " FROM transfer WHERE transfer > %s AND (%s::text IS NULL OR state = %s) ORDER BY transfer LIMIT %s",
        after,
        state,
        state,
        limit,
    )


async def record_list(tx: Tx, after: str, limit: int) -> list[dict[str, Any]]:
    """Give recorded actions in the order of their ids, those after ``after``, with the texts as they were signed."""
    return await tx.rows(
        "SELECT action, type, section, party, quantity, item FROM record WHERE action > %s ORDER BY action LIMIT %s",
        after,
        limit,
    )


async def transfer(tx: Tx, transfer_id: str) -> dict[str, Any] | None:
    """Give one transfer with every step taken in it."""
    row = await tx.one(
        "SELECT transfer, role, state, request::text AS request, terms, changed_at::text AS changed_at"
        " FROM transfer WHERE transfer = %s",
        transfer_id,
    )
    if row is None:
        return None
    taken = await tx.rows("SELECT step, item, message::text AS message FROM step WHERE transfer = %s", transfer_id)
    return {**row, "steps": taken}


async def message(tx: Tx, message_id: str) -> dict[str, Any] | None:
    """Give one message of this registry's own and what was answered to it."""
    return await tx.one(
        "SELECT id::text AS id, seq, type, owed, attempts, answer_jws, answer_items FROM sent WHERE id = %s",
        message_id,
    )


def holdings(held: Iterable[Holding]) -> list[dict[str, Any]]:
    """Show holdings as the calls that make or move them answer."""
    return [{"party": h.party, "account": h.account, "block": h.block()} for h in held]
