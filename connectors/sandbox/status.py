"""Questions about one transfer: answering the gateway's, asking it, and withdrawing.

A withdrawal asks first and yields to a stored commit (R17): where the gateway shows a commit, it is carried
out like one that arrived by itself. Silence withdraws nothing. A registry that has heard nothing for an hour,
and then daily, asks too, and repeats its last word to a gateway that does not know the transfer (R26).
"""

from datetime import timedelta
from typing import Any

from . import envelope, outcomes, post, proposing, source, transfers
from .database import Tx
from .envelope import QUERY_TIME, Draft, Message
from .evidence import Evidence
from .outcomes import Statement
from .registry import Registry
from .sender import Sender
from .signature import digest
from .source import Order
from .transfers import ACQUIRER, SOURCE
from .units import Declined

#: States of the gateway in which no commit is stored and none will be, or the transfer is not known.
_NO_COMMIT = {
    "proposed",
    "delayed",
    "checked",
    "accepted",
    "ending",
    "refused",
    "rejected",
    "cancelled",
    "not known here",
}
#: The step whose statement shows a state of a row; in the other states nothing has been said yet.
_SHOWN = {
    SOURCE: {"released": "released", "done": "released", "void": "voided"},
    ACQUIRER: {
        "accepted": "answer",
        "rejected": "answer",
        "credited": "credited",
        "done": "credited",
        "void": "closed",
    },
}
#: Rows asked about in one round, and how long until the same row is asked about again.
ASK_ROWS, ASK_AGAIN = 20, timedelta(days=1)


async def answer(tx: Tx, registry: Registry, message: Message) -> Draft:
    """Say where a transfer stands here, with the last statement about it as evidence."""
    transfer = message.body["transfer"]
    at_home = transfer.startswith(f"{registry.code}-")
    role = SOURCE if at_home else ACQUIRER
    row = await tx.one("SELECT state FROM transfer WHERE transfer = %s AND role = %s", transfer, role)
    unknown = "unknown-here" if at_home else "not known here"
    state = row["state"] if row else unknown
    step = _SHOWN[role].get(state)
    said = await tx.one(
        "SELECT p.item, coalesce(s.jws, r.jws) AS jws FROM step p LEFT JOIN sent s ON s.id = p.message"
        " LEFT JOIN received r ON r.id = p.message WHERE p.transfer = %s AND p.role = %s AND p.step = %s",
        transfer,
        role,
        step,
    )
    body: dict[str, Any] = {"transfer": transfer, "state": state, "evidence": [said["jws"]] if said else []}
    asked = message.body.get("message")
    if asked is not None:
        known = await post.knows(tx, asked["id"], asked["sha256"])
        body["message"] = "known" if known else "not known"
    named = {"id": message.id, "sha256": message.body_sha256}
    carried = [said["item"]] if said else []
    return Draft("status.answer", body=body, in_reply_to=named, expires_in=QUERY_TIME, carried=carried)


async def ask(registry: Registry, sender: Sender, transfer: str, my_state: str) -> Message:
    """Ask the gateway where a transfer stands; raises ``NoAnswer``."""
    draft = Draft("status.query", body={"transfer": transfer, "my_state": my_state}, expires_in=QUERY_TIME)
    query = envelope.compose(draft, registry.key, registry.code, registry.gateway, None)
    return (await sender.post(query.type, query.content_type, query.body))[0]


async def withdraw(registry: Registry, sender: Sender, transfer: str) -> str:
    """Withdraw a locked transfer unless a commit is stored; gives the state of the row after it.

    Raises ``NoAnswer`` when the gateway is silent, ``Declined`` (3002) when it has gone further.
    """
    row = await registry.database.run(
        "admin.look",
        lambda tx: tx.one("SELECT state FROM transfer WHERE transfer = %s AND role = 'source'", transfer),
    )
    if row is None:
        raise Declined(3001, "no such transfer of this registry's own")
    if row["state"] != "locked":
        return str(row["state"])
    told = await ask(registry, sender, transfer, "locked")
    return await registry.database.run("admin.withdraw", lambda tx: _yield_or_void(tx, registry, transfer, told))


async def ask_waiting(registry: Registry, sender: Sender) -> int:
    """Ask about transfers nothing has been heard of; gives how many there were. Raises ``NoAnswer``."""
    waiting = await registry.database.run(
        "duties.ask",
        lambda tx: tx.rows(
            "UPDATE transfer t SET ask_at = now() + %s FROM (SELECT transfer, role FROM transfer"
            " WHERE ask_at <= now() ORDER BY ask_at LIMIT %s FOR UPDATE SKIP LOCKED) AS due"
            " WHERE t.transfer = due.transfer AND t.role = due.role RETURNING t.transfer, t.role, t.state",
            ASK_AGAIN,
            ASK_ROWS,
        ),
    )
    for row in waiting:
        told = await ask(registry, sender, row["transfer"], row["state"])
        if told.type == "status.answer" and told.body["state"] == "not known here":
            await registry.database.run(
                "duties.heard",
                lambda tx, row=row: _say_again(tx, registry, row["transfer"], row["role"]),  # type: ignore[misc]
            )
    return len(waiting)


async def _yield_or_void(tx: Tx, registry: Registry, transfer: str, told: Message) -> str:
    """Decide a withdrawal in the row's own transaction: whichever of commit and withdrawal is first."""
    row = (await transfers.lock(tx, SOURCE, [transfer]))[transfer]
    if row["state"] != "locked":
        return str(row["state"])
    order = _commit_inside(registry, transfer, told)
    if order is not None:
        done = await source.follow_commit(tx, registry, order.commit_id, [order])
        made = [outcome.statement for outcome in done if outcome.statement]
        if not made:
            raise Declined(3002, "the gateway has a commit, but it is not proven here")
        await outcomes.say(tx, registry, made)
        return "released"
    state = told.body.get("state")
    if told.type != "status.answer" or state not in _NO_COMMIT:
        raise Declined(3002, f"the gateway says {state}: not withdrawn")
    texts = await source.void(tx, [transfer])
    await outcomes.say(tx, registry, [Statement(transfer, "voided", texts[transfer], True)])
    return "void"


def _commit_inside(registry: Registry, transfer: str, told: Message) -> Order | None:
    evidence: Evidence = told.evidence
    found = evidence.of_transfer(transfer, "commit", "transfer.commit", registry.gateway)
    if found is None:
        return None
    item, jws = found
    payload = next(h.payload for hs in evidence.holders.values() for h in hs if h.jws == jws)
    return Order(item, str(payload["id"]), digest(jws), evidence)


async def _say_again(tx: Tx, registry: Registry, transfer: str, role: str) -> None:
    """Say the last word again under a new id: the gateway has forgotten, or never had it."""
    said = await transfers.steps(tx, role, [transfer], ["propose", "released", "answer"])
    if role == SOURCE and (transfer, "propose") in said:
        await proposing.say_proposals(tx, registry, {transfer: said[transfer, "propose"]})
    for step in ("released",) if role == SOURCE else ("answer",):
        if (transfer, step) in said:
            await outcomes.say(tx, registry, [Statement(transfer, step, said[transfer, step], False)])
