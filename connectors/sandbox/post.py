"""Messages in the database: the one place where a message of this registry gets its number and is stored.

``store`` composes, signs and stores in the caller's transaction; nothing leaves before that transaction has
committed (R1). Numbers are gapless because the counter's row stays locked until then, so ``store`` belongs
at the end of a transaction. ``owed`` messages are sent by ``sender`` until a receipt is stored.
"""

from . import backup
from .database import Tx
from .envelope import Draft, Message, Outgoing, compose
from .registry import Registry
from .signature import digest, segment


async def store(
    tx: Tx,
    registry: Registry,
    draft: Draft,
    *,
    answers: str | None = None,
    owed: bool = False,
    leads: bool = False,
) -> Outgoing:
    """Sign and store a message; ``answers`` makes it the answer every repetition of that message gets.

    What rests on a message that ``leads`` is sent when it is receipted (``sender``).
    """
    numbered = await tx.one(
        "INSERT INTO stream (peer, last_seq) VALUES (%s, 1)"
        " ON CONFLICT (peer) DO UPDATE SET last_seq = stream.last_seq + 1 RETURNING last_seq",
        registry.gateway,
    )
    seq = numbered["last_seq"] if numbered else None
    message = compose(draft, registry.key, registry.code, registry.gateway, seq)
    await tx.execute(
        "INSERT INTO sent (id, seq, type, content_type, jws, body, answers, owed, leads, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        message.id,
        seq,
        message.type,
        message.content_type,
        message.jws,
        message.body,
        answers,
        owed,
        leads,
        message.expires_at,
    )
    tx.wakes_sender = tx.wakes_sender or owed
    return message


async def claim(tx: Tx, message: Message) -> tuple[bool, Outgoing | None]:
    """Write the replay key (R12). Gives whether the bytes agree, and the stored answer to a repetition.

    A concurrent repetition waits here until the first one has committed. A message whose answer was not a
    verdict is kept without an answer, and is handled again (R23). Raises ``NotServing`` after a restore (R15).
    """
    await tx.execute(
        "INSERT INTO received (id, sha256, jws_sha256, type, jws) VALUES (%s, %s, %s, %s, %s)"
        # A message that was seen before only inside another: now its own bytes are here.
        " ON CONFLICT (id) DO UPDATE SET sha256 = EXCLUDED.sha256"
        " WHERE received.sha256 IS NULL AND received.jws_sha256 = EXCLUDED.jws_sha256",
        message.id,
        message.body_sha256,
        message.jws_sha256,
        message.type,
        message.jws,
    )
    found = await tx.one(
        "SELECT r.sha256, s.id, s.type, s.seq, s.jws, s.content_type, s.body,"
        " EXISTS (SELECT FROM setting WHERE name = %s) AS restored"
        " FROM received r LEFT JOIN sent s ON s.answers = r.id WHERE r.id = %s FOR UPDATE OF r",
        backup.MARK,
        message.id,
    )
    if found is not None and found["restored"]:
        raise backup.NotServing
    if found is None or found["sha256"] != message.body_sha256:
        return False, None
    if found["id"] is None:
        return True, None
    return True, Outgoing(
        str(found["id"]),
        found["type"],
        found["seq"],
        found["jws"],
        found["content_type"],
        bytes(found["body"]),
        None,
    )


async def witness(tx: Tx, jws: str) -> str:
    """Keep a proven message that was carried inside another, and give its id.

    It is no repetition when it comes by itself.
    """
    payload = segment(jws.split(".")[1])
    await tx.execute(
        "INSERT INTO received (id, jws_sha256, type, jws) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        payload["id"],
        digest(jws),
        payload["type"],
        jws,
    )
    return str(payload["id"])


async def knows(tx: Tx, message_id: str, jws_sha256: str) -> bool:
    """Say whether a message of the gateway has been received here."""
    found = await tx.one("SELECT 1 AS known FROM received WHERE id = %s AND jws_sha256 = %s", message_id, jws_sha256)
    return found is not None
