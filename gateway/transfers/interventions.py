"""What persons at the gateway may do to a transfer: end it before its commit, or make it ask again. Nothing else.

Only the source's people may, and the gateway's own administrators. Neither moves units. An ending begins only while no
commit is stored (R2) and is final when the source confirms it; from the commit on only the registries' signed words
count. Out of ``attention`` two different persons together may lead back to where the transfer waited, so that the same
statement is sent again (protocol.md, section 9). Each act is a log entry that names who decided it. Raises
``GatewayError``: FORBIDDEN 8001 for a transfer that is not the caller's, or NOT_FOUND 3001 to who sees everything;
CONFLICT 3002 or 3003 for a state that does not allow it; MALFORMED 2014 for a name or reason that is none.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.audit import log
from gateway.domain.callers import Caller
from gateway.domain.check_codes import Finding
from gateway.domain.transfers import CANCELLABLE, FINAL, Event, State, advance
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node
from gateway.transfers import steps, store, viewers
from gateway.transfers.steps import Taken
from gateway.transfers.store import Row

#: Persons who must agree before a transfer in ``attention`` is resumed.
RESUMING_PERSONS = 2
#: Longest name or reason taken.
MAX_NAME, MAX_REASON = 64, 500


@dataclass(frozen=True, slots=True)
class Intervention:
    """Where the transfer stands after it, and how many more persons must agree before anything happens."""

    transfer: str
    state: State
    awaited: int


async def end(tx: db.Tx, node: Node, transfer: str, *, caller: Caller, reason: str) -> Intervention:
    """End a transfer that has no commit yet; the source confirms, and the acquirer is told."""
    _require_text("reason", reason, MAX_REASON)
    row = await _lock(tx, transfer, caller)
    if row.state not in CANCELLABLE:
        raise _not_now(row, "only a transfer without a commit can be ended; now the source's signed word decides")
    return await _intervene(tx, node, row, Event.OPERATOR_ENDED, caller.id, (Finding(5901, detail=reason),))


async def resume(tx: db.Tx, node: Node, transfer: str, *, caller: Caller, person: str) -> Intervention:
    """Agree that a transfer in ``attention`` asks again; it does once two persons have agreed at its version."""
    _require_text("person", person, MAX_NAME)
    row = await _lock(tx, transfer, caller)
    if row.state is not State.ATTENTION:
        raise _not_now(row, "only a transfer that waits for persons can be resumed")
    if row.commit_id is None:
        raise _not_now(row, "this gateway has lost what it said; the registry's own word, said again, leads on")
    now = node.clock()
    entry_id = await _logged(tx, row, "transfer.resume-agreed", person, now)
    agreed = await store.agree(tx, row, " ".join(person.casefold().split()), entry_id, now)
    if agreed < RESUMING_PERSONS:
        return Intervention(row.id, row.state, RESUMING_PERSONS - agreed)
    return await _intervene(tx, node, row, Event.RESUMED, person, ())


async def _intervene(
    tx: db.Tx, node: Node, row: Row, event: Event, person: str, findings: tuple[Finding, ...]
) -> Intervention:
    after, now = advance(row.progress, event), node.clock()
    assert after is not None  # the states were looked at, under the row's lock
    entry_id = await _logged(tx, row, f"transfer.{event}", person, now)
    await steps.take(tx, node, [Taken(row, event, after, findings)], now, cause_entry=entry_id)
    return Intervention(row.id, after.state, 0)


def _require_text(name: str, text: str, longest: int) -> None:
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise GatewayError(Kind.MALFORMED, f"a {name} is a printable text of 1 to {longest} characters", code=2014)


async def _lock(tx: db.Tx, transfer: str, caller: Caller) -> Row:
    if not await viewers.of_source(tx, transfer, caller.sight):
        raise caller.sight.absent(f"there is no transfer {transfer}", 3001)
    return (await store.lock(tx, [transfer]))[transfer]


def _not_now(row: Row, why: str) -> GatewayError:
    code = 3003 if row.state in FINAL else 3002
    return GatewayError(Kind.CONFLICT, f"the transfer is {row.state}: {why}", code=code)


async def _logged(tx: db.Tx, row: Row, kind: str, person: str, now: datetime) -> int:
    record: dict[str, Any] = {"transfer": row.id, "version": row.version, "person": person}
    [entry_id] = await log.append(tx, [log.draft(kind, now, record)])
    return entry_id
