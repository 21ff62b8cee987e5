"""What the gateway has promised to publish: the leaf named in each of its answers, within a minute.

A promise is written in the transaction that stores the answer, and is open until its leaf is in a published tree
that was proven here. A minute later without it, by this registry's clock, it is broken: an alarm, and the row keeps
the answer as it was signed, which is the evidence. Broken stays broken; where the leaf turns up later is noted. A
gateway that shows no log, or none that can be proven, breaks its promises too: the row says what was seen instead.
"""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

from . import clock, transfers
from .database import Row, Tx
from .envelope import Message

#: How long the gateway may take: the promise of every receipt (openapi/link.yaml).
PROMISED = timedelta(seconds=60)
#: Since when this process could have looked.
_STARTED = datetime.now(UTC)
#: Code of a broken promise: what should be in the history is missing.
BROKEN = 8005
#: Rows of each state that are shown, the latest first.
SHOWN_ROWS = 1_000


async def remember(tx: Tx, answer: Message, items: list[str]) -> None:
    """Keep what an answer promises; the same answer again promises nothing new."""
    leaf = answer.payload.get("leaf")
    if leaf is not None:
        await tx.execute(
            "INSERT INTO log.promise (answer, leaf, received_at, jws, items) VALUES (%s, %s, %s, %s, %s::text[])"
            " ON CONFLICT DO NOTHING",
            answer.id,
            base64.urlsafe_b64decode(f"{leaf}="),
            clock.present(),
            answer.jws,
            items,
        )


async def are_open(tx: Tx) -> bool:
    """Say whether anything is promised and neither seen nor overdue."""
    return await tx.one("SELECT FROM log.promise WHERE state = 'open' LIMIT 1") is not None


async def judge(tx: Tx, begun: datetime, seen_instead: str) -> None:
    """Note which leaves are in the tree; what was overdue when the look for it had ``begun`` is broken without.

    Nothing is in this process's first minute: who was away may have been away together with whom they wait for.
    ``seen_instead`` says why that look brought no tree, empty where it did.
    """
    now = clock.present()
    await tx.execute(
        "UPDATE log.promise p SET leaf_index = l.leaf_index,"
        " state = CASE state WHEN 'open' THEN 'kept' ELSE state END, judged_at = coalesce(judged_at, %s)"
        " FROM (SELECT hash, min(leaf_index) AS leaf_index FROM log.followed_leaf"
        "  WHERE hash IN (SELECT leaf FROM log.promise WHERE leaf_index IS NULL) GROUP BY hash) l"
        " WHERE p.leaf_index IS NULL AND l.hash = p.leaf",
        now,
    )
    head = await tx.one("SELECT coalesce(max(size), 0) AS size FROM log.followed_head")
    why = f"not in the tree of {head['size'] if head else 0} leaves" + (f": {seen_instead}" if seen_instead else "")
    if begun - PROMISED < _STARTED:
        return
    broken = await tx.rows(
        "UPDATE log.promise SET state = 'broken', judged_at = %s, why = %s WHERE state = 'open' AND received_at < %s"
        " RETURNING answer::text AS answer",
        now,
        why,
        begun - PROMISED,
    )
    for row in broken:
        await transfers.alarm(tx, "", BROKEN, f"the leaf promised in {row['answer']} is not published")


async def listed(tx: Tx) -> dict[str, Any]:
    """Show the promises by their state, and the evidence of those that were broken."""
    counted = await tx.rows("SELECT state, count(*) AS count FROM log.promise GROUP BY state")
    counts = {"open": 0, "kept": 0, "broken": 0} | {row["state"]: row["count"] for row in counted}
    return {"counts": counts, **{state: await _shown(tx, state) for state in counts}}


async def _shown(tx: Tx, state: str) -> list[dict[str, Any]]:
    rows = await tx.rows(
        "SELECT answer::text AS answer, leaf, received_at, leaf_index, judged_at, why, jws, items FROM log.promise"
        " WHERE state = %s ORDER BY received_at DESC, answer LIMIT %s",
        state,
        SHOWN_ROWS,
    )
    return [_told(row, evidence=state == "broken") for row in rows]


def _told(row: Row, *, evidence: bool) -> dict[str, Any]:
    leaf = base64.urlsafe_b64encode(row["leaf"]).rstrip(b"=").decode()
    told = {"answer": row["answer"], "leaf": leaf, "received_at": clock.stamp(row["received_at"])}
    told |= {"leaf_index": row["leaf_index"], "judged_at": clock.stamp(row["judged_at"]) if row["judged_at"] else None}
    return told | ({"why": row["why"], "evidence": {"jws": row["jws"], "items": row["items"]}} if evidence else {})
