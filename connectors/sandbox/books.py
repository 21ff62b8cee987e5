"""The books: accounts, holdings and the journal. All statements over arrays, one for a whole batch.

Every function works inside the caller's transaction. ``select`` and ``lock`` take the rows they read
(FOR UPDATE), so two operators cannot have the same units; the exclusion constraint holds whatever happens
here. A unit that is debited leaves ``holding``; the journal keeps the quantity, the transfer its blocks.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import shapes, strictjson
from .database import Row, Tx, columns
from .units import Declined, Holding, cut_quantity, cut_ranges, itmo_stem

#: Holdings read at a time while units are picked.
PICK_ROWS = 2000
#: Account a Party's units go to when the account they were meant for has closed.
PENDING_ACCOUNT = "110-1"

_HELD = """
SELECT h.id, h.series, s.registry, s.name, h.first, h.last, h.party, h.account, h.attributes AS attributes_id,
       a.attributes, h.itmo, i.stem, h.itmo_offset, h.first_transferred, h.locked_by
  FROM holding h JOIN series s ON s.id = h.series JOIN unit_attributes a ON a.id = h.attributes
  LEFT JOIN itmo_series i ON i.id = h.itmo
"""


async def ensure_accounts(tx: Tx, accounts: Iterable[tuple[str, str, str]]) -> None:
    """Open the (party, account, name) that are not there yet."""
    parties, numbers, names = columns(sorted(set(accounts)), 3)
    await tx.execute(
        "INSERT INTO account (party, account, name) SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])"
        " ON CONFLICT DO NOTHING",
        parties,
        numbers,
        names,
    )


async def accounts_open(tx: Tx, accounts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bool]:
    """Say of each account that exists whether it is open; it stays so until the transaction ends."""
    parties, numbers = columns(sorted(set(accounts)), 2)
    found = await tx.rows(
        "SELECT party, account, open FROM account"
        " WHERE (party, account) IN (SELECT * FROM unnest(%s::text[], %s::text[])) FOR SHARE",
        parties,
        numbers,
    )
    return {(row["party"], row["account"]): row["open"] for row in found}


async def _alone(tx: Tx, party: str, account: str) -> None:
    """Let one transaction at a time take units out of an account.

    Of two that split one holding, the second would find it gone and not see what replaced it (and say 4018).
    """
    await tx.rows("SELECT pg_advisory_xact_lock(hashtext(%s::text), hashtext(%s::text))", party, account)


async def take_quantities(tx: Tx, party: str, account: str, quantities: Sequence[int]) -> list[list[Holding]]:
    """Take free units out of an account, a group per quantity; the caller MUST ``put`` them somewhere."""
    await _alone(tx, party, account)
    picked: list[Row] = []
    missing, after = sum(quantities), 0
    while missing > 0:
        found = await tx.rows(
            _HELD + " WHERE h.party = %s AND h.account = %s AND h.locked_by IS NULL AND h.id > %s"
            " ORDER BY h.id LIMIT %s FOR UPDATE OF h",
            party,
            account,
            after,
            PICK_ROWS,
        )
        if not found:
            raise Declined(4018, "the account does not hold that many free units")
        for row in found:
            if missing > 0:
                picked.append(row)
                missing -= row["last"] - row["first"] + 1
        after = found[-1]["id"]
    stays, groups = cut_quantity(map(_holding, picked), quantities)
    await _replace(tx, picked, stays)
    return groups


async def take_ranges(
    tx: Tx, party: str, account: str, ranges: Sequence[Sequence[Mapping[str, Any]]]
) -> list[list[Holding]]:
    """Take particular units out of an account; raises ``Declined`` 4003, 4004 or 4005."""
    await _alone(tx, party, account)
    found = await _meeting(tx, [r for rs in ranges for r in rs])
    if any((row["party"], row["account"]) != (party, account) for row in found):
        raise Declined(4004, "units asked for are in another account")
    return await _take(tx, found, ranges)


async def take_anywhere(tx: Tx, ranges: Sequence[Mapping[str, Any]]) -> list[Holding]:
    """Take particular units out of whatever accounts they are in; raises ``Declined`` 4003 or 4005."""
    for party, account in sorted({(row["party"], row["account"]) for row in await _meeting(tx, ranges)}):
        await _alone(tx, party, account)
    return (await _take(tx, await _meeting(tx, ranges), [ranges]))[0]


async def take_present(tx: Tx, units: Mapping[str, Any]) -> list[Holding]:
    """Take out what is here of particular units, in whatever accounts; raises ``Declined`` 4005."""
    found = await _meeting(tx, [units])
    inside = [
        {"origin": units["origin"], "first": max(row["first"], units["first"]), "last": min(row["last"], units["last"])}
        for row in found
    ]
    return (await _take(tx, found, [inside]))[0]


async def _meeting(tx: Tx, ranges: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Give, and lock, the holdings that share units with these ranges."""
    wanted = [(r["origin"]["registry"], r["origin"]["series"], r["first"], r["last"]) for r in ranges]
    return await tx.rows(
        _HELD + " JOIN (SELECT DISTINCT h.id FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])"
        " AS w (registry, name, first, last) JOIN series s ON s.registry = w.registry AND s.name = w.name"
        " JOIN holding h ON box(point(h.series, h.first), point(h.series + 0.5::float8, h.last))"
        " && box(point(s.id, w.first), point(s.id + 0.5::float8, w.last))) AS met ON met.id = h.id"
        " ORDER BY h.id FOR UPDATE OF h",
        *columns(wanted, 4),
    )


async def _take(tx: Tx, found: Sequence[Row], ranges: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Holding]]:
    if any(row["locked_by"] is not None for row in found):
        raise Declined(4005, "units asked for are locked by another transfer")
    stays, groups = cut_ranges([_holding(row) for row in found], ranges)
    await _replace(tx, found, stays)
    return groups


async def put(tx: Tx, holdings: Iterable[Holding]) -> None:
    """Write holdings; PostgreSQL refuses a unit or an identifier that is already there."""
    rows = [
        (
            h.series,
            h.first,
            h.last,
            h.party,
            h.account,
            h.attributes_id,
            h.itmo,
            h.itmo_offset,
            h.first_transferred,
            h.locked_by,
        )
        for h in sorted(holdings, key=lambda h: (h.series, h.first))
    ]
    await tx.execute(
        "INSERT INTO holding (series, first, last, party, account, attributes, itmo, itmo_offset,"
        " first_transferred, locked_by) SELECT * FROM unnest(%s::int[], %s::bigint[], %s::bigint[],"
        " %s::text[], %s::text[], %s::int[], %s::int[], %s::bigint[], %s::bool[], %s::text[])",
        *columns(rows, 10),
    )


async def locked_quantities(tx: Tx, transfers: Sequence[str]) -> dict[str, int]:
    """Give the units each transfer's lock holds."""
    found = await tx.rows(
        "SELECT locked_by, sum(last - first + 1)::bigint AS quantity FROM holding"
        " WHERE locked_by = ANY(%s) GROUP BY locked_by",
        transfers,
    )
    return {row["locked_by"]: row["quantity"] for row in found}


async def debit(tx: Tx, transfers: Sequence[str]) -> dict[str, list[Holding]]:
    """Take out what the locks of these transfers hold: the units have left this registry."""
    found = await tx.rows(_HELD + " WHERE h.locked_by = ANY(%s) ORDER BY h.series, h.first", transfers)
    await tx.execute("DELETE FROM holding WHERE locked_by = ANY(%s)", transfers)
    gone: dict[str, list[Holding]] = {}
    for row in found:
        gone.setdefault(row["locked_by"], []).append(_holding(row))
    await write_journal(
        tx, [("debit", t, hs[0].party, hs[0].account, sum(h.quantity for h in hs)) for t, hs in gone.items()]
    )
    return gone


async def unlock(tx: Tx, transfers: Sequence[str]) -> None:
    """Free what the locks of these transfers hold (R14: a lock names its transfer)."""
    freed = await tx.rows(
        "WITH freed AS (UPDATE holding SET locked_by = NULL FROM (SELECT id, locked_by FROM holding"
        " WHERE locked_by = ANY(%s)) AS old WHERE holding.id = old.id"
        " RETURNING old.locked_by, party, account, last - first + 1 AS quantity)"
        " SELECT locked_by, party, account, sum(quantity)::bigint AS quantity FROM freed GROUP BY 1, 2, 3",
        transfers,
    )
    await write_journal(tx, [("unlock", r["locked_by"], r["party"], r["account"], r["quantity"]) for r in freed])


async def write_journal(tx: Tx, entries: Sequence[tuple[str, str, str, str, int]]) -> None:
    """Append (entry, reference, party, account, quantity) lines."""
    await tx.execute(
        "INSERT INTO journal (entry, reference, party, account, quantity)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])",
        *columns(entries, 5),
    )


async def present(tx: Tx, blocks: Sequence[tuple[str, Mapping[str, Any]]]) -> set[str]:
    """Give the transfers of which a unit, or an identifier, is already held here (4007)."""
    rows = []
    for transfer, block in blocks:
        stem, low = shapes.split_itmo(block["itmo"]["first"]) if "itmo" in block else (None, None)
        high = low + block["last"] - block["first"] if low is not None else None
        origin = block["origin"]
        rows.append((transfer, origin["registry"], origin["series"], block["first"], block["last"], stem, low, high))
    found = await tx.rows(
        "WITH b AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],"
        " %s::text[], %s::bigint[], %s::bigint[])"
        " AS b (transfer, registry, name, first, last, stem, low, high))"
        " SELECT b.transfer FROM b JOIN series s ON s.registry = b.registry AND s.name = b.name"
        " JOIN holding h ON box(point(h.series, h.first), point(h.series + 0.5::float8, h.last))"
        " && box(point(s.id, b.first), point(s.id + 0.5::float8, b.last))"
        " UNION SELECT b.transfer FROM b JOIN itmo_series i ON i.stem = b.stem"
        " JOIN holding h ON h.itmo IS NOT NULL"
        " AND box(point(h.itmo, h.first + h.itmo_offset), point(h.itmo + 0.5::float8, h.last + h.itmo_offset))"
        " && box(point(i.id, b.low), point(i.id + 0.5::float8, b.high))",
        *columns(rows, 8),
    )
    return {row["transfer"] for row in found}


async def adopt(tx: Tx, blocks: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Holding]:
    """Make holdings of (party, account, block): series, attributes and ITMO series get their rows."""
    origins = {(b["origin"]["registry"], b["origin"]["series"]) for _, _, b in blocks}
    stems = {shapes.split_itmo(b["itmo"]["first"])[0] for _, _, b in blocks if "itmo" in b}
    texts = [json.dumps(b["attributes"], sort_keys=True) for _, _, b in blocks]
    digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in set(texts)}
    series = await series_ids(tx, origins)
    attributes = await _attribute_ids(tx, digests)
    itmo = await itmo_ids(tx, stems)
    made = []
    for (party, account, block), text in zip(blocks, texts, strict=True):
        stem, serial = shapes.split_itmo(block["itmo"]["first"]) if "itmo" in block else (None, 0)
        made.append(
            Holding(
                series=series[block["origin"]["registry"], block["origin"]["series"]],
                registry=block["origin"]["registry"],
                name=block["origin"]["series"],
                first=block["first"],
                last=block["last"],
                party=party,
                account=account,
                attributes_id=attributes[digests[text]],
                attributes=block["attributes"],
                itmo=itmo[stem] if stem else None,
                stem=stem,
                itmo_offset=serial - block["first"] if stem else None,
                first_transferred=stem is not None,
                locked_by=None,
            )
        )
    return made


async def relabel(tx: Tx, holdings: Sequence[Holding], changes: Mapping[str, Any]) -> list[Holding]:
    """Give holdings the same units with these attributes changed."""
    changed = [{**holding.attributes, **changes} for holding in holdings]
    texts = [json.dumps(attributes, sort_keys=True) for attributes in changed]
    digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in set(texts)}
    ids = await _attribute_ids(tx, digests)
    return [
        replace(holding, attributes=attributes, attributes_id=ids[digests[text]])
        for holding, attributes, text in zip(holdings, changed, texts, strict=True)
    ]


async def name_holdings(tx: Tx, holdings: Sequence[Holding]) -> list[Holding]:
    """Give identifiers: serials from each stem's counter, one constant offset per holding."""
    wanted: dict[str, int] = {}
    for holding in holdings:
        stem = itmo_stem(holding.attributes)
        wanted[stem] = wanted.get(stem, 0) + holding.quantity
    free = await name_units(tx, wanted)
    ids = await itmo_ids(tx, set(wanted))
    named = []
    for holding in holdings:
        stem = itmo_stem(holding.attributes)
        offset = free[stem] - holding.first
        free[stem] += holding.quantity
        named.append(replace(holding, itmo=ids[stem], stem=stem, itmo_offset=offset, first_transferred=True))
    return named


async def name_units(tx: Tx, quantities: Mapping[str, int]) -> dict[str, int]:
    """Reserve serials: for each stem the first of as many as are asked for; counters start at 1."""
    ids = await itmo_ids(tx, set(quantities))
    found = await tx.rows(
        "UPDATE itmo_series i SET next_serial = i.next_serial + q.quantity"
        " FROM unnest(%s::int[], %s::bigint[]) AS q (id, quantity) WHERE i.id = q.id"
        " RETURNING i.stem, i.next_serial - q.quantity AS first",
        [ids[stem] for stem in quantities],
        list(quantities.values()),
    )
    return {row["stem"]: row["first"] for row in found}


async def skip_names(tx: Tx, given: Sequence[Mapping[str, Any]]) -> None:
    """Set the counters behind identifiers that were given before and forgotten: none is given twice."""
    stems = {shapes.split_itmo(entry["itmo"]["last"])[0] for entry in given}
    ids = await itmo_ids(tx, stems)
    lasts = [shapes.split_itmo(entry["itmo"]["last"]) for entry in given]
    await tx.execute(
        "UPDATE itmo_series i SET next_serial = greatest(i.next_serial, g.next) FROM (SELECT id, max(last) + 1 AS next"
        " FROM unnest(%s::int[], %s::bigint[]) AS n (id, last) GROUP BY id) AS g WHERE i.id = g.id",
        [ids[stem] for stem, _ in lasts],
        [serial for _, serial in lasts],
    )


async def series_ids(tx: Tx, origins: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Give the row of each (registry, series), made where there was none."""
    arrays = columns(sorted(origins), 2)
    await tx.execute(
        "INSERT INTO series (registry, name) SELECT * FROM unnest(%s::text[], %s::text[]) ON CONFLICT DO NOTHING",
        *arrays,
    )
    found = await tx.rows(
        "SELECT id, registry, name FROM series WHERE (registry, name) IN"
        " (SELECT * FROM unnest(%s::text[], %s::text[]))",
        *arrays,
    )
    return {(row["registry"], row["name"]): row["id"] for row in found}


async def _attribute_ids(tx: Tx, digests: Mapping[str, str]) -> dict[str, int]:
    await tx.execute(
        # %b: thousands of JSON texts as a text array would be escaped twice over.
        "INSERT INTO unit_attributes (attributes, digest)"
        " SELECT a::jsonb, d FROM unnest(%b::text[], %b::text[]) AS n (a, d) ON CONFLICT DO NOTHING",
        *columns(sorted(digests.items()), 2),
    )
    found = await tx.rows("SELECT id, digest FROM unit_attributes WHERE digest = ANY(%s)", list(digests.values()))
    return {row["digest"]: row["id"] for row in found}


async def itmo_ids(tx: Tx, stems: set[str]) -> dict[str, int]:
    """Give the row of each stem of ITMO identifiers, made where there was none."""
    if not stems:
        return {}
    names = sorted(stems)
    await tx.execute("INSERT INTO itmo_series (stem) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", names)
    found = await tx.rows("SELECT id, stem FROM itmo_series WHERE stem = ANY(%s)", names)
    return {row["stem"]: row["id"] for row in found}


async def _replace(tx: Tx, rows: Sequence[Row], stays: Sequence[Holding]) -> None:
    await tx.execute("DELETE FROM holding WHERE id = ANY(%s)", [row["id"] for row in rows])
    await put(tx, stays)


def _holding(row: Row) -> Holding:
    return Holding(**{name: value for name, value in row.items() if name != "id"})


def account_type(account: str) -> int:
    """Give the three-digit type code of an account."""
    return int(account[:3])


def plain(value: Any) -> str:
    """Write JSON for a ``jsonb`` parameter."""
    return strictjson.dumps(value)


async def everything(tx: Tx) -> list[Holding]:
    """Give every holding, in the order of series and serials."""
    return [_holding(row) for row in await tx.rows(_HELD + " ORDER BY h.party, h.account, h.series, h.first")]


async def seen_by(tx: Tx, party: str, after: tuple[int, int], limit: int) -> list[Holding]:
    """Give what a Party holds and what others hold of its units, behind (series, serial), in that order."""
    found = await tx.rows(
        _HELD + " WHERE (h.party = %s OR a.attributes ->> 'first_transferring_party' = %s)"
        " AND (h.series, h.first) > (%s, %s) ORDER BY h.series, h.first LIMIT %s",
        party,
        party,
        *after,
        limit,
    )
    return [_holding(row) for row in found]
