"""Another wire (``--wire des``): XML shaped like the Kyoto data exchange standards, around the signed message.

An operation of the DES is the document's element. What it shows (``_describe``) is a reading of the signed message that
travels beside it in full: ``Signature`` with the protected header and the value, ``SignedContent`` with the payload,
``SignedItem`` for each item. ``read`` gives the message back to the byte and refuses (``Malformed``) a document that
shows anything else than what is signed in it. Modelled on what is public of the DES; no standard of the secretariat's.

Over this wire an order is acknowledged in the response, and what comes of it is a message of this registry's own.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, tostring
from xml.parsers import expat

from . import strictjson
from .strictjson import Malformed

CONTENT_TYPE = "application/a6link-des+xml"
#: How the address of a registry ends that speaks this wire.
PATH = "/des"
#: Largest document: a message of 8 MiB and what is shown of it.
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
#: Deepest element; a finding's block has members at the fifth level.
MAX_DEPTH = 5

_NAMESPACE = "urn:article6-gateway:modelled-on-des:1"
_OPERATION_TYPES = {
    "acceptProposal": ("transfer.propose", "transfer.offer"),
    "acceptNotification": (
        *("transfer.answer", "transfer.commit", "transfer.released", "transfer.voided"),
        *("transfer.cancel", "transfer.settle", "transfer.credited", "transfer.closed"),
    ),
    "acceptITLNotice": ("transfer.request", "action.notice", "action.record"),
    "acceptMessage": ("link.activate", "link.keys"),
    "acknowledgement": ("receipt", "refusal"),
    "getTransactionStatus": ("status.query",),
    "getTransactionStatusResponse": ("status.answer",),
    "provideAuditTrail": ("history.query",),
    "receiveAuditTrail": ("history.page", "history.deliver"),
    "provideUnitBlocks": ("positions.query",),
    "receiveUnitBlocks": ("positions.answer",),
    "provideTotals": ("cut.query",),
    "receiveTotals": ("cut.answer",),
    "receiveReconciliationResult": ("reconciliation.result",),
    "provideTime": ("time.query",),
    "provideTimeResponse": ("time.answer",),
}
#: Message type → operation.
OPERATIONS = {message_type: operation for operation, types in _OPERATION_TYPES.items() for message_type in types}
#: Types that say whether they accept what they answer.
_ANSWERS = {"receipt", "refusal", "status.answer", "history.page", "positions.answer", "cut.answer", "time.answer"}
#: Kind of item where it is not the end of the type's name; an offer shows the proposal too.
_KINDS = {
    "transfer.offer": {"offer", "propose"},
    "link.activate": {"position"},
    "positions.answer": {"position"},
    "action.notice": {"action"},
    "action.record": {"record"},
    "history.page": {"history"},
    "history.deliver": {"history"},
}
#: Words a message uses → transaction status of the DES.
_STATUS_WORDS = {
    1: ("proposed", "locked"),
    2: ("checked", "offered"),
    4: ("released", "credited", "completed", "done"),
    5: ("refused", "void"),
    6: ("rejected",),
    7: ("cancelled",),
    8: ("accepted", "committing"),
    30: ("delayed",),
    99: ("attention",),
}
_STATUS = {word: number for number, words in _STATUS_WORDS.items() for word in words}
_STATUS_OF_KIND = {"propose": 1, "offer": 2, "commit": 8, "released": 4, "settle": 4, "credited": 4, "voided": 5}
_TRANSACTION_TYPE = {
    "issuance": 1, "transfer": 3, "first transfer": 3, "acquisition": 3, "cancellation": 4, "use": 5,
}  # fmt: skip

_BEGINNING = re.compile(rb"(\xef\xbb\xbf)?(<\?xml [^<>]{0,80}\?>)?\s{0,80}<[A-Za-z_]")
_RISKY = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROL = re.compile("[\t\n]")
_PART = re.compile(r"[A-Za-z0-9_-]+")


def write(body: bytes) -> bytes:
    """Give the document of a message of this registry's own."""
    text = body.decode()
    wrapper: dict[str, Any] = strictjson.loads(text) if text.startswith("{") else {"jws": text, "items": []}
    header, payload, value = wrapper["jws"].split(".")
    content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()
    root = _describe(strictjson.loads(content), wrapper["items"])
    root.set("xmlns", _NAMESPACE)
    signature = SubElement(root, "Signature")
    _put(signature, "header", header)
    _put(signature, "value", value)
    _carry(root, "SignedContent", content)
    for item in wrapper["items"]:
        _carry(root, "SignedItem", item)
    return bytes(tostring(root, "utf-8", xml_declaration=True))


def read(document: bytes) -> tuple[str, bytes]:
    """Give content type and body of the message in a document; raises ``Malformed``."""
    root = _parse(document)
    names = [child.tag for child in root]
    if root.attrib or (root.text or "").strip() or _followed(root):
        raise Malformed("there is more in it than its elements")
    if "Signature" not in names:
        raise Malformed("no Signature")
    at = names.index("Signature")
    if names[at + 1 :] != ["SignedContent"] + ["SignedItem"] * (len(names) - at - 2):
        raise Malformed("not a SignedContent and its SignedItems")
    content, *texts = [_carried(child) for child in root[at + 1 :]]
    header, value = (root[at].findtext(name, "") for name in ("header", "value"))
    if _plain(root[at]) != ("Signature", "", [("header", header, []), ("value", value, [])]):
        raise Malformed("a Signature is a header and a value")
    if not _PART.fullmatch(header) or not _PART.fullmatch(value):
        raise Malformed("a signature is in base64url")
    payload = strictjson.loads(content)
    if not isinstance(payload, dict) or str(payload.get("type")) not in OPERATIONS:
        raise Malformed("no message is signed in it")
    if _plain(_describe(payload, texts)) != (root.tag, "", [_plain(child) for child in root[:at]]):
        raise Malformed("it shows something else than what is signed in it")
    middle = base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()
    compact = f"{header}.{middle}.{value}"
    if texts:
        return "application/a6link+json", strictjson.dumps({"jws": compact, "items": texts}).encode()
    return "application/jose", compact.encode()


def _describe(payload: Mapping[str, Any], texts: Iterable[str]) -> Element:
    """Show a message as an operation of the DES."""
    message_type, body = payload["type"], _object(payload.get("body"))
    root = Element(OPERATIONS[message_type])
    for name in ("from", "to"):
        _put(root, name, payload.get(name))
    _put(root, "messageIdentifier", payload.get("id"))
    _put(root, "messageType", message_type)
    _put(root, "sequenceNumber", payload.get("seq"))
    _put(root, "messageDateTime", payload.get("sent_at"))
    _put(root, "expiryDateTime", payload.get("expires_at"))
    _put(root, "answeredMessageIdentifier", _object(payload.get("in_reply_to")).get("id"))
    _put(root, "majorVersion", 1)
    _put(root, "minorVersion", 1)
    if message_type in _ANSWERS:
        _put(root, "resultIdentifier", int(message_type != "refusal"))
        for finding in _objects(body.get("findings")):
            _put(root, "responseCode", finding.get("code"))
    _describe_body(root, body)
    kinds = _KINDS.get(message_type, {message_type.split(".")[-1]})
    for text in texts:
        try:
            item = _object(strictjson.loads(text))
        except Malformed:
            continue
        kind = item.get("kind")
        if isinstance(kind, str) and kind in kinds:
            _describe_item(root, kind, item)
    return root


def _describe_body(root: Element, body: Mapping[str, Any]) -> None:
    _put(root, "transactionIdentifier", body.get("transfer"))
    _put(root, "systemTime", body.get("time"))
    viewer, select = _object(body.get("for")), _object(body.get("select"))
    _put(root, "viewingRegistryCode", viewer.get("registry"))
    _put(root, "viewingPartyCode", viewer.get("party"))
    _put(root, "afterNumber", _object(body.get("after")).get("number"))
    _put(root, "untilNumber", _object(body.get("until")).get("number"))
    _put(root, "maximumCount", body.get("limit"))
    _put(root, "beginDateTime", select.get("since"))
    _put(root, "endDateTime", select.get("until"))
    _put(root, "snapshotDateTime", body.get("at"))
    _put(root, "effectiveDateTime", body.get("not_before"))
    _put(root, "transactionStatus", _STATUS.get(str(body.get("state") or body.get("my_state"))))


def _describe_item(root: Element, kind: str, item: Mapping[str, Any]) -> None:
    if kind == "position":
        _put_holding(root, item)
        return
    shown = SubElement(root, "transaction")
    _put(shown, "transactionIdentifier", item.get("transfer"))
    _put(shown, "transactionIdentifier", item.get("transaction"))
    _put(shown, "notificationIdentifier", item.get("request"))
    _put(shown, "notificationIdentifier", item.get("action"))
    about = "transfer" if kind in ("propose", "request") else str(item.get("type")).lower()
    _put(shown, "transactionType", _TRANSACTION_TYPE.get(about))
    _put(shown, "transactionStatus", _status(kind, item))
    _put(shown, "noticeType", item.get("type"))
    for moment in ("at", "released_at", "credited_at"):
        _put(shown, "statusDateTime", item.get(moment))
    _put(shown, "registryCode", item.get("registry"))
    _put(shown, "partyCode", item.get("party"))
    _put(shown, "accountIdentifier", item.get("account"))
    _put(shown, "acquiringRegistryAccountIdentifier", item.get("to_account"))
    _put(shown, "purpose", item.get("purpose"))
    _put(shown, "unitCount", item.get("quantity"))
    for member, role in (
        ("transferring", "transferring"), ("from", "transferring"), ("acquiring", "acquiring"), ("to", "acquiring"),
    ):  # fmt: skip
        address = _object(item.get(member))
        _put(shown, f"{role}RegistryCode", address.get("registry"))
        _put(shown, f"{role}PartyCode", address.get("party"))
        _put(shown, f"{role}RegistryAccountIdentifier", address.get("account"))
    for finding in _objects(item.get("findings")):
        result = SubElement(shown, "evaluationResult")
        _put(result, "responseCode", finding.get("code"))
        _put_blocks(result, finding.get("blocks"))
    for member in ("blocks", "units", "itmo"):
        _put_blocks(shown, item.get(member))
    for holding in _objects(item.get("positions")):
        _put_holding(shown, holding)
    if "block" in item:
        _put_blocks(shown, [item["block"]])


def _status(kind: str, item: Mapping[str, Any]) -> int | None:
    if kind == "cancel" and item.get("outcome") == "refused":
        return 3  # a discrepancy was found; the source ends it
    if kind == "answer":
        return _STATUS.get(str(item.get("answer"))) if item.get("answer") in ("accepted", "rejected") else None
    if kind == "cancel":
        return _STATUS.get(str(item.get("outcome"))) if item.get("outcome") in ("rejected", "cancelled") else None
    if kind in ("closed", "receipt"):
        return _STATUS.get(str(item.get("state")))
    return _STATUS_OF_KIND.get(kind)


def _put_holding(parent: Element, holding: Mapping[str, Any]) -> None:
    block = _put_block(parent, _object(holding.get("block")))
    _put(block, "partyCode", holding.get("party"))
    _put(block, "accountIdentifier", holding.get("account"))


def _put_blocks(parent: Element, blocks: Any) -> None:
    for block in blocks if isinstance(blocks, list) else ():
        _put_block(parent, _object(block))


def _put_block(parent: Element, block: Mapping[str, Any]) -> Element:
    shown = SubElement(parent, "unitBlock")
    origin, attributes, itmo = (_object(block.get(name)) for name in ("origin", "attributes", "itmo"))
    _put(shown, "unitSerialBlockStart", block.get("first"))
    _put(shown, "unitSerialBlockEnd", block.get("last"))
    _put(shown, "originatingRegistryCode", origin.get("registry"))
    _put(shown, "originatingSeries", origin.get("series"))
    _put(shown, "unitType", attributes.get("unit_type"))
    _put(shown, "vintageYear", attributes.get("vintage"))
    _put(shown, "projectIdentifier", attributes.get("activity"))
    _put(shown, "firstPartyCode", attributes.get("first_transferring_party"))
    _put(shown, "ITMOIdentifierStart", itmo.get("first"))
    _put(shown, "ITMOIdentifierEnd", itmo.get("last"))
    return shown


def _put(parent: Element, name: str, value: Any) -> None:
    """Show a text or a whole number; what XML may not give back as it was is shown as U+FFFD."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        SubElement(parent, name).text = _CONTROL.sub("\ufffd", _RISKY.sub("\ufffd", str(value)))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(values: Any) -> list[Mapping[str, Any]]:
    return [_object(value) for value in values] if isinstance(values, list) else []


def _carry(root: Element, name: str, text: str) -> None:
    carrier = SubElement(root, name)
    if _RISKY.search(text):
        carrier.set("encoding", "base64")
        text = base64.b64encode(text.encode()).decode()
    carrier.text = text


def _carried(carrier: Element) -> str:
    text = carrier.text or ""
    if len(carrier) or carrier.attrib not in ({}, {"encoding": "base64"}):
        raise Malformed(f"{carrier.tag} is not a text")
    try:
        return base64.b64decode(text, validate=True).decode() if carrier.attrib else text
    except ValueError as error:
        raise Malformed(f"{carrier.tag} is not base64") from error


def _plain(element: Element) -> tuple[Any, ...]:
    """Give what an element says, in a form that can be compared; space between elements says nothing."""
    if element.attrib or _followed(element):
        raise Malformed(f"{element.tag} has an attribute, or text beside its elements")
    text = element.text or ""
    return element.tag, text if not len(element) else text.strip(), [_plain(child) for child in element]


def _followed(element: Element) -> bool:
    """Say whether there is text after an element in this one."""
    return any((child.tail or "").strip() for child in element)


def _parse(document: bytes) -> Element:
    """Read XML that begins with its element, so that it has no DTD and no entities."""
    if len(document) > MAX_DOCUMENT_BYTES or not _BEGINNING.match(document):
        raise Malformed("too large, or not a document that begins with its element")
    builder, open_elements = TreeBuilder(), 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal open_elements
        open_elements += 1
        namespace, _, local = name.rpartition(" ")
        if open_elements > MAX_DEPTH or namespace != _NAMESPACE:
            raise Malformed("too deep, or of another namespace")
        builder.start(local, attributes)

    def end(name: str) -> None:
        nonlocal open_elements
        open_elements -= 1
        builder.end(name.rpartition(" ")[2])

    parser = expat.ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise Malformed("not XML") from error
    return builder.close()
