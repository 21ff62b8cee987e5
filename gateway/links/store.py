"""Rows of links, of the registries behind them and of the keys they sign with.

A *link* is a system that speaks to the gateway (``MEC01``, ``INT01``, ``KOR01``); a *registry* is a set of
books behind it. A Party's own registry is one link and one registry; the international registry is one link
with a registry, its section, per Party.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import Column, Text, insert
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.registry import Capability
from gateway.errors import invariant
from gateway.links.lifecycle import State, Window


class LinkRow(SQLModel, table=True):
    """A link as stored."""

    __tablename__ = "link"

    code: str = Field(primary_key=True)
    kind: str
    url: str
    state: str
    time_limit_hours: int = 24
    opening_parts: int = 0
    capabilities: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    changed_by: int


class LinkRegistryRow(SQLModel, table=True):
    """A registry, and the link it is reached by."""

    __tablename__ = "link_registry"

    # ``registry`` is SQLAlchemy's own word on a class, so the attribute has another name than the column.
    code: str = Field(sa_column=Column("registry", Text, key="code", primary_key=True))
    link: str = Field(foreign_key="link.code")
    party: str | None = None
    since: int | None = Field(default=None, foreign_key="log_entry.id")


@dataclass(frozen=True, slots=True)
class Link:
    """A link and the registries behind it; of the limits None is no limit."""

    code: str
    kind: str
    url: str
    state: State
    time_limit_hours: int
    registries: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset()
    messages_per_second: int | None = None
    blocks_per_day: int | None = None
    window: Window | None = None
    opening_parts: int = 0

    @property
    def fields(self) -> dict[str, Any]:
        """What persons may change of it (``lifecycle.CHANGEABLE``), as it is written."""
        return {
            "url": self.url,
            "time_limit_hours": self.time_limit_hours,
            "capabilities": [one.value for one in Capability if one in self.capabilities],
            "messages_per_second": self.messages_per_second,
            "blocks_per_day": self.blocks_per_day,
            "window": str(self.window) if self.window else None,
        }


@dataclass(frozen=True, slots=True)
class Behind:
    """The link a registry is behind, and the Party whose books that registry keeps (None: every Party's)."""

    code: str
    kind: str
    state: str
    party: str | None
    capabilities: frozenset[Capability]


@dataclass(frozen=True, slots=True)
class Section:
    """One Party's books in an international registry, and the link of that."""

    registry: str
    link: str


#: A link ``l`` whose transfer window is closed at ``:minute`` of the day (UTC); a window may reach over midnight.
CLOSED_NOW = """
(l.window_opens IS NOT NULL AND NOT CASE WHEN l.window_opens < l.window_closes
  THEN CAST(:minute AS integer) >= l.window_opens AND CAST(:minute AS integer) < l.window_closes
  ELSE CAST(:minute AS integer) >= l.window_opens OR CAST(:minute AS integer) < l.window_closes END)
"""
_LINKS = """
SELECT l.code, l.kind, l.url, l.state, l.time_limit_hours, l.opening_parts, l.capabilities, l.messages_per_second,
  l.blocks_per_day, l.window_opens, l.window_closes,
  ARRAY(SELECT r.registry FROM link_registry r WHERE r.link = l.code ORDER BY r.registry) AS registries
FROM link l
"""


async def links(tx: db.Tx | db.ReadTx, sight: Sight) -> list[Link]:
    """The links seen, by code: one's own, or that behind which one's own registry is, which is then shown alone."""
    found = await db.rows(
        tx,
        f"""
        {_LINKS} WHERE CAST(:sight AS text) IS NULL OR l.code = :sight
          OR l.code = (SELECT o.link FROM link_registry o WHERE o.registry = :sight)
        ORDER BY l.code
        """,
        {"sight": sight.code},
    )
    seen = [_link(r) for r in found]
    if sight.code is None:
        return seen
    return [link if link.code == sight.code else replace(link, registries=(sight.code,)) for link in seen]


async def find(tx: db.Tx | db.ReadTx, code: str) -> Link | None:
    """The link ``code``, or nothing."""
    found = await db.one(tx, f"{_LINKS} WHERE l.code = :code", {"code": code})
    return _link(found) if found else None


def _link(r: Any) -> Link:
    window = Window(r.window_opens, r.window_closes) if r.window_opens is not None else None
    return Link(
        r.code, r.kind, r.url, State(r.state), r.time_limit_hours, tuple(r.registries),
        frozenset(map(Capability, r.capabilities)), r.messages_per_second, r.blocks_per_day, window, r.opening_parts,
    )  # fmt: skip


async def lock(tx: db.Tx, code: str) -> None:
    """Let nobody else change this link, nor count a part of its balance, until ``tx`` ends."""
    await db.rows(tx, "SELECT 1 FROM link WHERE code = :code FOR UPDATE", {"code": code})


async def standing(tx: db.Tx, code: str) -> tuple[State, frozenset[Capability]] | None:
    """What of a link decides what is received over it."""
    found = await db.one(tx, "SELECT state, capabilities FROM link WHERE code = :code", {"code": code})
    return (State(found.state), frozenset(map(Capability, found.capabilities))) if found else None


async def state(tx: db.Tx | db.ReadTx, code: str) -> str | None:
    """The state of the link ``code``, or nothing when there is none."""
    found = await db.one(tx, "SELECT state FROM link WHERE code = :code", {"code": code})
    return str(found.state) if found else None


async def rate(tx: db.Tx, code: str) -> int | None:
    """How many messages a second a link may send; nothing when there is no limit."""
    found = await db.one(tx, "SELECT messages_per_second FROM link WHERE code = :code", {"code": code})
    return found.messages_per_second if found else None


async def behind(tx: db.Tx | db.ReadTx, registries: Sequence[str]) -> dict[str, Behind]:
    """Which link each of these registries is reached by; a registry that is not linked is left out."""
    found = await db.rows(
        tx,
        """
        SELECT r.registry, r.party, l.code, l.kind, l.state, l.capabilities
        FROM link_registry r JOIN link l ON l.code = r.link
        WHERE r.registry = ANY(CAST(:registries AS text[]))
        """,
        {"registries": list(registries)},
    )
    can = {r.registry: frozenset(map(Capability, r.capabilities)) for r in found}
    return {r.registry: Behind(r.code, r.kind, r.state, r.party, can[r.registry]) for r in found}


async def register_alone(tx: db.Tx) -> None:
    """Let no other link be registered, and no action be noted for a section, until ``tx`` ends (``sections()``).

    MUST come before the log entry of the registration: an action with a later entry finds its sections.
    """
    await db.rows(tx, "SELECT pg_advisory_xact_lock(4, 0)")


async def taken(tx: db.Tx, codes: Sequence[str]) -> dict[str, str]:
    """Those of ``codes`` that are a registry's or a link's already, and the link each belongs to."""
    found = await db.rows(
        tx,
        """
        SELECT registry AS code, link FROM link_registry WHERE registry = ANY(CAST(:codes AS text[]))
        UNION SELECT code, code FROM link WHERE code = ANY(CAST(:codes AS text[])) ORDER BY code
        """,
        {"codes": list(codes)},
    )
    return {r.code: r.link for r in found}


async def sections(tx: db.Tx | db.ReadTx) -> dict[str, Section]:
    """The Parties that have a section in an international registry, and that section."""
    found = await db.rows(tx, "SELECT party, registry, link FROM sections()")
    return {r.party: Section(r.registry, r.link) for r in found}


async def activated_beside(tx: db.Tx, code: str) -> frozenset[str]:
    """The registries whose link was ever activated, whatever its state is now, but for those of the link ``code``."""
    found = await db.rows(
        tx,
        """
        SELECT r.registry FROM link_registry r JOIN link l ON l.code = r.link
        WHERE l.activated_by IS NOT NULL AND l.code <> :code
        """,
        {"code": code},
    )
    return frozenset(r.registry for r in found)


async def add(tx: db.Tx, link: Link, parties: dict[str, str | None], entry_id: int) -> None:
    """Insert a link with its registries (each with its Party, where it is one Party's)."""
    await tx.execute(
        insert(LinkRow).values(
            code=link.code,
            kind=link.kind,
            url=link.url,
            state=link.state,
            time_limit_hours=link.time_limit_hours,
            capabilities=link.fields["capabilities"],
            changed_by=entry_id,
        )
    )
    await tx.execute(
        insert(LinkRegistryRow),
        [{"code": r, "link": link.code, "party": parties.get(r), "since": entry_id} for r in link.registries],
    )
    await db.execute(tx, "INSERT INTO outgoing_stream (peer) VALUES (:code)", {"code": link.code})


async def move(tx: db.Tx, code: str, begins: Sequence[State], after: State, entry_id: int) -> None:
    """Take a link that the caller has locked to its next state."""
    moved = await db.execute(
        tx,
        """
        UPDATE link SET state = :after, changed_by = :entry
        WHERE code = :code AND state = ANY(CAST(:begins AS text[]))
        """,
        {"code": code, "after": after.value, "entry": entry_id, "begins": [state.value for state in begins]},
    )
    invariant(moved.rowcount == 1, f"the link with {code} was locked and has moved all the same")


async def change(tx: db.Tx, code: str, values: Mapping[str, Any], entry_id: int) -> None:
    """Write every field of a link that may be changed, as ``Link.fields`` gives them."""
    window = Window.parse(values["window"]) if values["window"] else None
    await db.execute(
        tx,
        """
        UPDATE link SET url = :url, time_limit_hours = :time_limit_hours, changed_by = :entry,
          capabilities = CAST(:capabilities AS text[]), messages_per_second = :messages_per_second,
          blocks_per_day = :blocks_per_day, window_opens = :opens, window_closes = :closes
        WHERE code = :code
        """,
        {
            **values,
            "code": code,
            "entry": entry_id,
            "opens": window.opens if window else None,
            "closes": window.closes if window else None,
        },
    )


async def use_day(tx: db.Tx, code: str, day: date) -> int:
    """How many blocks a link has proposed on a day, which nobody else counts until ``tx`` ends."""
    await db.execute(
        tx,
        "INSERT INTO link_day (link, day, blocks) VALUES (:code, :day, 0) ON CONFLICT DO NOTHING",
        {"code": code, "day": day},
    )
    statement = "SELECT blocks FROM link_day WHERE link = :code AND day = :day FOR UPDATE"
    found = await db.one(tx, statement, {"code": code, "day": day})
    assert found is not None  # it was inserted, or was there
    return int(found.blocks)


async def note_day(tx: db.Tx, code: str, day: date, blocks: int) -> None:
    """Write how many blocks that are, now."""
    statement = "UPDATE link_day SET blocks = :blocks WHERE link = :code AND day = :day"
    await db.execute(tx, statement, {"code": code, "day": day, "blocks": blocks})


async def take_part(tx: db.Tx, code: str, *, part: int, last: bool, entry_id: int) -> bool:
    """Count a part of the opening balance, and with the last make the link active; False when it is not its turn."""
    done = await db.execute(
        tx,
        """
        UPDATE link SET opening_parts = :part, state = CASE WHEN :last THEN 'active' ELSE state END,
          activated_by = CASE WHEN :last THEN CAST(:entry AS bigint) END, changed_by = :entry
        WHERE code = :code AND state = 'testing' AND opening_parts = CAST(:part AS integer) - 1
        """,
        {"code": code, "part": part, "last": last, "entry": entry_id},
    )
    return done.rowcount == 1
