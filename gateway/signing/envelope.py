"""The one door through which messages come in and go out: read, verify, sign.

Guarantees: what ``verify`` returns was signed by a registered key of its sender, valid at the time that
counts, addressed to this receiver, in time, syntactically of the protocol, with exactly the item texts its
signature lists. ``VerifiedMessage`` and ``CarriedMessage`` cannot be built elsewhere, so that holding one
proves it. The bytes received are kept; nothing signed is ever serialised again. Bytes of the same meaning but
other spelling are other bytes: replay is recognised by (sender, id) first, never by a hash alone. Fails with
``EnvelopeError``, one ``Fault`` per reason; ``attributed`` says whether a refusal may be signed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.errors import GatewayError, Kind, invariant
from gateway.signing import compact, messages, strict_json, trust
from gateway.signing.faults import EnvelopeError, Fault, Origin
from gateway.signing.keys import Signer
from gateway.signing.messages import Reference, Statement
from gateway.signing.trust import PeerKey

__all__ = [
    "JOSE",
    "LINK_JSON",
    "MAX_AHEAD",
    "MAX_BODY",
    "CarriedMessage",
    "EnvelopeError",
    "Fault",
    "Item",
    "Origin",
    "Reference",
    "SignedMessage",
    "Unverified",
    "VerifiedMessage",
    "attach",
    "read",
    "sign",
    "verify",
    "verify_carried",
]

MAX_BODY = 8 * 1024 * 1024  # bytes
MAX_AHEAD = timedelta(seconds=300)  # how far a sender's clock may be ahead of ours
JOSE = "application/jose"
LINK_JSON = "application/a6link+json"

_PROOF = object()


@dataclass(frozen=True, slots=True)
class Item:
    """One item: its exact text, SHA-256 (base64url) of its UTF-8, and the JSON object it is."""

    text: str
    sha256: str
    value: dict[str, Any]

    @property
    def kind(self) -> str:
        """Member ``kind``, which every item has."""
        return str(self.value["kind"])


@dataclass(frozen=True, slots=True)
class Unverified:
    """A body that has the form of a message. Nothing in it may be believed, the sender included."""

    received: bytes
    texts: tuple[str, ...]
    signed: compact.Compact

    @property
    def claimed_sender(self) -> str:
        """Link code in ``from``: whose keys to load."""
        return str(self.signed.payload["from"])

    @property
    def kid(self) -> str:
        """Key id in the header: an unauthenticated hint."""
        return self.signed.kid

    @property
    def content_type(self) -> str:
        """The content type this body must have been sent with."""
        return LINK_JSON if self.texts else JOSE


@dataclass(frozen=True)
class _Proven:
    """What a proven message says. ``sender`` and ``receiver`` are its ``from`` and ``to``."""

    id: str
    seq: int | None
    type: str
    sender: str
    receiver: str
    sent_at: datetime
    expires_at: datetime | None
    in_reply_to: Reference | None
    leaf: str | None
    trace: str | None
    body: dict[str, Any]
    evidence: tuple[str, ...]
    items: tuple[Item, ...]
    jws: str
    jws_sha256: str
    key: PeerKey
    _: KW_ONLY
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse to be built anywhere but behind a verification."""
        invariant(proof is _PROOF, f"a {type(self).__name__} is made by verifying one")

    @property
    def kid(self) -> str:
        """Id of the key that signed."""
        return self.key.kid


@dataclass(frozen=True)
class VerifiedMessage(_Proven):
    """A message for us that may be acted on. ``received`` are the HTTP body bytes, ``sha256`` their hash."""

    received: bytes
    sha256: str


@dataclass(frozen=True)
class CarriedMessage(_Proven):
    """A message carried as evidence. ``items`` are those shown, ``listed`` all it was signed with."""

    listed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message ready to be stored and sent: ``body`` are the HTTP body bytes, ``sha256`` their hash."""

    id: str
    type: str
    body: bytes
    content_type: str
    jws: str
    jws_sha256: str
    sha256: str


def read(body: bytes) -> Unverified:
    """Read the form of a message from an HTTP body; raises ``EnvelopeError`` (never attributed)."""
    if len(body) > MAX_BODY:
        raise EnvelopeError(Fault.OVERSIZE, f"a message has at most {MAX_BODY} bytes")
    text = strict_json.decode(body)
    jws, texts = _read_link_json(text) if text.lstrip().startswith("{") else (text, ())
    signed = compact.read(jws)
    if not messages.is_link_code(signed.payload.get("from")):
        raise EnvelopeError(Fault.NO_SENDER, "from is not a link code")
    return Unverified(body, texts, signed)


def verify(unverified: Unverified, keys: Sequence[PeerKey], *, receiver: str, now: datetime) -> VerifiedMessage:
    """Return the message if it may be acted on by ``receiver`` at ``now``; raises ``EnvelopeError``.

    ``keys`` are those registered for the claimed sender. The plan:

    1. the claimed sender has registered keys, the named one among them, and the header's algorithm is its;
    2. the signature is good over the received bytes;
    3. the key counts at the time that matters;
    4. the message has an id, so that it can be answered: from here on a refusal is attributed;
    5. version, members, types and syntax are those of the protocol;
    6. it is addressed to this receiver;
    7. it is not from the future and has not expired;
    8. its item texts are exactly those listed, in order, each one JSON object with a kind.

    The caller MUST still judge the link's state, replay (sender, id), sequence and content.
    """
    signed = unverified.signed
    # 1, 2
    key = _prove(signed, unverified.claimed_sender, keys)
    # 3
    _require_standing(key, signed, now)
    # 4
    if not messages.is_message_id(signed.payload.get("id")):
        raise EnvelopeError(Fault.BAD_ID, "id is missing or not a lower-case UUIDv7")
    origin = Origin(signed.payload["id"], key.owner, compact.digest(unverified.received))
    try:
        # 5
        statement = messages.parse(signed.payload)
        # 6
        if statement.receiver != receiver:
            raise EnvelopeError(Fault.WRONG_RECEIVER, f"the message is not addressed to {receiver}")
        # 7
        _require_in_time(statement, now)
        # 8
        items = _require_items(statement, unverified.texts)
    except EnvelopeError as error:
        raise error.attributed_to(origin) from None
    return VerifiedMessage(
        **_said(statement, signed, key),
        items=items,
        received=unverified.received,
        sha256=origin.sha256,
        proof=_PROOF,
    )


def attach(texts: Iterable[str]) -> dict[str, Item]:
    """Return the items of ``texts`` by hash, as ``verify_carried`` takes them; raises ITEM_MALFORMED."""
    return {item.sha256: item for item in map(_read_item, texts)}


def verify_carried(jws: str, items: Mapping[str, Item], keys: Sequence[PeerKey], *, at: datetime) -> CarriedMessage:
    """Return a message carried as evidence; raises ``EnvelopeError``, never attributed.

    ``at`` is when it was stored by whoever shows it: the key is judged at that time. Receiver and expiry are
    not judged, because it was somebody else's and its time is over. ``items`` are the texts at hand by hash
    (``attach``, or those of the carrying message); only the listed ones are attached, in the order listed.
    Those missing were withheld, which is allowed: the caller MUST require the ones it needs.
    """
    signed = compact.read(jws)
    key = _prove(signed, str(signed.payload.get("from")), keys)
    _require_standing(key, signed, at)
    statement = messages.parse(signed.payload)
    shown = tuple(items[name] for name in statement.listed if name in items)
    return CarriedMessage(**_said(statement, signed, key), items=shown, listed=statement.listed, proof=_PROOF)


def sign(
    signer: Signer,
    *,
    sender: str,
    receiver: str,
    type: str,
    message_id: str,
    sent_at: datetime,
    body: Mapping[str, Any],
    items: Sequence[str] = (),
    seq: int | None = None,
    expires_at: datetime | None = None,
    in_reply_to: Reference | None = None,
    leaf: str | None = None,
    trace: str | None = None,
) -> SignedMessage:
    """Return a signed message; ``items`` are texts, its own first, then those carried.

    Raises INVARIANT for a payload that is not of the protocol, LIMIT for a body above ``MAX_BODY``. The same
    arguments give the same payload (an ES256 signature differs each time). Item texts MUST each be one JSON
    object with a kind; they are hashed, not parsed.
    """
    members = {
        "v": messages.VERSION,
        "id": message_id,
        "seq": seq,
        "type": type,
        "from": sender,
        "to": receiver,
        "sent_at": messages.format_time(sent_at),
        "expires_at": messages.format_time(expires_at) if expires_at else None,
        "in_reply_to": {"id": in_reply_to.id, "sha256": in_reply_to.sha256} if in_reply_to else None,
        "leaf": leaf,
        "trace": trace,
        "items": [compact.digest(text) for text in items] or None,
        "body": dict(body),
    }
    payload = strict_json.dumps({name: value for name, value in members.items() if value is not None})
    try:
        messages.parse(strict_json.loads(payload))
    except EnvelopeError as error:
        raise GatewayError(Kind.INVARIANT, f"will not sign: {error.detail}") from None
    signing_input = compact.header_and_payload(signer.alg, signer.kid, payload)
    jws = f"{signing_input}.{compact.encode(signer.sign(signing_input.encode('ascii')))}"
    content = strict_json.dumps({"jws": jws, "items": list(items)}) if items else jws
    sent = content.encode("utf-8")
    if len(sent) > MAX_BODY:
        raise GatewayError(Kind.LIMIT, f"a message has at most {MAX_BODY} bytes")
    return SignedMessage(
        message_id, type, sent, LINK_JSON if items else JOSE, jws, compact.digest(jws), compact.digest(sent)
    )


def _read_link_json(text: str) -> tuple[str, tuple[str, ...]]:
    value = strict_json.loads(text)
    if "signatures" in value or "payload" in value:
        raise EnvelopeError(Fault.SEVERAL_SIGNATURES, "a message is a compact JWS with one signature")
    if value.keys() != {"jws", "items"} or not isinstance(value["jws"], str):
        raise EnvelopeError(Fault.WRONG_ENVELOPE, "the body is not exactly jws (a string) and items")
    texts = value["items"]
    if not isinstance(texts, list) or not texts or not all(isinstance(item, str) for item in texts):
        raise EnvelopeError(Fault.WRONG_ENVELOPE, "items is not a list of one or more strings")
    return value["jws"], tuple(texts)


def _prove(signed: compact.Compact, sender: str, keys: Sequence[PeerKey]) -> PeerKey:
    if not any(key.owner == sender for key in keys):
        raise EnvelopeError(Fault.UNKNOWN_SENDER, f"{sender[:64]!r} has no registered key")
    key = trust.find(keys, sender, signed.kid)
    if key is None:
        raise EnvelopeError(Fault.UNKNOWN_KID, f"no such key is registered for {sender}")
    if signed.alg != key.alg:
        raise EnvelopeError(Fault.WRONG_ALGORITHM, f"the key is for {key.alg}")
    if not key.verifies(signed.signing_input, signed.signature):
        raise EnvelopeError(Fault.BAD_SIGNATURE, "the signature is not good over the received bytes")
    return key


def _require_standing(key: PeerKey, signed: compact.Compact, arrived_at: datetime) -> None:
    """Judge the key. An unreadable ``sent_at`` counts as sent on arrival: it is refused a step later."""
    try:
        sent_at = messages.parse_time(signed.payload.get("sent_at"))
    except EnvelopeError:
        sent_at = arrived_at
    match trust.judge(key, sent_at, arrived_at):
        case None:
            return
        case Fault.KEY_REVOKED as fault:
            raise EnvelopeError(fault, "the signing key is revoked")
        case fault:
            raise EnvelopeError(fault, "the signing key was not valid at sent_at")


def _require_in_time(statement: Statement, now: datetime) -> None:
    if statement.sent_at - now > MAX_AHEAD:
        raise EnvelopeError(Fault.FROM_FUTURE, "sent_at is more than 300 s in the future")
    if statement.expires_at is not None and now > statement.expires_at:
        raise EnvelopeError(Fault.EXPIRED, "the message has expired")


def _require_items(statement: Statement, texts: Sequence[str]) -> tuple[Item, ...]:
    hashes = [compact.digest(text) for text in texts]
    if list(statement.listed) != hashes:
        listed, given = set(statement.listed), set(hashes)
        if len(given) < len(hashes):
            raise EnvelopeError(Fault.DUPLICATE_ITEM, "an item text is given twice")
        if given - listed:
            raise EnvelopeError(Fault.ITEM_NOT_LISTED, "an item text is not in the signed list")
        if listed - given:
            raise EnvelopeError(Fault.ITEM_MISSING, "the text of a listed item is missing")
        raise EnvelopeError(Fault.ITEM_ORDER, "the item texts are not in the order signed")
    return tuple(map(_read_item, texts, hashes))


def _read_item(text: str, sha256: str | None = None) -> Item:
    try:
        value = strict_json.loads(text)
    except EnvelopeError as error:
        raise EnvelopeError(Fault.ITEM_MALFORMED, f"an item is refused: {error.detail}") from None
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise EnvelopeError(Fault.ITEM_MALFORMED, "an item is not a JSON object with a kind")
    return Item(text, sha256 or compact.digest(text), value)


def _said(statement: Statement, signed: compact.Compact, key: PeerKey) -> dict[str, Any]:
    """Return the fields every proven message takes from its statement and its signature."""
    return {
        "id": statement.id,
        "seq": statement.seq,
        "type": statement.type,
        "sender": statement.sender,
        "receiver": statement.receiver,
        "sent_at": statement.sent_at,
        "expires_at": statement.expires_at,
        "in_reply_to": statement.in_reply_to,
        "leaf": statement.leaf,
        "trace": statement.trace,
        "body": statement.body,
        "evidence": statement.evidence,
        "jws": signed.text,
        "jws_sha256": compact.digest(signed.text),
        "key": key,
    }
