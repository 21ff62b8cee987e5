"""The demo's two administrators: synthetic persons, of whom one asks for what takes two and the other approves it."""

from gateway import db
from gateway.approvals import commands
from gateway.approvals.commands import Act
from gateway.approvals.store import State
from gateway.domain.callers import EVERYTHING, Caller, Scope
from gateway.errors import invariant
from gateway.messages.outbox import Node
from gateway.wiring import EXECUTORS

ONE, TWO = (Caller(f"demo-administrator-{n}", person=True, sight=EVERYTHING, scopes=frozenset(Scope)) for n in (1, 2))


async def decide(tx: db.Tx, node: Node, act: Act) -> None:
    """Ask for an act and approve it."""
    asked = await commands.request(tx, node, ONE, act)
    done = await commands.approve(tx, node, TWO, asked.id, asked.sha256, EXECUTORS)
    invariant(done.state is State.APPROVED, f"{act.kind} of {act.registry} is {done.state}: {done.reason}")
