"""Values to and from the JSON of the link protocol's items: shapes, and what they say.

Two kinds of fault are kept apart. A wrong *structure* (a member missing, unknown or of the wrong type; a
text that is empty, too long or holds control characters) raises ``GatewayError(MALFORMED, code=2001)``: the
item is not of the protocol, and its message is refused. Wrong *data* in the right structure (a reversed
block, a code that is no Party's) is collected in ``Faults`` as findings, so that one transfer is refused
alone and every fault in it is told at once. JSON is taken as ``json.loads`` gives it; a bool is no number.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from gateway.domain import identifiers, nomenclature
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import MAX_SERIAL, Address, LinkCode, RegistryCode
from gateway.domain.moments import LAST
from gateway.domain.units import (
    Attributes,
    AuthorisationRef,
    Block,
    ItmoNaming,
    Origin,
    Underlying,
    UnitRange,
)
from gateway.errors import GatewayError, Kind

T = TypeVar("T")

#: Most versions of an authorisation.
MAX_VERSION = 2**31 - 1
#: Longest attribute or identifier taken: the longest value of the nomenclature is 32 characters.
MAX_TEXT = 256
#: Longest detail of a peer's finding kept: a paragraph for a person.
MAX_DETAIL = 2000

_SERIES = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")

_ADDRESS = frozenset({"registry", "party", "account"})
_ORIGIN = frozenset({"registry", "series"})
_ITMO = frozenset({"first", "last"})
_BLOCK = frozenset({"origin", "first", "last", "attributes"})
_RANGE = frozenset({"origin", "first", "last"})
_AUTHORISATION = frozenset({"id", "version"})
_UNDERLYING = frozenset({"registry", "first", "last"})
_ATTRIBUTES = frozenset(
    {
        "unit_type",
        "first_transferring_party",
        "vintage",
        "cooperative_approach",
        "metric",
        "mitigation_type",
        "sector",
        "activity_type",
        "activity",
        "authorisation",
    }
)
_NONE: frozenset[str] = frozenset()


class Faults:
    """Findings collected while one item is read, and the attributes already read in it."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        #: What refuses a proposal and flags a registry's word about its own units.
        self.unlisted: list[Finding] = []
        #: By ``repr``, which unlike equality tells 1 from true and 1.0: most blocks of an item are alike.
        self.attributes: dict[str, Attributes] = {}

    def add(self, code: int, detail: str, units: UnitRange | None = None) -> None:
        """Note a fault; units are named when the protocol has a form for their name, be they reversed."""
        self.findings.append(Finding(code, _named(units), detail))

    def attempt(self, read: Callable[[str], T], text: str, units: UnitRange | None = None) -> T | None:
        """What ``read`` makes of the text, or None with a finding. A 2001 is raised on."""
        try:
            return read(text)
        except GatewayError as error:
            if error.code is None or error.code == 2001:
                raise
            self.add(error.code, error.detail, units)
            return None


def malformed(detail: str) -> GatewayError:
    """The error for a wrong structure."""
    return GatewayError(Kind.MALFORMED, detail, code=2001)


def members(value: object, what: str, required: frozenset[str], optional: frozenset[str] = _NONE) -> dict[str, Any]:
    """The value as an object with these members and no others; raises MALFORMED with code 2001."""
    if type(value) is not dict:
        raise malformed(f"{what} is an object")
    names = value.keys()
    if names != required:
        if missing := required - names:
            raise malformed(f"{what} lacks {', '.join(sorted(missing))}")
        if names - required - optional:
            raise malformed(f"{what} has a member this protocol does not know")
    return value


def with_members(value: object, what: str, required: frozenset[str]) -> dict[str, Any]:
    """The value as an object with at least these members; raises MALFORMED with code 2001."""
    if type(value) is not dict or required - value.keys():
        raise malformed(f"{what} is an object with {', '.join(sorted(required))}")
    return value


def nothing(value: object) -> None:
    """Raise MALFORMED with code 2001 unless the body of a message is empty, as it is where items say everything."""
    members(value, "body", _NONE)


def text(value: object, what: str, longest: int = MAX_TEXT) -> str:
    """A text of 1 to ``longest`` printable characters; raises MALFORMED with code 2001.

    Control characters, NUL and lone surrogates can be neither stored nor shown.
    """
    if type(value) is not str or not 0 < len(value) <= longest or not value.isprintable():
        raise malformed(f"{what} is a text of 1 to {longest} printable characters")
    return value


def whole(value: object, what: str) -> int:
    """A whole number; raises MALFORMED with code 2001."""
    if type(value) is not int:
        raise malformed(f"{what} is a whole number")
    return value


def array(value: object, what: str) -> list[Any]:
    """An array; raises MALFORMED with code 2001."""
    if type(value) is not list:
        raise malformed(f"{what} is an array")
    return value


def parse_time(value: object) -> datetime:
    """Read ``YYYY-MM-DDTHH:MM:SS.mmmZ`` exactly; raises MALFORMED with code 2001."""
    if type(value) is not str or not _TIME.fullmatch(value):
        raise malformed("a time is YYYY-MM-DDTHH:MM:SS.mmmZ")
    try:
        return datetime.fromisoformat(value[:-1]).replace(tzinfo=UTC)
    except ValueError:
        raise malformed("a time that is in no calendar") from None


def time_to_wire(moment: datetime) -> str:
    """``YYYY-MM-DDTHH:MM:SS.mmmZ`` of an aware time; what is below a millisecond is cut off."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def read_authorisation(value: object) -> AuthorisationRef | None:
    """Read ``{id, version}`` or null."""
    if value is None:
        return None
    raw = members(value, "authorisation", _AUTHORISATION)
    version = whole(raw["version"], "authorisation version")
    if not 1 <= version <= MAX_VERSION:
        raise malformed("an authorisation's versions count from 1")
    return AuthorisationRef(text(raw["id"], "authorisation id"), version)


def read_address(value: object, faults: Faults) -> Address | None:
    """Read an address; faults: 2010, 2011, 2014."""
    raw = members(value, "address", _ADDRESS)
    registry = faults.attempt(identifiers.parse_registry_code, text(raw["registry"], "registry"))
    party = faults.attempt(identifiers.parse_party, text(raw["party"], "party"))
    account = faults.attempt(identifiers.parse_account, text(raw["account"], "account"))
    if registry is None or party is None or account is None:
        return None
    return Address(registry, party, account)


def read_attributes(value: object, faults: Faults, units: UnitRange) -> Attributes | None:
    """Read a block's attributes; faults: 2010, 2012, 2014.

    A value of an open list is taken as it is written; that the nomenclature does not have it is ``faults.unlisted``.
    """
    spelling = repr(value)
    if known := faults.attributes.get(spelling):
        _note_unlisted(known.sector, known.activity_type, known.underlying, faults, units)
        return known
    raw = members(value, "attributes", _ATTRIBUTES, frozenset({"underlying"}))
    before = len(faults.findings)
    attributes: dict[str, Any] = {
        name: faults.attempt(read, text(raw[name], name), units) for name, read in _ATTRIBUTE_READERS
    }
    attributes["vintage"] = whole(raw["vintage"], "vintage")
    if attributes["vintage"] > LAST.year:
        faults.add(2013, "a vintage that is no calendar year", units)
    attributes |= {name: text(raw[name], name) for name in _ATTRIBUTE_TEXTS}
    attributes["authorisation"] = read_authorisation(raw["authorisation"])
    if "underlying" in raw:
        attributes["underlying"] = _read_underlying(raw["underlying"])
    _note_unlisted(attributes["sector"], attributes["activity_type"], attributes.get("underlying"), faults, units)
    if len(faults.findings) > before:
        return None
    return faults.attributes.setdefault(spelling, Attributes(**attributes))


_ATTRIBUTE_READERS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    ("unit_type", nomenclature.parse_unit_type),
    ("first_transferring_party", identifiers.parse_party),
    ("cooperative_approach", nomenclature.parse_cooperative_approach),
    ("metric", nomenclature.parse_metric),
    ("mitigation_type", nomenclature.parse_mitigation_type),
)
_ATTRIBUTE_TEXTS = ("sector", "activity_type", "activity")


def _note_unlisted(
    sector: str, activity_type: str, underlying: Underlying | None, faults: Faults, units: UnitRange
) -> None:
    registry = None if underlying is None else underlying.registry
    details = nomenclature.unlisted(sector, activity_type, registry)
    faults.unlisted += [Finding(2014, _named(units), detail) for detail in details]


def _read_underlying(value: object) -> Underlying:
    raw = members(value, "underlying", _UNDERLYING)
    return Underlying(*(text(raw[name], f"underlying {name}") for name in ("registry", "first", "last")))


def read_range(value: object, faults: Faults) -> UnitRange | None:
    """Read ``{origin, first, last}`` alone; faults: 2006, 2007, 2011."""
    units = _stated_range(members(value, "block", _RANGE))
    return units if _range_is_sound(units, faults) else None


def _range_is_sound(units: UnitRange, faults: Faults) -> bool:
    before = len(faults.findings)
    faults.attempt(identifiers.parse_registry_code, units.origin.registry, units)
    if not _SERIES.fullmatch(units.origin.series):
        faults.add(2006, "a series is 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'", units)
    if not (1 <= units.first <= MAX_SERIAL and 1 <= units.last <= MAX_SERIAL):
        faults.add(2006, "a serial lies outside 1 to 2^53-1", units)
    elif units.first > units.last:
        faults.add(2007, "the first serial is larger than the last", units)
    return len(faults.findings) == before


def _named(units: UnitRange | None) -> tuple[UnitRange, ...]:
    """These units, if a finding may name them: peers refuse one whose blocks are not of the protocol's form."""
    if units is None or not identifiers.is_link_code(units.origin.registry):
        return ()
    sound = _SERIES.fullmatch(units.origin.series) is not None
    return (units,) if sound and 1 <= min(units.first, units.last) <= max(units.first, units.last) <= MAX_SERIAL else ()


def _stated_range(raw: Mapping[str, Any]) -> UnitRange:
    """The range as stated, to be named in findings whatever is wrong with it."""
    parts = members(raw["origin"], "origin", _ORIGIN)
    registry = RegistryCode(LinkCode(text(parts["registry"], "origin registry")))
    origin = Origin(registry, text(parts["series"], "series"))
    return UnitRange(origin, whole(raw["first"], "first"), whole(raw["last"], "last"))


def read_naming(value: object, units: UnitRange, faults: Faults) -> ItmoNaming | None:
    """Read a block's ITMO identifiers ``{first, last}``; faults: 2006, 2007, 2009, 2010, 2011.

    ``units`` is the block they name: ITMO serial = origin serial + one offset, so there are as many
    identifiers as units (2009).
    """
    raw = members(value, "itmo", _ITMO)
    first = faults.attempt(identifiers.parse_itmo_id, text(raw["first"], "itmo first"), units)
    last = faults.attempt(identifiers.parse_itmo_id, text(raw["last"], "itmo last"), units)
    if first is None or last is None:
        return None
    if first.stem != last.stem:
        faults.add(2007, "first and last ITMO identifier differ in more than the serial", units)
    elif first.serial > last.serial:
        faults.add(2007, "the first ITMO serial is larger than the last", units)
    elif last.serial - first.serial != units.last - units.first:
        faults.add(2009, "there are not as many ITMO identifiers as units", units)
    else:
        return ItmoNaming(first.stem, first.serial - units.first)
    return None


def read_block(value: object, faults: Faults) -> Block | None:
    """Read a block; faults: 2006, 2007, 2009 to 2012, 2014, each naming the block."""
    raw = members(value, "block", _BLOCK, frozenset({"itmo"}))
    before = len(faults.findings)
    units = _stated_range(raw)
    _range_is_sound(units, faults)
    attributes = read_attributes(raw["attributes"], faults, units)
    naming = read_naming(raw["itmo"], units, faults) if "itmo" in raw else None
    if attributes is None or len(faults.findings) > before:
        return None
    return Block(units.origin, units.first, units.last, attributes, naming)


def parse_finding(value: object) -> Finding:
    """Read a peer's finding; raises MALFORMED with code 2001.

    It may name a range that is wrong in itself: that can be what was found.
    """
    raw = members(value, "finding", frozenset({"code"}), frozenset({"blocks", "detail"}))
    code = whole(raw["code"], "code")
    if not 1000 <= code <= 9999:
        raise malformed("a code has four digits")
    listed = array(raw.get("blocks", []), "blocks")
    units = tuple(_stated_range(members(value, "block", _RANGE)) for value in listed)
    if any(max(abs(one.first), abs(one.last)) > MAX_SERIAL for one in units):
        raise malformed("a finding names serials beyond 2^53-1")
    detail = text(raw["detail"], "detail", MAX_DETAIL) if "detail" in raw else ""
    return Finding(code, units, detail)


def range_to_wire(units: UnitRange) -> dict[str, Any]:
    """``{origin, first, last}``."""
    origin = {"registry": units.origin.registry, "series": units.origin.series}
    return {"origin": origin, "first": units.first, "last": units.last}


def block_to_wire(block: Block) -> dict[str, Any]:
    """The block as ``read_block`` takes it."""
    wire = range_to_wire(block.range)
    wire["attributes"] = attributes_to_wire(block.attributes)
    if block.itmo is not None:
        wire["itmo"] = {"first": str(block.itmo_first), "last": str(block.itmo_last)}
    return wire


def attributes_to_wire(attributes: Attributes) -> dict[str, Any]:
    """The attributes as ``read_attributes`` takes them."""
    reference, underlying = attributes.authorisation, attributes.underlying
    wire: dict[str, Any] = {name: str(getattr(attributes, name)) for name, _ in _ATTRIBUTE_READERS}
    wire |= {name: getattr(attributes, name) for name in _ATTRIBUTE_TEXTS}
    wire["vintage"] = attributes.vintage
    wire["authorisation"] = None if reference is None else {"id": reference.id, "version": reference.version}
    if underlying is not None:
        wire["underlying"] = {
            "registry": underlying.registry,
            "first": underlying.first,
            "last": underlying.last,
        }
    return wire


def address_to_wire(address: Address) -> dict[str, Any]:
    """``{registry, party, account}``."""
    return {"registry": address.registry, "party": address.party, "account": str(address.account)}


def finding_to_wire(finding: Finding) -> dict[str, Any]:
    """``{code, blocks?, detail?}``; empty members are left out."""
    wire: dict[str, Any] = {"code": finding.code}
    if finding.blocks:
        wire["blocks"] = [range_to_wire(units) for units in finding.blocks]
    if finding.detail:
        wire["detail"] = finding.detail
    return wire
