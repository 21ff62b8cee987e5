"""Signs outgoing messages and stores them, in the transaction of what they say; sending comes after its commit (R1).

``store`` gives each message its place in the gapless stream to its peer, signs it, appends its log entry and
keeps its exact bytes: a fixed number of statements, however many messages and items. What was stored is never
signed again: a repetition sends the same bytes. Only what is kept bare (``logged``) is never repeated. Fails with the
database, and with UNAVAILABLE for a key of ours that may not sign (``gateway.keys``): nothing is stored then, so nobody
is sent what they could not verify.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gateway import db
from gateway.audit import log
from gateway.domain.addresses import PUBLIC, Reach
from gateway.errors import GatewayError, Kind
from gateway.messages import logged
from gateway.messages import store as rows
from gateway.signing import compact, envelope
from gateway.signing.envelope import Reference, SignedMessage
from gateway.signing.keys import Signer
from gateway.signing.messages import new_message_id

#: The longest wait between two attempts to send.
LONGEST_WAIT_SECONDS = 300


#: By when a response to a case is due where nothing else is configured. The texts that set how long Parties have
#: (CMA 6) were not available; a fortnight is what two administrators need who have to ask a ministry each.
RESPONSE_DUE = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Node:
    """This gateway as a sender: its link code, its key, its clock (aware UTC), and where its peers may be.

    ``response_due`` is how long they have for a response to a case.
    """

    code: str
    signer: Signer
    clock: Callable[[], datetime]
    reach: Reach = PUBLIC
    response_due: timedelta = RESPONSE_DUE


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be signed. ``items`` are its own item texts, ``carried`` those of the messages in ``evidence``."""

    peer: str
    type: str
    items: Sequence[str] = ()
    carried: Sequence[str] = ()
    evidence: Sequence[str] = ()
    body: dict[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
    in_reply_to: Reference | None = None
    leaf: str | None = None
    #: Queries, their answers and refusals that are no verdict have no place in the stream.
    numbered: bool = True


@dataclass(frozen=True, slots=True)
class Lease:
    """Until when which worker alone sends a statement. It saves work; safety never rests on it (R3, R4, N6)."""

    worker: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Wait:
    """Why what was sent is still due, and how long at least it is put off: from ``now``, by whoever holds ``lease``."""

    lease: Lease
    now: datetime
    floor_seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A message that is signed and stored, with the entry that records it."""

    entry_id: int
    message: SignedMessage


async def store(tx: db.Tx, node: Node, drafts: Sequence[Draft], *, answering: str | None = None) -> list[Stored]:
    """Sign and store ``drafts``, in order; the caller sends them after the commit.

    ``answering`` names the peer whose receipt will follow in the same transaction: its stream is locked now,
    together with the others, so that two transactions never wait for each other.
    """
    if not drafts:
        return []
    now = node.clock()
    numbers = await _numbers(tx, drafts, answering)
    signed = [_sign(node, d, seq, now) for d, seq in zip(drafts, numbers, strict=True)]
    entries = await log.append(tx, [_entry(node, d, m, now) for d, m in zip(drafts, signed, strict=True)])
    together = zip(drafts, signed, numbers, entries, strict=True)
    kept = await rows.insert(tx, [_row(d, m, seq, entry, now) for d, m, seq, entry in together], node.signer.kid)
    if not kept:
        raise GatewayError(Kind.UNAVAILABLE, f"key {node.signer.kid} signs no more: start with another", code=9002)
    return [Stored(e, m) for e, m in zip(entries, signed, strict=True)]


def _row(draft: Draft, message: SignedMessage, seq: int | None, entry_id: int, now: datetime) -> rows.Message:
    bare = logged.is_kept_bare(message)
    return rows.Message(
        entry_id,
        "out",
        draft.peer,
        message.id,
        draft.type,
        seq,
        draft.in_reply_to.id if draft.in_reply_to else None,
        compact.decode(logged.kept_sha256(message)),
        envelope.JOSE if bare else message.content_type,
        message.jws.encode("ascii") if bare else message.body,
        now,
    )


async def _numbers(tx: db.Tx, drafts: Sequence[Draft], answering: str | None) -> list[int | None]:
    counts = Counter(d.peer for d in drafts if d.numbered)
    wanted = {peer: counts[peer] for peer in {*counts, *filter(None, [answering])}}
    if not wanted:
        return [None] * len(drafts)
    streams = {peer: iter(numbers) for peer, numbers in (await rows.next_numbers(tx, wanted)).items()}
    return [next(streams[d.peer]) if d.numbered else None for d in drafts]


def _sign(node: Node, draft: Draft, seq: int | None, now: datetime) -> SignedMessage:
    return envelope.sign(
        node.signer,
        sender=node.code,
        receiver=draft.peer,
        type=draft.type,
        message_id=new_message_id(),
        sent_at=now,
        body={**draft.body, "evidence": list(draft.evidence)} if draft.evidence else draft.body,
        items=[*draft.items, *draft.carried],
        seq=seq,
        expires_at=draft.expires_at,
        in_reply_to=draft.in_reply_to,
        leaf=draft.leaf,
    )


def _entry(node: Node, draft: Draft, message: SignedMessage, now: datetime) -> log.Draft:
    """Item hashes, not transfer ids: the record of a batch disclosed for one transfer must not name the others."""
    record = {
        "direction": "out",
        "peer": draft.peer,
        "message": message.id,
        "sha256": logged.kept_sha256(message),
        "jws": message.jws_sha256,
        "key": node.signer.kid,
        "items": [compact.digest(text) for text in draft.items],
    }
    return log.draft(draft.type, now, record)
