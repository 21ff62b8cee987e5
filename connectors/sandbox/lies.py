"""Lies: what a registry signs against its own books, so that others can be seen to hold.

A lie is a statement of this registry's own, really signed and repeated until there is a receipt. Only words are
said: no row, no step and no unit changes. Each is a function from a transfer to the text of one item; it raises
``Declined`` where there is nothing yet to lie about.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import clock, post, strictjson, transfers
from .clock import uuid7
from .database import Tx
from .envelope import Draft
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
    "credit-without-settle": _credit_without_settle,
    "answer-foreign": _answer_foreign,
    "credit-foreign": _credit_foreign,
    "void-foreign": _void_foreign,
}
