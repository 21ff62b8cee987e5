"""Rows of those who witness our log, and of the logs that we witness. Fails only with the database."""

from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.audit.merkle import EMPTY_ROOT

_WATCHED = """
SELECT w.origin, w.link, w.vkeys, w.size, w.root, w.note, l.url || '/log' AS at
FROM witnessed_log w JOIN link l ON l.code = w.link"""


@dataclass(frozen=True, slots=True)
class Witness:
    """Who cosigns our checkpoints: a linked registry, which is asked where its link is, or another at ``url``.

    ``at`` is where, ``size`` the largest checkpoint they have cosigned.
    """

    name: str
    vkey: str
    link: str | None = None
    url: str | None = None
    at: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Watched:
    """A registry's log that we witness, as we know it: its largest consistent checkpoint. ``at`` is where it is."""

    origin: str
    link: str
    vkeys: tuple[str, ...]
    size: int = 0
    root: bytes = EMPTY_ROOT
    note: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """A checkpoint that did not fit what we knew of its log; ``proven`` once it cannot be explained."""

    origin: str
    size: int
    root: bytes
    note: str
    known: str
    at: datetime
    proven: bool | None


async def witnesses(tx: db.Tx | db.ReadTx) -> list[Witness]:
    """Those who cosign, by name."""
    found = await db.rows(
        tx,
        "SELECT w.name, w.vkey, w.link, w.url, coalesce(w.url, l.url || '/witness') AS at,"
        " coalesce((SELECT max(c.size) FROM log_cosignature c WHERE c.witness = w.name), 0) AS size"
        " FROM log_witness w LEFT JOIN link l ON l.code = w.link WHERE w.removed_by IS NULL ORDER BY w.name",
    )
    return [Witness(**row._mapping) for row in found]


async def add_witness(tx: db.Tx, witness: Witness, entry_id: int) -> bool:
    """Ask ``witness`` from now on; False for a name that was used before."""
    done = await db.execute(
        tx,
        "INSERT INTO log_witness (name, link, url, vkey, added_by) VALUES (:name, :link, :url, :vkey, :entry)"
        " ON CONFLICT DO NOTHING",
        {"name": witness.name, "link": witness.link, "url": witness.url, "vkey": witness.vkey, "entry": entry_id},
    )
    return bool(done.rowcount)


async def remove_witness(tx: db.Tx, name: str, entry_id: int) -> bool:
    """Ask a witness no more; False for one that is not asked."""
    statement = "UPDATE log_witness SET removed_by = :entry WHERE name = :name AND removed_by IS NULL"
    return bool((await db.execute(tx, statement, {"name": name, "entry": entry_id})).rowcount)


async def cosigned(tx: db.Tx, size: int, witness: str, at: datetime, line: str) -> None:
    """Keep a cosignature of our checkpoint."""
    await db.execute(
        tx,
        "INSERT INTO log_cosignature (size, witness, at, line) VALUES (:size, :witness, :at, :line)"
        " ON CONFLICT DO NOTHING",
        {"size": size, "witness": witness, "at": at, "line": line},
    )


async def watched(tx: db.Tx | db.ReadTx) -> list[Watched]:
    """The logs that we witness."""
    found = await db.rows(tx, f"{_WATCHED} ORDER BY origin")
    return [_watched(row) for row in found]


async def lock_watched(tx: db.Tx, origin: str) -> Watched | None:
    """The log ``origin``, which nobody else moves until this transaction ends."""
    row = await db.one(
        tx,
        f"{_WATCHED} WHERE origin = :origin FOR UPDATE OF w",
        {"origin": origin},
    )
    return _watched(row) if row else None


async def find_watched(tx: db.ReadTx, origin_digest: str) -> Watched | None:
    """The log whose origin has this SHA-256 (in hex)."""
    row = await db.one(
        tx,
        f"{_WATCHED} WHERE encode(sha256(convert_to(origin, 'UTF8')), 'hex') = :digest",
        {"digest": origin_digest},
    )
    return _watched(row) if row else None


async def watch(tx: db.Tx, log: Watched, entry_id: int) -> bool:
    """Witness a log from now on, or under these keys; False for one of another link, and where nothing changes."""
    done = await db.execute(
        tx,
        "INSERT INTO witnessed_log (origin, link, vkeys, root, added_by)"
        " VALUES (:origin, :link, CAST(:vkeys AS text[]), :root, :entry) ON CONFLICT (origin) DO UPDATE"
        " SET vkeys = excluded.vkeys, added_by = excluded.added_by"
        " WHERE witnessed_log.link = excluded.link AND witnessed_log.vkeys <> excluded.vkeys",
        {
            "origin": log.origin,
            "link": log.link,
            "vkeys": list(log.vkeys),
            "root": log.root,
            "entry": entry_id,
        },
    )
    return bool(done.rowcount)


async def advance(tx: db.Tx, origin: str, size: int, root: bytes, note: str) -> None:
    """Move what we know of a log on."""
    await db.execute(
        tx,
        "UPDATE witnessed_log SET size = :size, root = :root, note = :note WHERE origin = :origin",
        {"origin": origin, "size": size, "root": root, "note": note},
    )


async def splits(tx: db.Tx | db.ReadTx, *, unsettled: bool = False) -> list[Split]:
    """Checkpoints that did not fit, the first first; only those that may yet be explained, if so wished."""
    found = await db.rows(
        tx,
        "SELECT origin, size, root, note, known, at, proven FROM split_view"
        " WHERE NOT CAST(:unsettled AS boolean) OR proven IS NULL ORDER BY at, origin, size LIMIT 1000",
        {"unsettled": unsettled},
    )
    return [Split(r.origin, r.size, bytes(r.root), r.note, r.known, r.at, r.proven) for r in found]


async def known_split(tx: db.Tx, origin: str, size: int, root: bytes) -> bool:
    """Whether this checkpoint of a log is kept as one that did not fit."""
    row = await db.one(
        tx,
        "SELECT 1 FROM split_view WHERE origin = :origin AND size = :size AND root = :root",
        {"origin": origin, "size": size, "root": root},
    )
    return row is not None


async def keep_split(tx: db.Tx, split: Split, entry_id: int) -> None:
    """Keep both checkpoints."""
    await db.execute(
        tx,
        "INSERT INTO split_view (origin, size, root, note, known, at, proven, entry_id)"
        " VALUES (:origin, :size, :root, :note, :known, :at, CAST(:proven AS boolean), :entry)",
        {"origin": split.origin, "size": split.size, "root": split.root, "note": split.note, "known": split.known,
         "at": split.at, "proven": split.proven, "entry": entry_id},
    )  # fmt: skip


async def settle_split(tx: db.Tx, split: Split, *, proven: bool) -> bool:
    """Say whether it was explained; False if that was said before."""
    done = await db.execute(
        tx,
        "UPDATE split_view SET proven = :proven WHERE origin = :origin AND size = :size AND root = :root"
        " AND proven IS NULL",
        {"proven": proven, "origin": split.origin, "size": split.size, "root": split.root},
    )
    return bool(done.rowcount)


def _watched(row: object) -> Watched:
    members = dict(row._mapping)  # type: ignore[attr-defined]
    return Watched(**{**members, "vkeys": tuple(members["vkeys"]), "root": bytes(members["root"])})
