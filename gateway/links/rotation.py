"""``link.keys``: a registry announces its next keys under one that counts already, and when earlier ones end.

Taken whole or refused whole, as a verdict; the numbers and limits are those of the contract, section 9. An old key goes
on counting for what was sent before its end, so that stored bytes stay sendable. Nothing here takes a key's power away
at once: that is a revocation, which persons decide on, and behind which nothing is announced. Each change is an entry
of the log, beside the message's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway import db
from gateway.audit import log
from gateway.domain import wire
from gateway.errors import GatewayError, Kind
from gateway.links import key_store
from gateway.messages.inbox import Inbound
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.signing.envelope import MAX_AHEAD
from gateway.signing.trust import PeerKey

#: New keys of one announcement: a rotation brings one, an HSM pair two.
MAX_ANNOUNCED = 4
#: Keys of one link that can still sign. Every message is checked against a list of this length.
MAX_KEYS = 16
#: How far ahead a key may be announced: a year's plan, not a date that somebody mistyped.
MAX_PLANNED = timedelta(days=366)

_JWK_MEMBERS = frozenset({"kty", "crv", "x", "alg", "kid", "use"})


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a ``link.keys`` says: new keys from a time on, and earlier ones (by id) until a time."""

    keys: tuple[PeerKey, ...]
    retire: Mapping[str, datetime]


async def announced(tx: db.Tx, _node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``link.keys``: register the new keys of the sender, and the ends of earlier ones."""
    sender = inbound.message.sender
    said = read(sender, inbound.message.body, inbound.message.sent_at)
    await key_store.change_keys_alone(tx)
    present = {key.kid: key for key in await key_store.keys(tx, [sender])}
    taken = await key_store.key_owners(tx, [key.kid for key in said.keys])
    judge(said, present, taken, inbound.message.kid)
    if said.keys:
        await key_store.add_keys(tx, said.keys, await _note(tx, inbound, _registered(sender, said.keys)))
    for kid, end in said.retire.items():
        await _note(tx, inbound, {"link": sender, "key": kid, "not_after": end.isoformat()}, "key.ended")
    await key_store.end_keys(tx, sender, said.retire)
    return ()


def read(sender: str, body: object, sent_at: datetime) -> Announcement:
    """What the body of a ``link.keys`` says; raises MALFORMED with 2001, or with 1007 for what is no public key."""
    raw = wire.members(body, "body", frozenset({"keys", "not_before"}), frozenset({"retire"}))
    not_before = wire.parse_time(raw["not_before"])
    if not sent_at - MAX_AHEAD <= not_before <= sent_at + MAX_PLANNED:
        raise wire.malformed("not_before is more than 300 s before the message, or more than 366 days after it")
    jwks = wire.array(raw["keys"], "keys")
    retire = raw.get("retire", {})
    if type(retire) is not dict or len(retire) > MAX_KEYS or ("retire" in raw and not retire):
        raise wire.malformed(f"retire is an object with 1 to {MAX_KEYS} key ids")
    if len(jwks) > MAX_ANNOUNCED or not (jwks or retire):
        raise wire.malformed(f"an announcement brings up to {MAX_ANNOUNCED} keys, or ends earlier ones")
    ends = {kid: wire.parse_time(end) for kid, end in retire.items()}
    if any(end <= sent_at for end in ends.values()):
        raise wire.malformed("a key ends after the message that says so")
    return Announcement(tuple(_key(sender, jwk, not_before) for jwk in jwks), ends)


def judge(said: Announcement, present: Mapping[str, PeerKey], taken: Mapping[str, str], signer: str) -> None:
    """Raise REJECTED with 1007 unless a sender with the keys ``present`` may announce this under ``signer``.

    ``taken`` are those of its new keys that are registered already, and for whom.
    """
    if present[signer].revoked_at is not None:  # since the message was verified, or for what was sent later
        raise _refused("the key that signed this is revoked")
    new = [key.kid for key in said.keys]
    if len(set(new)) < len(new):
        raise _refused("a key is announced twice")
    if taken:
        mine = next(iter(taken)) in present
        raise _refused("a key was registered before" if mine else "a key is another's")
    for kid, end in said.retire.items():
        key = present.get(kid)
        if key is None or key.revoked_at is not None:
            raise _refused(f"key {kid[:64]} is not registered for the sender, or is revoked")
        if (key.not_after is not None and key.not_after < end) or end <= key.not_before:
            raise _refused(f"key {kid} ends earlier, or begins later")
    signing = [k for k in present.values() if k.revoked_at is None and k.not_after is None and k.kid not in said.retire]
    if not signing and not said.keys:
        raise _refused("no key without an end would be left")
    if new and len(new) + sum(_signs_at(key, said.keys[0].not_before) for key in present.values()) > MAX_KEYS:
        raise _refused(f"a link has at most {MAX_KEYS} keys that can still sign")


def _signs_at(key: PeerKey, moment: datetime) -> bool:
    return key.revoked_at is None and (key.not_after is None or key.not_after > moment)


def _key(sender: str, jwk: Any, not_before: datetime) -> PeerKey:
    if type(jwk) is not dict:
        raise wire.malformed("a key is an object")
    key = PeerKey.from_jwk(sender, jwk, not_before=not_before)
    wire.members(jwk, "key", _JWK_MEMBERS, frozenset({"y"}))
    return key


def _registered(sender: str, keys: Sequence[PeerKey]) -> dict[str, Any]:
    window = {"not_before": keys[0].not_before.isoformat(), "not_after": None}
    return {"link": sender, "keys": [key.kid for key in keys], **window}


async def _note(tx: db.Tx, inbound: Inbound, record: Mapping[str, Any], kind: str = "key.registered") -> int:
    """Append an entry that names the message and the key that signed it; its id."""
    by = {"message": inbound.message.id, "signed_by": inbound.message.kid}
    [entry_id] = await log.append(tx, [log.draft(kind, inbound.at, {**record, **by})])
    return entry_id


def _refused(why: str) -> GatewayError:
    return GatewayError(Kind.REJECTED, why, code=1007)
