"""What every check may know beside the thing it looks at: who we are, which keys vouch for whom, what time it is.

Keys are those that counted when a message was stored. A revocation that was entered later, though it may reach
back, does not make wrong what was right: it counts from its entry in the log on, and a message that was being
received at that very moment is given the benefit of the doubt.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from gateway import db
from gateway.doctor import store
from gateway.domain.callers import EVERYTHING
from gateway.keys import store as own_keys
from gateway.keys.store import OwnKey
from gateway.links import key_store
from gateway.links import store as links
from gateway.messages.outbox import Node
from gateway.signing.trust import PeerKey

#: How far apart the clocks of two of the gateway's processes may be, and how long a transaction takes at most.
TOLERANCE = timedelta(minutes=5)
#: Since when a key of ours counts in what is stored here: the first signed before anybody kept a list.
_ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Own:
    """This gateway: its link code, and the public part of its key where that is at hand."""

    code: str
    jwk: Mapping[str, str] | None = None

    @classmethod
    def of(cls, node: Node) -> Self:
        """The gateway that ``node`` signs for."""
        return cls(node.code, node.signer.public_jwk())


@dataclass(frozen=True, slots=True)
class Scene:
    """The surroundings of an examination."""

    code: str
    now: datetime
    keys: Mapping[str, Sequence[PeerKey]]
    #: Key id → when its revocation was entered in the log.
    revoked: Mapping[str, datetime] = field(default_factory=dict)
    #: Since when every key of ours is listed, and nothing is stored that another has signed; nothing where none is.
    listed_since: datetime | None = None

    def keys_of(self, owner: str, at: datetime) -> list[PeerKey]:
        """The keys of ``owner`` as they were known to be when a message was stored ``at`` that time."""
        return [key if self._known(key, at) else _before(key) for key in self.keys.get(owner, ())]

    def _known(self, key: PeerKey, at: datetime) -> bool:
        entered = self.revoked.get(key.kid)
        return entered is not None and at > entered + TOLERANCE


def _before(key: PeerKey) -> PeerKey:
    return replace(key, revoked_at=None, revoked_reason=None, compromised_since=None)


def _ours(own: Own, key: OwnKey) -> PeerKey:
    """A key of ours, by the time in which we signed with it: whoever else may have it since stores nothing here."""
    ended = [moment + TOLERANCE for moment in (key.retired_at, key.revoked_on) if moment is not None]
    return PeerKey.from_jwk(own.code, key.jwk, not_before=_ALWAYS, not_after=min(ended, default=None))


async def at(tx: db.ReadTx, own: Own, now: datetime) -> Scene:
    """The surroundings as the database shows them."""
    keys: dict[str, list[PeerKey]] = defaultdict(list)
    for key in await key_store.keys(tx, [link.code for link in await links.links(tx, EVERYTHING)]):
        keys[key.owner].append(key)
    listed = await own_keys.keys(tx)
    keys[own.code] += [_ours(own, key) for key in listed]
    if own.jwk is not None and not listed:
        keys[own.code].append(PeerKey.from_jwk(own.code, own.jwk, not_before=_ALWAYS))
    since = min((key.not_before for key in listed), default=None)
    return Scene(own.code, now, keys, await store.revocations(tx), since)
