"""Lies: what a registry signs against its own books, so that others can be seen to hold.

A lie is a statement of this registry's own, really signed and repeated until there is a receipt. Only words are
said: no row, no step and no unit changes. Each is a function from a transfer to the text of one item; it raises
``Declined`` where there is nothing yet to lie about.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import clock, post, strictjson, transfers
from .clock import uuid7
from .database import Tx
from .envelope import Draft, Outgoing, texts_of
from .outcomes import STATEMENTS, finding
from .registry import Registry
from .signature import digest
from .transfers import ACQUIRER, SOURCE
from .units import Declined

Lie = Callable[[Tx, Registry, str], Awaitable[Mapping[str, Any]]]


async def tell(tx: Tx, registry: Registry, lie: str, transfer: str) -> str:
    """Store a lie as a message owed to the gateway; gives its id."""
    item = await LIES[lie](tx, registry, transfer)
    message_type, _ = STATEMENTS[item["kind"]]
    draft = Draft(message_type, [strictjson.dumps(item)])
    return (await post.store(tx, registry, draft, owed=True)).id


async def contradict(tx: Tx, registry: Registry, answer: Outgoing) -> None:
    """Say the opposite of every verdict in an answer of this registry's own, by a lie each; of the others nothing."""
    kind = answer.type.removeprefix("transfer.")
    for item in map(strictjson.loads, texts_of(answer.content_type, answer.body)):
        # A receipt names the state to which the statement, which follows by itself, belongs.
        lie = OPPOSITES.get(item.get("answer", item.get("state", kind)))
        if lie is not None and item["kind"] == kind and "transfer" in item:
            with contextlib.suppress(Declined):  # it ended before anything was said that could be denied
                await tell(tx, registry, lie, item["transfer"])


async def _release_without_commit(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    await _said(tx, SOURCE, transfer, "propose")
    members = {"commit": _nothing_sent(), "released_at": clock.now(), "first_transfer": False, "itmo": []}
    return {"kind": "released", "transfer": transfer, **members}


async def _release_again(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    return {**await _said(tx, SOURCE, transfer, "released"), "released_at": clock.now()}


async def _void_after_release(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    await _said(tx, SOURCE, transfer, "released")
    return _voided(transfer)


async def _change_answer(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    said = await _said(tx, ACQUIRER, transfer, "answer")
    if said["answer"] == "accepted":
        return {**said, "answer": "rejected", "findings": [finding(5901, "changed its mind")]}
    return {**said, "answer": "accepted", "findings": []}


async def _credit_again(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    return {**await _said(tx, ACQUIRER, transfer, "credited"), "credited_at": clock.now()}


async def _closed_after_credit(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    await _said(tx, ACQUIRER, transfer, "credited")
    said = await _said(tx, ACQUIRER, transfer, "answer")
    return {**said, "answer": "closed-here", "findings": [finding(3003, "closed here")]}


async def _credit_without_settle(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    await _said(tx, ACQUIRER, transfer, "answer")
    return _credited(transfer)


async def _answer_foreign(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    await _is_foreign(tx, transfer)
    members = {"offer": digest("an offer nobody sent"), "answer": "accepted", "findings": []}
    return {"kind": "answer", "transfer": transfer, **members}


async def _credit_foreign(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    await _is_foreign(tx, transfer)
    return _credited(transfer)


async def _void_foreign(tx: Tx, registry: Registry, transfer: str) -> Mapping[str, Any]:
    await _is_foreign(tx, transfer)
    return _voided(transfer)


async def _said(tx: Tx, role: str, transfer: str, step: str) -> dict[str, Any]:
    text = (await transfers.steps(tx, role, [transfer], [step])).get((transfer, step))
    if text is None:
        raise Declined(3001, f"there is no {step} of this transfer here")
    said: dict[str, Any] = strictjson.loads(text)
    return said


async def _is_foreign(tx: Tx, transfer: str) -> None:
    if await tx.one("SELECT FROM transfer WHERE transfer = %s", transfer) is not None:
        raise Declined(3004, "the transfer is this registry's own")


def _nothing_sent() -> dict[str, str]:
    return {"id": uuid7(), "sha256": digest("a message nobody sent")}


def _credited(transfer: str) -> dict[str, Any]:
    members = {"settle": _nothing_sent(), "credited_at": clock.now(), "account": "100-1", "findings": []}
    return {"kind": "credited", "transfer": transfer, **members}


def _voided(transfer: str) -> dict[str, Any]:
    return {"kind": "voided", "transfer": transfer, "findings": []}


LIES: Mapping[str, Lie] = {
    "release-without-commit": _release_without_commit,
    "release-again": _release_again,
    "void-after-release": _void_after_release,
    "change-answer": _change_answer,
    "credit-again": _credit_again,
    "closed-after-credit": _closed_after_credit,
    "credit-without-settle": _credit_without_settle,
    "answer-foreign": _answer_foreign,
    "credit-foreign": _credit_foreign,
    "void-foreign": _void_foreign,
}
#: What contradicts a statement, by its kind (an answer: by what it answers), or the state a receipt names.
OPPOSITES: Mapping[str, str] = {
    "released": "void-after-release",
    "voided": "release-without-commit",
    "void": "release-without-commit",
    "accepted": "change-answer",
    "rejected": "change-answer",
    "credited": "closed-after-credit",
}
