"""Checks of keys: of peers and of ours, the rows that decide who is believed are what the log says of them."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from gateway import db
from gateway.doctor.report import Remark, finding
from gateway.doctor.scene import Scene
from gateway.domain.callers import EVERYTHING
from gateway.keys import entries, store
from gateway.links import key_store
from gateway.links import store as links
from gateway.signing.trust import PeerKey


@dataclass(frozen=True, slots=True)
class Listed:
    """A key as its row has it, and as the log has it, if it does."""

    row: PeerKey
    logged: PeerKey | None


async def keys(tx: db.ReadTx, scene: Scene) -> AsyncIterator[Listed]:
    """Every key there is a row of."""
    events = await store.events(tx)
    codes = [link.code for link in await links.links(tx, EVERYTHING)]
    for key in await key_store.keys(tx, codes):
        yield Listed(key, entries.key_of(events, key.owner, key.kid, ours=False))
    for own in await store.keys(tx):
        row = PeerKey.from_jwk(
            scene.code, own.jwk, not_before=own.not_before, not_after=own.retired_at,
            revoked_at=own.revoked_at, revoked_reason=own.revoked_reason,
        )  # fmt: skip
        yield Listed(row, entries.key_of(events, scene.code, row.kid, ours=True))


def keys_as_logged(key: Listed, _scene: Scene) -> Iterable[Remark]:
    """Every key that counts was registered, given an end and revoked by entries of the log."""
    row, logged = key.row, key.logged
    if logged is None:
        yield finding("no entry of the log registers it", key=row.kid, owner=row.owner)
    elif _counts(row) != _counts(logged):
        yield finding("it counts at other times than the log says", key=row.kid, owner=row.owner)


def _counts(key: PeerKey) -> tuple[object, ...]:
    since = key.compromised_since or key.revoked_at
    return key.not_before, key.not_after, key.revoked_reason, since
