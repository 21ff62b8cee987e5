"""Actions recorded in the international registry: ``action.record``, kept apart from everything the sections hold.

An action is recorded once, under its id, as the text that was signed; a record is judged alone and refused alone.
It moves no unit and writes no journal line: what a Party's units did is told, where they are is not asked. Only
identifiers are held against all other records (``naming``). Every statement works on the whole message.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from . import books, naming, shapes
from .database import Row, Tx, columns
from .envelope import Message, Refusal
from .evidence import Item
from .naming import Names, Naming
from .outcomes import Finding, Outcome, finding
from .registry import Registry

#: Held while a message of records is judged and stored: of two at once, neither would see the other's names.
RECORDS_LOCK = 64_0018

_DETAILS = {
    2006: "not ITMO identifiers",
    2007: "first and last do not fit together",
    4007: "identifiers recorded for other units",
    4010: "units recorded under other identifiers",
}
_NAMES_AROUND = """
WITH b AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[])
             AS b (registry, name, first, last, stem, itmo_offset)),
     met AS (SELECT n.* FROM b JOIN series s ON s.registry = b.registry AND s.name = b.name
               JOIN record_name n ON box(point(n.series, n.first), point(n.series + 0.5::float8, n.last))
                                  && box(point(s.id, b.first), point(s.id + 0.5::float8, b.last))
              UNION
             SELECT n.* FROM b JOIN itmo_series i ON i.stem = b.stem
               JOIN record_name n
                 ON box(point(n.itmo, n.first + n.itmo_offset), point(n.itmo + 0.5::float8, n.last + n.itmo_offset))
                 && box(point(i.id, b.first + b.itmo_offset), point(i.id + 0.5::float8, b.last + b.itmo_offset)))
SELECT s.registry, s.name, n.first, n.last, i.stem, n.itmo_offset
  FROM met n JOIN series s ON s.id = n.series JOIN itmo_series i ON i.id = n.itmo
"""


async def record(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Record each action, once for ever, or say why not; raises ``Refusal`` (2005) for too many blocks."""
    if sum(len(item.value["blocks"]) for item in message.own) > shapes.MAX_BLOCKS:
        raise Refusal(2005, "more than 3,000 blocks", message.id, message.body_sha256)
    await tx.rows("SELECT pg_advisory_xact_lock(%s)", RECORDS_LOCK)
    known = await _known(tx, message.own)
    unsound = {item.sha256: _unsound(registry, item) for item in message.own}
    sound = [item for item in message.own if not unsound[item.sha256]]
    names = Names(await _names_around(tx, [n for item in sound for n in _namings(item)]))
    outcomes: list[Outcome] = []
    recorded: list[Item] = []
    named: list[Naming] = []
    for item in message.own:
        earlier, findings = known.get(item.value["action"]), unsound[item.sha256]
        new: list[Naming] = []
        if earlier is not None:
            findings = [] if earlier == item.sha256 else [finding(2004, "the action was recorded with another text")]
        elif not findings:
            new, wrong = names.take(_namings(item))
            findings = _on_blocks([(code, _block(n)) for code, n in wrong])
        outcomes.append(Outcome(item, "refused" if findings else "recorded", findings))
        if not findings and earlier is None:
            known[item.value["action"]] = item.sha256
            recorded.append(item)
            named += new
    await _store(tx, message.id, recorded, named)
    return outcomes


def _unsound(registry: Registry, item: Item) -> list[Finding]:
    """Say what is wrong with a record by itself: its blocks, its quantity, its section."""
    value = item.value
    findings = _on_blocks([(code, block) for block in value["blocks"] if (code := _unsound_block(block))])
    ranges = sorted((b["origin"]["registry"], b["origin"]["series"], b["first"], b["last"]) for b in value["blocks"])
    if any(a[:2] == b[:2] and b[2] <= a[3] for a, b in pairwise(ranges)):
        findings.append(finding(2008, "blocks overlap"))
    if sum(last - first + 1 for _, _, first, last in ranges) != value["quantity"]:
        findings.append(finding(2009, "the quantity is not that of the blocks"))
    return findings or _misplaced(registry, value)


def _unsound_block(block: Mapping[str, Any]) -> int | None:
    itmo = block.get("itmo")
    if itmo is not None and not (shapes.is_itmo(itmo["first"]) and shapes.is_itmo(itmo["last"])):
        return 2006
    in_step = itmo is None or shapes.names_in_step(block["first"], block["last"], itmo)
    return None if in_step and block["first"] <= block["last"] else 2007


def _misplaced(registry: Registry, value: Mapping[str, Any]) -> list[Finding]:
    """Say whether the section is kept here, of that Party, and the Party the one that acted."""
    if registry.sections.get(value["section"]) != value["party"]:
        return [finding(4002, f"no section {value['section']} of {value['party']} is kept here")]
    acted = value.get("acquiring" if value["type"] == "Acquisition" else "transferring")
    if acted is not None and acted["party"] != value["party"]:
        return [finding(4002, f"the action is of {acted['party']}, the section of {value['party']}")]
    return []


def _on_blocks(found: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Finding]:
    """Write one finding a code, with the units of every block it concerns."""
    by_code: dict[int, list[dict[str, Any]]] = {}
    for code, block in found:
        by_code.setdefault(code, []).append({name: block[name] for name in ("origin", "first", "last")})
    return [{**finding(code, _DETAILS[code]), "blocks": blocks} for code, blocks in sorted(by_code.items())]


def _namings(item: Item) -> list[Naming]:
    return [naming.of_block(block) for block in item.value["blocks"] if "itmo" in block]


def _block(named: Naming) -> dict[str, Any]:
    origin = {"registry": named.series[0], "series": named.series[1]}
    return {"origin": origin, "first": named.first, "last": named.last}


async def _known(tx: Tx, items: Sequence[Item]) -> dict[str, str]:
    """Give the hash of the text under which each of these actions was recorded before."""
    actions = [item.value["action"] for item in items]
    found = await tx.rows("SELECT action, sha256 FROM record WHERE action = ANY(%b::text[])", actions)
    return {row["action"]: row["sha256"] for row in found}


async def _names_around(tx: Tx, namings: Sequence[Naming]) -> list[Naming]:
    """Give the names in earlier records that share a unit or an identifier with these."""
    rows = [(*n.series, n.first, n.last, n.stem, n.offset) for n in namings]
    found = await tx.rows(_NAMES_AROUND, *columns(rows, 6)) if rows else []
    return [_naming(row) for row in found]


def _naming(row: Row) -> Naming:
    return Naming((row["registry"], row["name"]), row["first"], row["last"], row["stem"], row["itmo_offset"])


async def _store(tx: Tx, message: str, items: Sequence[Item], named: Sequence[Naming]) -> None:
    blocks = [(item.value["action"], block) for item in items for block in item.value["blocks"]]
    origins = {(b["origin"]["registry"], b["origin"]["series"]) for _, b in blocks}
    series = await books.series_ids(tx, origins)
    stems = await books.itmo_ids(tx, {n.stem for n in named} | {n.stem for i in items for n in _namings(i)})
    members = ("action", "type", "section", "party", "quantity")
    await tx.execute(
        # %b: texts of items as a text array would be escaped twice over.
        "INSERT INTO record (message, action, type, section, party, quantity, sha256, item) SELECT %s::uuid, *"
        " FROM unnest(%b::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %b::text[])",
        message,
        *columns([(*(i.value[name] for name in members), i.sha256, i.text) for i in items], 7),
    )
    await tx.execute(
        "INSERT INTO record_block (action, series, first, last, itmo, itmo_offset)"
        " SELECT * FROM unnest(%b::text[], %s::int[], %s::bigint[], %s::bigint[], %s::int[], %s::bigint[])",
        *columns([(action, *_placed(block, series, stems)) for action, block in blocks], 6),
    )
    await tx.execute(
        "INSERT INTO record_name (series, first, last, itmo, itmo_offset)"
        " SELECT * FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::int[], %s::bigint[])",
        *columns([(series[n.series], n.first, n.last, stems[n.stem], n.offset) for n in named], 5),
    )


def _placed(block: Mapping[str, Any], series: Mapping[naming.Series, int], stems: Mapping[str, int]) -> tuple[Any, ...]:
    origin = block["origin"]
    units = (series[origin["registry"], origin["series"]], block["first"], block["last"])
    if "itmo" not in block:
        return (*units, None, None)
    named = naming.of_block(block)
    return (*units, stems[named.stem], named.offset)
