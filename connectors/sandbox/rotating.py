"""Changing keys: announcing this registry's next one, signing with it, and learning the gateway's.

A new key is announced by ``link.keys`` under the old one; once that is receipted the registry signs with it. The
message is the memory: whether it is still owed, and what it was answered, says where a rotation stands, so a process
that dies between the receipt and the change of its key file makes up for it at its next start. What the gateway
announces is a row each, looked up beside its pinned key set.
"""

from datetime import datetime, timedelta
from typing import Any

from . import backup, clock, post, strictjson
from .books import plain
from .database import Row, Tx
from .envelope import Draft, Message
from .keys import Announced
from .outcomes import Outcome
from .registry import Registry
from .signature import segment

#: The setting that names the announced key and the message that announced it.
MARK = "rotation"
#: How long the old key is good for what is signed with it at the moment the new one is announced.
OVERLAP = timedelta(days=1)


async def rotate(registry: Registry) -> None:
    """Announce a new key, unless one is announced already."""
    async with registry.rotating:
        if registry.trust.announced is None:
            new = registry.trust.prepare()
            await registry.database.run("admin.rotate", lambda tx: _announce(tx, registry, new.kid, new.public()))
            registry.trust.announced = new


async def _announce(tx: Tx, registry: Registry, kid: str, jwk: dict[str, Any]) -> None:
    await backup.serving(tx)
    now = clock.present()
    ends = {registry.key.kid: clock.stamp(now + OVERLAP)}
    body = {"keys": [jwk], "not_before": clock.stamp(now), "retire": ends}
    message = await post.store(tx, registry, Draft("link.keys", body=body), owed=True)
    await tx.execute(
        "INSERT INTO setting (name, value) VALUES (%s, %s::jsonb)"
        " ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
        MARK,
        plain({"kid": kid, "message": message.id}),
    )


async def go_on(tx: Tx, registry: Registry) -> None:
    """Take a rotation to where its message stands: still announced, done, or refused. Changes files, not rows."""
    trust = registry.trust
    found = await tx.one(
        "SELECT g.value ->> 'kid' AS kid, s.owed, s.answer_jws FROM setting g JOIN sent s ON"
        " s.id = (g.value ->> 'message')::uuid WHERE g.name = %s",
        MARK,
    )
    prepared = trust.prepared()
    if found is None or prepared is None or prepared.kid != found["kid"]:
        trust.announced = None  # none is under way, or a restore has put another key in its place
    elif found["owed"]:
        trust.announced = prepared
    elif segment(found["answer_jws"].split(".")[1])["type"] == "receipt":
        trust.renew()
    else:
        trust.announced = None


async def announced(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Keep the gateway's new keys, and until when its earlier ones are good."""
    body = message.body
    for jwk in body["keys"]:
        await tx.execute(
            "INSERT INTO gateway_key (kid, jwk, not_before) VALUES (%s, %s::jsonb, %s) "
            " ON CONFLICT (kid) DO UPDATE SET jwk = EXCLUDED.jwk, not_before = EXCLUDED.not_before",
            jwk["kid"],
            plain(jwk),
            datetime.fromisoformat(body["not_before"]),
        )
    for kid, end in body.get("retire", {}).items():
        await tx.execute(
            "INSERT INTO gateway_key (kid, not_after) VALUES (%s, %s)"
            " ON CONFLICT (kid) DO UPDATE SET not_after = least(gateway_key.not_after, EXCLUDED.not_after)",
            kid,
            datetime.fromisoformat(end),
        )
    return []


async def take_up(tx: Tx, registry: Registry) -> None:
    """Trust the keys the gateway has announced, each within its time."""
    rows = await tx.rows("SELECT kid, jwk, not_before, not_after FROM gateway_key")
    registry.trust.told = {(registry.gateway, row["kid"]): _of(row) for row in rows}


def _of(row: Row) -> Announced:
    jwk = strictjson.dumps(row["jwk"]) if row["jwk"] else ""
    return Announced.of(jwk, row["not_before"], row["not_after"])
