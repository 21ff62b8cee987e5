"""Reads a file of real unit blocks: what the CDM registry issued, a line for each block.

The file has the shape of the UNFCCC's issuance report as comma-separated values (``COLUMNS``, UTF-8, one header
line, in the order of completion). Every line that is wrong is named by its number with the reason, and then nothing
of the file is used. Serials are unique per Party and unit type, so two blocks of one such series must not overlap;
blocks of different series may bear the same serials.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from gateway.demo.alpha2 import ALPHA_3
from gateway.domain.identifiers import MAX_SERIAL, PartyCode
from gateway.errors import GatewayError, Kind

COLUMNS = (
    "completed_at", "transaction_type", "status", "serial_start", "serial_end", "unit_type", "commitment_period",
    "party_alpha2", "project_number", "quantity",
)  # fmt: skip
#: The types of unit the CDM registry issued: certified emission reductions, temporary and long-term ones.
UNIT_TYPES = ("CER", "tCER", "lCER")
COMMITMENT_PERIODS = ("1", "2")
#: The registry's own codes: an issuance, completed.
ISSUANCE, COMPLETED = "1", "4"
#: A line of the real file has 72 characters at most; no file may make us hold a line without end.
MAX_LINE_BYTES = 1_000
#: Eight times the real file, and what fits in memory many times over.
MAX_BLOCKS = 100_000
#: How many wrong lines are named; one that is wrong throughout is not shown throughout.
MAX_NAMED = 20

_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?", re.ASCII)
_WHOLE = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class RealBlock:
    """One issued block as the report states it; ``line`` is where. ``completed_at`` has no stated time zone."""

    line: int
    completed_at: datetime
    first: int
    last: int
    unit_type: str
    alpha2: str
    project: int

    @property
    def party(self) -> PartyCode:
        """The host Party, alpha-3."""
        return ALPHA_3[self.alpha2]

    @property
    def quantity(self) -> int:
        """Units in the block."""
        return self.last - self.first + 1


class _Wrong(Exception):
    """Why a line is wrong."""


def read(path: Path) -> list[RealBlock]:
    """Every block of the file, in its order.

    Raises NOT_FOUND when there is no such file to read, MALFORMED, naming the lines, when anything in it is wrong.
    """
    try:
        with path.open("rb") as file:
            blocks, wrong = _parsed(_lines(file))
    except OSError as error:
        raise GatewayError(Kind.NOT_FOUND, f"cannot read {path}: {error.strerror or error}") from error
    for line, reason in _overlaps(blocks):
        wrong.setdefault(line, reason)
    if wrong:
        raise GatewayError(Kind.MALFORMED, f"nothing of {path} is used: {_named(wrong)}")
    if not blocks:
        raise GatewayError(Kind.MALFORMED, f"{path} has no blocks")
    return blocks


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, each cut where it is too long to be one."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        yield number, line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)


def _parsed(lines: Iterator[tuple[int, bytes]]) -> tuple[list[RealBlock], dict[int, str]]:
    blocks: list[RealBlock] = []
    wrong: dict[int, str] = {}
    for number, line in lines:
        try:
            if number == 1:
                _check_header(_values(line))
            elif number > MAX_BLOCKS + 1:
                raise _Wrong(f"a file has at most {MAX_BLOCKS:,} blocks")
            else:
                blocks.append(_block(number, _values(line), blocks[-1] if blocks else None))
        except _Wrong as reason:
            wrong[number] = str(reason)
        if (number == 1 and wrong) or number > MAX_BLOCKS + 1:
            break
    return blocks, wrong


def _values(line: bytes) -> list[str]:
    if len(line) > MAX_LINE_BYTES:
        raise _Wrong(f"longer than {MAX_LINE_BYTES:,} bytes")
    try:
        rows = list(csv.reader([line.decode("utf-8")], strict=True))
    except UnicodeDecodeError as error:
        raise _Wrong(f"not UTF-8 at byte {error.start + 1}") from error
    except csv.Error as error:
        raise _Wrong(f"not comma-separated values: {error}") from error
    return rows[0] if rows else []


def _check_header(values: Sequence[str]) -> None:
    if tuple(values) != COLUMNS:
        raise _Wrong(f"the columns are not {','.join(COLUMNS)}")


def _block(number: int, values: Sequence[str], before: RealBlock | None) -> RealBlock:
    if len(values) != len(COLUMNS):
        raise _Wrong(f"{len(values)} values instead of {len(COLUMNS)}")
    row = dict(zip(COLUMNS, values, strict=True))
    _check_listed(row, "transaction_type", (ISSUANCE,))
    _check_listed(row, "status", (COMPLETED,))
    _check_listed(row, "unit_type", UNIT_TYPES)
    _check_listed(row, "commitment_period", COMMITMENT_PERIODS)
    if row["party_alpha2"] not in ALPHA_3:
        raise _Wrong(f"party_alpha2 {_shown(row['party_alpha2'])} is no Party's code")
    block = RealBlock(
        number, _moment(row["completed_at"]), _whole(row, "serial_start"), _whole(row, "serial_end"),
        row["unit_type"], row["party_alpha2"], _whole(row, "project_number"),
    )  # fmt: skip
    if block.first > block.last:
        raise _Wrong(f"serial_start {block.first} is larger than serial_end {block.last}")
    if _whole(row, "quantity") != block.quantity:
        raise _Wrong(f"quantity {row['quantity']} is not that of serials {block.first} to {block.last}")
    if block.completed_at > datetime.now():  # in which zone is not said, so by the clock on the wall
        raise _Wrong(f"completed_at {block.completed_at} lies in the future")
    if before is not None and block.completed_at < before.completed_at:
        raise _Wrong(f"out of order: completed before line {before.line}")
    return block


def _check_listed(row: dict[str, str], name: str, allowed: Sequence[str]) -> None:
    if row[name] not in allowed:
        raise _Wrong(f"{name} {_shown(row[name])} is not {' or '.join(allowed)}")


def _moment(text: str) -> datetime:
    try:
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise _Wrong(f"completed_at {_shown(text)} is no time YYYY-MM-DDThh:mm:ss.sss")


def _whole(row: dict[str, str], name: str) -> int:
    text = row[name]
    if not _WHOLE.fullmatch(text) or int(text) > MAX_SERIAL:
        raise _Wrong(f"{name} {_shown(text)} is no whole number from 1 to {MAX_SERIAL}")
    return int(text)


def _shown(text: str) -> str:
    return repr(text[:40])


def _overlaps(blocks: Iterable[RealBlock]) -> Iterator[tuple[int, str]]:
    """Each block that overlaps one of its series that begins before it, or as early and stands above it."""
    series: dict[tuple[str, str], list[RealBlock]] = defaultdict(list)
    for block in blocks:
        series[block.alpha2, block.unit_type].append(block)
    for (alpha2, unit_type), members in series.items():
        members.sort(key=lambda block: (block.first, block.line))
        furthest = members[0]
        for block in members[1:]:
            if block.first <= furthest.last:
                one, other = sorted((block, furthest), key=lambda b: b.line)
                shared = f"{block.first} to {min(block.last, furthest.last)}"
                yield other.line, f"serials {shared} of {alpha2} {unit_type} are those of line {one.line} too"
            if block.last > furthest.last:
                furthest = block


def _named(wrong: dict[int, str]) -> str:
    shown = [f"line {line}: {wrong[line]}" for line in sorted(wrong)[:MAX_NAMED]]
    more = len(wrong) - len(shown)
    return "; ".join(shown) + (f"; and {more:,} more lines" if more else "")
