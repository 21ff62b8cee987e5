"""What ``history.query`` and its pages say beside their records: whose feed, for whom, from where on.

``Asked`` is the head that a query and its answer share. Values of another form raise MALFORMED with 2001 (2010 or 2011
for a code that is no Party's or registry's), more records than a page holds LIMIT with 8002.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain import wire
from gateway.domain.history import MAX_PAGE, Cursor, Viewer
from gateway.domain.identifiers import LinkCode, parse_link_code, parse_party, parse_registry_code
from gateway.errors import GatewayError, Kind
from gateway.signing import compact
from gateway.signing.messages import is_hash

HEAD = frozenset({"of", "for"})
_CURSOR = frozenset({"number", "digest"})
_VIEWER = frozenset({"registry", "party"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose feed (the link whose registry keeps it), and for whom."""

    of: LinkCode
    viewer: Viewer

    @property
    def written(self) -> dict[str, Any]:
        """As members of a body."""
        return {"of": self.of, "for": {"registry": self.viewer.registry, "party": self.viewer.party}}

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Asked":
        """Read ``of`` and ``for`` of a body that has them."""
        raw = wire.members(body["for"], "for", _VIEWER)
        registry = parse_registry_code(wire.text(raw["registry"], "registry"))
        viewer = Viewer(registry, parse_party(wire.text(raw["party"], "party")))
        return cls(parse_link_code(wire.text(body["of"], "of")), viewer)


def read_cursor(value: object) -> Cursor:
    """Read ``{number, digest}``."""
    raw = wire.members(value, "cursor", _CURSOR)
    number = wire.whole(raw["number"], "number")
    if number < 0 or not is_hash(raw["digest"]):
        raise wire.malformed("a cursor is a number from 0 and a SHA-256")
    return Cursor(number, compact.decode(raw["digest"]))


def written_cursor(cursor: Cursor) -> dict[str, Any]:
    """A cursor as it is read."""
    return {"number": cursor.number, "digest": compact.encode(cursor.digest)}


def read_limit(value: object) -> int:
    """Read how many records are wanted at most."""
    limit = wire.whole(value, "limit")
    if limit < 1:
        raise wire.malformed("at least one record is asked for")
    if limit > MAX_PAGE:
        raise GatewayError(Kind.LIMIT, f"at most {MAX_PAGE} records at once", code=8002)
    return limit
