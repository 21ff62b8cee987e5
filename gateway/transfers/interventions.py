"""What persons at the gateway may do to a transfer: end it before its commit, or make it ask again. Nothing else.

Neither moves units. An ending begins only while no commit is stored (R2) and is final when the source confirms it;
from the commit on only the registries' signed words count. Out of ``attention`` two different persons together may
lead back to where the transfer waited, so that the same statement is sent again (protocol.md, section 9). Each act is
a log entry that names the person as the caller names them. Raises ``GatewayError``: NOT_FOUND 3001, CONFLICT 3002 or
3003 for a state that does not allow it, MALFORMED for a name that is none.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway import db
from gateway.audit import log
from gateway.domain.check_codes import Finding
from gateway.domain.transfers import CANCELLABLE, FINAL, Event, State, advance
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node
from gateway.transfers import steps, store
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


async def end(tx: db.Tx, node: Node, transfer: str, *, person: str, reason: str) -> Intervention:
    """End a transfer that has no commit yet; the source confirms, and the acquirer is told."""
    row = await _lock(tx, transfer, {"person": (person, MAX_NAME), "reason": (reason, MAX_REASON)})
    if row.state not in CANCELLABLE:
        raise _not_now(row, "only a transfer without a commit can be ended; now the source's signed word decides")
    return await _intervene(tx, node, row, Event.OPERATOR_ENDED, person, (Finding(5901, detail=reason),))


async def resume(tx: db.Tx, node: Node, transfer: str, *, person: str) -> Intervention:
    """Agree that a transfer in ``attention`` asks again; it does once two persons have agreed at its version."""
    row = await _lock(tx, transfer, {"person": (person, MAX_NAME)})
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


async def _lock(tx: db.Tx, transfer: str, texts: dict[str, tuple[str, int]]) -> Row:
    for name, (text, longest) in texts.items():
        if not text.strip() or len(text) > longest or not text.isprintable():
            detail = f"a {name} is a printable text of 1 to {longest} characters"
            raise GatewayError(Kind.MALFORMED, detail, code=2014)
    row = (await store.lock(tx, [transfer])).get(transfer)
    if row is None:
        raise GatewayError(Kind.NOT_FOUND, f"there is no transfer {transfer}", code=3001)
    return row


def _not_now(row: Row, why: str) -> GatewayError:
    code = 3003 if row.state in FINAL else 3002
    return GatewayError(Kind.CONFLICT, f"the transfer is {row.state}: {why}", code=code)


async def _logged(tx: db.Tx, row: Row, kind: str, person: str, now: datetime) -> int:
    record: dict[str, Any] = {"transfer": row.id, "version": row.version, "person": person}
    [entry_id] = await log.append(tx, [log.draft(kind, now, record)])
    return entry_id
