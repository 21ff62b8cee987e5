"""Questions about one transfer: answering the gateway's, asking it, and withdrawing.

A withdrawal asks first and yields to a stored commit (R17): where the gateway shows a commit, it is carried
out like one that arrived by itself. Silence withdraws nothing. A registry that has heard nothing for an hour,
and then daily, asks too, until it is told that a transfer is closed (R26).
"""

from datetime import timedelta
from typing import Any

from . import backup, envelope, hearing, outcomes, post, retelling, source, transfers
from .database import Row, Tx
from .envelope import QUERY_TIME, Draft, Message
from .hearing import ATTENTION, NOT_KNOWN
from .outcomes import Statement
from .registry import Registry
from .sender import NoAnswer, Sender
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
    NOT_KNOWN,
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
#: Rows asked about in one round, how long until one is asked about again, and how long if there was no answer.
ASK_ROWS, ASK_AGAIN, ASK_ONCE_MORE = 20, timedelta(days=1), timedelta(minutes=1)


def role_in(registry: Registry, transfer: str) -> tuple[str, str]:
    """Give this registry's role in a transfer, which its id tells, and the state of one it does not know."""
    at_home = transfer.startswith(f"{registry.code}-")
    return (SOURCE, "unknown-here") if at_home else (ACQUIRER, NOT_KNOWN)


async def answer(tx: Tx, registry: Registry, message: Message) -> Draft:
    """Say where a transfer stands here, with the last statement about it as evidence."""
    await backup.serving(tx)
    transfer = message.body["transfer"]
    role, unknown = role_in(registry, transfer)
    row = await tx.one("SELECT state FROM transfer WHERE transfer = %s AND role = %s", transfer, role)
    state = row["state"] if row else unknown
    said = await retelling.statement(tx, role, transfer, _SHOWN[role].get(state, ""))
    body: dict[str, Any] = {"transfer": transfer, "state": state, "evidence": list(said.messages)}
    asked = message.body.get("message")
    if asked is not None:
        known = await post.knows(tx, asked["id"], asked["sha256"])
        body["message"] = "known" if known else "not known"
    named = {"id": message.id, "sha256": message.body_sha256}
    return Draft("status.answer", body=body, in_reply_to=named, expires_in=QUERY_TIME, carried=list(said.items))


async def ask(registry: Registry, sender: Sender, transfer: str, my_state: str) -> Message:
    """Ask the gateway where a transfer stands; raises ``NoAnswer``."""
    draft = Draft("status.query", body={"transfer": transfer, "my_state": my_state}, expires_in=QUERY_TIME)
    query = envelope.compose(draft, registry.key, registry.code, registry.gateway, None)
    told = (await sender.post(query.type, query.content_type, query.body))[0]
    if told.type != "status.answer" or told.body["transfer"] != transfer:
        raise NoAnswer(f"a {told.type} is no answer to the question about {transfer}")
    return told


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


async def ask_waiting(registry: Registry, sender: Sender, *, at_once: bool = False) -> int:
    """Ask about transfers nothing has been heard of; gives how many there were. Raises ``NoAnswer``.

    ``at_once`` makes every open question due now.
    """
    waiting = await registry.database.run("duties.ask", lambda tx: _due(tx, at_once=at_once))
    for row in waiting:
        told = await ask(registry, sender, row["transfer"], row["state"])
        await registry.database.run("duties.heard", lambda tx, row=row, told=told: _heard(tx, registry, row, told))  # type: ignore[misc]
    return len(waiting)


async def _due(tx: Tx, *, at_once: bool) -> list[Row]:
    """Take the rows to ask about; one whose question is not answered comes up again soon."""
    return await tx.rows(
        "UPDATE transfer t SET ask_at = now() + %s FROM (SELECT transfer, role FROM transfer"
        " WHERE ask_at IS NOT NULL AND (%s OR ask_at <= now()) ORDER BY ask_at LIMIT %s FOR UPDATE SKIP LOCKED) AS due"
        " WHERE t.transfer = due.transfer AND t.role = due.role RETURNING t.transfer, t.role, t.state",
        ASK_ONCE_MORE,
        at_once,
        None if at_once else ASK_ROWS,
    )


async def _heard(tx: Tx, registry: Registry, asked: Row, told: Message) -> None:
    transfer, role, state = asked["transfer"], asked["role"], told.body["state"]
    await tx.execute(
        "UPDATE transfer SET ask_at = now() + %s WHERE transfer = %s AND role = %s AND ask_at IS NOT NULL",
        ASK_AGAIN,
        transfer,
        role,
    )
    if state == NOT_KNOWN:
        row = (await transfers.lock(tx, role, [transfer]))[transfer]
        await hearing.say_again(tx, registry, {**row, "role": role})
    elif state != ATTENTION:
        await hearing.hear(tx, registry, transfer, role, told)


async def _yield_or_void(tx: Tx, registry: Registry, transfer: str, told: Message) -> str:
    """Decide a withdrawal in the row's own transaction: whichever of commit and withdrawal is first (R13, R17)."""
    row = (await transfers.lock(tx, SOURCE, [transfer]))[transfer]
    if row["state"] != "locked":
        return str(row["state"])
    state = told.body["state"]
    if state in _NO_COMMIT:
        texts = await source.void(tx, [transfer])
        await outcomes.say(tx, registry, [Statement(transfer, "voided", texts[transfer], True)])
        return "void"
    if state != ATTENTION:
        await hearing.hear(tx, registry, transfer, SOURCE, told)
    row = (await transfers.lock(tx, SOURCE, [transfer]))[transfer]
    if row["state"] == "locked":
        raise Declined(3002, f"the gateway says {state}: not withdrawn")
    return str(row["state"])
