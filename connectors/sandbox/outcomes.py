"""What a message came to, transfer by transfer, and how that is answered.

A handler gives one ``Outcome`` per own item. ``conclude`` turns them into the answer: where every item comes
to the same kind of statement and the registry answers at once, one message with those statements; otherwise
a receipt naming each state, and messages of the registry's own. An answer is stored for repetitions only
when every outcome in it is a verdict (R23).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import post, retelling, strictjson, transfers
from .database import Tx
from .envelope import Draft, Message, Outgoing
from .evidence import Item
from .registry import Registry
from .retelling import Shown

#: Message type and role of each statement a registry makes about a transfer.
STATEMENTS = {
    "released": ("transfer.released", transfers.SOURCE),
    "voided": ("transfer.voided", transfers.SOURCE),
    "answer": ("transfer.answer", transfers.ACQUIRER),
    "credited": ("transfer.credited", transfers.ACQUIRER),
}
#: Messages whose substance may stand in the HTTP response; the others get a receipt.
ANSWERED_AT_ONCE = {"transfer.offer", "transfer.commit", "transfer.cancel", "transfer.settle"}

Finding = Mapping[str, Any]


@dataclass(frozen=True)
class Statement:
    """An own item about a transfer; ``new`` when it is said for the first time."""

    transfer: str
    step: str
    text: str
    new: bool


@dataclass(frozen=True)
class Outcome:
    """What one item came to. ``kept`` is false when it is not a verdict and the item may be sent again."""

    item: Item
    state: str
    findings: Sequence[Finding] = ()
    statement: Statement | None = None
    kept: bool = True
    transfer: str | None = None


def finding(code: int, detail: str) -> Finding:
    """Write a finding of the check table."""
    return {"code": code, "detail": detail}


def later(item: Item, code: int, detail: str) -> Outcome:
    """Not now, and no verdict: the same item may be judged otherwise when it comes again."""
    return Outcome(item, "later", [finding(code, detail)], kept=False)


def said(
    item: Item, state: str, step: str, text: str, *, new: bool = False, findings: Sequence[Finding] = ()
) -> Outcome:
    """Answer an item by a statement."""
    return Outcome(item, state, findings, Statement(item.value["transfer"], step, text, new))


async def conclude(tx: Tx, registry: Registry, message: Message, outcomes: Sequence[Outcome]) -> Outgoing:
    """Store the answer to ``message`` and what is said beside it; gives the answer."""
    made = [outcome.statement for outcome in outcomes if outcome.statement]
    reply_to = {"id": message.id, "sha256": message.body_sha256}
    complete = len(made) == len(outcomes) and len({statement.step for statement in made}) == 1
    if registry.at_once and complete and message.type in ANSWERED_AT_ONCE:
        shown = await _shown(tx, made, answering=message.id)
        if shown.fits:
            return await _store(tx, registry, made, shown, in_reply_to=reply_to, answers=message.id)
    draft = Draft("receipt", [_receipt(outcome) for outcome in outcomes], in_reply_to=reply_to)
    kept = all(outcome.kept for outcome in outcomes)
    receipt = await post.store(tx, registry, draft, answers=message.id if kept else None)
    await say_unsaid(tx, registry, made)
    return receipt


async def say_unsaid(tx: Tx, registry: Registry, statements: Sequence[Statement]) -> None:
    """Say, as messages of this registry's own, what is not being said already."""
    waiting = await _waiting(tx, statements)
    for name in sorted({statement.step for statement in statements}):
        unsaid = [s for s in statements if s.step == name and (s.new or (s.transfer, name) not in waiting)]
        if unsaid:
            await say(tx, registry, unsaid)


async def say(tx: Tx, registry: Registry, statements: Sequence[Statement]) -> None:
    """Store statements of one kind as messages of this registry's own, each sent until there is a receipt."""
    shown = await _shown(tx, statements)
    half = len(statements) // 2
    if shown.fits or not half:
        await _store(tx, registry, statements, shown, owed=True)
    else:
        await say(tx, registry, statements[:half])
        await say(tx, registry, statements[half:])


async def _shown(tx: Tx, statements: Sequence[Statement], answering: str | None = None) -> Shown:
    # R24, R26: what is said again shows what it rests on, unless that is the very message being answered.
    again = [(s.transfer, s.step, s.text) for s in statements if not s.new and s.step != "voided"]
    return await retelling.shown(tx, STATEMENTS[statements[0].step][1], again, answering) if again else Shown()


async def _store(
    tx: Tx,
    registry: Registry,
    statements: Sequence[Statement],
    shown: Shown,
    *,
    in_reply_to: Mapping[str, str] | None = None,
    answers: str | None = None,
    owed: bool = False,
) -> Outgoing:
    message_type, role = STATEMENTS[statements[0].step]
    texts = [statement.text for statement in statements]
    draft = Draft(message_type, texts, shown.body, in_reply_to=in_reply_to, carried=list(shown.items))
    message = await post.store(tx, registry, draft, answers=answers, owed=owed)
    new = [(s.transfer, s.step, s.text) for s in statements if s.new]
    await transfers.record(tx, role, message.id, new)
    return message


async def _waiting(tx: Tx, statements: Sequence[Statement]) -> set[tuple[str, str]]:
    """Give the steps whose message is being sent already: saying them again would only add traffic."""
    repeated = [statement.transfer for statement in statements if not statement.new]
    if not repeated:
        return set()
    found = await tx.rows(
        "SELECT p.transfer, p.step FROM step p JOIN sent s ON s.id = p.message WHERE p.transfer = ANY(%s) AND s.owed",
        repeated,
    )
    return {(row["transfer"], row["step"]) for row in found}


def _receipt(outcome: Outcome) -> str:
    value = outcome.item.value
    # A record speaks of a transfer, but what became of it here is no state of that transfer.
    named = outcome.transfer or (value.get("transfer") if value["kind"] != "record" else None)
    members = {"kind": "receipt", "item": outcome.item.sha256}
    about = {"transfer": named} if named else {}
    return strictjson.dumps({**members, **about, "state": outcome.state, "findings": list(outcome.findings)})
