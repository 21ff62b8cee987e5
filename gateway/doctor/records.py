"""Checks of the log, of the replay store, of the streams that number messages, of requests, and of what is owed."""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from gateway.doctor.report import Remark, finding, note
from gateway.doctor.scene import TOLERANCE, Scene
from gateway.doctor.transfers import LONGEST_LEASE
from gateway.signing import compact
from gateway.signing.messages import TYPES

#: RFC 6962 section 2.1, written here once more: what checks the log does not take its word.
_LEAF_PREFIX = b"\x00"
#: The kind of an entry for a message that came only inside another one.
_EVIDENCE = "evidence"


def log(entry: Any, _scene: Scene) -> Iterable[Remark]:
    """Every entry of the log hashes to its leaf and its record, and records the message that is kept under it."""
    if sha256(_LEAF_PREFIX + bytes(entry.leaf)).digest() != bytes(entry.leaf_hash):
        yield finding("its leaf hash is not that of its leaf", entry=entry.id)
    if entry.record is None:
        yield finding("its record is gone", entry=entry.id)
        return
    leaf, record = _object(entry.leaf), _object(entry.record)
    commitment = compact.encode(sha256(bytes(entry.salt) + bytes(entry.record)).digest())
    if (leaf.get("kind"), leaf.get("record")) != (entry.kind, commitment):
        yield finding("its leaf does not stand for its record", entry=entry.id)
    elif entry.kind in TYPES or entry.kind == _EVIDENCE:
        yield from _recorded(entry, record)


def _recorded(entry: Any, record: dict[str, Any]) -> Iterable[Remark]:
    if entry.message_id is None:
        yield finding(f"message {record.get('message')}, which it records, is gone", entry=entry.id)
        return
    stored = {
        "direction": entry.direction,
        "peer": entry.peer,
        "message": entry.message_id,
        "sha256": compact.encode(bytes(entry.sha256)),
    }
    told = stored.keys() & record.keys() if entry.kind == _EVIDENCE else stored.keys()
    different = sorted(name for name in told if record.get(name) != stored[name])
    if different or entry.type != entry.kind != _EVIDENCE:
        what = ", ".join(different or ["type"])
        yield finding(f"the message stored under it is another than it records: {what}", entry=entry.id)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(bytes(data))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def replay_keys(key: Any, _scene: Scene) -> Iterable[Remark]:
    """Every message id that was used has its message, and the verdict kept for it is our answer to that message."""
    about = {"message": key.message_id, "peer": key.sender}
    if not key.kept:
        yield finding("its id is noted as used, and the message is not stored", **about)
    if key.answer is not None and (key.direction, key.peer, key.in_reply_to) != ("out", key.sender, key.message_id):
        yield finding(f"the answer kept for it, of entry {key.answer}, is no answer to it", **about)


def streams(stream: Any, _scene: Scene) -> Iterable[Remark]:
    """What we number for a peer is gapless from 1 and has no number twice; what is missing of a peer's is noted."""
    out = stream.direction == "out"
    remark, peer = (finding if out else note), stream.peer
    to = f"to {peer}" if out else f"of {peer}"
    for numbers in stream.broken:
        if len(numbers) == 1:
            yield remark(f"number {numbers[0]} {to} was given to several messages", peer=peer)
        else:
            one = numbers[0] == numbers[1]
            missing = f"message {numbers[0]}" if one else f"messages {numbers[0]}-{numbers[1]}"
            have = (
                ("is" if one else "are") + " not stored" if out else ("has" if one else "have") + " not arrived (3007)"
            )
            yield remark(f"{missing} {to} {have}", peer=peer)
    if stream.number > len(stream.broken):
        yield remark(f"there are {stream.number - len(stream.broken)} more such places {to}", peer=peer)
    if out and stream.last_seq is None:
        yield finding("its stream has no row, so nothing can be numbered", peer=peer)
    elif out and stream.last_seq != stream.highest:
        yield finding(f"its stream stands at {stream.last_seq}, its last message has {stream.highest}", peer=peer)


def alarms(alarm: Any, _scene: Scene) -> Iterable[Remark]:
    """Alarms are named: what a registry said that cannot be true, or that shows lost data."""
    yield note(f"{alarm.detail} ({alarm.code})", transfer=alarm.transfer_id, entry=alarm.entry_id)


def requests(request: Any, _scene: Scene) -> Iterable[Remark]:
    """A request that is open has its message and is owed to its source; one that was answered is owed to nobody."""
    about = {"request": request.id}
    if (request.type, request.peer) != ("transfer.request", request.source):
        yield finding("its message is not stored", **about)
    if request.state == "sent" and not request.owed:
        yield finding("it was not answered, and nobody will send it again", **about)
    if request.state != "sent" and request.owed:
        yield finding(f"it is {request.state}, and is sent all the same", **about)


def approvals(approval: Any, _scene: Scene) -> Iterable[Remark]:
    """What two persons decided is in the log as they did, each by name, and both on the same hash."""
    said = [("requested", approval.asked, approval.asked_record, approval.initiator)]
    if approval.state != "open":
        said.append((approval.state, approval.decided, approval.decided_record, approval.decider))
    for what, kind, record, person in said:
        if kind != f"approval.{what}" or not _names(record, approval, person):
            yield finding(f"that it was {what} is not in the log as it stands", approval=approval.id)


def _names(record: bytes | None, approval: Any, person: str | None) -> bool:
    """Whether a record of the log is of this approval, this hash and this person."""
    try:
        read = json.loads(bytes(record or b"{}"))
        found = (read.get("approval"), read.get("sha256"), read.get("person"))
    except (ValueError, AttributeError):
        return False
    return found == (approval.id, approval.sha256, person)


def owed(message: Any, scene: Scene) -> Iterable[Remark]:
    """What is owed as a whole is a stored message of ours whose answer is awaited, and a lease of it ends soon."""
    about = {"message": message.message_id}
    if message.type is None or message.addressed != message.peer:
        yield finding(f"it is owed to {message.peer}, and no message to it is stored", **about)
    elif not message.awaited:
        yield finding(f"it is owed to {message.peer}, and nothing waits for its answer", **about)
    if message.leased_until is not None and message.leased_until > scene.now + LONGEST_LEASE + TOLERANCE:
        yield finding(f"it is leased until {message.leased_until.isoformat()}", **about)
    elif message.leased_until is not None and message.next_at > message.leased_until:
        yield finding("it is leased, and nothing of it is due", **about)
