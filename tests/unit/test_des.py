"""The wire shaped like the Kyoto standards: a message comes back to the byte, and a document says nothing else.

The gateway's connector and the sandbox each have code of their own for it; what one writes, the other reads.
"""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

import connectors
from connectors import des, xml
from connectors.sandbox import des as sandbox_des
from connectors.sandbox.strictjson import Malformed
from gateway.errors import GatewayError, Kind
from gateway.signing import messages
from gateway.signing.envelope import JOSE, LINK_JSON
from tests.unit.test_envelope import BAD, body_of
from tests.unit.test_envelope import GOOD as VECTORS

ROOT = Path(__file__).parents[2]
GOOD = {vector["name"]: body_of(vector) for vector in VECTORS}
PROPOSAL = GOOD["transfer-propose"]
#: Member names that a document shows, and one that it does not.
NAMES = st.sampled_from(
    [
        *("kind", "transfer", "state", "findings", "blocks", "block", "origin", "registry", "attributes", "itmo"),
        *("first", "last", "transferring", "party", "account", "positions", "type", "code", "answer", "unshown"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
#: What programs are made of; where a check comes from is told in others.
CODE = {".py", ".yaml", ".json", ".js", ".html", ".sql"}
KINDS = st.sampled_from(["propose", "offer", "answer", "closed", "receipt", "position", "action", "history"])
ITEMS = st.dictionaries(NAMES, JSON, max_size=8)


def message(payload: str, texts: list[str]) -> bytes:
    """A message as it is written, under a signature that nobody made."""
    jws = f"header.{base64.urlsafe_b64encode(payload.encode()).rstrip(b'=').decode()}.value"
    wrapper = {"jws": jws, "items": texts}
    return (json.dumps(wrapper, separators=(",", ":"), ensure_ascii=False) if texts else jws).encode()


@pytest.mark.parametrize("name", GOOD)
def test_a_message_comes_back_to_the_byte_from_either_side(name: str) -> None:
    body = GOOD[name]
    kind = LINK_JSON if body.startswith(b"{") else JOSE
    assert des.decode(des.encode(body)) == (body, kind)
    assert sandbox_des.read(des.encode(body)) == (kind, body)
    assert des.decode(sandbox_des.write(body)) == (body, kind)


@given(st.sampled_from(sorted(des.OPERATIONS)), JSON, st.lists(st.tuples(KINDS, ITEMS), max_size=4))
def test_whatever_is_signed_comes_back_and_both_sides_show_the_same_of_it(
    message_type: str, body: Any, items: list[tuple[str, dict[str, Any]]]
) -> None:
    payload = json.dumps({"type": message_type, "from": "MEC01", "to": body, "body": body}, ensure_ascii=False)
    texts = [json.dumps(item | {"kind": kind}, ensure_ascii=False, indent=1) for kind, item in items]
    sent = message(payload, texts)
    assert des.decode(des.encode(sent))[0] == sent
    assert sandbox_des.read(des.encode(sent))[1] == sent
    assert des.decode(sandbox_des.write(sent))[0] == sent


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_is_carried_to_the_character_whatever_xml_cannot_hold(text: str) -> None:
    document = f'<a xmlns="urn:a">{xml.carrying("b", text)}</a>'.encode()
    [carrier] = xml.read(document, "urn:a", len(document)).inner
    assert carrier.carried() == text


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector["name"])
def test_what_is_no_message_is_refused_and_what_is_wrong_in_one_is_passed_on(vector: dict[str, Any]) -> None:
    body = body_of(vector)
    try:
        document = des.encode(body)
    except GatewayError as error:
        assert error.kind in (Kind.MALFORMED, Kind.LIMIT)
        assert error.code in (2001, 1005)
    else:
        assert des.decode(document)[0] == body


def test_every_message_type_is_an_operation_on_both_sides() -> None:
    assert des.OPERATIONS.keys() == messages.TYPES
    assert sandbox_des.OPERATIONS == des.OPERATIONS
    assert messages.ANSWER_TYPES == des.ANSWERS


def test_a_proposal_is_readable_by_who_knows_the_des() -> None:
    shown = des.encode(PROPOSAL).decode()
    operation, *rest = shown.splitlines()[1:]
    assert operation == f'<acceptProposal xmlns="{des.NAMESPACE}">'
    assert rest[:2] == ["<from>MEC01</from>", "<to>GWY01</to>"]
    for element in (
        *("<majorVersion>1</majorVersion>", "<transactionType>3</transactionType>"),
        *("<transactionStatus>1</transactionStatus>", "<acquiringRegistryCode>KOR01</acquiringRegistryCode>"),
        *("<unitSerialBlockStart>1</unitSerialBlockStart>", "<unitSerialBlockEnd>30000</unitSerialBlockEnd>"),
    ):
        assert element in shown


@pytest.mark.parametrize(
    ("name", "operation", "status"),
    [
        ("transfer-answer", "acceptNotification", ["8", "6"]),
        ("transfer-commit", "acceptNotification", ["8"]),
        ("transfer-released", "acceptNotification", ["4"]),
        ("transfer-voided", "acceptNotification", ["5"]),
        ("transfer-closed-completed", "acceptNotification", ["4"]),
        ("transfer-closed-rejected", "acceptNotification", ["6"]),
        ("history-query", "provideAuditTrail", []),
        ("history-page", "receiveAuditTrail", []),
        ("positions-answer", "receiveUnitBlocks", []),
    ],
)
def test_a_statement_shows_its_status_in_numbers(name: str, operation: str, status: list[str]) -> None:
    shown = des.encode(GOOD[name]).decode()
    assert f"<{operation} " in shown
    assert set(re.findall("<transactionStatus>(.*?)</transactionStatus>", shown)) == set(status)


def test_an_answer_says_whether_it_accepts_and_why_not() -> None:
    assert b"<resultIdentifier>1</resultIdentifier>" in des.encode(GOOD["receipt-closed"])
    refused = des.encode(GOOD["refusal-verdict"]).decode()
    assert "<resultIdentifier>0</resultIdentifier>" in refused
    assert re.search("<responseCode>[0-9]{4}</responseCode>", refused)


def test_a_document_of_another_layout_is_the_same_document() -> None:
    document = des.encode(PROPOSAL).decode()
    head, tail = document.split("<Signature>")
    spaced = head.replace("><", ">\n  <").replace("<from>", "<!-- a comment --><from>")
    prefixed = re.sub("<(/?)([A-Za-z])", r"<\1d:\2", spaced).replace("xmlns=", "xmlns:d=")
    assert des.decode(f"{spaced}<Signature>{tail}".encode())[0] == PROPOSAL
    tail = re.sub("<(/?)(header|value|Signature|SignedContent|SignedItem|acceptProposal)", r"<\1d:\2", tail)
    assert des.decode(f"{prefixed}<d:Signature>{tail}".encode())[0] == PROPOSAL


def refused(document: bytes) -> None:
    """Both sides refuse the document, and say that it is malformed."""
    with pytest.raises(GatewayError) as caught:
        des.decode(document)
    assert (caught.value.kind in (Kind.MALFORMED, Kind.LIMIT), caught.value.code) == (True, 2001)
    with pytest.raises(Malformed):
        sandbox_des.read(document)


@pytest.mark.parametrize("name", ["transfer-propose", "transfer-answer", "receipt-closed", "history-page"])
def test_an_element_that_says_something_else_than_what_is_signed_is_refused(name: str) -> None:
    document = des.encode(GOOD[name]).decode()
    head, tail = document.split("<Signature>")
    leaves = list(re.finditer("<([A-Za-z]+)>([^<]+)</[A-Za-z]+>", head))
    assert len(leaves) > 10
    for leaf in leaves:
        before, after = head[: leaf.start()], f"{head[leaf.end() :]}<Signature>{tail}"
        for other in (
            f"<{leaf[1]}>{leaf[2]}0</{leaf[1]}>", f"<{leaf[1]}> {leaf[2]}</{leaf[1]}>", "", leaf[0] * 2,
            f"<{leaf[1]}Of>{leaf[2]}</{leaf[1]}Of>", f'<{leaf[1]} of="1">{leaf[2]}</{leaf[1]}>', f"{leaf[0]}text",
        ):  # fmt: skip
            refused(f"{before}{other}{after}".encode())


CHANGES: dict[str, Callable[[str], str]] = {
    "another operation": lambda d: d.replace("acceptProposal", "acceptNotification"),
    "another sender": lambda d: d.replace("<from>MEC01<", "<from>KOR01<"),
    "another receiver": lambda d: d.replace("<to>GWY01<", "<to>INT01<"),
    "another version": lambda d: d.replace("<minorVersion>1<", "<minorVersion>2<"),
    "another namespace": lambda d: d.replace(des.NAMESPACE, "urn:other"),
    "no namespace": lambda d: d.replace(f' xmlns="{des.NAMESPACE}"', ""),
    "an attribute": lambda d: d.replace("<acceptProposal ", '<acceptProposal of="1" '),
    "signed for another": lambda d: d.replace('"to":"GWY01"', '"to":"INT01"'),
    "an item less": lambda d: re.sub("<SignedItem>.*?</SignedItem>", "", d, count=1),
    "no content": lambda d: re.sub("<SignedContent>.*?</SignedContent>", "", d),
    "no signature": lambda d: re.sub("<Signature>.*?</Signature>", "", d),
    "a signature more": lambda d: re.sub("(<Signature>.*?</Signature>)", r"\1\1", d),
    "a dot in a signature": lambda d: d.replace("<value>", "<value>a.b"),
    "text in a signature": lambda d: d.replace("<Signature>", "<Signature>text"),
    "an element after what is signed": lambda d: d.replace("</acceptProposal>", "<to>GWY01</to></acceptProposal>"),
    "an element in what is signed": lambda d: d.replace("<SignedItem>", "<SignedItem><to/>"),
    "no base64": lambda d: d.replace("<SignedItem>", '<SignedItem encoding="base64">'),
    "no UTF-8": lambda d: d.replace("<SignedItem><![CDATA[", '<SignedItem encoding="base64">/w==<![CDATA['),
    "another encoding": lambda d: d.replace("<SignedItem>", '<SignedItem encoding="hex">'),
    "content that is no JSON": lambda d: d.replace("<SignedContent><![CDATA[", "<SignedContent><![CDATA[,"),
    "a type nobody knows": lambda d: d.replace("transfer.propose", "transfer.destroy"),
    "another document behind": lambda d: d + d.splitlines()[1],
    "nothing": lambda d: "",
    "no XML": lambda d: "{}",
    "cut off": lambda d: d[: len(d) // 2],
    "in UTF-16": lambda d: d.replace('encoding="UTF-8"', 'encoding="UTF-16"')[:30],
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_the_document_of_its_message_is_refused(change: str) -> None:
    document = des.encode(PROPOSAL).decode()
    changed = CHANGES[change](document)
    assert changed != document
    refused(changed.encode())


BOMB = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
TYPES = {
    "a type": "<!DOCTYPE acceptProposal>",
    "a bomb": f'<!DOCTYPE acceptProposal [<!ENTITY e0 "bomb">{BOMB}]>',
    "a file": '<!DOCTYPE acceptProposal [<!ENTITY e9 SYSTEM "file:///etc/passwd">]>',
    "an address": '<!DOCTYPE acceptProposal SYSTEM "http://127.0.0.1:1/a.dtd">',
    "a comment before a type": "<!-- --><!DOCTYPE acceptProposal>",
    "an instruction before a type": "<?a?><!DOCTYPE acceptProposal>",
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_document_type_and_its_entities_are_refused_unread(kind: str) -> None:
    declaration, rest = des.encode(PROPOSAL).decode().split("\n", 1)
    refused(f"{declaration}\n{TYPES[kind]}\n{rest.replace('<from>MEC01<', '<from>&e9;<')}".encode())
    refused(f"{TYPES[kind]}\n{rest}".encode())
    refused(f"{declaration}\n{rest}{TYPES[kind]}".encode())


def test_size_depth_and_number_of_elements_are_bounded() -> None:
    opening = f'<acceptProposal xmlns="{des.NAMESPACE}">'
    refused(f"{opening}{'<a>' * 100_000}".encode())
    refused(opening.encode() + b" " * des.MAX_DOCUMENT)
    with pytest.raises(GatewayError) as caught:
        des.decode(f"{opening}{'<a/>' * (xml.MAX_ELEMENTS + 1)}</acceptProposal>".encode())
    assert caught.value.kind is Kind.LIMIT


def test_a_message_larger_than_a_document_may_be_is_not_written() -> None:
    text = json.dumps({"kind": "propose", "transfer": "&" * (des.MAX_DOCUMENT // len(escape("&")))})
    with pytest.raises(GatewayError) as caught:
        des.encode(message('{"type":"transfer.propose"}', [text]))
    assert caught.value.kind is Kind.LIMIT


@pytest.mark.parametrize("name", ["transfer-answer", "transfer-propose", "time-query"])
def test_an_order_is_acknowledged_and_never_answered_in_the_response(name: str) -> None:
    with pytest.raises(GatewayError, match="has no place here"):
        des.decode(des.encode(GOOD[name]), des.ANSWERS)


def test_the_address_of_a_registry_says_which_wire_it_speaks() -> None:
    assert [des.speaks(f"https://registry.example{end}") for end in ("/des", "/link/des/", "", "/desk", "/des/x")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert connectors.ENCODINGS.keys() == {sandbox_des.CONTENT_TYPE}


def test_nothing_outside_the_connectors_knows_this_wire() -> None:
    named = re.compile(r"\bdes\b|\bDES\b|a6link-des|acceptProposal|\bxml\b", re.ASCII)
    folders = (ROOT / folder for folder in ("gateway", "openapi", "deploy"))
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in CODE]
    assert len(files) > 200
    assert [path for path in files if named.search(path.read_text("utf-8"))] == []
