"""What shapes are made of: checks of single values, and of lists and records of values that have a check."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .strictjson import MAX_INTEGER

Check = Callable[[Any], bool]

UUID7 = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def matches(pattern: str) -> Check:
    """Check for text that matches as a whole."""
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def one_of(*allowed: str) -> Check:
    """Check for one of these texts."""
    return lambda value: isinstance(value, str) and value in allowed


def list_of(check: Check, least: int = 0, most: int = MAX_INTEGER) -> Check:
    """Check for a list of values that all have a shape."""
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(check, value))


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Check for an object with these members and no others."""
    known = {**required, **(optional or {})}
    needed = frozenset(required)

    def holds(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and needed <= value.keys() <= known.keys()
            and all(known[name](member) for name, member in value.items())
        )

    return holds


def is_time(value: Any) -> bool:
    """Say whether ``value`` is a time as the contract writes it: UTC, three decimals, ``Z``."""
    if not (isinstance(value, str) and _TIME.fullmatch(value)):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_serial(value: Any) -> bool:
    """Say whether ``value`` is a whole number from 1 on that every JSON implementation keeps."""
    return type(value) is int and 1 <= value <= MAX_INTEGER


def is_index(value: Any) -> bool:
    """Say whether ``value`` is such a number, or 0."""
    return type(value) is int and 0 <= value <= MAX_INTEGER


is_uuid7 = matches(UUID7)
is_hash = matches("[A-Za-z0-9_-]{43}")
is_link_code = matches("[A-Z]{3}[0-9]{2}")
