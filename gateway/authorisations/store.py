"""Rows of authorisations: their versions as told, revocations, what moved under them.

What is asked for many is asked in one statement. ``drawn`` counts the units that have moved, or are about to; whoever
decides by it reads it with ``alone``, so that two proposals can never both have what is left for one.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Row

from gateway import db
from gateway.domain import wire
from gateway.domain.authorisation_terms import read_terms
from gateway.domain.authorisations import Authorisation, Authorised
from gateway.domain.callers import Sight
from gateway.errors import invariant
from gateway.holdings.book import THERE

#: An authorisation's Party and id.
Name: TypeAlias = tuple[str, str]
#: Versions that are kept as read; each is some hundred bytes.
VERSIONS_KEPT = 10_000
#: The most that are listed at once; each has all its versions.
MAX_PAGE = 100


@dataclass(frozen=True, slots=True)
class Reliance:
    """What a transfer relies on: the version, the units that draw on it, and what kind of first transfer it is."""

    transfer: str
    name: Name
    version: int
    drawn: int
    first: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A version as it was told: its terms as JSON, the link or the operators who told it, the entry of the log."""

    terms: dict[str, Any]
    told_by: str
    entry_id: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revocation as it was told."""

    reason: str
    told_by: str
    at: datetime
    entry_id: int


@dataclass(frozen=True, slots=True)
class Shown:
    """An authorisation as it is shown: what is known of it, and how it was told."""

    known: Authorised
    versions: tuple[Told, ...]
    revoked: Revoked | None


#: The authorisations ``a`` of some names.
_NAMED = """
  FROM authorisation a
  JOIN unnest(CAST(:party AS text[]), CAST(:name AS text[])) AS n(party, name) USING (party, name)
"""


async def known(tx: db.Tx | db.ReadTx, names: Collection[Name], *, alone: bool = False) -> dict[Name, Authorised]:
    """What is known of these authorisations; those never told are left out.

    With ``alone`` nobody else draws on them, changes or revokes them until ``tx`` ends. They are locked by a statement
    of its own: one that waited would see the versions and the revocation as they were before it waited.
    """
    wanted = sorted(set(names))
    if not wanted:
        return {}
    given = {"party": [party for party, _ in wanted], "name": [name for _, name in wanted]}
    if alone:
        await db.rows(tx, f"SELECT a.id {_NAMED} ORDER BY a.id FOR UPDATE OF a", given)
    found = await db.rows(
        tx,
        f"""
        SELECT a.party, a.name, a.drawn, v.terms,
               EXISTS (SELECT FROM authorisation_revocation r WHERE r.authorisation_id = a.id) AS revoked
        {_NAMED} CROSS JOIN LATERAL (
          SELECT array_agg(v.terms ORDER BY v.version) AS terms
          FROM authorisation_version v WHERE v.authorisation_id = a.id) AS v
        WHERE v.terms IS NOT NULL
        """,
        given,
    )
    return {(r.party, r.name): _authorised(r) for r in found}


def _authorised(r: Row[Any]) -> Authorised:
    return Authorised(tuple(_terms(text) for text in r.terms), r.revoked, r.drawn)


@lru_cache(maxsize=VERSIONS_KEPT)
def _terms(text: str) -> Authorisation:
    faults = wire.Faults()
    terms = read_terms(json.loads(text), faults)
    invariant(terms is not None, "a version is kept that cannot be read")
    assert terms is not None
    return terms


async def open_names(tx: db.Tx, names: Collection[Name]) -> None:
    """Make the rows of authorisations that are about to be told; one that is there stays as it is."""
    wanted = sorted(set(names))
    await db.execute(
        tx,
        """
        INSERT INTO authorisation (party, name)
        SELECT n.party, n.name FROM unnest(CAST(:party AS text[]), CAST(:name AS text[])) AS n(party, name)
        WHERE NOT EXISTS (SELECT FROM authorisation a WHERE (a.party, a.name) = (n.party, n.name))
        ON CONFLICT DO NOTHING
        """,
        {"party": [party for party, _ in wanted], "name": [name for _, name in wanted]},
    )


async def add_versions(tx: db.Tx, told: Sequence[tuple[Authorisation, str]], told_by: str, entry_id: int) -> None:
    """Keep versions with the text of their terms; their rows MUST be there."""
    await db.execute(
        tx,
        """
        INSERT INTO authorisation_version (authorisation_id, version, terms, told_by, entry_id)
        SELECT a.id, n.version, n.terms, :told_by, :entry
        FROM unnest(CAST(:party AS text[]), CAST(:name AS text[]), CAST(:version AS integer[]), CAST(:terms AS text[]))
          AS n(party, name, version, terms) JOIN authorisation a USING (party, name)
        """,
        {
            "party": [terms.party for terms, _ in told],
            "name": [terms.id for terms, _ in told],
            "version": [terms.version for terms, _ in told],
            "terms": [text for _, text in told],
            "told_by": told_by,
            "entry": entry_id,
        },
    )


async def revoke(tx: db.Tx, name: Name, reason: str, told_by: str, at: datetime, entry_id: int) -> None:
    """Keep a revocation; the authorisation MUST be known and not be revoked."""
    await db.execute(
        tx,
        """
        INSERT INTO authorisation_revocation (authorisation_id, reason, told_by, at, entry_id)
        SELECT id, :reason, :told_by, :at, :entry FROM authorisation WHERE (party, name) = (:party, :name)
        """,
        {"party": name[0], "name": name[1], "reason": reason, "told_by": told_by, "at": at, "entry": entry_id},
    )


async def rely(tx: db.Tx, reliances: Sequence[Reliance]) -> None:
    """Keep what transfers rely on, and draw on it; the authorisations were read ``alone``."""
    if not reliances:
        return
    await db.execute(
        tx,
        """
        WITH n AS (
          SELECT n.transfer, a.id, n.version, n.first, n.drawn
          FROM unnest(CAST(:transfer AS text[]), CAST(:party AS text[]), CAST(:name AS text[]),
                      CAST(:version AS integer[]), CAST(:first AS text[]), CAST(:drawn AS bigint[]))
            AS n(transfer, party, name, version, first, drawn) JOIN authorisation a USING (party, name)
        ), kept AS (
          INSERT INTO reliance (transfer_id, authorisation_id, version, first, drawn)
          SELECT transfer, id, version, first, drawn FROM n
        )
        UPDATE authorisation a SET drawn = a.drawn + s.drawn
        FROM (SELECT id, sum(drawn) AS drawn FROM n GROUP BY id HAVING sum(drawn) > 0) AS s WHERE a.id = s.id
        """,
        {
            "transfer": [r.transfer for r in reliances],
            "party": [r.name[0] for r in reliances],
            "name": [r.name[1] for r in reliances],
            "version": [r.version for r in reliances],
            "first": [r.first for r in reliances],
            "drawn": [r.drawn for r in reliances],
        },
    )


async def give_back(tx: db.Tx, transfers: Sequence[str], entry_id: int) -> None:
    """Give back what these transfers, which ended without a release, had drawn."""
    await db.execute(
        tx,
        """
        WITH back AS (
          UPDATE reliance SET returned_by = :entry
          WHERE transfer_id = ANY(CAST(:transfers AS text[])) AND returned_by IS NULL RETURNING *
        )
        UPDATE authorisation a SET drawn = a.drawn - s.drawn
        FROM (SELECT authorisation_id, sum(drawn) AS drawn FROM back GROUP BY 1 HAVING sum(drawn) > 0) AS s
        WHERE a.id = s.authorisation_id
        """,
        {"transfers": list(transfers), "entry": entry_id},
    )


async def relied_on(tx: db.Tx, transfers: Sequence[str]) -> dict[str, dict[str, Reliance]]:
    """What each of these transfers relies on, by the Party that authorised."""
    found = await db.rows(
        tx,
        """
        SELECT r.transfer_id, a.party, a.name, r.version, r.drawn, r.first
        FROM reliance r JOIN authorisation a ON a.id = r.authorisation_id
        WHERE r.transfer_id = ANY(CAST(:transfers AS text[])) AND r.returned_by IS NULL
        """,
        {"transfers": list(transfers)},
    )
    by_transfer: dict[str, dict[str, Reliance]] = {}
    for r in found:
        reliance = Reliance(r.transfer_id, (r.party, r.name), r.version, r.drawn, r.first)
        by_transfer.setdefault(r.transfer_id, {})[r.party] = reliance
    return by_transfer


async def revoked_under(tx: db.Tx, transfers: Sequence[str]) -> list[str]:
    """Which of these transfers rely on an authorisation that is revoked by now, and reaches what they move.

    That is units of the Party that were never first transferred, whether they have moved before or not, and others
    under a version whose terms let it affect them.
    """
    found = await db.rows(
        tx,
        f"""
        SELECT r.transfer_id FROM reliance r
        JOIN authorisation a ON a.id = r.authorisation_id
        JOIN authorisation_revocation gone ON gone.authorisation_id = a.id
        JOIN authorisation_version v ON (v.authorisation_id, v.version) = (r.authorisation_id, r.version)
        WHERE r.transfer_id = ANY(CAST(:transfers AS text[])) AND r.returned_by IS NULL
          AND (coalesce(CAST(CAST(v.terms AS jsonb) ->> 'affects_first_transferred' AS boolean), false)
               OR EXISTS (
                 SELECT FROM claim b CROSS JOIN LATERAL ({THERE}) AS x JOIN unit_attributes u ON u.id = x.attributes_id
                 WHERE b.transfer_id = r.transfer_id AND b.released_by IS NULL
                   AND x.first_transferred_at IS NULL AND x.itmo_series_id IS NULL
                   AND u.attributes ->> 'first_transferring_party' = a.party))
        """,
        {"transfers": list(transfers)},
    )
    return [r.transfer_id for r in found]


async def draw(tx: db.Tx, drawn: Mapping[tuple[str, str, Name, int], int]) -> None:
    """Draw for actions outside a relay, by (registry, action, authorisation, version): tonnes."""
    if not drawn:
        return
    keys = list(drawn)
    await db.execute(
        tx,
        """
        WITH n AS (
          SELECT c.id AS action_id, a.id, n.version, n.drawn
          FROM unnest(CAST(:registry AS text[]), CAST(:action AS text[]), CAST(:party AS text[]), CAST(:name AS text[]),
                      CAST(:version AS integer[]), CAST(:drawn AS bigint[]))
            AS n(registry, action, party, name, version, drawn)
          JOIN authorisation a USING (party, name) JOIN action c USING (registry, action)
        ), kept AS (
          INSERT INTO drawing (action_id, authorisation_id, version, drawn) SELECT action_id, id, version, drawn FROM n
        )
        UPDATE authorisation a SET drawn = a.drawn + s.drawn
        FROM (SELECT id, sum(drawn) AS drawn FROM n GROUP BY id) AS s WHERE a.id = s.id
        """,
        {
            "registry": [registry for registry, _, _, _ in keys],
            "action": [action for _, action, _, _ in keys],
            "party": [name[0] for _, _, name, _ in keys],
            "name": [name[1] for _, _, name, _ in keys],
            "version": [version for _, _, _, version in keys],
            "drawn": [drawn[key] for key in keys],
        },
    )


async def named_entities(tx: db.Tx, entities: Collection[str]) -> frozenset[str]:
    """Those of ``entities`` that the latest version of an authorisation that is not revoked names."""
    if not entities:
        return frozenset()
    found = await db.rows(
        tx,
        """
        SELECT DISTINCT e.entity FROM unnest(CAST(:entities AS text[])) AS e(entity)
        WHERE EXISTS (
          SELECT FROM authorisation_version v
          WHERE CAST(v.terms AS jsonb) -> 'entities' ? e.entity
            AND NOT EXISTS (SELECT FROM authorisation_revocation r WHERE r.authorisation_id = v.authorisation_id)
            AND NOT EXISTS (SELECT FROM authorisation_version l
                            WHERE l.authorisation_id = v.authorisation_id AND l.version > v.version))
        """,
        {"entities": sorted(entities)},
    )
    return frozenset(r.entity for r in found)


#: Whether an authorisation ``a`` is seen (``Sight.parameters``): by the people of a registry that keeps books of its
#: Party, or that is no Party's and told it, and by who sees a transfer that relies on it.
_SEEN = """
  (CAST(:sight AS text) IS NULL
    OR EXISTS (SELECT FROM link_registry k WHERE :sight IN (k.registry, k.link) AND (k.party = a.party
               OR (k.party IS NULL AND EXISTS (SELECT FROM authorisation_version v
                                               WHERE v.authorisation_id = a.id AND v.told_by = k.link))))
    OR a.id IN (SELECT y.authorisation_id FROM transfer_viewer w JOIN reliance y ON y.transfer_id = w.transfer_id
                WHERE w.viewer IN (CAST(:sight AS text), CAST(:sight_party AS text))))
"""


async def listed(
    tx: db.ReadTx, sight: Sight, *, party: str | None = None, after: Name | None = None, limit: int = 50
) -> list[Shown]:
    """Authorisations seen, in order of Party and id, from the one after ``after`` on; at most ``MAX_PAGE``."""
    edge = after or (None, None)
    wanted = (
        "(CAST(:party AS text) IS NULL OR a.party = :party) AND (CAST(:after_party AS text) IS NULL OR "
        "(a.party, a.name) > (CAST(:after_party AS text), CAST(:after_name AS text)))"
    )
    given = {"party": party, "after_party": edge[0], "after_name": edge[1], "limit": min(limit, MAX_PAGE)}
    return await _shown(tx, sight, wanted, given)


async def shown(tx: db.ReadTx, sight: Sight, name: Name) -> Shown | None:
    """One authorisation, if it was told and is seen."""
    given = {"party": name[0], "name": name[1], "limit": 1}
    found = await _shown(tx, sight, "(a.party, a.name) = (:party, :name)", given)
    return found[0] if found else None


async def _shown(tx: db.ReadTx, sight: Sight, wanted: str, given: dict[str, Any]) -> list[Shown]:
    found = await db.rows(
        tx,
        f"""
        SELECT a.drawn, v.told, r.reason, r.told_by, r.at, r.entry_id
        FROM authorisation a LEFT JOIN authorisation_revocation r ON r.authorisation_id = a.id
        CROSS JOIN LATERAL (
          SELECT jsonb_agg(jsonb_build_array(v.terms, v.told_by, v.entry_id) ORDER BY v.version) AS told
          FROM authorisation_version v WHERE v.authorisation_id = a.id) AS v
        WHERE v.told IS NOT NULL AND {wanted} AND {_SEEN}
        ORDER BY a.party, a.name LIMIT :limit
        """,
        given | sight.parameters,
    )
    return [_read(r) for r in found]


def _read(r: Row[Any]) -> Shown:
    known = Authorised(tuple(_terms(text) for text, _, _ in r.told), r.reason is not None, r.drawn)
    versions = tuple(Told(json.loads(text), told_by, entry) for text, told_by, entry in r.told)
    return Shown(known, versions, Revoked(r.reason, r.told_by, r.at, r.entry_id) if known.revoked else None)
