"""Asks for a reconciliation now, in the name of a caller; a worker does it.

Raises what a missing link or a link that is not reconciled deserves (8001 or 3001, 1010), and CONFLICT 3002 while a run
of the link is under way, with its id.
"""

from gateway import db
from gateway.audit import log
from gateway.domain.callers import Caller
from gateway.domain.registry import Capability
from gateway.errors import GatewayError, Kind
from gateway.links import store as links
from gateway.links.lifecycle import State as LinkState
from gateway.messages.outbox import Node
from gateway.reconciliation import store
from gateway.reconciliation.store import Planned, State
from gateway.signing.messages import new_message_id

#: The longest time ahead that a cut is announced: a registry refuses one more than a day ahead (6101).
MOST_ANNOUNCED_SECONDS = 86_400


async def request(
    tx: db.Tx, node: Node, link: str, *, caller: Caller, announce_seconds: int, whole: bool = False
) -> str:
    """Let a run of a link begin now, whose cut is announced so long ahead; its id.

    ``whole``: what is kept of the books here is made anew from their positions first.
    """
    found = await links.find(tx, link)
    if found is None or (caller.sight.code is not None and caller.sight.code not in (link, *found.registries)):
        raise caller.sight.absent(f"there is no link {link}", 3001)
    if found.state is not LinkState.ACTIVE or Capability.RECONCILE not in found.capabilities:
        raise GatewayError(Kind.FORBIDDEN, f"{link} is {found.state}, or not to be reconciled", code=1010)
    known, state = await _open(tx, node, link, announce_seconds)
    if state is not State.PLANNED:
        context = {"reconciliation": known}
        raise GatewayError(Kind.CONFLICT, f"reconciliation {known} of {link} is under way", code=3002, context=context)
    now = node.clock()
    await store.bring_forward(tx, known, caller.id, announce_seconds, whole, now)
    record = {"reconciliation": known, "link": link, "announce_seconds": announce_seconds, "whole": whole}
    await log.append(tx, [log.draft("reconciliation.asked", now, {**record, **caller.named})])
    return known


async def request_all(
    tx: db.Tx, node: Node, *, caller: Caller, announce_seconds: int, whole: bool = False
) -> list[str]:
    """The same for every link that the caller sees and that is reconciled; the runs, those under way already too."""
    runs: list[str] = []
    for link in await links.links(tx, caller.sight):
        if link.state is not LinkState.ACTIVE or Capability.RECONCILE not in link.capabilities:
            continue
        known, state = await _open(tx, node, link.code, announce_seconds)
        if state is State.PLANNED:
            known = await request(tx, node, link.code, caller=caller, announce_seconds=announce_seconds, whole=whole)
        runs.append(known)
    return runs


async def _open(tx: db.Tx, node: Node, link: str, announce_seconds: int) -> tuple[str, State]:
    """The link's run that has not ended, locked; planned now where there is none."""
    run = await store.open_run(tx, link)
    if run is None:
        await store.plan(tx, [Planned(new_message_id(), link, node.clock())], announce_seconds)
        run = await store.open_run(tx, link)
        assert run is not None  # one is there now, whoever planned it
    return run
