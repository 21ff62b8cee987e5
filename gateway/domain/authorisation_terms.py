"""From the JSON of an authorisation's terms to ``Authorisation``.

A wrong structure raises MALFORMED with 2001; wrong data become findings that name the member: 2010 a Party, 2012 a
cooperative approach, 2013 vintages, 2014 a value that is in no list or a day that is in no calendar, 2015 a member
that must or must not be there, 2009 a quantity that is not positive.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar

from gateway.domain import identifiers, nomenclature, wire
from gateway.domain.authorisations import PURPOSES, Authorisation, Days, Definition, Kind, Years
from gateway.domain.nomenclature import FIRST_VINTAGE, Metric
from gateway.domain.transfers import Purpose
from gateway.errors import GatewayError
from gateway.errors import Kind as ErrorKind

T = TypeVar("T")

_REQUIRED = frozenset({"id", "version", "party", "kinds", "date", "cooperative_approach", "purposes", "period"})
_OPTIONAL = frozenset(
    {
        *("oimp", "first_transfer_definition", "use_period", "vintages", "quantity", "metric", "gwp"),
        *("non_ghg_metric", "sectors", "activity_types", "parties", "entities", "affects_first_transferred"),
        *("terms", "documentation", "initial_report", "ndc_period"),
    }
)
#: Longest list of Parties, entities, sectors or activity types: there are some 200 Parties.
MAX_LISTED = 1_000
MAX_TERMS = 10_000
#: Calendar years that an authorisation may speak of.
FIRST_YEAR, LAST_YEAR = 1990, 2200
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_KINDS = {kind.value: kind for kind in Kind}
_DEFINITIONS = {one.value: one for one in Definition}


class _Reader:
    """Reads the members of one set of terms; what is wrong with a member is a finding that names it."""

    def __init__(self, raw: dict[str, Any], faults: wire.Faults) -> None:
        self.raw, self.faults = raw, faults

    def add(self, code: int, name: str, detail: str) -> None:
        self.faults.add(code, f"authorisation.{name}: {detail}")

    def one(self, name: str, read: Callable[[str], T]) -> T | None:
        """A text member as ``read`` takes it; None where it is absent or wrong."""
        return self._read(name, self.raw[name], read) if name in self.raw else None

    def many(self, name: str, read: Callable[[str], T]) -> frozenset[T]:
        """A list of texts."""
        listed = wire.array(self.raw.get(name, []), f"authorisation.{name}")
        if len(listed) > MAX_LISTED:
            raise wire.malformed(f"authorisation.{name} has at most {MAX_LISTED} entries")
        found = (self._read(name, value, read) for value in listed)
        return frozenset(value for value in found if value is not None)

    def _read(self, name: str, value: object, read: Callable[[str], T]) -> T | None:
        written = wire.text(value, f"authorisation.{name}", MAX_TERMS if name == "terms" else wire.MAX_TEXT)
        try:
            return read(written)
        except GatewayError as error:
            if error.code is None or error.code == 2001:
                raise
            self.add(error.code, name, error.detail)
            return None

    def days(self, name: str) -> Days:
        """Days, both ends open where the member is absent."""
        if name not in self.raw:
            return Days()
        raw = wire.members(self.raw[name], f"authorisation.{name}", frozenset({"first", "last"}))
        ends = [None if raw[end] is None else self._read(name, raw[end], _day) for end in ("first", "last")]
        if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
            self.add(2015, name, "it ends before it begins")
        return Days(*ends)

    def years(self, name: str) -> Years | None:
        """Calendar years."""
        if name not in self.raw:
            return None
        raw = wire.members(self.raw[name], f"authorisation.{name}", frozenset({"first", "last"}))
        first, last = (wire.whole(raw[end], f"authorisation.{name}") for end in ("first", "last"))
        if first > last:
            self.add(2015, name, "it ends before it begins")
        if not (FIRST_YEAR <= first and last <= LAST_YEAR):
            self.add(2014, name, f"calendar years from {FIRST_YEAR} to {LAST_YEAR}")
        return Years(first, last)


def read_terms(value: object, faults: wire.Faults) -> Authorisation | None:
    """Read the terms of one version, or None with findings; raises MALFORMED with code 2001 for the structure."""
    raw = wire.members(value, "authorisation", _REQUIRED, _OPTIONAL)
    reader = _Reader(raw, faults)
    before = len(faults.findings)
    reference = wire.read_authorisation({"id": raw["id"], "version": raw["version"]})
    assert reference is not None  # null is for units without an authorisation
    read: dict[str, Any] = {
        "id": reference.id,
        "version": reference.version,
        "party": reader.one("party", identifiers.parse_party),
        "kinds": reader.many("kinds", _kind),
        "given_on": reader.one("date", _day),
        "cooperative_approach": reader.one("cooperative_approach", nomenclature.parse_cooperative_approach),
        "purposes": reader.one("purposes", _purposes),
        "period": reader.days("period"),
        "definition": reader.one("first_transfer_definition", _definition),
        "use_period": reader.days("use_period"),
        "vintages": reader.years("vintages"),
        "quantity": _quantity(reader),
        "metric": reader.one("metric", nomenclature.parse_metric) or Metric.GHG,
        "sectors": reader.many("sectors", nomenclature.parse_sector),
        "activity_types": reader.many("activity_types", nomenclature.parse_activity_type),
        "parties": reader.many("parties", identifiers.parse_party),
        "entities": reader.many("entities", str),
        "affects_first_transferred": _flag(raw, "affects_first_transferred"),
        "initial_report": reader.one("initial_report", _day),
        "ndc_period": reader.years("ndc_period"),
        **{name: reader.one(name, str) for name in ("oimp", "gwp", "non_ghg_metric", "terms", "documentation")},
    }
    if len(faults.findings) == before:
        terms = Authorisation(**read)
        _agree(terms, reader)
        return terms if len(faults.findings) == before else None
    return None


def _agree(terms: Authorisation, reader: _Reader) -> None:
    """Members that must, or must not, stand beside others; source: Table 2 of the agreed electronic format."""
    other = PURPOSES[terms.purposes] - {Purpose.NDC}
    if not terms.kinds:
        reader.add(2015, "kinds", "at least one kind is authorised")
    if other and terms.definition is None:
        reader.add(2015, "first_transfer_definition", "other purposes than the NDC need a definition")
    if not other and terms.definition is not None:
        reader.add(2015, "first_transfer_definition", "it is for other purposes than the NDC")
    if not other and terms.oimp is not None:
        reader.add(2015, "oimp", "it is for other purposes than the NDC")
    if (terms.metric is Metric.NON_GHG) != (terms.non_ghg_metric is not None):
        reader.add(2016, "non_ghg_metric", "it is there for a non-GHG metric, and for that alone")
    if terms.vintages is not None and terms.vintages.first < FIRST_VINTAGE:
        reader.add(2013, "vintages", f"ITMOs are of {FIRST_VINTAGE} or later")


def _quantity(reader: _Reader) -> int | None:
    if "quantity" not in reader.raw:
        return None
    quantity = wire.whole(reader.raw["quantity"], "authorisation.quantity")
    if not 1 <= quantity <= identifiers.MAX_SERIAL:
        reader.add(2009, "quantity", "a quantity is a positive number of tonnes")
        return None
    return quantity


def _flag(raw: dict[str, Any], name: str) -> bool:
    value = raw.get(name, False)
    if type(value) is not bool:
        raise wire.malformed(f"authorisation.{name} is true or false")
    return value


def _day(text: str) -> date:
    try:
        if _DAY.fullmatch(text):  # a week date is of the same length
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise GatewayError(ErrorKind.MALFORMED, f"not a calendar day YYYY-MM-DD: {text[:16]!r}", code=2014)


def _kind(text: str) -> Kind:
    return _listed(_KINDS, text, "kind of authorisation")


def _definition(text: str) -> Definition:
    return _listed(_DEFINITIONS, text, "definition of first transfer")


def _purposes(text: str) -> str:
    if text not in PURPOSES:
        raise GatewayError(ErrorKind.MALFORMED, f"not a purpose of authorisation: {text[:32]!r}", code=2014)
    return text


def _listed(known: dict[str, T], text: str, what: str) -> T:
    if text not in known:
        raise GatewayError(ErrorKind.MALFORMED, f"not a {what}: {text[:32]!r}", code=2014)
    return known[text]
