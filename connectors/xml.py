"""XML as connectors exchange it: elements of one namespace, within bounds, and texts carried as they are.

Guarantees: before a document's element stands the XML declaration at most, so there is no DTD and no entity but XML's
own five; UTF-8 whatever the declaration says; bytes, elements and depth are bounded. A carried text comes back to the
character: it is written as CDATA, or, where XML could not hold it so, as base64. Fails with ``GatewayError``: MALFORMED
(2001) for what is no such document, LIMIT (2001) beyond a bound.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias
from xml.parsers import expat
from xml.sax.saxutils import escape

from gateway.errors import GatewayError, Kind

#: Most elements of a document: 3,000 blocks of 12 members and 1,000 transactions of 20 fit four times.
MAX_ELEMENTS: Final = 250_000
#: Deepest element: document, transaction, finding, block, member.
MAX_DEPTH: Final = 5

#: An element: its name, and its text or the elements in it.
Element: TypeAlias = "tuple[str, str | list[Element]]"

#: What stands before the document's element; anything else could be a DTD.
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?(?:<\?xml [^<>]{0,80}\?>)?\s{0,80}<[A-Za-z_]")
#: What XML holds as text and gives back as it was; a carriage return would come back as a line feed.
_AS_TEXT = re.compile("[\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
#: What is shown as U+FFFD in an element: XML cannot hold it, or may give it back as something else.
_UNSHOWN = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Found:
    """An element as it was received."""

    __slots__ = ("attributes", "inner", "name", "pieces")

    def __init__(self, name: str, attributes: Mapping[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.pieces: list[str] = []
        self.inner: list[Found] = []

    @property
    def text(self) -> str:
        """The characters directly in it."""
        return "".join(self.pieces)

    def shows(self, expected: Element) -> bool:
        """Whether it is the expected element and nothing else; space between elements does not count."""
        name, content = expected
        if self.name != name or self.attributes:
            return False
        if isinstance(content, str):
            return not self.inner and self.text == content
        if self.text.strip() or len(self.inner) != len(content):
            return False
        return all(map(Found.shows, self.inner, content))

    def carried(self) -> str:
        """The text of an element written by ``carrying``; raises MALFORMED."""
        if self.inner or self.attributes not in ({}, {"encoding": "base64"}):
            raise malformed(f"{self.name[:100]} is a text")
        try:
            return base64.b64decode(self.text, validate=True).decode() if self.attributes else self.text
        except (binascii.Error, ValueError):
            raise malformed(f"{self.name[:100]} is not base64 of UTF-8") from None


def shown(value: str) -> str:
    """The value as an element shows it."""
    return _UNSHOWN.sub("\ufffd", value)


def written(element: Element) -> str:
    """The element as it is sent."""
    return "".join(_pieces(element))


def carrying(name: str, text: str) -> str:
    """An element that carries ``text``, readable where XML gives every character back."""
    if _AS_TEXT.fullmatch(text) and "]]>" not in text:
        return f"<{name}><![CDATA[{text}]]></{name}>"
    return f'<{name} encoding="base64">{base64.b64encode(text.encode()).decode()}</{name}>'


def read(document: bytes, namespace: str, most: int) -> Found:
    """The element of a document of at most ``most`` bytes, all of whose elements are of ``namespace``."""
    if len(document) > most:
        raise GatewayError(Kind.LIMIT, f"a document has at most {most} bytes", code=2001)
    if not _PROLOG.match(document):
        raise malformed("before the document's element there is the XML declaration at most")
    return _Reader(namespace).read(document)


def malformed(detail: str) -> GatewayError:
    """The error for what is no such document."""
    return GatewayError(Kind.MALFORMED, detail, code=2001)


def _pieces(element: Element) -> Iterator[str]:
    name, content = element
    yield f"<{name}>"
    if isinstance(content, str):
        yield escape(content)
    else:
        for inner in content:
            yield from _pieces(inner)
    yield f"</{name}>"


class _Reader:
    """Reads one document."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._outside = Found("", {})
        self._open = [self._outside]
        self._left = MAX_ELEMENTS
        self._parser = expat.ParserCreate("UTF-8", " ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def read(self, document: bytes) -> Found:
        try:
            self._parser.Parse(document, True)
        except expat.ExpatError as error:
            raise malformed(f"not XML: {error}") from None
        return self._outside.inner[0]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._open) > MAX_DEPTH:
            raise GatewayError(Kind.LIMIT, "a document with too many elements, or too deep", code=2001)
        namespace, _, local = name.rpartition(" ")
        if namespace != self._namespace:
            raise malformed(f"{name[:100]} is not of {self._namespace}")
        found = Found(local, attributes)
        self._open[-1].inner.append(found)
        self._open.append(found)

    def _end(self, name: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        self._open[-1].pieces.append(text)
