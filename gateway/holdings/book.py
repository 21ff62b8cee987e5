"""Positions: which units are held, by whom, in which registry. Rows are opened and closed, never edited.

Every function works on any number of blocks in a fixed number of statements. That a unit has at most one
live position, and at most one ITMO identifier, is refused by exclusion constraints whatever this code does;
such a refusal is SQLSTATE 23P01. Callers pass the log entry of the signed message that moves the units.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from gateway import db
from gateway.domain import wire
from gateway.domain.facts import Held
from gateway.domain.identifiers import AccountType, parse_itmo_stem, parse_party, parse_registry_code
from gateway.domain.units import Attributes, Block, ItmoNaming, Origin, UnitRange
from gateway.errors import invariant


@dataclass(frozen=True, slots=True)
class Place:
    """Where units are: a registry, a Party's books in it, and the type of the account there."""

    registry: str
    party: str
    account_type: int


@dataclass(frozen=True, slots=True)
class Move:
    """A block of units and the place it is now at; the block's ``itmo`` is a name given by this move.

    ``to`` None leaves each unit where it is. ``out_of`` is the registry it leaves: what is held elsewhere is not moved
    (None: wherever it is). ``first_transferred_at`` is taken where the position has none, ``relied_on`` as long as the
    units were not first transferred; ``attributes`` are the units' from now on.
    """

    block: Block
    to: Place | None
    first_transferred_at: datetime | None = None
    out_of: str | None = None
    relied_on: int | None = None
    attributes: Attributes | None = None


#: Blocks as a relation: ``b(nr, series_id, first, last)`` of the series the book knows.
BLOCKS = """
  SELECT q.nr, s.id AS series_id, q.first, q.last
  FROM unnest(CAST(:registry AS text[]), CAST(:series AS text[]), CAST(:first AS bigint[]), CAST(:last AS bigint[]))
       WITH ORDINALITY AS q(registry, series, first, last, nr)
  JOIN unit_series s ON s.registry = q.registry AND s.series = q.series
"""


def serials(series: str, first: str, last: str) -> str:
    """Serials of a series as the exclusion constraints see them: a box half a series wide."""
    return f"box(point({series}, {first}), point({series} + CAST(0.5 AS double precision), {last}))"


#: The condition under which the exclusion constraint's index finds the live rows of ``x`` that overlap ``b``.
OVERLAP = f"{serials('x.series_id', 'x.first', 'x.last')} && {serials('b.series_id', 'b.first', 'b.last')}"
#: The live positions that overlap ``b``. OFFSET 0 keeps the planner from looking at all of them: it does so as long as
#: its statistics say that there are few.
THERE = f"SELECT x.* FROM position x WHERE x.closed_by IS NULL AND {OVERLAP} OFFSET 0"
_NAMES = serials("x.itmo_series_id", "x.first + x.itmo_offset", "x.last + x.itmo_offset")


#: One transaction at a time closes positions of a series. Without it, the second of two that split one position
#: would find it closed and not see what replaced it.
MOVING = "pg_advisory_xact_lock(1, s.id)"
#: Units are claimed by any number of transactions, but not while one judges whether unclaimed units may be used or
#: cancelled: each would miss what the other has not committed, and the units would be transferred and used.
CLAIMING = "pg_advisory_xact_lock_shared(3, s.id)"
LEAVING = "pg_advisory_xact_lock(3, s.id)"


def block_columns(blocks: Sequence[Block | UnitRange]) -> dict[str, list[Any]]:
    """The parameters of ``BLOCKS``."""
    return {
        "registry": [b.origin.registry for b in blocks],
        "series": [b.origin.series for b in blocks],
        "first": [b.first for b in blocks],
        "last": [b.last for b in blocks],
    }


async def held(tx: db.Tx | db.ReadTx, blocks: Sequence[Block | UnitRange]) -> list[list[Held]]:
    """For each of ``blocks``, the live positions that overlap it, in serial order."""
    found = await db.rows(
        tx,
        f"""
        WITH b AS ({BLOCKS})
        SELECT b.nr, x.registry, x.party, x.account_type, x.first, x.last, x.attributes_id, a.attributes, i.stem,
               x.itmo_offset, x.first_transferred_at IS NOT NULL OR i.stem IS NOT NULL AS transferred, x.relied_on
        FROM b CROSS JOIN LATERAL ({THERE}) AS x
        JOIN unit_attributes a ON a.id = x.attributes_id
        LEFT JOIN itmo_series i ON i.id = x.itmo_series_id
        ORDER BY b.nr, x.first
        """,
        block_columns(blocks),
    )
    attributes = {r.attributes_id: r.attributes for r in found}
    read = {key: _read_attributes(value) for key, value in attributes.items()}
    pieces: list[list[Held]] = [[] for _ in blocks]
    for r in found:
        asked = blocks[r.nr - 1]
        naming = ItmoNaming(parse_itmo_stem(r.stem), r.itmo_offset) if r.stem is not None else None
        block = Block(asked.origin, r.first, r.last, read[r.attributes_id], naming)
        place = parse_registry_code(r.registry), parse_party(r.party), AccountType(r.account_type)
        pieces[r.nr - 1].append(Held(*place, block, r.transferred, r.relied_on))
    return pieces


async def open_positions(tx: db.Tx, moves: Sequence[Move], entry_id: int) -> None:
    """Open positions for units that are new to the book; 23P01 when a unit has a position already."""
    await know_series(tx, [m.block.origin for m in moves])
    await _know_stems(tx, [m.block.itmo for m in moves])
    attributes = await _know_attributes(tx, [m.block.attributes for m in moves])
    await db.execute(
        tx,
        f"""
        WITH b AS ({BLOCKS})
        INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id, itmo_series_id,
                              itmo_offset, first_transferred_at, relied_on, opened_by)
        SELECT b.series_id, b.first, b.last, m.registry, m.party, m.account_type, m.attributes_id, i.id,
               m.itmo_offset, m.first_transferred_at, m.relied_on, :entry
        FROM b JOIN unnest(CAST(:to_registry AS text[]), CAST(:party AS text[]), CAST(:account_type AS smallint[]),
                           CAST(:stem AS text[]), CAST(:offset AS bigint[]), CAST(:transferred AS timestamptz[]),
                           CAST(:relied_on AS integer[]), CAST(:attributes AS integer[]))
               WITH ORDINALITY AS m(registry, party, account_type, stem, itmo_offset, first_transferred_at, relied_on,
                                    attributes_id, nr) USING (nr)
        LEFT JOIN itmo_series i ON i.stem = m.stem
        ORDER BY b.series_id, b.first
        """,
        {**_move_columns(moves), "attributes": attributes, "entry": entry_id},
    )


async def move(tx: db.Tx, moves: Sequence[Move], entry_id: int) -> int:
    """Close what the blocks of ``moves`` overlap; open them at their new places and what is left at the old ones.

    Attributes and identifiers are the position's own; an identifier given by a move is taken where the
    position has none. Returns the number of units moved: fewer than asked for when the book did not hold them.
    """
    await _know_stems(tx, [m.block.itmo for m in moves])
    await lock_series(tx, [m.block.origin for m in moves], MOVING)
    changed = {m.attributes for m in moves if m.attributes is not None}
    ids = dict(zip(changed, await _know_attributes(tx, list(changed)), strict=True)) if changed else {}
    attributes = [None if m.attributes is None else ids[m.attributes] for m in moves]
    found = await db.one(
        tx,
        f"""
        WITH b AS MATERIALIZED (
          SELECT q.*, m.registry, m.party, m.account_type, i.id AS itmo_series_id, m.itmo_offset,
                 m.first_transferred_at, m.out_of, m.relied_on, m.attributes_id
          FROM ({BLOCKS}) AS q
          JOIN unnest(CAST(:to_registry AS text[]), CAST(:party AS text[]), CAST(:account_type AS smallint[]),
                      CAST(:stem AS text[]), CAST(:offset AS bigint[]), CAST(:transferred AS timestamptz[]),
                      CAST(:out_of AS text[]), CAST(:relied_on AS integer[]), CAST(:attributes AS integer[]))
               WITH ORDINALITY AS m(registry, party, account_type, stem, itmo_offset, first_transferred_at, out_of,
                                    relied_on, attributes_id, nr) USING (nr)
          LEFT JOIN itmo_series i ON i.stem = m.stem
        ), hit AS MATERIALIZED (
          SELECT x.id, b.nr FROM b CROSS JOIN LATERAL ({THERE}) AS x WHERE b.out_of IS NULL OR x.registry = b.out_of
        ), closed AS (
          UPDATE position x SET closed_by = :entry
          WHERE x.id = ANY(ARRAY(SELECT DISTINCT id FROM hit)) AND x.closed_by IS NULL RETURNING x.*
        ), moved AS (
          SELECT x.series_id, greatest(x.first, b.first) AS first, least(x.last, b.last) AS last,
                 coalesce(b.registry, x.registry) AS registry, coalesce(b.party, x.party) AS party,
                 coalesce(b.account_type, x.account_type) AS account_type,
                 coalesce(b.attributes_id, x.attributes_id) AS attributes_id,
                 coalesce(x.itmo_series_id, b.itmo_series_id) AS itmo_series_id,
                 coalesce(x.itmo_offset, b.itmo_offset) AS itmo_offset,
                 coalesce(x.first_transferred_at, b.first_transferred_at) AS first_transferred_at,
                 CASE WHEN x.first_transferred_at IS NULL AND x.itmo_series_id IS NULL
                      THEN coalesce(b.relied_on, x.relied_on) ELSE x.relied_on END AS relied_on
          FROM closed x JOIN hit USING (id) JOIN b USING (nr)
        ), gone AS (
          SELECT hit.id, range_agg(int8range(b.first, b.last, '[]')) AS serials
          FROM hit JOIN b USING (nr) GROUP BY hit.id
        ), kept AS (
          SELECT x.series_id, lower(piece) AS first, upper(piece) - 1 AS last, x.registry, x.party, x.account_type,
                 x.attributes_id, x.itmo_series_id, x.itmo_offset, x.first_transferred_at, x.relied_on
          FROM closed x JOIN gone USING (id)
          CROSS JOIN LATERAL unnest(int8multirange(int8range(x.first, x.last, '[]')) - gone.serials) AS piece
        ), opened AS (
          INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id,
                                itmo_series_id, itmo_offset, first_transferred_at, relied_on, opened_by)
          SELECT p.*, :entry FROM (SELECT * FROM moved UNION ALL SELECT * FROM kept) AS p
          ORDER BY p.series_id, p.first
        )
        SELECT coalesce(sum(last - first + 1), 0) AS units FROM moved
        """,
        {**_move_columns(moves), "attributes": attributes, "entry": entry_id},
    )
    return int(found.units) if found else 0


async def named_already(tx: db.Tx, blocks: Sequence[Block]) -> set[int]:
    """Which of ``blocks`` claim an ITMO identifier that another live unit bears."""
    named = [(nr, b, b.itmo) for nr, b in enumerate(blocks) if b.itmo is not None]
    found = await db.rows(
        tx,
        f"""
        SELECT q.nr FROM unnest(CAST(:nr AS integer[]), CAST(:stem AS text[]), CAST(:first AS bigint[]),
                                CAST(:last AS bigint[]), CAST(:offset AS bigint[]), CAST(:registry AS text[]),
                                CAST(:series AS text[])) AS q(nr, stem, first, last, shift, registry, series)
        JOIN itmo_series i ON i.stem = q.stem
        CROSS JOIN LATERAL (
          SELECT x.series_id, x.itmo_offset FROM position x
          WHERE x.closed_by IS NULL AND x.itmo_series_id IS NOT NULL
            AND {_NAMES} && {serials("i.id", "q.first + q.shift", "q.last + q.shift")} OFFSET 0) AS x
        JOIN unit_series s ON s.id = x.series_id
        WHERE (s.registry, s.series, x.itmo_offset) IS DISTINCT FROM (q.registry, q.series, q.shift)
        """,
        {
            "nr": [nr for nr, _, _ in named],
            "stem": [itmo.stem for _, _, itmo in named],
            "offset": [itmo.offset for _, _, itmo in named],
            **block_columns([b for _, b, _ in named]),
        },
    )
    return {r.nr for r in found}


def _move_columns(moves: Sequence[Move]) -> dict[str, list[Any]]:
    return {
        **block_columns([m.block for m in moves]),
        "to_registry": [m.to.registry if m.to else None for m in moves],
        "party": [m.to.party if m.to else None for m in moves],
        "account_type": [m.to.account_type if m.to else None for m in moves],
        "stem": [m.block.itmo.stem if m.block.itmo else None for m in moves],
        "offset": [m.block.itmo.offset if m.block.itmo else None for m in moves],
        "transferred": [m.first_transferred_at for m in moves],
        "out_of": [m.out_of for m in moves],
        "relied_on": [m.relied_on for m in moves],
    }


async def lock_series(tx: db.Tx, origins: Sequence[Origin], lock: str) -> None:
    """Hold ``lock`` (``MOVING``, ``CLAIMING``, ``LEAVING``) of these series until ``tx`` ends, taken in one order."""
    distinct = {(o.registry, o.series) for o in origins}
    await db.rows(
        tx,
        f"""
        SELECT {lock} FROM (
          SELECT s.id FROM unit_series s JOIN unnest(CAST(:registry AS text[]), CAST(:series AS text[]))
          AS q(registry, series) USING (registry, series) ORDER BY s.id) AS s
        """,
        {"registry": [r for r, _ in distinct], "series": [s for _, s in distinct]},
    )


async def know_series(tx: db.Tx, origins: Sequence[Origin]) -> None:
    """Let the book know these series; one it knows already uses up no number."""
    distinct = sorted({(o.registry, o.series) for o in origins})
    await db.execute(
        tx,
        """
        INSERT INTO unit_series (registry, series)
        SELECT q.registry, q.series
        FROM unnest(CAST(:registry AS text[]), CAST(:series AS text[])) AS q(registry, series)
        WHERE NOT EXISTS (SELECT FROM unit_series s WHERE (s.registry, s.series) = (q.registry, q.series))
        ON CONFLICT DO NOTHING
        """,
        {"registry": [r for r, _ in distinct], "series": [s for _, s in distinct]},
    )


async def _know_stems(tx: db.Tx, names: Sequence[ItmoNaming | None]) -> None:
    await db.execute(
        tx,
        "INSERT INTO itmo_series (stem) SELECT unnest(CAST(:stem AS text[])) ON CONFLICT DO NOTHING",
        {"stem": sorted({name.stem for name in names if name is not None})},
    )


async def _know_attributes(tx: db.Tx, attributes: Sequence[Attributes]) -> list[int]:
    """The ids of attribute sets, which are stored once however many blocks share them."""
    texts = {a: json.dumps(wire.attributes_to_wire(a), sort_keys=True) for a in set(attributes)}
    digests = {a: sha256(t.encode()).digest() for a, t in texts.items()}
    ordered = sorted(digests, key=lambda a: digests[a])
    await db.execute(
        tx,
        """
        INSERT INTO unit_attributes (digest, attributes)
        SELECT digest, CAST(body AS jsonb)
        FROM unnest(CAST(:digest AS bytea[]), CAST(:body AS text[])) AS a(digest, body)
        ON CONFLICT DO NOTHING
        """,
        {"digest": [digests[a] for a in ordered], "body": [texts[a] for a in ordered]},
    )
    found = await db.rows(
        tx,
        "SELECT id, digest FROM unit_attributes WHERE digest = ANY(CAST(:digest AS bytea[]))",
        {"digest": list(digests.values())},
    )
    ids = {bytes(r.digest): r.id for r in found}
    return [ids[digests[a]] for a in attributes]


def _read_attributes(value: dict[str, Any]) -> Attributes:
    """What was written by ``_know_attributes``; the range is only named in findings, and there are none."""
    faults = wire.Faults()
    attributes = wire.read_attributes(value, faults, UnitRange(Origin(parse_registry_code("XXX00"), "-"), 1, 1))
    invariant(attributes is not None, "the book holds attributes that cannot be read")
    assert attributes is not None
    return attributes
