"""JSON as both ends must read it: one meaning for one text, or a refusal.

Guarantees: UTF-8, no duplicate members, no NaN or Infinity, integers within +-(2^53-1) so that every language
reads the same number, at most ``MAX_DEPTH`` levels (counted before parsing), no lone surrogates (they have no
UTF-8 form) and no U+0000 (PostgreSQL's text and jsonb cannot hold it). Follows I-JSON (RFC 7493).
Fails with ``EnvelopeError`` naming the rule broken. ``dumps`` is compact and keeps the order given.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from gateway.signing.faults import EnvelopeError, Fault

MAX_DEPTH = 16  # the deepest message of the protocol uses 5: item, blocks, block, attributes, authorisation
MAX_INTEGER = 2**53 - 1  # largest integer a double holds exactly (RFC 7493 section 2.2)
_MAX_DIGITS = len(str(-MAX_INTEGER))

_BRACKET = re.compile(r"[\[\]{}]")
_SUSPICIOUS_ESCAPE = re.compile(r"\\u(?:[dD]|0000)")


def decode(data: bytes) -> str:
    """Return ``data`` as text; raises NOT_UTF8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EnvelopeError(Fault.NOT_UTF8, f"byte {error.start} is not UTF-8") from None


def loads(text: str) -> Any:
    """Return the value of ``text``.

    Raises NOT_JSON, DUPLICATE_MEMBER, NAN, INTEGER_TOO_LARGE, TOO_DEEP, NOT_UTF8 or NUL_CHARACTER.
    """
    _refuse_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise EnvelopeError(Fault.NOT_JSON, f"not JSON at character {error.pos}: {error.msg}") from None
    if _SUSPICIOUS_ESCAPE.search(text):
        _refuse_characters(value)
    return value


def dumps(value: Any) -> str:
    """Return the compact text of ``value``, members in the order given; NaN raises ``ValueError``."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _refuse_depth(text: str) -> None:
    """Refuse deep nesting before the parser sees it: CPython 3.13.0's crashed in a thread of 1 MiB stack."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    # What stands outside strings. A backslash there is an error, at which the parser stops before anything
    # these lines could mistake; so is a bracket closed before it was opened.
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    depth = 0
    for bracket in _BRACKET.findall("".join(text.split('"')[::2])):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise EnvelopeError(Fault.TOO_DEEP, f"more than {MAX_DEPTH} levels")
        if depth < 0:
            return


def _refuse_characters(value: Any) -> None:
    for text in _strings(value):
        if "\0" in text:
            raise EnvelopeError(Fault.NUL_CHARACTER, "a string contains U+0000")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise EnvelopeError(Fault.NOT_UTF8, "a string contains a lone surrogate") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _strings(member)
    elif isinstance(value, list):
        for element in value:
            yield from _strings(element)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise EnvelopeError(Fault.DUPLICATE_MEMBER, f"member {twice[:64]!r} is given twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or abs(value := int(digits)) > MAX_INTEGER:
        raise EnvelopeError(Fault.INTEGER_TOO_LARGE, "an integer is beyond 2^53-1")
    return value


def _fraction(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise EnvelopeError(Fault.NAN, "a number is not finite")
    return value


def _constant(name: str) -> float:
    raise EnvelopeError(Fault.NAN, f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
