"""Results of reconciliations, as the gateway told of them: kept for ever, and written into this registry's own log.

A result changes no holding. What it found is kept as it was said; ``entry`` is the text of the log's entry.
"""

from collections.abc import Sequence
from typing import Any

from . import clock, cuts, strictjson
from .books import plain
from .database import Tx
from .envelope import Message
from .outcomes import Outcome
from .registry import Registry


async def take(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """Keep a result; its receipt has no items."""
    body = message.body
    taken = await cuts.kept(tx, body["cut"])
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
