"""JSON as the link protocol wants it: no duplicate members, no fractions, bounded integers and depth.

``loads`` gives what ``json.loads`` gives for text inside these limits and raises ``Malformed`` for anything
else, text that PostgreSQL could not store (NUL, lone surrogates) included. ``dumps`` is how this program
writes its own items; received text is never written again.
"""

import json
import re
from typing import Any

#: Largest integer every JSON implementation keeps exactly (RFC 8259 section 6).
MAX_INTEGER = 2**53 - 1
#: Deepest nesting of objects and lists; the deepest legal item has six levels.
MAX_DEPTH = 16

_RISKY_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class Malformed(Exception):
    """The text is not what the contract describes (2001)."""


def loads(text: str | bytes) -> Any:
    """Parse ``text`` strictly; raises ``Malformed``."""
    try:
        source = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(
            source, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_refuse, parse_int=_integer
        )
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error
    _check_depth(value, 1)
    if _RISKY_ESCAPE.search(source):
        _check_text(value)
    return value


def dumps(value: Any) -> str:
    """Write an item or a payload of this program's own."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member is given twice")
    return members


def _refuse(text: str) -> None:
    raise Malformed(f"{text} is not a whole number")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MAX_INTEGER:
        raise Malformed("an integer is beyond 2^53-1")
    return value


def _check_depth(value: Any, level: int) -> None:
    if level > MAX_DEPTH:
        raise Malformed("nested too deeply")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(child, (dict, list)):
            _check_depth(child, level + 1)


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise Malformed("text holds a character that cannot be stored")
    elif isinstance(value, dict):
        for name, child in value.items():
            _check_text(name)
            _check_text(child)
    elif isinstance(value, list):
        for child in value:
            _check_text(child)
