"""What a registry says of a cut: read strictly, and held against what was asked.

Everything here is pure. An answer that is not of the protocol is MALFORMED 2001; one that cannot be true (another cut,
a book that is not the registry's, totals without a series) is REJECTED 6901, which ends the run for persons to look at.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from gateway.domain import wire
from gateway.domain.fingerprints import NOTHING
from gateway.domain.identifiers import MAX_SERIAL
from gateway.errors import GatewayError, Kind
from gateway.reconciliation.classify import Differing
from gateway.signing import compact
from gateway.signing.envelope import VerifiedMessage
from gateway.signing.messages import is_hash

#: A transfer in flight, packed: the link code of its id, its UUID, and what it is there.
MOVING_BYTES = 22
MOST_MOVING = 5_000
MOST_TOTALS = 10_000
#: How far a registry's clock may be from ours (``openapi/link.yaml``): what was taken longer before the moment of a
#: cut, or is longer to come, is none.
SKEW = timedelta(seconds=300)
_LINK = re.compile(r"[A-Z]{3}[0-9]{2}")
_ANNOUNCED = frozenset({"of", "cut", "at", "state"})
_TAKEN = _ANNOUNCED | {"taken_at", "told", "ranges", "books", "moving", "moving_more"}
_BOOK = frozenset({"registry", "series", "totals"})
_TOTAL = frozenset({"party", "account_type", "vintage", "quantity"})
_MOVES = "LRAC"


@dataclass(frozen=True, slots=True)
class Asked:
    """A cut as it is asked for; ``at`` is written as the protocol writes times."""

    link: str
    cut: str
    at: datetime

    @property
    def body(self) -> dict[str, Any]:
        """The body of the ``cut.query``."""
        return {"of": self.link, "cut": self.cut, "at": wire.time_to_wire(self.at)}


#: What is held, by Party, account type and vintage.
Totals = Mapping[tuple[str, int, int], int]


@dataclass(frozen=True, slots=True)
class TheirBook:
    """A book as its registry tells it; ``root`` is None where it tells no nodes."""

    root: bytes | None = None
    series: int = 0
    totals: Totals = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut that a registry has taken. ``moving``: what its transfers in flight are there, by their ids."""

    taken_at: datetime
    told: int
    ranges: bool
    books: Mapping[str, TheirBook]
    moving: Mapping[str, str]
    moving_more: bool


def read(answer: VerifiedMessage, asked: Asked, registries: Sequence[str], now: datetime) -> Cut | None:
    """The cut that was asked for; nothing while it is only announced. It tells each of these books, empty or not."""
    cut = read_body(answer.body, asked, registries, answer.type)
    if cut is not None and not asked.at - SKEW <= cut.taken_at <= now + SKEW:
        raise untrue(f"it was taken at {wire.time_to_wire(cut.taken_at)}, and was asked for {asked.body['at']}")
    return cut


def read_body(body: Mapping[str, Any], asked: Asked, registries: Sequence[str], type: str = "cut.answer") -> Cut | None:
    """The same of a body."""
    if type != "cut.answer":
        raise wire.malformed(f"{type} is no answer to cut.query")
    state = body.get("state")
    members = wire.members(dict(body), "body", _TAKEN if state == "taken" else _ANNOUNCED)
    if state not in ("announced", "taken"):
        raise wire.malformed("a cut is announced or taken")
    if {name: members[name] for name in ("of", "cut", "at")} != asked.body:
        raise untrue("it answers about another cut")
    if state == "announced":
        return None
    ranges, more = members["ranges"], members["moving_more"]
    if not isinstance(ranges, bool) or not isinstance(more, bool):
        raise wire.malformed("ranges and moving_more are true or false")
    told = _number(members["told"], "told", 0)
    listed = [_book(value, ranges) for value in wire.array(members["books"], "books")]
    books = dict(listed)
    if len(books) < len(listed):
        raise untrue("it tells a book twice")
    if strange := sorted(books.keys() - set(registries)):
        raise untrue(f"it tells of {strange[0]}, which is no book of {asked.link}")
    if missing := sorted(set(registries) - books.keys()):
        raise untrue(f"it does not tell the book of {missing[0]}")
    complete = {registry: books[registry] for registry in registries}
    return Cut(wire.parse_time(members["taken_at"]), told, ranges, complete, _moving(members["moving"]), more)


def untrue(detail: str) -> GatewayError:
    """The error for an answer that cannot be true."""
    return GatewayError(Kind.REJECTED, detail, code=6901)


def _book(value: object, ranges: bool) -> tuple[str, TheirBook]:
    raw = wire.members(value, "book", _BOOK | ({"root"} if ranges else set()), frozenset({"root"}))
    registry, series = wire.text(raw["registry"], "registry"), _number(raw["series"], "series", 0)
    root: bytes | None = None
    if ranges:
        if not is_hash(raw["root"]):
            raise wire.malformed("a root is 32 bytes in base64url")
        root = compact.decode(raw["root"])
    listed = wire.array(raw["totals"], "totals")
    if len(listed) > MOST_TOTALS:
        raise wire.malformed(f"a book has at most {MOST_TOTALS} totals")
    totals = dict(map(_total, listed))
    if len(totals) < len(listed):
        raise untrue(f"{registry} has two totals of one kind")
    if bool(totals) != bool(series) or (ranges and bool(totals) == (root == NOTHING.digest)):
        raise untrue(f"{registry} has totals without a series, or a root of nothing, or the other way round")
    return registry, TheirBook(root, series, totals)


def _total(value: object) -> tuple[tuple[str, int, int], int]:
    raw = wire.members(value, "total", _TOTAL)
    key = wire.text(raw["party"], "party"), *(_number(raw[name], name, 0) for name in ("account_type", "vintage"))
    return key, _number(raw["quantity"], "quantity", 1)  # type: ignore[return-value]


def _number(value: object, what: str, least: int) -> int:
    number = wire.whole(value, what)
    if not least <= number <= MAX_SERIAL:
        raise wire.malformed(f"{what} is {least} to 2^53-1")
    return number


def _moving(value: object) -> dict[str, str]:
    packed = unpacked(value, "moving")
    if len(packed) % MOVING_BYTES or len(packed) > MOVING_BYTES * MOST_MOVING:
        raise wire.malformed(f"moving is {MOVING_BYTES} bytes for each of at most {MOST_MOVING} transfers")
    moving: dict[str, str] = {}
    for at in range(0, len(packed), MOVING_BYTES):
        link, state = packed[at : at + 5].decode("latin-1"), chr(packed[at + 21])
        if not _LINK.fullmatch(link) or state not in _MOVES:
            raise wire.malformed("a transfer in flight is a link code, a UUID, and one of L, R, A, C")
        moving[f"{link}-{UUID(bytes=packed[at + 5 : at + 21])}"] = state
    return moving


def unpacked(value: object, what: str) -> bytes:
    """The bytes of base64url without padding, none of an empty text; raises MALFORMED with 2001."""
    if value == "":
        return b""
    try:
        if isinstance(value, str):
            return compact.decode(value)
    except ValueError:
        pass
    raise wire.malformed(f"{what} is base64url")


def disagreeing(here: Totals, there: Totals) -> tuple[int, ...]:
    """The codes by which totals do not agree: 6201 where the quantities of a Party differ, else 6202."""
    if here == there:
        return ()
    return (6201,) if _by_party(here) != _by_party(there) else (6202,)


def follows(here: Totals, there: Totals, differing: Iterable[Differing]) -> bool:
    """Whether totals there are ours and what differs: if not, they are not those of what was told of the positions."""
    expected = Counter(here)
    for one in differing:
        for state, units in ((one.here, -one.units.quantity), (one.there, one.units.quantity)):
            if state is None:
                continue
            place = _place(state)
            if place is None:
                return False
            expected[place] += units
    return {key: quantity for key, quantity in expected.items() if quantity} == dict(there)


def _place(state: str) -> tuple[str, int, int] | None:
    """Where a total counts units of this state; nowhere, if a registry wrote it and nobody can read it."""
    try:
        said = json.loads(state)
        place = said["party"], said["account_type"], said["attributes"]["vintage"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    party, account_type, vintage = place
    return place if type(party) is str and type(account_type) is int and type(vintage) is int else None


def _by_party(totals: Totals) -> dict[str, int]:
    summed: dict[str, int] = {}
    for (party, _, _), quantity in totals.items():
        summed[party] = summed.get(party, 0) + quantity
    return summed
