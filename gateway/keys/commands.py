"""Changes the gateway's own key: announce the next one, start with it, retire the one before; or revoke one.

    1  ``announce``: a ``link.keys`` under the present key goes to every link, repeated until it is receipted
    2  a process started with the new key may sign (``start``) once every active link has receipted it
    3  ``retire``: refused while the old key owes a message; the links are told until when it counts

A process whose key was never announced, or is retired or revoked, does not start, and what it would store as sent is
refused in its transaction (``may_sign``), so no message leaves that no peer could verify. Each step is one entry of the
log. Fails with ``GatewayError``: CONFLICT for what may not be now, NOT_FOUND for a key that is none of ours.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway import db
from gateway.audit import log
from gateway.domain import wire
from gateway.domain.callers import EVERYTHING
from gateway.errors import GatewayError, Kind
from gateway.keys import store
from gateway.keys.store import OwnKey
from gateway.links import key_store
from gateway.links import store as links
from gateway.links.rotation import MAX_KEYS
from gateway.messages import outbox, owed
from gateway.messages.outbox import Draft, Node
from gateway.messages.owed import Owed
from gateway.signing.trust import PeerKey, Revocation

#: How long after its retirement what was signed with a key still counts: longer than a transaction, and the difference
#: of the clocks of two of the gateway's processes.
LAST = timedelta(seconds=60)
#: How many messages that a key still owes are named.
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Debt:
    """A message of ours that ``peer`` has not answered, and the key that signed it."""

    message_id: str
    peer: str
    type: str
    kid: str


#: What is unanswered, whatever it is about: the relay's to say.
Debts = Callable[[db.Tx], Awaitable[Sequence[Debt]]]


async def start(tx: db.Tx, node: Node) -> None:
    """Let a process sign with its key; the first that ever starts registers it. Raises CONFLICT where it may not."""
    await key_store.change_keys_alone(tx)
    keys = await store.keys(tx)
    if not keys:
        await _register(tx, node, _own(node, node.signer.public_jwk(), node.clock()), {})
        return
    key = next((key for key in keys if key.kid == node.signer.kid), None)
    if key is None:
        present = ", ".join(key.kid for key in store.usable(keys)) or "none"
        detail = f"key {node.signer.kid} was never announced; 'gateway keys announce' does that, under {present}"
        raise GatewayError(Kind.CONFLICT, detail)
    _require_signing(key)
    if any(other.kid != key.kid for other in store.usable(keys)):
        waiting = [t.link for t in await store.told(tx, key.kid) if _is_awaited(t)]
        if waiting:
            raise GatewayError(Kind.CONFLICT, f"key {key.kid} is not yet receipted by {', '.join(waiting)}")


async def announce(tx: db.Tx, node: Node, jwk: Mapping[str, Any]) -> list[str]:
    """Announce a new key of ours to every link, under the present one; the links that are told.

    Raises CONFLICT for a key that is registered already, ours or a link's, and when there are too many of ours.
    """
    await start(tx, node)
    keys = await store.keys(tx)
    new = _own(node, jwk, node.clock())
    for kid, owner in (await key_store.key_owners(tx, [new.kid])).items():
        raise GatewayError(Kind.CONFLICT, f"key {kid} is registered for {owner} already")
    if len(store.usable(keys)) >= MAX_KEYS:
        raise GatewayError(Kind.CONFLICT, f"at most {MAX_KEYS} keys may sign: retire one first")
    await _register(tx, node, new, {"announced_under": node.signer.kid})
    body = {"keys": [dict(new.jwk)], "not_before": wire.time_to_wire(new.not_before)}
    return await _tell(tx, node, new.kid, body, ends=False)


async def retire(tx: db.Tx, node: Node, kid: str, debts: Debts) -> list[str]:
    """Let a key sign no more, and tell every link until when it counts; the links that are told.

    Raises CONFLICT while a link that is not closed has not answered a message this key signed, for the key in use, and
    for one that does not sign.
    """
    await key_store.change_keys_alone(tx)
    _require_signing(await _known(tx, kid))
    if kid == node.signer.kid:
        raise GatewayError(Kind.CONFLICT, f"key {kid} is in use here: start with the one announced, then retire it")
    await start(tx, node)
    await store.stop_signing(tx)
    owing = await owes(tx, kid, debts)
    if owing:
        named = ", ".join(f"{debt.type} to {debt.peer} ({debt.message_id})" for debt in owing[:MAX_NAMED])
        raise GatewayError(Kind.CONFLICT, f"key {kid} still owes {len(owing)} messages: {named}")
    now = node.clock()
    end = now + LAST
    [entry_id] = await log.append(tx, [log.draft("own-key.retired", now, {"key": kid, "not_after": end.isoformat()})])
    await store.retire(tx, kid, end, entry_id)
    return await _tell_end(tx, node, kid, end)


async def revoke(tx: db.Tx, node: Node, kid: str, reason: Revocation, *, since: datetime | None) -> list[str]:
    """Let a key sign no more at once, since a time that is not to come; the links that are told, if any can be.

    Under another key that signs, the links that know this one are told its end. That it is compromised they must hear
    from people: whoever has the key can date back what they sign with it. Raises CONFLICT when it was revoked before.
    """
    await key_store.change_keys_alone(tx)
    key = await _known(tx, kid)
    now = node.clock()
    if reason is Revocation.RESTORED:
        raise GatewayError(Kind.MALFORMED, "our own key is revoked as compromised or superseded")
    if since is not None and since > now:
        raise GatewayError(Kind.MALFORMED, "a key is revoked from now or from an earlier time")
    if key.revoked_at is not None:
        raise GatewayError(Kind.CONFLICT, f"key {kid} was revoked before")
    record = {"key": kid, "reason": reason.value, "since": (since or now).isoformat()}
    [entry_id] = await log.append(tx, [log.draft("own-key.revoked", now, record)])
    await store.revoke(tx, kid, since or now, reason, entry_id)
    if key.retired_at is not None or not any(k.kid == node.signer.kid for k in store.usable(await store.keys(tx))):
        return []
    return await _tell_end(tx, node, kid, now + LAST)


async def owes(tx: db.Tx, kid: str, debts: Debts) -> list[Debt]:
    """The messages a key has signed that links which are not closed have not answered."""
    closed = {link.code for link in await links.links(tx, EVERYTHING) if link.state == "closed"}
    return [debt for debt in await debts(tx) if debt.kid == kid and debt.peer not in closed]


async def answered(tx: db.Tx, message_id: str, entry_id: int) -> None:
    """Hear a receipt: if the message was about a key of ours, its link has been told."""
    if await store.receipted(tx, message_id, entry_id):
        await owed.done(tx, message_id)


async def served(tx: db.ReadTx) -> list[Mapping[str, str]]:
    """The public keys that may sign, as ``GET /keys`` shows them."""
    return [key.jwk for key in store.usable(await store.keys(tx))]


def _own(node: Node, jwk: Mapping[str, Any], now: datetime) -> PeerKey:
    return PeerKey.from_jwk(node.code, jwk, not_before=now)


async def _register(tx: db.Tx, node: Node, key: PeerKey, how: Mapping[str, str]) -> None:
    record = {"key": key.kid, "not_before": key.not_before.isoformat(), **how}
    [entry_id] = await log.append(tx, [log.draft("own-key.registered", node.clock(), record)])
    await store.add(tx, key, entry_id)


async def _known(tx: db.Tx, kid: str) -> OwnKey:
    for key in await store.keys(tx):
        if key.kid == kid:
            return key
    raise GatewayError(Kind.NOT_FOUND, f"no key {kid} of this gateway is known")


def _require_signing(key: OwnKey) -> None:
    if key.revoked_at is not None:
        raise GatewayError(Kind.CONFLICT, f"key {key.kid} is revoked")
    if key.retired_at is not None:
        raise GatewayError(Kind.CONFLICT, f"key {key.kid} is retired")


def _is_awaited(told: store.Told) -> bool:
    return told.state == "active" and told.receipted_at is None and not told.ends


async def _tell_end(tx: db.Tx, node: Node, kid: str, end: datetime) -> list[str]:
    """Tell of a key's end; who has not receipted the key itself is told of neither any more."""
    unheard = [told for told in await store.told(tx, kid) if told.receipted_at is None]
    for told in unheard:
        await owed.done(tx, told.message_id)
    now = node.clock()
    body = {"keys": [], "not_before": wire.time_to_wire(now), "retire": {kid: wire.time_to_wire(end)}}
    return await _tell(tx, node, kid, body, ends=True, but={told.link for told in unheard})


async def _tell(
    tx: db.Tx, node: Node, kid: str, body: dict[str, Any], *, ends: bool, but: Collection[str] = ()
) -> list[str]:
    """Store a ``link.keys`` to every link that is not closed (``but`` some); each is sent until it is receipted."""
    peers = [link.code for link in await links.links(tx, EVERYTHING) if link.state != "closed" and link.code not in but]
    stored = await outbox.store(tx, node, [Draft(peer, "link.keys", body=body) for peer in peers])
    messages = {peer: one.message.id for peer, one in zip(peers, stored, strict=True)}
    if messages:
        await store.tell(tx, kid, messages, ends=ends)
        await owed.add(tx, [Owed(peer, message) for peer, message in messages.items()], node.clock())
    return peers
