"""Rows of transfers and the steps taken in them: what a state table reads and writes.

A row's key is (transfer, role), a step's (transfer, role, step): a step cannot be taken twice whatever
message asks for it (R24). Rows are locked in the order of their ids, so batches that overlap wait for each
other; a row that two transactions would both insert makes one of them start again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from .books import plain
from .database import Row, Tx, columns

SOURCE = "source"
ACQUIRER = "acquirer"

#: R26: states in which a registry waits to hear, and how long until it asks for the first time.
ASK_FIRST = {state: timedelta(hours=1) for state in ("locked", "released", "accepted", "credited")}


async def lock(tx: Tx, role: str, transfers: Iterable[str]) -> dict[str, Row]:
    """Lock the rows of these transfers and give those that exist."""
    found = await tx.rows(
        "SELECT transfer, state, terms, proposal, answer_by FROM transfer"
        " WHERE role = %s AND transfer = ANY(%s) ORDER BY transfer FOR UPDATE",
        role,
        list(transfers),
    )
    return {row["transfer"]: row for row in found}


async def insert(
    tx: Tx, role: str, state: str, rows: Sequence[tuple[str, Mapping[str, Any] | None, str | None]]
) -> None:
    """Insert rows of (transfer, terms, hash of the proposal)."""
    arrays = columns([(t, plain(terms) if terms else None, proposal) for t, terms, proposal in rows], 3)
    await tx.execute(
        "INSERT INTO transfer (transfer, terms, proposal, role, state, ask_at)"
        " SELECT t, terms, proposal, %s::text, %s::text, now() + %s::interval"
        " FROM unnest(%b::text[], %b::text[]::jsonb[], %b::text[]) AS n (t, terms, proposal)",
        role,
        state,
        ASK_FIRST.get(state),
        *arrays,
    )


async def advance(tx: Tx, role: str, state: str, transfers: Sequence[str], leaves: Sequence[str]) -> None:
    """Take locked rows from one of the states ``leaves`` to ``state``; none may be anywhere else."""
    moved = await tx.execute(
        "UPDATE transfer SET state = %s::text, changed_at = now(), ask_at = now() + %s::interval"
        " WHERE role = %s AND transfer = ANY(%s) AND state = ANY(%s)",
        state,
        ASK_FIRST.get(state),
        role,
        list(transfers),
        list(leaves),
    )
    if moved != len(transfers):
        raise RuntimeError(f"a transfer was not in {leaves}, though its row is locked")


async def steps(tx: Tx, role: str, transfers: Iterable[str], names: Sequence[str]) -> dict[tuple[str, str], str]:
    """Give the item text of each step that was taken, by (transfer, step)."""
    found = await tx.rows(
        "SELECT transfer, step, item FROM step WHERE role = %s AND transfer = ANY(%s) AND step = ANY(%s)",
        role,
        list(transfers),
        list(names),
    )
    return {(row["transfer"], row["step"]): row["item"] for row in found}


async def record(tx: Tx, role: str, message: str, taken: Sequence[tuple[str, str, str]]) -> None:
    """Record own steps (transfer, step, item text) first said in ``message``."""
    await tx.execute(_RECORD, role, message, *columns(taken, 3))


async def keep(tx: Tx, role: str, message: str, heard: Sequence[tuple[str, str, str]]) -> None:
    """Keep what others said (transfer, step, item text); the first word counts (R10)."""
    await tx.execute(_RECORD + " ON CONFLICT DO NOTHING", role, message, *columns(heard, 3))


async def alarm(tx: Tx, transfer: str, code: int, detail: str) -> None:
    """Note what a person has to look at; the same thing once."""
    await tx.execute(
        "INSERT INTO alarm (transfer, code, detail) SELECT n.* FROM (VALUES (%s::text, %s::int, %s::text))"
        " AS n (transfer, code, detail) WHERE NOT EXISTS (SELECT FROM alarm a"
        " WHERE a.transfer = n.transfer AND a.code = n.code AND a.detail = n.detail)",
        transfer,
        code,
        detail,
    )


# %b: a thousand item texts as a text array would be escaped twice over, at a third of the whole cost.
_RECORD = (
    "INSERT INTO step (role, message, transfer, step, item)"
    " SELECT %s::text, %s::uuid, * FROM unnest(%b::text[], %b::text[], %b::text[])"
)
