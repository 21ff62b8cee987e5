"""Establishes links: an operator registers a system and its keys; the system's own signed word makes it active.

``register`` writes a link in state *requested*, over which nothing is received until two persons have put it to the
test (``changing``). ``activate`` handles the registry's ``link.activate``, which brings the opening balance of its
holdings into the book, in one message or in parts, and with the last takes the link to *active*, once; if any position
of a message cannot be taken, none of it is and the link stays as it was. A message of any type over a link whose state
or capabilities do not allow it is refused by ``require_open`` (1002, 1003, 1010), but what is committed drains over a
suspended link. ``add_keys`` and ``revoke_key`` change which keys vouch for a system; what a revocation does to messages
is ``signing.trust.judge``'s to say; ``restored`` does both for a registry that came back from a backup. Each change is
one entry of the log.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from gateway import db
from gateway.audit import log
from gateway.domain import moments, wire
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import parse_link_code, parse_party, parse_registry_code
from gateway.domain.registry import Capability, RegistryKind
from gateway.errors import GatewayError, Kind
from gateway.holdings import notices
from gateway.links import changing, falling, key_store, store
from gateway.links.falling import Fall
from gateway.links.lifecycle import State, sound, usual
from gateway.links.store import Link
from gateway.messages.inbox import Inbound, Together
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.signing.trust import PeerKey, Revocation

#: Most messages an opening balance may be divided into.
MAX_PARTS = 10_000
#: What may still pass over a suspended link: everything from the acceptance on, so that nothing stays half done, and
#: what a registry asks to find out where it stands.
DRAINS = frozenset(
    {"transfer.answer", "transfer.released", "transfer.voided", "transfer.credited", "receipt", "refusal"}
    | {"status.query", "status.answer", "time.query"}
)
#: What is received over a link that is tested; ``link.activate`` beside it, which looks at the state itself.
TESTS = frozenset({"time.query"})
#: What a link must be usable for, for a message of this type to be received over it.
NEEDED: Mapping[str, Capability] = {
    "transfer.propose": Capability.TRANSFER_OUT,
    "history.query": Capability.VIEW,
    "history.page": Capability.VIEW,
}
#: Most keys that are registered at once.
MAX_KEYS = 10
T = TypeVar("T")
Applied = Callable[[db.Tx, Node, Inbound], Awaitable[T]]


async def register(
    tx: db.Tx,
    node: Node,
    link: Link,
    parties: Mapping[str, str | None],
    jwks: Sequence[Mapping[str, Any]],
    by: Sequence[str] = (),
) -> list[str]:
    """Register a system: its code, kind, address, registries (with their Parties) and public keys; the key ids.

    It is *requested*, and may be used for what a registry of its kind can do. Raises MALFORMED for a kind, code, field
    or key that is none and for sections that cannot be, CONFLICT when the link exists, a registry is behind another
    link, a Party has its section elsewhere, or a key is another's.
    """
    parse_link_code(link.code)
    if link.kind not in set(RegistryKind):
        kinds = ", ".join(RegistryKind)
        raise GatewayError(Kind.MALFORMED, f"no connector is of kind {link.kind!r}; there are {kinds}", code=2014)
    for field in ("url", "time_limit_hours"):
        sound(link.kind, field, link.fields[field])
    node.reach.check(link.url)
    for registry in link.registries:
        parse_registry_code(registry)
    for party in filter(None, parties.values()):
        parse_party(party)
    await store.register_alone(tx)
    if await store.state(tx, link.code) is not None:
        raise GatewayError(Kind.CONFLICT, f"a link with {link.code} is registered already", code=3002)
    for code, other in (await store.taken(tx, [link.code, *link.registries])).items():
        raise GatewayError(Kind.CONFLICT, f"the code {code} belongs to {other} already", code=3002)
    if link.kind == RegistryKind.INTERNATIONAL:
        await _require_sections(tx, link, parties)
    now = node.clock()
    keys = await _new_keys(tx, link.code, jwks, now, None)
    record = {"link": link.code, "kind": link.kind, "url": link.url, "keys": [k.kid for k in keys], **_named(by)}
    [entry_id] = await log.append(tx, [log.draft("link.registered", now, record)])
    made = replace(link, state=State.REQUESTED, capabilities=usual(link.kind))
    await store.add(tx, made, dict(parties), entry_id)
    await key_store.add_keys(tx, keys, entry_id)
    return [key.kid for key in keys]


async def _require_sections(tx: db.Tx, link: Link, parties: Mapping[str, str | None]) -> None:
    """An international registry keeps sections, at most one for a Party, and is itself no registry of an address."""
    if not link.registries or link.code in link.registries:
        raise GatewayError(Kind.MALFORMED, f"{link.code} keeps sections, and its own code is none of them", code=2011)
    elsewhere = await store.sections(tx)
    seen: set[str] = set()
    for registry in link.registries:
        party = parties.get(registry)
        if party is None:
            raise GatewayError(Kind.MALFORMED, f"section {registry} is no Party's", code=2010)
        if party in seen:
            raise GatewayError(Kind.MALFORMED, f"{party} would have two sections", code=2010)
        if party in elsewhere:
            other = elsewhere[party]
            raise GatewayError(Kind.CONFLICT, f"{party} has its section already: {other.registry} of {other.link}")
        seen.add(party)


async def add_keys(
    tx: db.Tx, code: str, jwks: Sequence[Mapping[str, Any]], *, now: datetime, not_before: datetime,
    not_after: datetime | None, by: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Register further keys for ``code``, good for ``not_before <= sent_at < not_after``; their ids.

    Raises NOT_FOUND without such a link, MALFORMED for a key or window that is none, CONFLICT when a key is
    registered already, for this link or another.
    """
    await key_store.change_keys_alone(tx)
    keys = await new_keys(tx, code, jwks, not_before, not_after)
    window = {"not_before": not_before.isoformat(), "not_after": not_after.isoformat() if not_after else None}
    record = {"link": code, "keys": [k.kid for k in keys], **window, **_named(by)}
    [entry_id] = await log.append(tx, [log.draft("key.registered", now, record)])
    await key_store.add_keys(tx, keys, entry_id)
    return [key.kid for key in keys]


async def revoke_key(
    tx: db.Tx, code: str, kid: str, reason: Revocation, *, now: datetime, since: datetime | None, by: Sequence[str] = ()
) -> Fall:
    """Let a key of ``code`` count no longer: from ``since`` on, which is not in the future, or from now.

    What falls with it is revoked and reopened with it, as it is by now. Raises NOT_FOUND without such a key, CONFLICT
    when it was revoked before, MALFORMED for a time to come.
    """
    await key_store.change_keys_alone(tx)
    fall = await falls_with(tx, code, kid, reason, now=now, since=since)
    await _revoke(tx, code, [kid, *fall.keys], reason, now=now, since=since, by=by)
    about = {"link": code, "revoked": kid, **_named(by)}
    for other, end in fall.written["reopened"].items():
        await log.append(tx, [log.draft("key.reopened", now, {**about, "key": other, "not_after": end})])
    await key_store.end_keys(tx, code, fall.reopened)
    return fall


async def _revoke(
    tx: db.Tx, code: str, kids: Sequence[str], reason: Revocation, *, now: datetime, since: datetime | None,
    by: Sequence[str],
) -> None:  # fmt: skip
    compromised_since = since if reason is Revocation.COMPROMISED else None
    revoked_at = now if reason is Revocation.COMPROMISED else since or now
    for kid in kids:
        if not await key_store.revoke_key(tx, code, kid, revoked_at, reason, compromised_since):
            raise _revoked_before(code, kid)
        record = {"link": code, "key": kid, "reason": reason.value, "since": (since or now).isoformat(), **_named(by)}
        await log.append(tx, [log.draft("key.revoked", now, record)])


async def falls_with(
    tx: db.Tx | db.ReadTx, code: str, kid: str, reason: Revocation, *, now: datetime, since: datetime | None
) -> Fall:
    """What ``revoke_key`` would revoke beside that key, and reopen, now; raises as it does."""
    if since is not None and moments.known(since) > now:
        raise GatewayError(Kind.MALFORMED, "a key is revoked from now or from an earlier time", code=2014)
    present = await keys(tx, code)
    found = next((key for key in present if key.kid == kid), None)
    if found is None:
        raise GatewayError(Kind.NOT_FOUND, f"no key {kid} is registered for {code}", code=3001)
    if found.revoked_at is not None:
        raise _revoked_before(code, kid)
    if reason is Revocation.SUPERSEDED:
        return Fall()
    return falling.with_key(kid, since or now, await key_store.words(tx, code), present)


def _revoked_before(code: str, kid: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, f"key {kid} of {code} was revoked before", code=3002)


async def restored(
    tx: db.Tx, code: str, jwks: Sequence[Mapping[str, Any]], *, now: datetime, by: Sequence[str] = ()
) -> list[str]:
    """Take note that a registry was restored to an earlier state: from now on only these new keys of it count (R16).

    What it said before and has not arrived by now never will. Returns the key ids; raises as ``add_keys`` does.
    """
    await key_store.change_keys_alone(tx)  # so that no key of the earlier life comes in after this look
    earlier = [key.kid for key in await keys(tx, code) if key.revoked_at is None]
    added = await add_keys(tx, code, jwks, now=now, not_before=now, not_after=None, by=by)
    await _revoke(tx, code, earlier, Revocation.RESTORED, now=now, since=None, by=by)
    return added


async def keys(tx: db.Tx | db.ReadTx, code: str) -> list[PeerKey]:
    """Every key ever registered for ``code``; raises NOT_FOUND without such a link."""
    await changing.require(tx, code)
    return await key_store.keys(tx, [code])


async def activate(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """``link.activate``: the registry opens the link with the balance of its holdings, or the next part of it, once.

    The body is ``{}`` for a whole balance or ``{"part": n, "of": m}``. The row moves first: of several messages
    that would be the same part, one finds it as it must be, and the others wait for that one's end.
    """
    sender = inbound.message.sender
    part, parts = _part(inbound.message.body)
    async with tx.begin_nested() as savepoint:
        if not await store.take_part(tx, sender, part=part, last=part == parts, entry_id=inbound.entry_id):
            raise await _not_next(tx, sender, part)
        receipts = await notices.opening(tx, inbound, await store.activated_beside(tx, sender))
        if all(receipt.state == "recorded" for receipt in receipts):
            return receipts
        await savepoint.rollback()
    other = (Finding(3006, detail="another item of the balance is refused"),)
    return [r if r.state == "refused" else ItemReceipt(r.item, "refused", (*r.findings, *other)) for r in receipts]


def require_open(handlers: Mapping[str, Applied[T]]) -> dict[str, Applied[T]]:
    """The same functions behind the sender's link: 1002 before it is active, 1003 once it no longer is, 1010 beyond its
    capabilities.
    """

    def behind(kind: str, handler: Applied[T]) -> Applied[T]:
        async def judged(tx: db.Tx, node: Node, inbound: Inbound) -> T:
            await _open_for(tx, kind, inbound)
            return await handler(tx, node, inbound)

        return judged

    return {kind: behind(kind, handler) for kind, handler in handlers.items()}


def require_open_together(handlers: Mapping[str, Together]) -> dict[str, Together]:
    """As ``require_open``, for functions that take several messages of one sender."""

    def behind(kind: str, handler: Together) -> Together:
        async def judged(tx: db.Tx, node: Node, inbounds: Sequence[Inbound]) -> Sequence[Sequence[ItemReceipt]]:
            await _open_for(tx, kind, inbounds[0])
            return await handler(tx, node, inbounds)

        return judged

    return {kind: behind(kind, handler) for kind, handler in handlers.items()}


async def _open_for(tx: db.Tx, kind: str, inbound: Inbound) -> None:
    state, capabilities = await store.standing(tx, inbound.message.sender) or (None, frozenset())
    if state is not State.ACTIVE and kind not in _RECEIVED.get(state, frozenset()):
        raise _not_open(state)
    if (needed := NEEDED.get(kind)) is not None and needed not in capabilities:
        detail = f"the link is not to be used for {needed.replace('_', ' ')}"
        raise GatewayError(Kind.FORBIDDEN, detail, code=1010)


#: What is received in the states that are not *active*.
_RECEIVED: Mapping[State | None, frozenset[str]] = {
    State.TESTING: TESTS,
    State.SUSPENDED: DRAINS,
    State.CLOSED: DRAINS,
}


def _not_open(state: State | None) -> GatewayError:
    """The refusal for the state of a link: no verdict on the message, because a link may become active (again)."""
    code = 1003 if state in (State.SUSPENDED, State.CLOSED) else 1002
    return GatewayError(Kind.FORBIDDEN, f"the link is {state}", code=code)


def _part(body: object) -> tuple[int, int]:
    """Which part of how many a message is; raises MALFORMED with 2001."""
    if body == {}:
        return 1, 1
    raw = wire.members(body, "body", frozenset({"part", "of"}))
    part, parts = wire.whole(raw["part"], "part"), wire.whole(raw["of"], "of")
    if not 1 <= part <= parts <= MAX_PARTS:
        raise wire.malformed(f"a balance has parts 1 to at most {MAX_PARTS}")
    return part, parts


async def _not_next(tx: db.Tx, code: str, part: int) -> GatewayError:
    """Why a part is not taken now. One that comes before its turn may have overtaken another: that is no verdict."""
    link = await store.find(tx, code)
    if link is None or link.state not in (State.TESTING, State.ACTIVE):
        return _not_open(link.state if link else None)
    if link.state is State.TESTING and part > link.opening_parts + 1:
        return GatewayError(Kind.FORBIDDEN, f"part {link.opening_parts + 1} comes first", code=3002)
    what = "the link was activated" if link.state is State.ACTIVE else f"part {part} of the balance was recorded"
    return GatewayError(Kind.CONFLICT, f"{what} before", code=3002)


async def _new_keys(
    tx: db.Tx | db.ReadTx,
    code: str,
    jwks: Sequence[Mapping[str, Any]],
    not_before: datetime,
    not_after: datetime | None,
) -> list[PeerKey]:
    """The keys of a set; a key vouches for one system, so one that is registered already is refused."""
    if len(jwks) > MAX_KEYS:
        raise GatewayError(Kind.LIMIT, f"at most {MAX_KEYS} keys are registered at once", code=2001)
    keys = [PeerKey.from_jwk(code, jwk, not_before=not_before, not_after=not_after) for jwk in jwks]
    kids = [key.kid for key in keys]
    if not keys or len(set(kids)) < len(kids):
        raise GatewayError(Kind.MALFORMED, f"the key set of {code} is empty or has a key twice", code=2001)
    owners = await key_store.key_owners(tx, kids)
    if owners:
        kid, owner = next(iter(owners.items()))
        raise GatewayError(Kind.CONFLICT, f"key {kid} is registered for {owner} already", code=3002)
    return keys


async def new_keys(
    tx: db.Tx | db.ReadTx,
    code: str,
    jwks: Sequence[Mapping[str, Any]],
    not_before: datetime,
    not_after: datetime | None,
) -> list[PeerKey]:
    """Further keys of a link, as they would be registered; raises as ``add_keys`` does."""
    await changing.require(tx, code)
    moments.known(not_before)
    if not_after is not None and moments.known(not_after) <= not_before:
        raise GatewayError(Kind.MALFORMED, "a key that ends before it begins is never valid", code=2014)
    return await _new_keys(tx, code, jwks, not_before, not_after)


def _named(by: Sequence[str]) -> dict[str, list[str]]:
    """Who decided, for a record of the log; nothing where nobody at the gateway did."""
    return {"by": list(by)} if by else {}
