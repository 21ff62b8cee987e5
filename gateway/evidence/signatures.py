"""Checks of who signed: the keys as the log registered them, each message under its key, and its entry."""

from collections.abc import Iterator
from typing import Any

from gateway.errors import GatewayError, Kind
from gateway.evidence.form import Key, Revoked, place
from gateway.evidence.said import SHOWN, Case, Fault, Logged, Said, read_messages
from gateway.keys.entries import Event, key_of
from gateway.signing import envelope
from gateway.signing.messages import format_time, parse_time
from gateway.signing.trust import PeerKey, Revocation


def keys(case: Case) -> Iterator[Fault]:
    """Every key is what its entries say of it."""
    for nr, key in enumerate(case.bundle.keys):
        where = place("keys", nr)
        try:
            case.keys.append(_stated(key))
        except GatewayError as error:
            yield Fault(where, error.detail)
            continue
        yield from (Fault(where, why) for why in _unfounded(case, key))
    owned = [(key.owner, key.kid) for key in case.keys]
    if len(set(owned)) < len(owned):
        yield Fault("keys", "a key is there twice")


def _stated(key: Key) -> PeerKey:
    """The key as the bundle states it; raises MALFORMED."""
    gone = key.revoked
    made = PeerKey.from_jwk(
        key.owner,
        key.jwk,
        not_before=parse_time(key.not_before),
        not_after=parse_time(key.not_after) if key.not_after else None,
        revoked_at=parse_time(gone.at) if gone else None,
        revoked_reason=Revocation(gone.reason) if gone else None,
        compromised_since=parse_time(gone.since) if gone and gone.since and gone.reason == "compromised" else None,
    )
    if key.jwk != dict(made.jwk):
        raise GatewayError(Kind.MALFORMED, "its members are not exactly those of a public signing key", code=1007)
    return made


def _unfounded(case: Case, key: Key) -> Iterator[str]:
    """What its entries do not say of a key as it is stated."""
    kid, ours = key.jwk.get("kid", ""), key.owner == case.bundle.gateway
    behind = [case.logged.get(index) for index in key.entries]
    if None in behind or sorted(set(key.entries)) != key.entries:
        yield "its entries are not all here, once and in order"
        return
    found = [logged for logged in behind if logged is not None]
    if any(not _names(logged, kid) for logged in found):
        yield "an entry is not about this key"
        return
    try:
        window = window_of(found, key.owner, kid, ours=ours)
    except (GatewayError, KeyError, TypeError, ValueError, OverflowError, AttributeError):
        yield "an entry is not one about a key"
        return
    stated = key.model_dump(include={"not_before", "not_after", "revoked"}, exclude_none=True)
    if window is None:
        yield f"no entry registers it for {key.owner}"
    elif window != stated:
        yield "its time is not what its entries say"


def _names(logged: Logged, kid: str) -> bool:
    listed = logged.record.get("keys")
    return kid in listed if type(listed) is list else logged.record.get("key") == kid


def window_of(found: list[Logged], owner: str, kid: str, *, ours: bool) -> dict[str, Any] | None:
    """When a key counts by these entries, as a bundle states it; nothing where none registers it."""
    events = [Event(logged.kind, logged.at, logged.record) for logged in found]
    key = key_of(events, owner, kid, ours=ours)
    if key is None:
        return None
    window: dict[str, Any] = {"not_before": format_time(key.not_before)}
    if key.not_after is not None:
        window["not_after"] = format_time(key.not_after)
    if key.revoked_reason is not None and key.revoked_at is not None:
        since = format_time(key.compromised_since) if key.compromised_since else None
        gone = Revoked(reason=key.revoked_reason.value, at=format_time(key.revoked_at), since=since)
        window["revoked"] = gone.model_dump(exclude_none=True)
    return window


def signatures(case: Case) -> Iterator[Fault]:
    """Every message is its sender's, and the key counted when it was sent and when it was logged.

    What the gateway was only shown again is judged at its own time: it was believed once already.
    """
    faults = list(read_messages(case))
    yield from faults
    if faults:
        return
    named = {(said.statement.sender, said.kid) for said in case.said}
    for said in case.said:
        at = said.statement.sent_at if said.was_shown else said.logged.at
        try:
            envelope.verify_carried(said.jws, {}, case.keys, at=at)
        except GatewayError as error:
            yield Fault(f"{said.place}.jws", error.detail)
    for nr, key in enumerate(case.keys):
        if (key.owner, key.kid) not in named:
            yield Fault(place("keys", nr), "it has signed no message here")


def records(case: Case) -> Iterator[Fault]:
    """Every message is the one that its entry records."""
    for said in case.said:
        different = sorted(_differences(case.bundle.gateway, said))
        if different:
            yield Fault(said.place, f"its entry records another message: {', '.join(different)}")


def _differences(gateway: str, said: Said) -> Iterator[str]:
    statement, record = said.statement, said.logged.record
    if gateway not in (statement.sender, statement.receiver):
        yield "neither from nor to the gateway"
        return
    out = statement.sender == gateway
    expected: dict[str, Any] = {
        "peer": statement.receiver if out else statement.sender,
        "message": statement.id,
        "jws": said.digest,
    }
    if said.logged.kind != SHOWN:
        expected |= {"direction": "out" if out else "in", "key": said.kid}
        listed = record.get("items")
        if type(listed) is not list or listed != list(statement.listed[: len(listed) if out else None]):
            yield "items"
        if not out:
            expected["sent_at"] = format_time(statement.sent_at)
    if said.logged.kind not in (SHOWN, statement.type):
        yield "type"
    yield from (name for name, value in expected.items() if record.get(name) != value)
