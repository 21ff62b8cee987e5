"""Reads what a bundle is made of: a transfer's messages with its own items alone, their entries, keys and checkpoints.

Of a message only its JWS and the items of this transfer leave the database; the other transfers of a batch do not.
Nothing here changes anything. Who may see the transfer is decided first (``standing``), by the caller's sight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from gateway import db
from gateway.domain.callers import Sight
from gateway.keys.entries import KINDS
from gateway.signing.envelope import LINK_JSON
from gateway.transfers.viewers import SEEN

#: Answers of a registry to one message that are shown, the earliest: it may say "later" before it says more, and one
#: that answers without end does not make evidence too large.
MAX_ANSWERS = 4
#: Said in so many words: only then is the index over these entries of use.
_KINDS = ", ".join(f"'{kind}'" for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Standing:
    """A transfer as its row has it, and the request it answers, if it does."""

    state: str
    request: str | None


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of a transfer: its JWS as it was signed, and the exact texts of its items that are of this transfer."""

    entry_id: int
    jws: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key and the entries about it, in the log's order."""

    owner: str
    jwk: dict[str, str]
    entry_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of the log with its record and salt."""

    leaf: str
    record: str
    salt: bytes


async def one_moment(tx: db.ReadTx) -> None:
    """Let everything ``tx`` reads be of one moment; MUST come first in it."""
    await tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


async def standing(tx: db.ReadTx, sight: Sight, transfer: str) -> Standing:
    """Where a transfer stands; raises as ``Sight.absent`` says where it is not seen."""
    found = await db.one(
        tx,
        f"SELECT t.state, CAST(t.request_id AS text) AS request FROM transfer t WHERE t.id = :id AND {SEEN}",
        {"id": transfer, **sight.parameters},
    )
    if found is None:
        raise sight.absent(f"there is no transfer {transfer}", 3001)
    return Standing(found.state, found.request)


async def letters(tx: db.ReadTx, transfer: str, request: str | None) -> list[Letter]:
    """Every message with a statement about a transfer, and that with the request it answers."""
    return await _letters(
        tx,
        """
        SELECT entry_id FROM transfer_step WHERE transfer_id = :transfer
        UNION SELECT m.entry_id FROM transfer_request q
        JOIN message m ON m.message_id = q.message_id AND m.direction = 'out' WHERE q.id = CAST(:request AS uuid)
        """,
        {"transfer": transfer, "request": request, "hashes": []},
    )


async def answers(tx: db.ReadTx, letters: Sequence[int], transfer: str, hashes: Sequence[str]) -> list[Letter]:
    """The receipts and refusals that answer these messages, ours as they are kept and theirs as they came.

    ``hashes`` are those of the transfer's items: a receipt may name them alone.
    """
    return await _letters(
        tx,
        """
        SELECT k.answer FROM message a JOIN replay_key k ON k.sender = a.peer AND k.message_id = a.message_id
        JOIN message n ON n.entry_id = k.answer AND n.in_reply_to = a.message_id
        WHERE a.entry_id = ANY(CAST(:letters AS bigint[])) AND a.direction = 'in' AND n.type IN ('receipt', 'refusal')
        UNION SELECT entry_id FROM (
          SELECT n.entry_id, row_number() OVER (PARTITION BY a.entry_id ORDER BY n.entry_id) AS nr
          FROM message a JOIN message n ON n.in_reply_to = a.message_id AND n.peer = a.peer
          WHERE a.entry_id = ANY(CAST(:letters AS bigint[])) AND a.direction = 'out' AND n.direction = 'in'
            AND n.type IN ('receipt', 'refusal')) AS theirs
        WHERE nr <= :most
        """,
        {"letters": list(letters), "transfer": transfer, "request": None, "hashes": list(hashes), "most": MAX_ANSWERS},
    )


async def _letters(tx: db.ReadTx, which: str, given: dict[str, Any]) -> list[Letter]:
    """JWS and own items of messages; one that lists items of others alone is none of the transfer's."""
    found = await db.rows(
        tx,
        f"""
        WITH m AS (
          SELECT entry_id,
                 CASE WHEN content_type = :link_json THEN CAST(convert_from(body, 'UTF8') AS json) END AS whole,
                 CASE WHEN content_type <> :link_json THEN convert_from(body, 'UTF8') END AS bare
          FROM message WHERE entry_id IN ({which})
        )
        SELECT entry_id, coalesce(bare, whole ->> 'jws') AS jws, whole IS NULL AS bare, (
          SELECT json_agg(i.text ORDER BY i.nr)
          FROM json_array_elements_text(whole -> 'items') WITH ORDINALITY AS i(text, nr)
          CROSS JOIN LATERAL (SELECT CAST(i.text AS json) AS said OFFSET 0) AS s
          WHERE s.said ->> 'transfer' = :transfer OR s.said ->> 'item' = ANY(CAST(:hashes AS text[]))
            OR (s.said ->> 'kind' = 'request' AND s.said ->> 'request' = CAST(:request AS text))
        ) AS items
        FROM m ORDER BY entry_id
        """,
        {"link_json": LINK_JSON, **given},
    )
    return [Letter(r.entry_id, r.jws, tuple(r.items or ())) for r in found if r.bare or r.items]


async def keys(tx: db.ReadTx, gateway: str, named: Sequence[tuple[str, str]]) -> list[KeyRow]:
    """These keys (owner, kid) with every entry about each; by the index ``log_entry_of_keys``."""
    found = await db.rows(
        tx,
        f"""
        WITH named AS (SELECT * FROM unnest(CAST(:owners AS text[]), CAST(:kids AS text[])) AS n(owner, kid)),
        about AS (
          SELECT e.id, e.kind LIKE 'own-key.%' AS own, r.said ->> 'link' AS link,
                 coalesce(r.said -> 'keys', jsonb_build_array(r.said -> 'key')) AS kids
          FROM log_entry e JOIN log_record l ON l.entry_id = e.id
          CROSS JOIN LATERAL (SELECT CAST(convert_from(l.record, 'UTF8') AS jsonb) AS said) AS r
          WHERE e.kind IN ({_KINDS})
        )
        SELECT n.owner, k.jwk, array_agg(a.id ORDER BY a.id) AS entries
        FROM named n
        JOIN (SELECT link AS owner, kid, jwk FROM peer_key UNION ALL SELECT :gateway, kid, jwk FROM own_key) AS k
          USING (owner, kid)
        JOIN about a ON a.kids ? n.kid AND CASE WHEN n.owner = :gateway THEN a.own ELSE a.link = n.owner END
        GROUP BY n.owner, n.kid, k.jwk ORDER BY n.owner, min(a.id)
        """,
        {"gateway": gateway, "owners": [owner for owner, _ in named], "kids": [kid for _, kid in named]},
    )
    return [KeyRow(r.owner, r.jwk, tuple(r.entries)) for r in found]


async def entries(tx: db.ReadTx, entry_ids: Sequence[int]) -> dict[int, EntryRow]:
    """Leaf, record and salt of these entries."""
    found = await db.rows(
        tx,
        """
        SELECT e.id, e.leaf, r.record, r.salt FROM log_entry e JOIN log_record r ON r.entry_id = e.id
        WHERE e.id = ANY(CAST(:ids AS bigint[]))
        """,
        {"ids": list(entry_ids)},
    )
    return {r.id: EntryRow(bytes(r.leaf).decode(), bytes(r.record).decode(), bytes(r.salt)) for r in found}


async def log_keys(tx: db.ReadTx) -> tuple[list[str], list[str]]:
    """The verifier keys the log ever had, and those of its witnesses."""
    logs = await db.rows(tx, "SELECT unnest(vkeys) AS vkey FROM log_key ORDER BY registered_by")
    witnesses = await db.rows(tx, "SELECT vkey FROM log_witness ORDER BY name")
    return [r.vkey for r in logs], [r.vkey for r in witnesses]


async def first_witnessed(tx: db.ReadTx, indexes: Sequence[int], quorum: int) -> list[tuple[int, str]]:
    """The earliest checkpoints that hold these leaves and that ``quorum`` witnesses have cosigned: size and note."""
    found = await db.rows(
        tx,
        """
        SELECT c.size, c.note, (SELECT json_agg(s.line ORDER BY s.witness) FROM log_cosignature s WHERE s.size = c.size)
          AS lines
        FROM (
          SELECT DISTINCT first.size FROM unnest(CAST(:indexes AS bigint[])) AS i(index)
          CROSS JOIN LATERAL (
            SELECT c.size FROM log_checkpoint c WHERE c.size > i.index
              AND (SELECT count(DISTINCT s.witness) FROM log_cosignature s WHERE s.size = c.size) >= :quorum
            ORDER BY c.size LIMIT 1) AS first
        ) AS wanted JOIN log_checkpoint c USING (size) ORDER BY c.size
        """,
        {"indexes": list(indexes), "quorum": quorum},
    )
    return [(r.size, r.note + "".join(line.rstrip("\n") + "\n" for line in r.lines or ())) for r in found]


def texts(letters: Sequence[Letter]) -> list[str]:
    """The items of these messages, each once."""
    return list(dict.fromkeys(item for letter in letters for item in letter.items))
