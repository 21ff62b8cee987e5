"""The authorisations a registry knows: what each version says, which is the latest, which the gateway was told of.

A version is written once, with the text that tells it, and is told once. Units may be issued under an authorisation
that nobody has entered here: a wide-open one is then made, which is synthetic, as everything here is. All statements
work over arrays, so ten thousand issuances under known authorisations cost what one does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import clock, notices, strictjson
from .batches import Written
from .books import plain
from .database import Row, Tx, columns
from .registry import Registry
from .units import Declined

#: An authorisation (party, id), and one version of it (party, id, version).
Name: TypeAlias = tuple[str, str]
Ref: TypeAlias = tuple[str, str, int]
Terms: TypeAlias = Mapping[str, Any]

#: Versions that are made for a unit that names the last of them.
MAX_MADE = 100


@dataclass(frozen=True)
class Version:
    """A version to write: its terms, and units that get it after their issuance."""

    terms: Terms
    units: Sequence[Mapping[str, Any]] = ()

    @property
    def ref(self) -> Ref:
        """Which version it is."""
        return str(self.terms["party"]), str(self.terms["id"]), int(self.terms["version"])


def ref_of(attributes: Mapping[str, Any]) -> Ref | None:
    """Give the version under which units were issued: of their host, or None without an authorisation."""
    named = attributes["authorisation"]
    return (attributes["first_transferring_party"], named["id"], named["version"]) if named else None


def wide_open(ref: Ref, approach: str, date: str) -> Terms:
    """Write the terms of an authorisation that permits everything; synthetic."""
    party, name, version = ref
    return {
        "id": name,
        "version": version,
        "party": party,
        "kinds": ["cooperative approach", "ITMOs", "entities"],
        "date": date,
        "cooperative_approach": approach,
        "purposes": "NDC and OIMP",
        "first_transfer_definition": "Use or Cancellation",
        "period": {"first": None, "last": None},
        "metric": "GHG",
        "initial_report": date,
        "ndc_period": {"first": 2021, "last": 2030},
    }


def tells(registry: str, version: Version) -> Written:
    """Write the item that tells the gateway of a version."""
    units = {"units": list(version.units)} if version.units else {}
    members = {"authorisation": dict(version.terms), **units, "synthetic": True}
    return notices.write("authorisation", registry, notices.new_action(), members, len(version.units))


async def ensure(tx: Tx, registry: Registry, issued: Iterable[Mapping[str, Any]]) -> dict[Ref, Terms]:
    """Make wide-open what units with these attributes name and nobody has entered; gives the terms they are under.

    Of an authorisation all versions up to the one named are made, for none is skipped. Raises ``Declined`` (3006)
    for a number nobody can mean.
    """
    approaches = {ref: str(a["cooperative_approach"]) for a in issued if (ref := ref_of(a)) is not None}
    known = await terms(tx, {ref[:2] for ref in approaches})
    if any(version > MAX_MADE for *_, version in approaches.keys() - known.keys()):
        raise Declined(3006, f"no more than {MAX_MADE} versions of an authorisation are made")
    date = clock.present().date().isoformat()
    made: dict[Ref, Terms] = {}
    for named, approach in approaches.items():
        wanted = [(*named[:2], version) for version in range(1, named[2] + 1)] if named not in known else []
        made |= {ref: wide_open(ref, approach, date) for ref in wanted if ref not in known and ref not in made}
    await write(tx, registry, [Version(text) for text in made.values()])
    return known | made


async def write(tx: Tx, registry: Registry, versions: Sequence[Version]) -> list[str]:
    """Write new versions, not told yet; what somebody else wrote meanwhile starts the transaction again.

    Gives the text that tells of each.
    """
    if not versions:
        return []
    items = [tells(registry.books_of(version.ref[0]), version).text for version in versions]
    rows = [(*v.ref, plain(v.terms), text) for v, text in zip(versions, items, strict=True)]
    await tx.execute(
        "INSERT INTO authorisation (party, id, version, terms, item) SELECT p, i, v, t::jsonb, x"
        " FROM unnest(%s::text[], %s::text[], %s::bigint[], %b::text[], %b::text[]) AS w (p, i, v, t, x)",
        *columns(rows, 5),
    )
    return items


async def terms(tx: Tx, names: Iterable[Name]) -> dict[Ref, Terms]:
    """Give what every known version of these authorisations says."""
    found = await tx.rows(
        "SELECT party, id, version, terms FROM authorisation"
        " WHERE (party, id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
        *columns(sorted(set(names)), 2),
    )
    return {(row["party"], row["id"], row["version"]): row["terms"] for row in found}


async def latest(tx: Tx, names: Iterable[Name]) -> dict[Name, int]:
    """Give the latest known version of each of these authorisations."""
    found = await tx.rows(
        "SELECT party, id, max(version) AS version FROM authorisation"
        " WHERE (party, id) IN (SELECT * FROM unnest(%s::text[], %s::text[])) GROUP BY party, id",
        *columns(sorted(set(names)), 2),
    )
    return {(row["party"], row["id"]): row["version"] for row in found}


async def take_untold(tx: Tx, names: Iterable[Name]) -> list[Written]:
    """Give the items of all versions of these authorisations that were not told yet, and note them as told."""
    return _in_order(
        await tx.rows(
            "UPDATE authorisation SET told = true WHERE NOT told"
            " AND (party, id) IN (SELECT * FROM unnest(%s::text[], %s::text[])) RETURNING party, id, version, item",
            *columns(sorted(set(names)), 2),
        )
    )


async def take_all_untold(tx: Tx) -> list[Written]:
    """Give the items of all that was not told yet, and note it as told, as the opening balance has just been told.

    Units named by an authorisation are left out: the balance shows them under it.
    """
    found = await tx.rows("UPDATE authorisation SET told = true WHERE NOT told RETURNING party, id, version, item")
    return _in_order([{**row, "item": _without_units(row["item"])} for row in found])


def _in_order(rows: Sequence[Row]) -> list[Written]:
    items = []
    for row in sorted(rows, key=lambda row: (row["party"], row["id"], row["version"])):
        value = strictjson.loads(row["item"])
        items.append(Written(value["action"], row["item"], len(value.get("units", ()))))
    return items


def _without_units(text: str) -> str:
    return strictjson.dumps({name: value for name, value in strictjson.loads(text).items() if name != "units"})


async def listed(tx: Tx) -> list[Row]:
    """Give every version, whether it is revoked, and whether the gateway was told of it."""
    return await tx.rows("SELECT party, id, version, revoked, told FROM authorisation ORDER BY party, id, version")
