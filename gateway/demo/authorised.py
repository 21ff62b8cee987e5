"""Reads a file of real credit blocks that host Parties authorised: underlying units of synthetic mitigation outcomes.

The file has the shape of the sample of the Gold Standard's and Verra's Article 6.2 reporting tool (``COLUMNS``, UTF-8,
one header line). A sound row becomes the issuance of as many units of the additional registry services' kind (MO) in
its host's section, over the real credits, and the authorisation they are under. Real are serials, vintage, host,
cooperative approach, definition of first transfer, purposes and document. SYNTHETIC, because the file does not say it,
are the units themselves, and the authorisation's name, day, sector, activity type and mitigation type. What is wrong
with a row is named by line and code of the check table, and the row is not loaded; the others are.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from gateway.demo.alpha2 import ALPHA_3
from gateway.domain.actions import Issuance, OpeningPosition
from gateway.domain.authorisations import Authorisation, Days, Definition, Kind
from gateway.domain.identifiers import MAX_SERIAL, Account, AccountType, PartyCode, RegistryCode, parse_registry_code
from gateway.domain.nomenclature import FIRST_VINTAGE, Metric, MitigationType, UnitType, parse_cooperative_approach
from gateway.domain.units import Attributes, AuthorisationRef, Block, Origin, Underlying
from gateway.errors import GatewayError
from gateway.errors import Kind as ErrorKind

COLUMNS = (
    "programme", "project_id", "serial", "host_alpha2", "party", "vintage", "batch", "first", "last", "volume",
    "first_transfer_definition", "authorisation_year", "issuance_date", "authorised_ndc", "authorised_oimp",
    "cooperative_approach", "on_carp", "authorisation_url",
)  # fmt: skip
#: The real tool knows some 600 blocks, of 200 bytes each.
MAX_BYTES = 10_000_000
#: Not in the file (SYNTHETIC).
SECTOR, ACTIVITY_TYPE = "Cross-sectoral mechanisms", "Energy Efficiency households"

#: Grammar of the programme, as seen in all rows of the sample; what the third but first number means is not published.
_SERIAL = re.compile(
    r"GS1-1-(?P<host_alpha2>[A-Z]{2})-GS(?P<project_id>[0-9]+)-[0-9]+-(?P<vintage>[0-9]{4})-(?P<batch>[0-9]+)"
    r"-(?P<first>[0-9]+)-(?P<last>[0-9]+)"
)
_WHOLE = re.compile(r"[0-9]{1,19}")
_DEFINITIONS = {one.value: one for one in Definition}
_PURPOSES = {("1", "1"): "NDC and OIMP", ("1", "0"): "NDC", ("0", "1"): "OIMP"}


@dataclass(frozen=True, slots=True)
class AuthorisedBlock:
    """A row that was loaded; ``issuance`` is synthetic, over the real credits of line ``line``."""

    line: int
    issuance: Issuance
    terms: Authorisation

    @property
    def block(self) -> Block:
        """The units."""
        return self.issuance.positions[0].block


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a row, with its code of the check table."""

    line: int
    code: int
    detail: str


class _Row:
    """One row while it is read; what is wrong with it is collected."""

    def __init__(self, line: int, values: Mapping[str, str]) -> None:
        self.line, self.values = line, values
        self.faults: list[Fault] = []

    def add(self, code: int, detail: str) -> None:
        self.faults.append(Fault(self.line, code, detail))

    def whole(self, name: str) -> int:
        """A whole number; 0, and 2001, where it is none."""
        text = self.values[name]
        if _WHOLE.fullmatch(text):
            return int(text)
        self.add(2001, f"{name} {text[:40]!r} is no whole number")
        return 0

    def day(self, name: str) -> date:
        """A calendar day; 2014 where it is none."""
        try:
            return date.fromisoformat(self.values[name])
        except ValueError:
            self.add(2014, f"{name} {self.values[name][:40]!r} is no day YYYY-MM-DD")
            return date.min


def read(path: Path) -> tuple[list[AuthorisedBlock], list[Fault]]:
    """The blocks of the file, and what is wrong with the rows that are left out, both in its order.

    Raises NOT_FOUND when there is no such file to read, MALFORMED when it is another kind of file or too large.
    """
    loaded: list[AuthorisedBlock] = []
    faults: list[Fault] = []
    seen: dict[str, list[tuple[int, int, int]]] = {}
    for row in _rows(path):
        one = _read(row, seen)
        faults += row.faults
        if one is not None:
            loaded.append(one)
    return loaded, faults


def _rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GatewayError(ErrorKind.NOT_FOUND, f"cannot read {path}: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise GatewayError(ErrorKind.MALFORMED, f"{path} is larger than {MAX_BYTES:,} bytes")
    try:
        lines = csv.reader(content.decode("utf-8").splitlines(), strict=True)
        if tuple(next(lines, ())) != COLUMNS:
            raise GatewayError(ErrorKind.MALFORMED, f"the columns of {path} are not {','.join(COLUMNS)}")
        for values in lines:
            row = _Row(lines.line_num, dict(zip(COLUMNS, values, strict=False)))
            if len(values) != len(COLUMNS):
                raise GatewayError(ErrorKind.MALFORMED, f"line {row.line} of {path} has {len(values)} values")
            yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise GatewayError(ErrorKind.MALFORMED, f"{path} is not comma-separated UTF-8: {error}") from error


def _read(row: _Row, seen: dict[str, list[tuple[int, int, int]]]) -> AuthorisedBlock | None:
    first, last, vintage = (row.whole(name) for name in ("first", "last", "vintage"))
    issued = row.day("issuance_date")
    _check_serial(row)
    _check_range(row, first, last)
    if vintage < FIRST_VINTAGE:
        row.add(2013, f"vintage {vintage} is before {FIRST_VINTAGE}")
    stem = row.values["serial"].removesuffix(f"-{row.values['first']}-{row.values['last']}")
    _check_overlap(row, seen.setdefault(stem, []), first, last)
    terms = _terms(row)
    if row.faults or terms is None:
        return None
    section = parse_registry_code(f"{terms.party}99")
    block = Block(Origin(section, stem), first, last, _attributes(row, terms, vintage, stem))
    return AuthorisedBlock(row.line, _issuance(row.line, issued, section, terms.party, block), terms)


def _check_serial(row: _Row) -> None:
    """2017: the serial is of the programme's grammar, and says what the other columns say."""
    match = _SERIAL.fullmatch(row.values["serial"])
    if row.values["programme"] != "GS" or match is None:
        row.add(2017, f"{row.values['serial'][:80]!r} is no serial block of the programme")
        return
    other = [name for name, value in match.groupdict().items() if row.values[name] != value]
    if other:
        row.add(2017, f"the serial has another {', '.join(other)} than the row")


def _check_range(row: _Row, first: int, last: int) -> None:
    """2006: serials are serials; 2007: in order; 2009: as many as the volume."""
    if not (1 <= first <= MAX_SERIAL and 1 <= last <= MAX_SERIAL):
        row.add(2006, "a serial lies outside 1 to 2^53-1")
    elif first > last:
        row.add(2007, f"first {first} is larger than last {last}")
    elif row.whole("volume") != last - first + 1:
        row.add(2009, f"volume {row.values['volume'][:20]} is not that of serials {first} to {last}")


def _check_overlap(row: _Row, before: list[tuple[int, int, int]], first: int, last: int) -> None:
    """2008: no row above has a serial of this one, whether it was loaded or not."""
    for other_first, other_last, line in before:
        if max(first, other_first) <= min(last, other_last):
            row.add(2008, f"serials {max(first, other_first)} to {min(last, other_last)} are those of line {line} too")
            return
    before.append((first, last, row.line))


def _terms(row: _Row) -> Authorisation | None:
    """The authorisation of a row; 2010, 2012, 2014, 2015 where it cannot be."""
    values = row.values
    party = ALPHA_3.get(values["host_alpha2"])
    if party is None:
        row.add(2010, f"host_alpha2 {values['host_alpha2'][:8]!r} is no Party's code")
    try:
        parse_cooperative_approach(values["cooperative_approach"])
    except GatewayError:
        row.add(2012, f"no cooperative approach: {values['cooperative_approach'][:16]!r}")
    definition = _DEFINITIONS.get(values["first_transfer_definition"])
    if definition is None:
        row.add(2014, f"no definition of first transfer: {values['first_transfer_definition'][:40]!r}")
    purposes = _PURPOSES.get((values["authorised_ndc"], values["authorised_oimp"]))
    if purposes is None:
        row.add(2015, "authorised for no purpose")
    year = row.whole("authorisation_year")
    if not date.min.year <= year <= date.max.year:
        row.add(2014, f"no calendar year: {year}")
    if row.faults or party is None or purposes is None:
        return None
    name = f"SYNTHETIC-{party}-GS{values['project_id']}-{year}-{values['cooperative_approach']}"
    return Authorisation(
        id=name, version=1, party=party, kinds=frozenset({Kind.ITMOS}), given_on=date(year, 1, 1),
        cooperative_approach=values["cooperative_approach"], purposes=purposes, period=Days(),
        definition=None if purposes == "NDC" else definition, documentation=values["authorisation_url"] or None,
    )  # fmt: skip


def _attributes(row: _Row, terms: Authorisation, vintage: int, stem: str) -> Attributes:
    underlying = Underlying("GS", f"{stem}-{row.values['first']}", f"{stem}-{row.values['last']}")
    return Attributes(
        UnitType.MO, terms.party, vintage, terms.cooperative_approach, Metric.GHG, MitigationType.REDUCTIONS, SECTOR,
        ACTIVITY_TYPE, f"GS{row.values['project_id']}", AuthorisationRef(terms.id, terms.version), underlying,
    )  # fmt: skip


def _issuance(line: int, day: date, section: RegistryCode, party: PartyCode, block: Block) -> Issuance:
    position = OpeningPosition(section, party, Account(AccountType.HOLDING, 1), block)
    return Issuance(f"GS-{line}", datetime.combine(day, time(), UTC), section, (position,), synthetic=True)
