"""The shapes of what is said of a cut: its announcement, questions about its nodes, what was found."""

from typing import Any

from .shaping import Check, is_hash, is_index, is_link_code, is_serial, is_time, is_uuid7, list_of, matches, record

#: Names of series in one question, and states whose texts are asked for.
MAX_NAMES, MAX_TEXTS = 65_536, 1_000

_is_packed = matches("[A-Za-z0-9_-]{0,5600000}")
_is_name = matches("(?s)[A-Z]{3}[0-9]{2}/.{1,256}")
_cut: dict[str, Check] = {"of": is_link_code, "cut": is_uuid7}
_book: dict[str, Check] = {**_cut, "registry": is_link_code}
_origin = record({"registry": is_link_code, "series": matches("[A-Za-z0-9._-]{1,64}")})
_nodes = record(
    {**_book, "series": list_of(_is_name, most=MAX_NAMES), "asked": _is_packed},
    {"texts": list_of(is_hash, 1, MAX_TEXTS)},
)
_listing = record({**_book, "limit": is_serial}, {"after": matches("(?s).{1,512}")})


def _is_state(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= 8192)


query = record({**_cut, "at": is_time})
result = record(
    {
        **_cut,
        "status": lambda value: type(value) is int and value in (5, 6, 7, 99),
        "findings": is_index,
        "books": list_of(record({"registry": is_link_code, "root": is_hash})),
        "evidence": list_of(lambda value: isinstance(value, str), most=1),
    }
)
finding = record(
    {
        "kind": lambda value: value == "finding",
        "case": matches("(?s).{1,64}"),
        "registry": is_link_code,
        "code": lambda value: type(value) is int and 1000 <= value <= 9999,
        "units": record({"origin": _origin, "first": is_serial, "last": is_serial}),
        "here": _is_state,
        "there": _is_state,
    }
)


def asks(value: Any) -> bool:
    """Say whether ``value`` asks for nodes of a cut, or for its positions one by one."""
    return _nodes(value) or _listing(value)
