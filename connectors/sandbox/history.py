"""Records of history: what one transaction did with one block, written in the transaction of its effect.

The text of a record is RFC 8785 JSON and is what both ends of a transfer write, letter for letter: all that is in it
comes from the proposal and the release. A batch of records is one statement, with what is to be given places in feeds
(``feeds``). Nothing is written twice, because the effects that write are not.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import books
from .database import Row, Tx, columns
from .shapes import split_itmo
from .units import Holding, itmo_range, name_blocks

#: Account types for use towards the NDC, and for other international mitigation purposes.
NDC_TYPE, OTHER_USE_TYPE = 200, 210

#: Which records ``h`` meet the units ``w``, given how many hexadecimal digits the width of a record may have (1 to 14).
MEETING = """
h.registry = w.registry AND h.series = w.series AND length(to_hex(h.last - h.first)) = digits
AND h.first > w.first - (1::bigint << 4 * digits) AND h.first <= w.last AND h.last >= w.first
"""
_COLUMNS = "text, sha256, at, registry, series, first, last, authorised, host, comes_from, comes_to"
_WRITE = (
    f"WITH written AS (INSERT INTO history ({_COLUMNS}) SELECT {_COLUMNS}"
    # %b: texts of records as a text array would be escaped twice over.
    " FROM unnest(%b::text[], %b::bytea[], %s::timestamptz[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],"
    f" %s::bool[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS r ({_COLUMNS}, n) ORDER BY n"
    " RETURNING id, authorised, host, comes_from, comes_to)"
    " INSERT INTO history_waiting (party, record) SELECT DISTINCT p, id FROM written,"
    " unnest(ARRAY[host, comes_from, comes_to] || %s::text[]) AS p WHERE authorised AND p IS NOT NULL"
)
#: The chain of units: what happened here, and what was told of elsewhere, each text once and the oldest first.
_CHAIN = (
    "WITH w AS (SELECT %s::text AS registry, %s::text AS series, %s::bigint AS first, %s::bigint AS last)"
    " SELECT text FROM (SELECT h.text, h.at FROM w CROSS JOIN generate_series(1, 14) AS digits"
    f" JOIN history h ON {MEETING} UNION SELECT t.text, (t.text::jsonb ->> 'at')::timestamptz"
    " FROM told_history t, w, jsonb_to_record(t.text::jsonb -> 'block') AS b (origin jsonb, first bigint, last bigint)"
    " WHERE b.origin = jsonb_build_object('registry', w.registry, 'series', w.series)"
    " AND b.first <= w.last AND b.last >= w.first) AS c ORDER BY at, text"
)
#: What was written of units while they had no authorisation, and of which of the units asked about.
_UNAUTHORISED = (
    "SELECT h.text, w.n FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) WITH ORDINALITY"
    f" AS w (registry, series, first, last, n) CROSS JOIN generate_series(1, 14) AS digits JOIN history h ON {MEETING}"
    " WHERE NOT h.authorised ORDER BY h.at, h.id, w.n"
)


@dataclass(frozen=True)
class Record:
    """A record, and its text."""

    value: Mapping[str, Any]
    text: str

    @property
    def sha256(self) -> bytes:
        """Its name."""
        return hashlib.sha256(self.text.encode()).digest()

    def row(self) -> tuple[Any, ...]:
        """Give it as the table has it."""
        block, value = self.value["block"], self.value
        origin, attributes = block["origin"], block["attributes"]
        ends = [value[name]["party"] if name in value else None for name in ("from", "to")]
        units = (origin["registry"], origin["series"], block["first"], block["last"])
        known = attributes["authorisation"] is not None
        return (self.text, self.sha256, value["at"], *units, known, attributes["first_transferring_party"], *ends)


@dataclass(frozen=True)
class Event:
    """One transaction: in whose books, its id there, what it was, and when."""

    registry: str
    transaction: str
    type: str
    at: str

    def record(self, block: Mapping[str, Any], *, first_transfer: bool, **more: Any) -> Record:
        """Write what it did with one block; what is None is left out."""
        members = {name: value for name, value in more.items() if value is not None}
        heading = {"kind": "history", "registry": self.registry, "transaction": self.transaction}
        heading |= {"type": self.type, "at": self.at}
        return of({**heading, "block": block, "first_transfer": first_transfer, **members})


def of(value: Mapping[str, Any]) -> Record:
    """Give the record that says this: its members are sorted by name (RFC 8785), all names being ASCII."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return Record(value, text)


async def write(tx: Tx, records: Iterable[Record], also: Sequence[str] = ()) -> None:
    """Write records, in this order; who may see them, and these Parties ``also``, will find them in their feeds."""
    rows = [record.row() for record in records]
    if rows:
        await tx.execute(_WRITE, *columns(rows, 11), list(also))


def of_transfer(proposal: Mapping[str, Any], release: Mapping[str, Any]) -> list[Record]:
    """Write a transfer, at whichever end: a record for each named piece of each block that was proposed."""
    source, target = proposal["transferring"], proposal["acquiring"]
    event = Event(source["registry"], proposal["transfer"], "transfer", release["released_at"])
    named_before = {_units(block) for block in proposal["blocks"] if "itmo" in block}
    return [
        event.record(
            piece,
            # Units that had a name before were made ITMOs before.
            first_transfer=release["first_transfer"] and "itmo" in piece and _units(piece) not in named_before,
            purpose=proposal["purpose"],
            **{"from": source, "to": target},
        )
        for piece in name_blocks(proposal["blocks"], release["itmo"])
    ]


def of_issuance(event: Event, units: Sequence[Holding]) -> list[Record]:
    """Write an issuance: a record for each block, in whatever account it came into being."""
    return [
        event.record(u.block(), first_transfer=u.first_transferred, to=_address(event, u.party, u.account))
        for u in units
    ]


def of_move(event: Event, members: Mapping[str, Any], units: Sequence[Holding]) -> list[Record]:
    """Write a use, a cancellation or an adaptation; ``members`` are those of the action."""
    party, target = members["party"], members["to_account"]
    more: dict[str, Any] = {name: _address(event, party, members[given]) for name, given in _ENDS}
    more["purpose"] = members.get("purpose")
    if event.type == "use" and books.account_type(target) == NDC_TYPE:
        more |= {"purpose": "NDC", "year": members.get("year", int(event.at[:4]))}
    elif event.type == "use" and books.account_type(target) == OTHER_USE_TYPE:
        more["purpose"] = "IMP"
    return [event.record(unit.block(), first_transfer=False, **more) for unit in units]


_ENDS = (("from", "account"), ("to", "to_account"))


def in_place(event: Event, units: Sequence[Holding], *, first_transfer: bool) -> list[Record]:
    """Write what moved no unit: a first transfer, an authorisation."""
    return [event.record(unit.block(), first_transfer=first_transfer) for unit in units]


async def under_authorisation(tx: Tx, units: Sequence[Holding]) -> list[Record]:
    """Write anew, of units that have just got their authorisation, what was written of them before they had one.

    A record without an authorisation is for nobody and stays what it is. What it tells of these units is told under
    the authorisation they have now: the same transaction at the same time, cut to these units.
    """
    await by_index(tx)
    asked = [(unit.registry, unit.name, unit.first, unit.last) for unit in units]
    return [_cut(row, units[row["n"] - 1]) for row in await tx.rows(_UNAUTHORISED, *columns(asked, 4))]


async def of_units(tx: Tx, registry: str, series: str, first: int, last: int) -> list[str]:
    """Give the texts of all records about these units, of this registry and as they were told here, oldest first."""
    await by_index(tx)
    return [row["text"] for row in await tx.rows(_CHAIN, registry, series, first, last)]


async def by_index(tx: Tx) -> None:
    """Have records that meet units found by their index, from here to the end of the transaction.

    Before its first statistics PostgreSQL thinks a table is small, and would compare everything with everything.
    """
    await tx.execute("SET LOCAL enable_hashjoin = off")
    await tx.execute("SET LOCAL enable_mergejoin = off")


def _cut(row: Row, unit: Holding) -> Record:
    value = json.loads(row["text"])
    block = value["block"]
    first, last = max(block["first"], unit.first), min(block["last"], unit.last)
    if "itmo" in block:
        stem, serial = split_itmo(block["itmo"]["first"])
        offset = serial - block["first"]
        block["itmo"] = itmo_range(stem, first + offset, last + offset)
    attributes = {**block["attributes"], "authorisation": unit.attributes["authorisation"]}
    return of({**value, "block": {**block, "first": first, "last": last, "attributes": attributes}})


def _address(event: Event, party: str, account: str) -> dict[str, str]:
    return {"registry": event.registry, "party": party, "account": account}


def _units(block: Mapping[str, Any]) -> tuple[str, str, int, int]:
    return block["origin"]["registry"], block["origin"]["series"], block["first"], block["last"]
