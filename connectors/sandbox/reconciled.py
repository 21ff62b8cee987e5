"""Results of reconciliations, as the gateway told of them: kept for ever, and written into this registry's own log.

A result changes no holding. What it found is kept as it was said; ``entry`` is the text of the log's entry. The roots
in it are those this registry signed of the cut: a result carries that answer, so that it may come when the cut is long
forgotten. Where it carries none that this registry signed, they are taken from the cut, if that is kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from . import clock, cuts, strictjson
from .books import plain
from .database import Tx
from .envelope import Message
from .outcomes import Outcome
from .registry import Registry
from .signature import Unattributable, prove


async def take(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """Keep a result; its receipt has no items."""
    body = message.body
    taken = _signed(registry, message) or await cuts.kept(tx, body["cut"])
    roots = {book["registry"]: book["root"] for book in taken["books"] if "root" in book} if taken else {}
    entry = {"at": message.payload["sent_at"], "cut": body["cut"], "kind": "reconciliation"}
    await tx.execute(
        "INSERT INTO reconciliation (message, cut, status, body, findings, entry)"
        " VALUES (%s, %s, %s, %s::jsonb, %b::text[], %s)",
        message.id,
        body["cut"],
        body["status"],
        plain({name: value for name, value in body.items() if name != "evidence"}),
        [item.text for item in message.own],
        strictjson.dumps({**entry, "roots": dict(sorted(roots.items()))}),
    )
    return []


def _signed(registry: Registry, message: Message) -> Mapping[str, Any] | None:
    """Give what this registry said of the cut of a result, which carries it; nothing if it never signed it."""
    for carried in message.body["evidence"]:
        try:
            said = prove(carried, registry.code, message.evidence.trust)
        except Unattributable:
            continue
        told: Mapping[str, Any] = said["body"]
        if said["type"] == "cut.answer" and told["cut"] == message.body["cut"] and told["state"] == "taken":
            return told
    return None


async def listed(tx: Tx) -> list[dict[str, Any]]:
    """Give the results, the last one first."""
    found = await tx.rows("SELECT message, cut, status, body, findings, entry, at FROM reconciliation ORDER BY id DESC")
    return [
        {
            **{name: str(row[name]) for name in ("message", "cut")},
            "status": row["status"],
            "at": clock.stamp(row["at"]),
            "body": row["body"],
            "findings": [strictjson.loads(text) for text in row["findings"]],
        }
        for row in found
    ]
