"""A wire shaped like the Kyoto data exchange standards (DES): XML over HTTP, an operation a document, signed around.

Operations, status numbers and the names of unit-block members are modelled on what public code shows of the DES (the
web services of the international transaction log): ``acceptProposal``, ``acceptNotification`` with the verdict later,
``getTransactionStatus``, ``provideAuditTrail`` … The namespace is this project's own, and so is what the DES have no
word for. It is **not** the secretariat's communication standards for Article 6 registries, whose text was not
available; it shows what they will take: one file like this one.

Guarantees: the signed statement of the link protocol travels unchanged. ``Signature`` has its protected header and its
value, ``SignedContent`` the payload's text, ``SignedItem`` the text of each item, so the message is rebuilt to the byte
(``encode`` refuses one that could not be). All elements before them are a *reading* of that, made by one rule
(``_reading``); a document whose elements are not exactly what its signed content says is refused, because somebody
would act on the other half. Every answer is an acknowledgement (``resultIdentifier``, ``responseCode``): what a
registry decides comes later as a message of its own; only what a question asks for stands in the response.

Fails with ``GatewayError``: MALFORMED (2001) for what is not such a document, LIMIT (2001) for what is larger than one.
Documents have no DTD, hence no entities; size, depth and number of elements are bounded. ``DesRegistry.send`` raises
nothing: what cannot be written or read leaves the outcome *Unknown*.
"""

import asyncio
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from connectors import xml
from connectors.link import LinkRegistry
from connectors.xml import Element, Found, malformed
from gateway.domain.registry import Accepted, Encoding, Outcome, OutgoingMessage, Unknown
from gateway.errors import GatewayError, Kind
from gateway.signing import compact, strict_json
from gateway.signing.envelope import JOSE, LINK_JSON, MAX_BODY

CONTENT_TYPE: Final = "application/a6link-des+xml"
NAMESPACE: Final = "urn:article6-gateway:modelled-on-des:1"
#: How the address of a registry ends that speaks this wire.
PATH: Final = "/des"
#: Largest document in bytes: the signed texts of the largest message, their reading, and the tags around it.
MAX_DOCUMENT: Final = 4 * MAX_BODY
#: Version of this wire, as the DES say it: major, minor.
VERSION: Final = ("1", "1")

#: Message type → operation, total over the protocol's types.
OPERATIONS: Final[Mapping[str, str]] = {
    "transfer.request": "acceptITLNotice",
    "transfer.propose": "acceptProposal",
    "transfer.offer": "acceptProposal",
    "transfer.answer": "acceptNotification",
    "transfer.commit": "acceptNotification",
    "transfer.released": "acceptNotification",
    "transfer.voided": "acceptNotification",
    "transfer.cancel": "acceptNotification",
    "transfer.settle": "acceptNotification",
    "transfer.credited": "acceptNotification",
    "transfer.closed": "acceptNotification",
    "status.query": "getTransactionStatus",
    "status.answer": "getTransactionStatusResponse",
    "history.query": "provideAuditTrail",
    "history.page": "receiveAuditTrail",
    "history.deliver": "receiveAuditTrail",
    "positions.query": "provideUnitBlocks",
    "positions.answer": "receiveUnitBlocks",
    "cut.query": "provideTotals",
    "cut.answer": "receiveTotals",
    "reconciliation.result": "receiveReconciliationResult",
    "time.query": "provideTime",
    "time.answer": "provideTimeResponse",
    "action.notice": "acceptITLNotice",
    "action.record": "acceptITLNotice",
    "link.activate": "acceptMessage",
    "link.keys": "acceptMessage",
    "receipt": "acknowledgement",
    "refusal": "acknowledgement",
}
#: What may stand in a response; an order is acknowledged there and never answered.
ANSWERS: Final = frozenset(
    {"receipt", "refusal", "status.answer", "history.page", "positions.answer", "cut.answer", "time.answer"}
)

#: Where values lie in a JSON object, and the elements that show them.
_Paths: TypeAlias = tuple[tuple[tuple[str, ...], str], ...]


def _paths(**elements: str) -> _Paths:
    """Element → where its value lies (``a.b``: member b of member a)."""
    return tuple((tuple(path.split(".")), element) for element, path in elements.items())


_HEAD = (
    *((("from",), "from"), (("to",), "to")),
    *_paths(messageIdentifier="id", messageType="type", sequenceNumber="seq", messageDateTime="sent_at"),
    *_paths(expiryDateTime="expires_at", answeredMessageIdentifier="in_reply_to.id"),
)
_BODY = (
    *_paths(transactionIdentifier="transfer", systemTime="time", viewingRegistryCode="for.registry"),
    *_paths(viewingPartyCode="for.party", afterNumber="after.number", untilNumber="until.number"),
    *_paths(maximumCount="limit", beginDateTime="select.since", endDateTime="select.until", snapshotDateTime="at"),
    *_paths(effectiveDateTime="not_before"),
)
_IDENTIFIERS = (
    *_paths(transactionIdentifier="transfer"),
    *_paths(transactionIdentifier="transaction"),
    *_paths(notificationIdentifier="request"),
    *_paths(notificationIdentifier="action"),
)
_FACTS = (
    *_paths(noticeType="type", statusDateTime="at"),
    *_paths(statusDateTime="released_at"),
    *_paths(statusDateTime="credited_at", registryCode="registry", partyCode="party", accountIdentifier="account"),
    *_paths(acquiringRegistryAccountIdentifier="to_account", purpose="purpose", unitCount="quantity"),
)
_TRANSFERRING = (
    *_paths(transferringRegistryCode="registry", transferringPartyCode="party"),
    *_paths(transferringRegistryAccountIdentifier="account"),
)
_ACQUIRING = (
    *_paths(acquiringRegistryCode="registry", acquiringPartyCode="party"),
    *_paths(acquiringRegistryAccountIdentifier="account"),
)
#: The DES name an address by what its registry does.
_ADDRESSES = {"transferring": _TRANSFERRING, "from": _TRANSFERRING, "acquiring": _ACQUIRING, "to": _ACQUIRING}
_BLOCK = (
    *_paths(unitSerialBlockStart="first", unitSerialBlockEnd="last", originatingRegistryCode="origin.registry"),
    *_paths(originatingSeries="origin.series", unitType="attributes.unit_type", vintageYear="attributes.vintage"),
    *_paths(projectIdentifier="attributes.activity", firstPartyCode="attributes.first_transferring_party"),
    *_paths(ITMOIdentifierStart="itmo.first", ITMOIdentifierEnd="itmo.last"),
)
_HOLDER = _paths(partyCode="party", accountIdentifier="account")
_CODE = _paths(responseCode="code")

#: Kind of item → the DES transaction status it stands for.
_STATUS: Final[Mapping[str, str]] = {
    **{"propose": "1", "offer": "2", "commit": "8", "voided": "5"},
    **{"released": "4", "settle": "4", "credited": "4"},
}
#: State of a transfer, at whichever node → DES transaction status.
_STATES: Final[Mapping[str, str]] = {
    **{"proposed": "1", "locked": "1", "checked": "2", "offered": "2", "accepted": "8", "committing": "8"},
    **{"released": "4", "credited": "4", "completed": "4", "done": "4", "refused": "5", "void": "5"},
    **{"rejected": "6", "cancelled": "7", "delayed": "30", "attention": "99"},
}
#: Kind of item that says its status by a word → member, word → status. What a check failed is a discrepancy (3).
_TOLD: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "answer": ("answer", {"accepted": "8", "rejected": "6"}),
    "cancel": ("outcome", {"refused": "3", "rejected": "6", "cancelled": "7"}),
    "closed": ("state", _STATES),
    "receipt": ("state", _STATES),
}
#: Type of what is proposed, noticed or recorded → DES transaction type; what they had none for has none.
_TRANSACTION_TYPES: Final[Mapping[str, str]] = {
    **{"issuance": "1", "transfer": "3", "first transfer": "3", "acquisition": "3"},
    **{"cancellation": "4", "use": "5"},
}
#: Message type → kinds of its items that are read out; where it is not here, the kind that the type ends in.
_READ: Final[Mapping[str, frozenset[str]]] = {
    "link.activate": frozenset({"position"}),
    "action.notice": frozenset({"action"}),
    "action.record": frozenset({"record"}),
    "transfer.offer": frozenset({"offer", "propose"}),  # the proposal goes on to the acquirer
    "receipt": frozenset({"receipt"}),
    "history.page": frozenset({"history"}),
    "history.deliver": frozenset({"history"}),
    "positions.answer": frozenset({"position"}),
}

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


class DesRegistry(LinkRegistry):
    """A registry that speaks this wire at ``url``."""

    async def send(self, message: OutgoingMessage) -> Outcome:
        """Send the stored message once, as a document; an answer is Accepted as the message that it carries."""
        try:
            # In a thread of its own, because a large document would hold up everything else of the process.
            document = await asyncio.to_thread(encode, message.body)
            outcome = await self._client.post(self._url, document, CONTENT_TYPE, (CONTENT_TYPE,), MAX_DOCUMENT)
            if isinstance(outcome, Accepted):
                body, _ = await asyncio.to_thread(decode, outcome.body, ANSWERS)
                return Accepted(body)
        except GatewayError as error:
            return Unknown(f"not of the wire shaped like the DES: {error.detail}"[:300])
        return outcome


def speaks(url: str) -> bool:
    """Whether the registry at ``url`` speaks this wire."""
    return url.rstrip("/").endswith(PATH)


def encode(body: bytes) -> bytes:
    """The document that carries a message; raises MALFORMED for one it could not give back to the byte, LIMIT."""
    jws, texts = _unwrapped(body)
    header, content, value = _taken_apart(jws)
    if _message(header, content, value, texts)[0] != body:
        raise malformed("this wire would not give the message back as it is written")
    name, reading = _reading(_payload(content), texts)
    signature: Element = ("Signature", [("header", header), ("value", value)])
    carried = [("SignedContent", content), *(("SignedItem", text) for text in texts)]
    inside = [*(xml.written(element) for element in (*reading, signature)), *(xml.carrying(*it) for it in carried)]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<{name} xmlns="{NAMESPACE}">', *inside, f"</{name}>\n"]
    document = "\n".join(lines).encode()
    if len(document) > MAX_DOCUMENT:
        raise GatewayError(Kind.LIMIT, f"a document has at most {MAX_DOCUMENT} bytes", code=2001)
    return document


def decode(document: bytes, types: Container[str] = OPERATIONS) -> tuple[bytes, str]:
    """The message of one of ``types`` that a document carries, and its content type; raises MALFORMED, LIMIT."""
    root = xml.read(document, NAMESPACE, MAX_DOCUMENT)
    shown, signature, signed = _halves(root)
    content, *texts = map(Found.carried, signed)
    payload = _payload(content)
    if payload["type"] not in types:
        raise malformed(f"a {payload['type']} has no place here")
    if root.name != OPERATIONS[payload["type"]]:
        raise malformed(f"a {payload['type']} is no {root.name[:64]}")
    _, reading = _reading(payload, texts)
    if len(shown) != len(reading) or not all(map(Found.shows, shown, reading)):
        raise malformed("the elements do not say what the signed content says")
    return _message(signature[0], content, signature[1], texts)


#: How the gateway reads and writes this wire where registries speak to it.
ENCODING: Final = Encoding(MAX_DOCUMENT, decode, encode)


def _message(header: str, content: str, value: str, texts: Sequence[str]) -> tuple[bytes, str]:
    """A message as both ends of this wire write it (answers name the hash of these bytes), and its content type."""
    jws = f"{header}.{compact.encode(content.encode())}.{value}"
    if not texts:
        return jws.encode(), JOSE
    return strict_json.dumps({"jws": jws, "items": list(texts)}).encode(), LINK_JSON


def _unwrapped(body: bytes) -> tuple[str, list[str]]:
    text = strict_json.decode(body)
    if not text.startswith("{"):
        return text, []
    wrapper = strict_json.loads(text)
    jws, texts = wrapper.get("jws"), wrapper.get("items")
    if not isinstance(jws, str) or not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        raise malformed("not a message of the link protocol")
    return jws, texts


def _taken_apart(jws: str) -> tuple[str, str, str]:
    """Header, payload (its text) and signature of a compact JWS."""
    parts = jws.split(".")
    if len(parts) != 3 or not all(map(_TOKEN.fullmatch, parts)):
        raise malformed("a compact JWS has three parts")
    try:
        return parts[0], strict_json.decode(compact.decode(parts[1])), parts[2]
    except ValueError as error:
        raise malformed(f"the payload is {error}") from None


def _payload(content: str) -> dict[str, Any]:
    value = strict_json.loads(content)
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or value["type"] not in OPERATIONS:
        raise malformed("the signed content is of no type that this wire knows")
    return value


def _reading(payload: Mapping[str, Any], texts: Iterable[str]) -> tuple[str, list[Element]]:
    """What a message says in the words of the DES: the operation, and the elements that show it.

    The one rule by which documents are written and held against what they carry. What the protocol does not know,
    or knows as something else, is not shown: judging that is left to who verifies the message.
    """
    kind, body = payload["type"], payload.get("body")
    head = _shown(payload, _HEAD)
    version: list[Element] = [("majorVersion", VERSION[0]), ("minorVersion", VERSION[1])]
    result: list[Element] = []
    if kind in ANSWERS:
        result = [("resultIdentifier", "0" if kind == "refusal" else "1")]
        result += _listed(body, "findings", lambda finding: _shown(finding, _CODE))
    told = _shown(body, _BODY)
    status = _STATES.get(str(_at(body, ("state",)) or _at(body, ("my_state",))))
    told += [("transactionStatus", status)] if status else []
    read = _READ.get(kind, frozenset({kind.rpartition(".")[2]}))
    return OPERATIONS[kind], [*head, *version, *result, *told, *_items(texts, read)]


def _items(texts: Iterable[str], read: Container[str]) -> Iterator[Element]:
    for text in texts:
        try:
            item = strict_json.loads(text)
        except GatewayError:
            continue  # the envelope refuses it, with its own reason
        kind = item.get("kind") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind in read:
            yield _held(item) if kind == "position" else ("transaction", _transaction(kind, item))


def _transaction(kind: str, item: Mapping[str, Any]) -> list[Element]:
    elements = _shown(item, _IDENTIFIERS)
    about = "transfer" if kind in ("propose", "request") else str(item.get("type")).lower()
    member, words = _TOLD.get(kind, ("", {}))
    for element, number in (
        ("transactionType", _TRANSACTION_TYPES.get(about)),
        ("transactionStatus", _STATUS.get(kind) or words.get(str(item.get(member)))),
    ):
        elements += [(element, number)] if number else []
    elements += _shown(item, _FACTS)
    for member, address in _ADDRESSES.items():
        elements += _shown(item.get(member), address)
    elements += _listed(item, "findings", lambda finding: [("evaluationResult", _evaluated(finding))])
    for member in ("blocks", "units", "itmo"):
        elements += _listed(item, member, lambda block: [("unitBlock", _shown(block, _BLOCK))])
    elements += _listed(item, "positions", lambda holding: [_held(holding)])
    return elements + ([("unitBlock", _shown(item["block"], _BLOCK))] if "block" in item else [])


def _held(holding: Any) -> Element:
    return "unitBlock", _shown(_at(holding, ("block",)), _BLOCK) + _shown(holding, _HOLDER)


def _evaluated(finding: Any) -> list[Element]:
    named = _listed(finding, "blocks", lambda block: [("unitBlock", _shown(block, _BLOCK))])
    return _shown(finding, _CODE) + named


def _listed(value: Any, member: str, show: Callable[[Any], list[Element]]) -> list[Element]:
    """The elements of each entry of a list, where there is one."""
    entries = value.get(member) if isinstance(value, dict) else None
    return [element for entry in (entries if isinstance(entries, list) else ()) for element in show(entry)]


def _shown(value: Any, paths: _Paths) -> list[Element]:
    """The elements of the texts and whole numbers that lie there."""
    found = ((name, _at(value, path)) for path, name in paths)
    return [(name, xml.shown(str(it))) for name, it in found if type(it) in (str, int)]


def _at(value: Any, path: Sequence[str]) -> Any:
    for member in path:
        value = value.get(member) if isinstance(value, dict) else None
    return value


def _halves(root: Found) -> tuple[list[Found], tuple[str, str], list[Found]]:
    """What a document shows, header and value of its signature, and the elements that carry what is signed."""
    names = [found.name for found in root.inner]
    at = names.index("Signature") if "Signature" in names else len(names)
    if names[at : at + 2] != ["Signature", "SignedContent"] or not {"SignedItem"}.issuperset(names[at + 2 :]):
        raise malformed("a document is elements, then Signature, SignedContent, and a SignedItem for each item")
    parts = [part.text for part in root.inner[at].inner]
    signature: Element = ("Signature", list(zip(("header", "value"), parts, strict=False)))
    if len(parts) != 2 or not all(map(_TOKEN.fullmatch, parts)) or not root.inner[at].shows(signature):
        raise malformed("a Signature is a header and a value")
    if root.attributes or root.text.strip():
        raise malformed("there is more in the document than its elements")
    return root.inner[:at], (parts[0], parts[1]), root.inner[at + 1 :]
