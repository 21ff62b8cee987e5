"""Which messages of ours are unanswered, whatever they are about, and the key that signed each.

A statement of a transfer is, as long as its state repeats it; where persons look at a transfer, all that we said of it
may have to be said again. The key is read from what was sent, so that this holds for messages of any age.
"""

from gateway import db
from gateway.domain.callers import EVERYTHING, Sight
from gateway.domain.transfers import FINAL, State
from gateway.keys.commands import Debt
from gateway.messages import store as messages
from gateway.signing import compact
from gateway.transfers.statements import SAID

#: What may have to be said again out of ``attention``.
_AGAIN = ("commit_id", "cancel_id", "settle_id")


async def unanswered(tx: db.Tx | db.ReadTx, sight: Sight = EVERYTHING, limit: int | None = None) -> list[Debt]:
    """Every message of ours that its receiver, if in sight, has not answered for good; or the oldest so many."""
    parts = ["SELECT message_id, peer FROM owed"]
    for state, sayings in SAID.items():
        for said in sayings:
            peer, told = ("source", "told_source_at") if said.to_source else ("acquirer", "told_acquirer_at")
            due = f"AND {told} IS NULL" if state in FINAL else ""
            parts.append(f"SELECT {said.column}, {peer} FROM transfer WHERE state = '{state.value}' {due}")
    for column in _AGAIN:
        peer = "acquirer" if column == "settle_id" else "source"
        parts.append(f"SELECT {column}, {peer} FROM transfer WHERE state = '{State.ATTENTION.value}'")
    found = await db.rows(
        tx,
        f"""
        SELECT DISTINCT CAST(u.message_id AS text) AS message_id, u.peer, m.type
        FROM ({" UNION ALL ".join(parts)}) AS u(message_id, peer)
        JOIN message m ON m.message_id = u.message_id AND m.direction = 'out'
        WHERE CAST(:sight AS text) IS NULL OR u.peer = :sight ORDER BY 1 LIMIT CAST(:limit AS bigint)
        """,
        {"sight": sight.code, "limit": limit},
    )
    signed = await messages.signed_here(tx, [r.message_id for r in found])
    return [Debt(r.message_id, r.peer, r.type, compact.kid(signed[r.message_id])) for r in found]
