"""The envelope: composing a signed message, and proving that a received one is what it says.

``read`` gives a ``Message`` or raises: ``Unattributable`` when nothing is proven (answered by an unsigned
problem document), ``Refusal`` when the sender is proven and the message is wrong (answered by a signed
refusal). A ``Message`` has one own item or more of its type's kind, in the sender's order, each parsed and
of the right shape; carried texts stay text until the evidence is asked for one by its hash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from . import clock, shapes, strictjson
from .clock import stamp, uuid7
from .evidence import Evidence, Item, carry
from .keys import OwnKey, Trust
from .signature import Unattributable, digest, is_compact, prove, segment, sign
from .strictjson import Malformed

#: How far a sender's clock may be ahead of ours.
MAX_AHEAD = timedelta(seconds=300)
#: How long a query and its answer are good.
QUERY_TIME = timedelta(seconds=300)

ITEMS_TYPE = "application/a6link+json"
BARE_TYPE = "application/jose"

#: Message types a registry takes from the gateway, with the kind of their own items.
INCOMING: dict[str, str | None] = {
    "transfer.request": "request",
    "transfer.offer": "offer",
    "transfer.commit": "commit",
    "transfer.cancel": "cancel",
    "transfer.settle": "settle",
    "transfer.closed": "closed",
    "action.record": "record",
    "action.notice": "action",
    "link.keys": None,
    "history.deliver": None,
    "history.query": None,
    "positions.query": None,
    "cut.query": None,
    "reconciliation.result": "finding",
    "status.query": None,
    "time.query": None,
}
#: Answers a registry takes to what it sent itself.
ANSWERS: dict[str, str | None] = {"receipt": "receipt", "refusal": None, "status.answer": None, "history.page": None}
#: Questions that change nothing, and what answers each.
QUERIES = {
    "status.query": "status.answer",
    "time.query": "time.answer",
    "history.query": "history.page",
    "positions.query": "positions.answer",
    "cut.query": "cut.answer",
}
#: Types that must say until when they are good; all others must not (R22).
EXPIRING = {"transfer.propose", "transfer.offer", *QUERIES.keys(), *QUERIES.values()}
#: Types without a place in the sender's sequence; a refusal has one only as a verdict.
UNNUMBERED = {*QUERIES.keys(), *QUERIES.values()}

_REQUIRED = {"v", "id", "type", "from", "to", "sent_at", "body"}
_MEMBERS = _REQUIRED | {"seq", "expires_at", "in_reply_to", "leaf", "trace", "items"}


class Refusal(Exception):
    """A proven message that is refused whole; never a verdict on a transfer (R23)."""

    def __init__(self, code: int, detail: str, message_id: str, sha256: str) -> None:
        super().__init__(detail)
        self.code, self.detail, self.message_id, self.sha256 = code, detail, message_id, sha256


@dataclass(frozen=True)
class Message:
    """A message whose sender is proven and whose form is right."""

    jws: str
    jws_sha256: str
    body_sha256: str
    payload: Mapping[str, Any]
    own: list[Item]
    evidence: Evidence

    @property
    def id(self) -> str:
        """The sender's message id."""
        return str(self.payload["id"])

    @property
    def type(self) -> str:
        """The message type."""
        return str(self.payload["type"])

    @property
    def body(self) -> Mapping[str, Any]:
        """The type's own fields."""
        return dict(self.payload["body"])


@dataclass(frozen=True)
class Outgoing:
    """A signed message as it goes over the wire."""

    id: str
    type: str
    seq: int | None
    jws: str
    content_type: str
    body: bytes
    expires_at: str | None


@dataclass(frozen=True)
class Draft:
    """What a message is to say, before it has an id, a number and a signature."""

    type: str
    items: Sequence[str] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    in_reply_to: Mapping[str, str] | None = None
    expires_in: timedelta | None = None
    carried: Sequence[str] = ()


def compose(draft: Draft, key: OwnKey, sender: str, receiver: str, seq: int | None) -> Outgoing:
    """Sign ``draft``: the only place where a message of this registry gets its bytes."""
    now = clock.present()
    texts = [*draft.items, *draft.carried]
    members = {
        "v": 1,
        "id": uuid7(),
        "seq": seq,
        "type": draft.type,
        "from": sender,
        "to": receiver,
        "sent_at": stamp(now),
        "expires_at": stamp(now + draft.expires_in) if draft.expires_in else None,
        "in_reply_to": draft.in_reply_to,
        "items": [digest(text) for text in texts] or None,
    }
    payload = {name: value for name, value in members.items() if value is not None} | {"body": draft.body}
    return _written(payload, texts, key)


def _written(payload: Mapping[str, Any], texts: Sequence[str], key: OwnKey) -> Outgoing:
    compact = sign(strictjson.dumps(payload), key)
    if texts:
        content_type, body = ITEMS_TYPE, strictjson.dumps({"jws": compact, "items": texts}).encode()
    else:
        content_type, body = BARE_TYPE, compact.encode()
    expires_at = payload.get("expires_at")
    return Outgoing(payload["id"], payload["type"], payload.get("seq"), compact, content_type, body, expires_at)


def signed_anew(message: Outgoing, key: OwnKey) -> Outgoing:
    """Give the same message under the signature of another key."""
    payload = segment(message.jws.split(".")[1])
    return _written(payload, texts_of(message.content_type, message.body), key)


def texts_of(content_type: str, body: bytes) -> list[str]:
    """Give the texts that travel with a message that was proven before."""
    texts: list[str] = strictjson.loads(body)["items"] if content_type.startswith(ITEMS_TYPE) else []
    return texts


def claimed_type(content_type: str, body: bytes) -> str:
    """Give the type a message says it has, proving nothing; empty for what is no message."""
    try:
        return str(segment(_unwrap(content_type, body)[0].split(".")[1]).get("type"))
    except (Unattributable, Malformed, ValueError):
        return ""


def read(content_type: str, body: bytes, sender: str, trust: Trust, types: Mapping[str, str | None]) -> Message:
    """Prove and parse one received message of ``sender``; raises ``Unattributable`` or ``Refusal``."""
    compact, texts = _unwrap(content_type, body)
    payload = prove(compact, sender, trust)
    body_sha256 = digest(body)
    message_id = str(payload.get("id"))
    if not shapes.is_uuid7(payload.get("id")):
        raise Unattributable(400, 2001, "the message has no UUIDv7 id to answer to")
    try:
        kind = _check_payload(payload, trust.own_code, types)
        own = _own_items(payload, texts, kind)
        evidence = carry(payload, texts, len(own), trust)
    except Malformed as error:
        raise Refusal(2001, str(error), message_id, body_sha256) from error
    except _Wrong as error:
        raise Refusal(error.code, str(error), message_id, body_sha256) from error
    return Message(compact, digest(compact), body_sha256, payload, own, evidence)


def check_times(message: Message) -> None:
    """Refuse (1009) what comes from the future or has expired; age alone is never a reason (R22)."""
    now = clock.present()
    expires_at = message.payload.get("expires_at")
    if datetime.fromisoformat(message.payload["sent_at"]) > now + MAX_AHEAD:
        raise Refusal(1009, "sent_at is in the future", message.id, message.body_sha256)
    if expires_at is not None and now > datetime.fromisoformat(expires_at):
        raise Refusal(1009, "the message has expired", message.id, message.body_sha256)


class _Wrong(Exception):
    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def _unwrap(content_type: str, body: bytes) -> tuple[str, list[str]]:
    media_type = content_type.split(";")[0].strip().lower()
    try:
        if media_type == BARE_TYPE:
            compact, texts = body.decode("ascii"), []
        elif media_type == ITEMS_TYPE:
            wrapper = strictjson.loads(body)
            if not (isinstance(wrapper, dict) and wrapper.keys() == {"jws", "items"}):
                raise Malformed("not exactly jws and items")
            compact, texts = wrapper["jws"], wrapper["items"]
            if not (isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)):
                raise Malformed("items are not a list of texts")
        else:
            raise Unattributable(415, 2001, f"content type {media_type or 'missing'} is not taken")
    except (Malformed, UnicodeDecodeError) as error:
        raise Unattributable(400, 2001, "not a message") from error
    if not is_compact(compact):
        raise Unattributable(400, 2001, "not a compact JWS")
    return compact, texts


def _check_payload(payload: dict[str, Any], own_code: str, types: Mapping[str, str | None]) -> str | None:
    if payload.get("v") != 1 or type(payload["v"]) is not int:
        raise _Wrong(1001, "protocol version 1 is spoken here")
    if not _REQUIRED <= payload.keys() <= _MEMBERS:
        raise Malformed("members are missing or unknown")
    message_type = payload["type"]
    if payload["to"] != own_code:
        raise _Wrong(1008, f"addressed to {payload['to']!r}, this is {own_code}")
    if not isinstance(message_type, str) or message_type not in types:
        raise _Wrong(1010, f"{message_type!r} is not taken here")
    unnumbered = message_type in UNNUMBERED or (message_type == "refusal" and "seq" not in payload)
    seq = payload.get("seq")
    if ("seq" in payload) == unnumbered or not (unnumbered or (type(seq) is int and seq >= 1)):
        raise Malformed("seq is missing, unexpected or not a positive integer")
    expiring = message_type in EXPIRING
    if not shapes.is_time(payload["sent_at"]) or ("expires_at" in payload) != expiring:
        raise Malformed("sent_at is not a time, or expires_at is missing or unexpected")
    if expiring and not shapes.is_time(payload["expires_at"]):
        raise Malformed("expires_at is not a time")
    is_answer = message_type in ANSWERS
    named = payload.get("in_reply_to")
    if ("in_reply_to" in payload) != is_answer or not (named is None or shapes.is_named_message(named)):
        raise Malformed("in_reply_to is missing, unexpected or wrong")
    if "leaf" in payload and not (message_type in ("receipt", "refusal") and shapes.is_hash(payload["leaf"])):
        raise Malformed("leaf is unexpected or not a hash")
    if not isinstance(payload.get("trace", ""), str):
        raise Malformed("trace is not text")
    shapes.check_body(payload["body"], message_type)
    return types[message_type]


def _own_items(payload: dict[str, Any], texts: list[str], kind: str | None) -> list[Item]:
    hashes = payload.get("items", [])
    if not isinstance(hashes, list) or ("items" in payload and not hashes):
        raise Malformed("items are not a list of hashes")
    if hashes != [digest(text) for text in texts]:
        raise Malformed("the texts are not those whose hashes are signed")
    own: list[Item] = []
    for text, sha256 in zip(texts, hashes, strict=True):
        value = strictjson.loads(text) if kind else None
        if not (isinstance(value, dict) and value.get("kind") == kind):
            break
        shapes.check_item(value, str(kind))
        own.append(Item(text, sha256, value))
    subjects = [_subject(item) for item in own]
    if len(set(subjects)) != len(subjects) or len(own) > shapes.MAX_ITEMS:
        raise Malformed("more than one item about the same transfer, or more than 1,000")
    if kind not in (None, "receipt", "finding") and not own:
        raise Malformed(f"no {kind} item")
    return own


def _subject(item: Item) -> str:
    """Give what no two items of a message are about; two of these kinds only must not be the same text."""
    alone = item.value["kind"] not in ("receipt", "record", "action", "finding")
    return str(item.value.get("transfer") or item.value.get("request")) if alone else item.sha256
