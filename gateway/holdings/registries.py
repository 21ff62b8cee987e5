"""Which registries' books a link keeps: one, or in the international registry a section for each Party."""

from gateway import db
from gateway.domain.identifiers import parse_party, parse_registry_code
from gateway.domain.notices import Own


async def of_link(tx: db.Tx, link: str) -> Own:
    """The registries behind a link, each with the Party whose books it keeps (None: every Party's)."""
    found = await db.rows(tx, "SELECT registry, party FROM link_registry WHERE link = :link", {"link": link})
    return {parse_registry_code(r.registry): parse_party(r.party) if r.party else None for r in found}


async def kind_of(tx: db.Tx, link: str) -> str | None:
    """The kind of a link's registries; None for no link."""
    found = await db.one(tx, "SELECT kind FROM link WHERE code = :link", {"link": link})
    return str(found.kind) if found else None


async def keeps(tx: db.Tx | db.ReadTx, code: str, party: str) -> bool:
    """Whether ``code`` is the registry of this one Party, or the link that it is behind."""
    found = await db.one(
        tx,
        "SELECT FROM link_registry WHERE CAST(:code AS text) IN (registry, link) AND party = :party LIMIT 1",
        {"code": code, "party": party},
    )
    return found is not None


async def party_of(tx: db.Tx, registry: str) -> str | None:
    """The Party whose books a registry keeps; None where it keeps every Party's."""
    found = await db.one(tx, "SELECT party FROM link_registry WHERE registry = :registry", {"registry": registry})
    return found.party if found else None


async def behind(tx: db.Tx, code: str) -> set[str]:
    """The registry ``code``, or those behind the link of that name."""
    found = await db.rows(
        tx, "SELECT registry FROM link_registry WHERE CAST(:code AS text) IN (registry, link)", {"code": code}
    )
    return {r.registry for r in found}


async def links_keeping(tx: db.Tx, party: str) -> list[str]:
    """The links behind which this one Party's books are kept, its own registry's before sections'."""
    found = await db.rows(
        tx,
        """
        SELECT r.link FROM link_registry r JOIN link l ON l.code = r.link WHERE r.party = :party
        GROUP BY r.link, l.kind ORDER BY l.kind <> 'party', r.link
        """,
        {"party": party},
    )
    return [r.link for r in found]
