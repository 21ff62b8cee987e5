"""Rows of feeds: which there are, how far each is pulled, when it is due, and who pulls it now.

A feed's row is the job. A lease saves work and, because every page is stored only by who holds it and onto the very
number it was asked for, two who pull one feed at once never store a page twice. Whoever wants a feed pulled at once
adds to its ``history_call``, which a pull only reads: the relay never waits for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.domain.history import Cursor, Viewer
from gateway.domain.identifiers import LinkCode, PartyCode, RegistryCode
from gateway.history.asked import Asked
from gateway.messages.outbox import LONGEST_WAIT_SECONDS, Wait


@dataclass(frozen=True, slots=True)
class Seen:
    """A tree of a registry's own log, which is known by its origin."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed as it is leased. ``peer`` is the link its records are handed on to, ``called`` the last call for it.

    ``walk`` is how far it was read again from its beginning, where that is under way; ``compared`` whether that was
    done since the last page that held. ``seen`` is the largest tree of its registry's log that a page was found in.
    """

    id: int
    asked: Asked
    peer: str
    cursor: Cursor
    walk: Cursor | None
    attempts: int
    called: int
    compared: bool
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class Readable:
    """A feed that may be read by who asks: its id, and its last number."""

    id: int
    number: int


#: How many feeds that were just made are pulled at once, and how far apart the others: the sections of an international
#: registry are hundreds, most of which have nothing, and units go on moving meanwhile.
FIRST_AT_ONCE, APART = 8, "interval '0.25 s'"
#: Feeds ``f`` with the link ``s`` that they are pulled from and ``d`` that they are for, while both are open for it.
OPEN = """
  history_feed f JOIN link s ON s.code = f.link
  JOIN link_registry r ON r.registry = f.registry JOIN link d ON d.code = r.link
  WHERE s.state = 'active' AND 'view' = ANY(s.capabilities) AND d.state = 'active' AND 'view' = ANY(d.capabilities)
"""
#: The last call for a feed ``f``.
_CALLED = "coalesce((SELECT c.called FROM history_call c WHERE c.feed_id = f.id), 0)"
#: Feeds that somebody should pull now: at their time, or at once when called, unless the last try failed.
_DUE = f"""
  {OPEN} AND NOT f.stopped AND (f.leased_until IS NULL OR f.leased_until <= :now)
  AND (f.next_at <= :now OR (f.attempts = 0 AND f.answered <> {_CALLED}))
"""
#: Registries ``r`` of a Party, and the links ``s`` that they may pull from, which have no feed yet.
_MISSING = """
  link s JOIN link_registry r ON r.party IS NOT NULL JOIN link d ON d.code = r.link
  WHERE s.kind IN ('mechanism', 'international') AND s.state = 'active' AND 'view' = ANY(s.capabilities)
    AND d.kind IN ('party', 'international') AND d.state = 'active' AND 'view' = ANY(d.capabilities)
    AND (s.code <> d.code OR s.kind = 'international')
    AND NOT EXISTS (SELECT FROM history_feed f WHERE f.link = s.code AND f.registry = r.registry)
"""
#: Feeds of which a page waits to be handed on.
UNDELIVERED = f"{OPEN} AND f.delivered < f.number AND f.delivering IS NULL"
_COLUMNS = f"""
  f.id, f.link, f.registry, f.party, f.number, f.digest, f.walk_number, f.walk_digest, f.attempts, f.compared,
  f.log_origin, f.log_size, f.log_root, (SELECT r.link FROM link_registry r WHERE r.registry = f.registry) AS peer,
  {_CALLED} AS called"""


async def look(tx: db.ReadTx, now: datetime) -> bool:
    """Whether a feed is due or is to be made, or a page waits to be handed on."""
    found = await db.one(
        tx,
        f"""
        SELECT EXISTS (SELECT FROM {_DUE}) OR EXISTS (SELECT FROM {_MISSING})
          OR EXISTS (SELECT FROM {UNDELIVERED}) AS any
        """,
        {"now": now},
    )
    assert found is not None  # EXISTS always says something
    return bool(found.any)


async def ensure(tx: db.Tx, now: datetime) -> None:
    """Give a row to every feed that there is since links were opened; due at once, of many one soon after the other."""
    await db.execute(
        tx,
        f"""
        WITH made AS (
          INSERT INTO history_feed (link, registry, party, next_at)
          SELECT s.code, r.registry, r.party, CAST(:now AS timestamptz)
            + greatest(0, row_number() OVER (ORDER BY s.code, r.registry) - {FIRST_AT_ONCE}) * {APART}
          FROM {_MISSING} ON CONFLICT DO NOTHING RETURNING id
        )
        INSERT INTO history_call (feed_id) SELECT id FROM made
        """,
        {"now": now},
    )


async def lease_due(
    tx: db.Tx, worker: str, now: datetime, until: datetime, *, busy: Sequence[str], but: Sequence[int]
) -> Feed | None:
    """Lease a feed that is due: one that was called for, or the longest due; none of links that are ``busy``.

    Nor one of those ``but`` for which any may be had: they are under way here still, whoever had leased them.
    """
    wanted = f"""
      SELECT f.id FROM {_DUE} AND f.link <> ALL(CAST(:busy AS text[])) AND f.id <> ALL(CAST(:but AS integer[]))"""
    return await _lease(tx, wanted, {"busy": list(busy), "but": list(but)}, worker, now, until)


async def others_wait(tx: db.ReadTx, now: datetime) -> bool:
    """Whether a feed is due that nobody pulls."""
    found = await db.one(tx, f"SELECT EXISTS (SELECT FROM {_DUE}) AS any", {"now": now})
    assert found is not None  # EXISTS always says something
    return bool(found.any)


async def lease(tx: db.Tx, of: str, registry: str, worker: str, now: datetime, until: datetime) -> Feed | None:
    """Lease one feed before its time; nothing if there is none, if it is stopped, or if another pulls it now."""
    wanted = f"""
      SELECT f.id FROM {OPEN} AND NOT f.stopped AND (f.leased_until IS NULL OR f.leased_until <= :now)
      AND f.link = :of AND f.registry = :registry"""
    return await _lease(tx, wanted, {"of": of, "registry": registry}, worker, now, until)


async def _lease(
    tx: db.Tx, wanted: str, named: dict[str, object], worker: str, now: datetime, until: datetime
) -> Feed | None:
    """``next_at`` is over from now on: whoever takes over from a worker that dies goes on at once."""
    found = await db.one(
        tx,
        f"""
        WITH due AS ({wanted} ORDER BY f.answered = {_CALLED}, f.next_at LIMIT 1 FOR UPDATE OF f SKIP LOCKED)
        UPDATE history_feed f SET leased_until = :until, leased_by = :worker, attempts = f.attempts + 1,
          next_at = least(f.next_at, :now)
        FROM due WHERE f.id = due.id RETURNING {_COLUMNS}
        """,
        {**named, "worker": worker, "now": now, "until": until},
    )
    return _feed(found) if found else None


def _feed(r: Any) -> Feed:
    walk = Cursor(r.walk_number, bytes(r.walk_digest)) if r.walk_number is not None else None
    seen = Seen(r.log_origin, r.log_size, bytes(r.log_root)) if r.log_root is not None else None
    cursor = Cursor(r.number, bytes(r.digest))
    return Feed(r.id, asked_of(r), r.peer, cursor, walk, r.attempts, r.called, r.compared, seen)


def asked_of(r: Any) -> Asked:
    """Whose feed a row is."""
    return Asked(LinkCode(r.link), Viewer(RegistryCode(LinkCode(r.registry)), PartyCode(r.party)))


async def standing(tx: db.Tx, of: str, registry: str) -> tuple[bool, bool] | None:
    """Whether a feed is stopped, and whether somebody has leased it; nothing where its links are not open for it."""
    found = await db.one(
        tx,
        f"SELECT f.stopped, f.leased_by IS NOT NULL AS leased FROM {OPEN} AND f.link = :of AND f.registry = :registry",
        {"of": of, "registry": registry},
    )
    return (found.stopped, found.leased) if found else None


async def take_over(tx: db.Tx, now: datetime) -> None:
    """Free what workers that are gone have leased (``db.ALIVE``)."""
    await db.execute(
        tx,
        f"""
        UPDATE history_feed SET leased_until = NULL, leased_by = NULL
        WHERE leased_until > :now AND leased_by <> ALL({db.ALIVE})
        """,
        {"now": now},
    )


async def keep_on(tx: db.Tx, feed: Feed, worker: str, until: datetime) -> bool:
    """Go on pulling a feed, for as long as the next page may take.

    False if another pulls it by now, or if its links are not open for it any more.
    """
    done = await db.execute(
        tx,
        f"""
        UPDATE history_feed SET leased_until = :until
        WHERE id = :id AND leased_by = :worker AND NOT stopped AND EXISTS (SELECT FROM {OPEN} AND f.id = :id)
        """,
        {"id": feed.id, "worker": worker, "until": until},
    )
    return bool(done.rowcount)


async def advance(tx: db.Tx, feed: Feed, worker: str, until: Cursor, seen: Seen | None) -> bool:
    """Move a feed on by a page that was asked for at its number; False, and nothing moved, if another has it by now."""
    done = await db.execute(
        tx,
        """
        UPDATE history_feed SET number = :until, digest = :until_digest, log_origin = :origin, log_size = :size,
          log_root = :root, compared = false, attempts = 0, waiting = NULL
        WHERE id = :id AND leased_by = :worker AND number = :number AND digest = :digest AND NOT stopped
        """,
        {
            **{"id": feed.id, "worker": worker, "number": feed.cursor.number, "digest": feed.cursor.digest},
            **{"until": until.number, "until_digest": until.digest, "origin": seen and seen.origin},
            **{"size": seen.size if seen else 0, "root": seen and seen.root},
        },
    )
    return bool(done.rowcount)


async def walk_to(tx: db.Tx, feed: Feed, worker: str, cursor: Cursor | None) -> bool:
    """Note how far a feed was read again and found as before; nothing at its end. False if another has it by now."""
    done = await db.execute(
        tx,
        """
        UPDATE history_feed SET walk_number = CAST(:number AS bigint), walk_digest = CAST(:digest AS bytea),
          compared = compared OR CAST(:number AS bigint) IS NULL
        WHERE id = :id AND leased_by = :worker AND NOT stopped
        """,
        {
            **{"id": feed.id, "worker": worker},
            **{"number": cursor.number if cursor else None, "digest": cursor.digest if cursor else None},
        },
    )
    return bool(done.rowcount)


async def rest(tx: db.Tx, feed: Feed, worker: str, now: datetime, next_at: datetime) -> None:
    """Leave a feed that was read to its end alone until ``next_at``, or until somebody calls for it again."""
    await db.execute(
        tx,
        """
        UPDATE history_feed SET leased_until = NULL, leased_by = NULL, attempts = 0, waiting = NULL,
          compared = false, answered = :called, pulled_at = :now, next_at = :next
        WHERE id = :id AND leased_by = :worker
        """,
        {"id": feed.id, "worker": worker, "called": feed.called, "now": now, "next": next_at},
    )


async def give_back(tx: db.Tx, feed: Feed, worker: str, now: datetime) -> bool:
    """Leave a feed to whoever comes next, behind all that is due now; False if another has it by now."""
    done = await db.execute(
        tx,
        """
        UPDATE history_feed SET leased_until = NULL, leased_by = NULL, attempts = 0, answered = :called, next_at = :now
        WHERE id = :id AND leased_by = :worker
        """,
        {"id": feed.id, "worker": worker, "called": feed.called, "now": now},
    )
    return bool(done.rowcount)


async def wait(tx: db.Tx, feed: Feed, wait: Wait) -> None:
    """Put off a feed: the wait doubles with each try that brought nothing, up to the longest."""
    await db.execute(
        tx,
        """
        UPDATE history_feed SET leased_until = NULL, leased_by = NULL, waiting = :why, attempts = greatest(attempts, 1),
          next_at = CAST(:now AS timestamptz)
            + greatest(:floor, least(:longest, power(2, least(greatest(attempts, 1), 16) - 1))) * interval '1 second'
        WHERE id = :id AND leased_by = :worker
        """,
        {
            **{"id": feed.id, "worker": wait.lease.worker, "now": wait.now, "why": wait.why},
            **{"floor": wait.floor_seconds, "longest": LONGEST_WAIT_SECONDS},
        },
    )


async def readable(tx: db.Tx, link: str, asked: Asked) -> Readable | None:
    """The feed that ``link`` asks for, if it is of a registry of its own and of that Party."""
    found = await db.one(
        tx,
        """
        SELECT f.id, f.number FROM history_feed f JOIN link_registry r ON r.registry = f.registry AND r.link = :link
        WHERE f.link = :of AND f.registry = :registry AND f.party = :party
        """,
        {"link": link, "of": asked.of, "registry": asked.viewer.registry, "party": asked.viewer.party},
    )
    return Readable(found.id, found.number) if found else None


async def stop(tx: db.Tx, feed: Feed, why: str) -> None:
    """Pull nothing more of a feed: its past has changed."""
    await db.execute(
        tx,
        "UPDATE history_feed SET stopped = true, leased_until = NULL, leased_by = NULL, waiting = :why WHERE id = :id",
        {"id": feed.id, "why": why},
    )


async def reopen(tx: db.Tx, link: str, now: datetime) -> None:
    """Try again what stopped over a link that two persons have opened again.

    What is pulled from it is read again from its beginning and compared with what we have: only if its past is as
    it was, the pull goes on. What its registries had refused to take is handed on to them again.
    """
    await db.execute(
        tx,
        """
        WITH f AS (SELECT id FROM history_feed WHERE stopped AND link = :link ORDER BY id FOR NO KEY UPDATE)
        UPDATE history_feed h SET stopped = false, waiting = NULL, next_at = :now, walk_number = 0,
          walk_digest = decode(repeat('00', 32), 'hex')
        FROM f WHERE h.id = f.id
        """,
        {"link": link, "now": now},
    )
    await db.execute(
        tx,
        """
        WITH f AS (
          SELECT f.id FROM history_feed f JOIN link_registry r ON r.registry = f.registry AND r.link = :link
          WHERE f.delivering IS NOT NULL AND NOT EXISTS (SELECT FROM owed o WHERE o.message_id = f.delivering)
          ORDER BY f.id FOR NO KEY UPDATE OF f
        )
        UPDATE history_feed h SET delivering = NULL FROM f WHERE h.id = f.id
        """,
        {"link": link},
    )
