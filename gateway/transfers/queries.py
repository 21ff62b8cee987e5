"""Answers what registries ask: where a transfer stands, and what time it is. Changes nothing.

A registry that lost a message, or its memory, asks; the answer names the state and carries the statement the
gateway waits to have answered, with its evidence, so that the asker can go on from it. A transfer that is not
the asker's is answered like one that does not exist.
"""

from datetime import timedelta
from typing import Any

from gateway import db
from gateway.domain import wire
from gateway.domain.identifiers import parse_transfer_id, parse_uuid7
from gateway.messages import store as messages
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Draft, Node
from gateway.messages.receipts import reply_to
from gateway.transfers import statements, store
from gateway.transfers.statements import NOT_KNOWN
from gateway.transfers.store import Row

#: How long a query, or the answer to one, may be read as the present.
ANSWER_LIFE = timedelta(seconds=300)


async def status(tx: db.Tx, node: Node, inbound: Inbound) -> Draft:
    """``status.query``: the state of one transfer, and the statement that is due to the asker (raises 2001)."""
    _without_items(inbound)
    raw = wire.members(inbound.message.body, "body", frozenset({"transfer", "my_state"}), frozenset({"message"}))
    transfer = str(parse_transfer_id(wire.text(raw["transfer"], "transfer")))
    wire.text(raw["my_state"], "my_state")
    body: dict[str, Any] = {"transfer": transfer, "state": NOT_KNOWN, "evidence": []}
    if "message" in raw:
        named = wire.members(raw["message"], "message", frozenset({"id", "sha256"}))
        message_id = parse_uuid7(wire.text(named["id"], "message id"))
        wire.text(named["sha256"], "message sha256")
        known = await messages.is_known(tx, inbound.message.sender, message_id)
        body["message"] = "known" if known else "not known"
    row = await store.find(tx, transfer)
    if row is None or inbound.message.sender not in (row.source, row.acquirer):
        return _answer(inbound, "status.answer", body)
    body["state"] = row.state.value
    carried, evidence = await _due(tx, row, asked_by_source=inbound.message.sender == row.source)
    return _answer(inbound, "status.answer", body, carried, evidence)


async def clock(tx: db.Tx, node: Node, inbound: Inbound) -> Draft:
    """``time.query``: the gateway's clock, for drift alarms."""
    _without_items(inbound)
    wire.nothing(inbound.message.body)
    return _answer(inbound, "time.answer", {"time": wire.time_to_wire(node.clock())})


def _without_items(inbound: Inbound) -> None:
    if inbound.message.items:
        raise wire.malformed("a query has no items")


async def _due(tx: db.Tx, row: Row, *, asked_by_source: bool) -> tuple[list[str], list[str]]:
    """The item texts and the messages that the asker can go on from: what we say to it now, or else its own last word.

    A registry that was restored finds in the latter what it had signed (protocol.md, sections 4 and 5).
    """
    said = (s for s in statements.SAID.get(row.state, ()) if s.to_source == asked_by_source)
    due = next((s for s in said if getattr(row, s.column) is not None), None)
    if due is not None:
        names: tuple[str, ...] = (due.step, *due.carries)
    elif asked_by_source:
        names = ("propose", "released")
    else:
        names = ("propose", "offer", "answer")
    kept = await store.steps(tx, [row.id], names)
    found = [kept[row.id, name] for name in names if (row.id, name) in kept]
    signed = await messages.signed(tx, [step.entry_id for step in found])
    evidence = dict.fromkeys(signed[step.entry_id] for step in found)
    return [step.item for step in found], list(evidence)


def _answer(
    inbound: Inbound,
    kind: str,
    body: dict[str, Any],
    carried: list[str] | None = None,
    evidence: list[str] | None = None,
) -> Draft:
    return Draft(
        inbound.message.sender,
        kind,
        carried=carried or (),
        evidence=evidence or (),
        body=body,
        expires_at=inbound.at + ANSWER_LIFE,
        in_reply_to=reply_to(inbound.message),
        numbered=False,
    )
