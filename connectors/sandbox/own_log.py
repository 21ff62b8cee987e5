"""This registry's own log: an entry for each line of its journal, record of its history and reconciliation.

All wait for their place from the transaction that writes them (triggers), so none is missed however transactions
end; ``publish`` gives the waiting ones their places, without gaps, and then signs the head that is committed. An
entry tells the kind and the time, and SHA-256 over a random salt of 32 bytes and the text: who holds what stays in
the books, and is shown by giving the text and its salt. The log survives a restore of the books as it is: what
happened and was forgotten stays in it. The entry of a reconciliation is plain: it names roots, which do not tell who
holds what.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import clock, merkle, strictjson, tiles
from .database import Row, Tx, columns
from .notes import Signer
from .registry import Registry
from .tiles import Address, Key, Tree

#: Lines, and records, that get their places in one transaction.
BATCH = 10_000

#: The random bits of a salt are those of two UUIDs, spread over 32 bytes.
_RECORDS = """
WITH taken AS (DELETE FROM log.own_history_waiting
                WHERE id IN (SELECT id FROM log.own_history_waiting ORDER BY id LIMIT %s) RETURNING id),
     salted AS MATERIALIZED (SELECT h.id, h.text,
               to_char(h.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at,
               sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS salt
                FROM taken JOIN history h USING (id)),
     written AS (INSERT INTO log.own_entry (leaf_index, history, entry, salt)
              SELECT %s - 1 + row_number() OVER (ORDER BY id), id, '{"at":"' || at || '","digest":"'
                     || encode(sha256(salt || convert_to(text, 'UTF8')), 'hex') || '","kind":"history"}', salt
                FROM salted RETURNING leaf_index, entry)
SELECT sha256(decode('00', 'hex') || convert_to(entry, 'UTF8')) AS leaf FROM written ORDER BY leaf_index
"""
_RECONCILIATIONS = """
WITH taken AS (DELETE FROM log.own_reconciliation_waiting
                WHERE id IN (SELECT id FROM log.own_reconciliation_waiting ORDER BY id LIMIT %s) RETURNING id),
     written AS (INSERT INTO log.own_entry (leaf_index, reconciliation, entry)
              SELECT %s - 1 + row_number() OVER (ORDER BY id), id, r.entry FROM taken JOIN reconciliation r USING (id)
               RETURNING leaf_index, entry)
SELECT sha256(decode('00', 'hex') || convert_to(entry, 'UTF8')) AS leaf FROM written ORDER BY leaf_index
"""


async def begin(tx: Tx) -> None:
    """Have all that is written wait for its place from now on, what was written before as well."""
    await tx.execute("LOCK TABLE journal, history, reconciliation IN SHARE ROW EXCLUSIVE MODE")
    await tx.execute(
        "CREATE OR REPLACE TRIGGER reconciliation_waits AFTER INSERT ON reconciliation REFERENCING NEW TABLE AS written"
        " FOR EACH STATEMENT EXECUTE FUNCTION log.have_reconciliation_wait()"
    )
    await tx.execute(
        "INSERT INTO log.own_reconciliation_waiting SELECT r.id FROM reconciliation r WHERE NOT EXISTS"
        " (SELECT FROM log.own_entry e WHERE e.reconciliation = r.id) ON CONFLICT DO NOTHING"
    )
    await tx.execute(
        "CREATE OR REPLACE TRIGGER history_waits AFTER INSERT ON history REFERENCING NEW TABLE AS written"
        " FOR EACH STATEMENT EXECUTE FUNCTION log.have_history_wait()"
    )
    await tx.execute(
        "INSERT INTO log.own_history_waiting SELECT h.id FROM history h WHERE NOT EXISTS (SELECT FROM log.own_entry e"
        " WHERE e.history = h.id) ON CONFLICT DO NOTHING"
    )
    await tx.execute(
        "CREATE OR REPLACE TRIGGER journal_waits AFTER INSERT ON journal REFERENCING NEW TABLE AS written"
        " FOR EACH STATEMENT EXECUTE FUNCTION log.wait_for_place()"
    )
    await tx.execute(
        "INSERT INTO log.own_waiting SELECT j.* FROM journal j WHERE NOT EXISTS (SELECT FROM log.own_entry e"
        " WHERE e.journal = j.id) AND NOT EXISTS (SELECT FROM log.own_waiting w WHERE w.id = j.id)"
    )


async def publish(registry: Registry, signer: Signer) -> None:
    """Give places to what waits, and sign the head where it is new."""
    while await registry.database.run("log.entries", _integrate) >= BATCH:
        pass
    await registry.database.run("log.checkpoint", lambda tx: _sign(tx, signer))


async def checkpoint(tx: Tx) -> tuple[int, str] | None:
    """Give the last signed head: its size and its note; nothing before the first one."""
    row = await tx.one("SELECT size, note FROM log.own_checkpoint ORDER BY size DESC LIMIT 1")
    return (row["size"], row["note"]) if row else None


async def shown(tx: Tx, records: Sequence[int]) -> list[tuple[int, bytes]] | None:
    """Give the place and the salt of each record's entry; nothing unless all are under the last checkpoint."""
    signed = await checkpoint(tx)
    found = await tx.rows(
        "SELECT e.leaf_index, e.salt FROM unnest(%s::bigint[]) WITH ORDINALITY AS w (id, n)"
        " JOIN log.own_entry e ON e.history = w.id WHERE e.leaf_index < %s ORDER BY w.n",
        list(records),
        signed[0] if signed else 0,
    )
    return [(row["leaf_index"], bytes(row["salt"])) for row in found] if len(found) == len(records) else None


async def proof(tx: Tx, old: int, size: int) -> list[bytes]:
    """Give the consistency proof between two sizes this log has had (0 < old <= size)."""
    spans = merkle.proof_spans(old, size)
    found = await _load(tx, {key for span in spans for key in tiles.holding(span)})
    return [tiles.hash_of(span, found) for span in spans]


async def tile(tx: Tx, address: Address) -> bytes | None:
    """Give a tile, or a bundle of entries, as far as it is under the last checkpoint; nothing where it is not."""
    signed = await checkpoint(tx)
    if signed is None or tiles.width_of(address.level, address.number, signed[0]) < address.width:
        return None
    if not address.entries:
        hashes = (await _load(tx, {(address.level, address.number)}))[address.level, address.number]
        return hashes[: address.width * merkle.HASH_BYTES]
    first = address.number * tiles.WIDTH
    rows = await tx.rows(
        "SELECT entry FROM log.own_entry WHERE leaf_index >= %s AND leaf_index < %s ORDER BY leaf_index",
        first,
        first + address.width,
    )
    entries = [row["entry"].encode() for row in rows]
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


@dataclass(frozen=True)
class _Entry:
    journal: int
    entry: str
    record: str
    salt: bytes

    @classmethod
    def of(cls, line: Row) -> "_Entry":
        at = clock.stamp(line["at"])
        members: dict[str, Any] = {name: line[name] for name in sorted(line)} | {"at": at}
        record, salt = strictjson.dumps(members), os.urandom(32)
        digest = hashlib.sha256(salt + record.encode()).hexdigest()
        return cls(line["id"], strictjson.dumps({"at": at, "digest": digest, "kind": line["entry"]}), record, salt)


async def _integrate(tx: Tx) -> int:
    head = await tx.one("SELECT size FROM log.own_head FOR UPDATE")
    size = head["size"] if head else 0
    leaves = await _lines(tx, size)
    leaves += await _texts(tx, _RECORDS, size + len(leaves))
    leaves += await _texts(tx, _RECONCILIATIONS, size + len(leaves))
    if not leaves:
        return 0
    tree = Tree(size, await _load(tx, set(tiles.edge(size))))
    tree.append(leaves)
    await tx.execute(
        "INSERT INTO log.own_tile (level, number, hashes)"
        " SELECT * FROM unnest(%s::integer[], %s::bigint[], %b::bytea[])"
        " ON CONFLICT (level, number) DO UPDATE SET hashes = EXCLUDED.hashes",
        *columns([(level, number, hashes) for (level, number), hashes in tree.tiles.items()], 3),
    )
    await tx.execute("UPDATE log.own_head SET size = %s, root = %s WHERE size = %s", tree.size, tree.root(), size)
    return len(leaves)


async def _lines(tx: Tx, size: int) -> list[bytes]:
    """Write the entries of lines that wait, from this place on; gives the leaf hashes."""
    lines = await tx.rows(
        "DELETE FROM log.own_waiting WHERE id IN (SELECT id FROM log.own_waiting ORDER BY id LIMIT %s) RETURNING *",
        BATCH,
    )
    entries = [_Entry.of(line) for line in sorted(lines, key=lambda line: int(line["id"]))]
    await tx.execute(
        "INSERT INTO log.own_entry (leaf_index, journal, entry, record, salt)"
        " SELECT %s + n - 1, j, e, r, s FROM unnest(%s::bigint[], %b::text[], %b::text[], %b::bytea[])"
        " WITH ORDINALITY AS w (j, e, r, s, n)",
        size,
        *columns([(entry.journal, entry.entry, entry.record, entry.salt) for entry in entries], 4),
    )
    return [merkle.leaf(entry.entry.encode()) for entry in entries]


async def _texts(tx: Tx, statement: str, size: int) -> list[bytes]:
    """Write the entries of records, or of reconciliations, that wait, from this place on; no text leaves the database.

    What a restore has forgotten before it got its place was shown to nobody, and gets none.
    """
    return [bytes(row["leaf"]) for row in await tx.rows(statement, BATCH, size)]


async def _sign(tx: Tx, signer: Signer) -> None:
    head = await tx.one(
        "SELECT size, root FROM log.own_head h"
        " WHERE NOT EXISTS (SELECT FROM log.own_checkpoint c WHERE c.size = h.size)"
    )
    if head is not None:
        note = signer.checkpoint(head["size"], bytes(head["root"]))
        await tx.execute("INSERT INTO log.own_checkpoint (size, note) VALUES (%s, %s)", head["size"], note)


async def _load(tx: Tx, keys: set[Key]) -> dict[Key, bytes]:
    rows = await tx.rows(
        "SELECT level, number, hashes FROM log.own_tile JOIN unnest(%s::integer[], %s::bigint[]) AS w (level, number)"
        " USING (level, number)",
        *columns(sorted(keys), 2),
    )
    return {(row["level"], row["number"]): bytes(row["hashes"]) for row in rows}
