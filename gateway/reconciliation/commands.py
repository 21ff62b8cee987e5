"""Asks for a reconciliation now, in the name of a caller; a worker does it.

Raises what a missing link or a link that is not reconciled deserves (8001 or 3001, 1010), CONFLICT 3002 while a run of
the link is under way, with its id, and FORBIDDEN 8001 where somebody of one of several books behind a link wants
another announcement than is usual: it would hold up, or hasten, all the others.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Announcing:
    """How long ahead cuts are announced: ``usual`` by the settings, ``wanted`` by who asks, if they say so."""

    usual: int
    wanted: int | None = None

    def seconds(self, caller: Caller, link: str) -> int:
        """The time ahead for a link; raises FORBIDDEN 8001 as the module says."""
        if self.wanted is None or self.wanted == self.usual:
            return self.usual
        if caller.sight.code not in (None, link):
            raise GatewayError(Kind.FORBIDDEN, f"only people of {link} may ask for another announcement", code=8001)
        return self.wanted


async def request(
    tx: db.Tx, node: Node, link: str, *, caller: Caller, announcing: Announcing, whole: bool = False
) -> str:
    """Let a run of a link begin now, whose cut is announced as is said; its id.

    ``whole``: what is kept of the books here is made anew from their positions first.
    """
    found = await links.find(tx, link)
    if found is None or (caller.sight.code is not None and caller.sight.code not in (link, *found.registries)):
        raise caller.sight.absent(f"there is no link {link}", 3001)
    if found.state is not LinkState.ACTIVE or Capability.RECONCILE not in found.capabilities:
        raise GatewayError(Kind.FORBIDDEN, f"{link} is {found.state}, or not to be reconciled", code=1010)
    announce_seconds = announcing.seconds(caller, link)
    known, state, _ = await _open(tx, node, link, announcing.usual)
    now = node.clock()
    if state is not State.PLANNED or not await store.bring_forward(tx, known, caller.id, announce_seconds, whole, now):
        raise _under_way(known, link)
    record = {"reconciliation": known, "link": link, "announce_seconds": announce_seconds, "whole": whole}
    await log.append(tx, [log.draft("reconciliation.asked", now, {**record, **caller.named})])
    return known


async def request_all(
    tx: db.Tx, node: Node, *, caller: Caller, announcing: Announcing, whole: bool = False
) -> list[str]:
    """The same for every link that the caller sees and that is reconciled; the runs, those under way already too.

    Raises CONFLICT 3002 where one is under way that does not make anew what was asked to be.
    """
    runs: list[str] = []
    for link in await links.links(tx, caller.sight):
        if link.state is not LinkState.ACTIVE or Capability.RECONCILE not in link.capabilities:
            continue
        known, state, makes_anew = await _open(tx, node, link.code, announcing.usual)
        if state is not State.PLANNED and whole and not makes_anew:
            raise _under_way(known, link.code)
        if state is State.PLANNED:
            known = await request(tx, node, link.code, caller=caller, announcing=announcing, whole=whole)
        runs.append(known)
    return runs


def _under_way(run: str, link: str) -> GatewayError:
    context = {"reconciliation": run}
    return GatewayError(Kind.CONFLICT, f"reconciliation {run} of {link} is under way", code=3002, context=context)


async def _open(tx: db.Tx, node: Node, link: str, announce_seconds: int) -> tuple[str, State, bool]:
    """The link's run that has not ended, locked; planned now where there is none."""
    run = await store.open_run(tx, link)
    if run is None:
        await store.plan(tx, [Planned(new_message_id(), link, node.clock())], announce_seconds)
        run = await store.open_run(tx, link)
        assert run is not None  # one is there now, whoever planned it
    return run
