"""Appends entries to the log, in the transaction of what they record.

An entry has a *public leaf* ``{kind, time, record}``, where ``record`` is the salted SHA-256 of the full
record, and beside it the record itself (who, what, which transfers, which hashes) under a random 32-byte
salt. The leaf can be published without telling who transfers what to whom; the record is disclosed with its
salt to whoever may see it. ``leaf_hash`` is the RFC 6962 leaf hash of the leaf's bytes, and is what a
receipt promises.

Guarantees: an entry exists exactly when the transaction that appended it is committed; nobody can change or
delete one (triggers and grants of the first migration). Fails only with the database.
"""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from gateway import db

#: RFC 6962 section 2.1: the prefix that keeps a leaf from being read as a node.
_LEAF_PREFIX = b"\x00"
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that is made and hashed but not yet in the log; its leaf hash may already be promised."""

    at: datetime
    kind: str
    leaf: bytes
    leaf_hash: bytes
    salt: bytes
    record: bytes


def draft(kind: str, at: datetime, record: Mapping[str, Any]) -> Draft:
    """Make an entry of ``record`` (JSON-ready) with a fresh salt."""
    body = json.dumps(record, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    salt = os.urandom(_SALT_BYTES)
    commitment = urlsafe_b64encode(sha256(salt + body).digest()).rstrip(b"=").decode()
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    leaf = json.dumps({"kind": kind, "record": commitment, "time": stamp}, separators=(",", ":")).encode()
    return Draft(at, kind, leaf, sha256(_LEAF_PREFIX + leaf).digest(), salt, body)


async def append(tx: db.Tx, drafts: Sequence[Draft]) -> list[int]:
    """Append ``drafts`` in two statements, however many; return their entry ids in the same order."""
    if not drafts:
        return []
    found = await db.rows(
        tx,
        """
        WITH entry AS (
          INSERT INTO log_entry (at, kind, leaf, leaf_hash)
          SELECT at, kind, leaf, leaf_hash
          FROM unnest(CAST(:at AS timestamptz[]), CAST(:kind AS text[]), CAST(:leaf AS bytea[]),
                      CAST(:leaf_hash AS bytea[])) WITH ORDINALITY AS d(at, kind, leaf, leaf_hash, nr)
          ORDER BY nr
          RETURNING id, leaf_hash
        ), kept AS (
          INSERT INTO log_record (entry_id, salt, record)
          SELECT entry.id, d.salt, d.record FROM entry
          JOIN unnest(CAST(:leaf_hash AS bytea[]), CAST(:salt AS bytea[]), CAST(:record AS bytea[]))
               AS d(leaf_hash, salt, record) USING (leaf_hash)
        )
        SELECT id, leaf_hash FROM entry
        """,
        {
            "at": [d.at for d in drafts],
            "kind": [d.kind for d in drafts],
            "leaf": [d.leaf for d in drafts],
            "leaf_hash": [d.leaf_hash for d in drafts],
            "salt": [d.salt for d in drafts],
            "record": [d.record for d in drafts],
        },
    )
    ids = {bytes(row.leaf_hash): row.id for row in found}
    return [ids[d.leaf_hash] for d in drafts]
