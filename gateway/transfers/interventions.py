"""What persons at the gateway may do to a transfer: end it before its commit, or make it ask again. Nothing else.

Only the source's people may, and the gateway's own administrators. Neither moves units. An ending begins only while no
commit is stored (R2) and is final when the source confirms it; from the commit on only the registries' signed words
count. Out of ``attention`` two persons of the transferring registry, or of the link that it is behind, one who asks and
one who approves, may lead back to where the transfer waited, so that the same statement is sent again (protocol.md,
section 9): what they decide names the version of the row, so it counts for one stay there. Each act is a log entry that
names the persons. Raises ``GatewayError``: FORBIDDEN 8001 for a transfer that is not the caller's, or NOT_FOUND 3001 to
who sees everything; CONFLICT 3002 or 3003 for a state that does not allow it; MALFORMED 2014 for a reason that is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.approvals.commands import Act
from gateway.audit import log
from gateway.domain.callers import EVERYTHING, Caller, Sight
from gateway.domain.check_codes import Finding
from gateway.domain.transfers import CANCELLABLE, FINAL, Event, State, advance
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node
from gateway.transfers import steps, store, viewers
from gateway.transfers.steps import Taken
from gateway.transfers.store import Row

#: Longest name or reason taken.
MAX_NAME, MAX_REASON = 64, 500
#: The act of letting a transfer ask again, as persons approve it.
RESUME = "transfer.resume"


@dataclass(frozen=True, slots=True)
class Intervention:
    """Where the transfer stands after it."""

    transfer: str
    state: State


async def end(tx: db.Tx, node: Node, transfer: str, *, caller: Caller, reason: str) -> Intervention:
    """End a transfer that has no commit yet; the source confirms, and the acquirer is told."""
    _require_text("reason", reason, MAX_REASON)
    row = await _lock(tx, transfer, caller.sight)
    if row.state not in CANCELLABLE:
        raise _not_now(row, "only a transfer without a commit can be ended; now the source's signed word decides")
    return await _intervene(tx, node, row, Event.OPERATOR_ENDED, caller.named, (Finding(5901, detail=reason),))


async def resumption(tx: db.Tx | db.ReadTx, caller: Caller, transfer: str) -> Act:
    """What is to be approved so that a transfer in ``attention`` asks again; its source's people ask for it.

    Those of a section and those of the registry that keeps it are both: the ones who ask are the ones who decide.
    """
    row = await _of_source(tx, transfer, caller.sight)
    _require_resumable(row)
    return Act(RESUME, caller.sight.code or row.transferring_registry, {"transfer": row.id, "version": row.version})


async def resume(tx: db.Tx, node: Node, transfer: str, version: int, *, by: tuple[str, str]) -> Intervention:
    """Let a transfer in ``attention`` ask again, as two persons have decided of it at this version."""
    row = await _lock(tx, transfer, EVERYTHING)
    _require_resumable(row)
    if row.version != version:
        raise _not_now(row, "it has moved on and come back since it was asked for")
    return await _intervene(tx, node, row, Event.RESUMED, {"person": " and ".join(by)}, ())


def _require_resumable(row: Row) -> None:
    if row.state is not State.ATTENTION:
        raise _not_now(row, "only a transfer that waits for persons can be resumed")
    if row.commit_id is None:
        raise _not_now(row, "this gateway has lost what it said; the registry's own word, said again, leads on")


async def _intervene(
    tx: db.Tx, node: Node, row: Row, event: Event, who: Mapping[str, Any], findings: tuple[Finding, ...]
) -> Intervention:
    after, now = advance(row.progress, event), node.clock()
    assert after is not None  # the states were looked at, under the row's lock
    entry_id = await _logged(tx, row, f"transfer.{event}", who, now)
    await steps.take(tx, node, [Taken(row, event, after, findings)], now, cause_entry=entry_id)
    return Intervention(row.id, after.state)


def _require_text(name: str, text: str, longest: int) -> None:
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise GatewayError(Kind.MALFORMED, f"a {name} is a printable text of 1 to {longest} characters", code=2014)


async def _of_source(tx: db.Tx | db.ReadTx, transfer: str, sight: Sight) -> Row:
    row = await store.find(tx, transfer) if await viewers.of_source(tx, transfer, sight) else None
    if row is None:
        raise sight.absent(f"there is no transfer {transfer}", 3001)
    return row


async def _lock(tx: db.Tx, transfer: str, sight: Sight) -> Row:
    await _of_source(tx, transfer, sight)
    return (await store.lock(tx, [transfer]))[transfer]


def _not_now(row: Row, why: str) -> GatewayError:
    code = 3003 if row.state in FINAL else 3002
    return GatewayError(Kind.CONFLICT, f"the transfer is {row.state}: {why}", code=code)


async def _logged(tx: db.Tx, row: Row, kind: str, who: Mapping[str, Any], now: datetime) -> int:
    record: dict[str, Any] = {"transfer": row.id, "version": row.version, **who}
    [entry_id] = await log.append(tx, [log.draft(kind, now, record)])
    return entry_id
