"""What the gateway's answer to a question leads to.

A commit, cancel, settle or closed that is shown in it is treated as if it had been received: by the same state
tables, in one transaction. A gateway that does not know the transfer is told again what was said last, with what
that rests on (R26): it may have lost data, and finds its own signature inside.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from . import acquirer, outcomes, post, proposing, source, transfers
from .database import Row, Tx
from .envelope import Message
from .outcomes import Outcome, Statement
from .registry import Registry
from .signature import digest, segment
from .transfers import ACQUIRER, SOURCE

#: What the gateway says of a transfer it has no row of.
NOT_KNOWN = "not known here"
#: A person decides there what comes next: nothing is done here on what is shown meanwhile.
ATTENTION = "attention"

Handler = Callable[[Tx, Registry, Message], Awaitable[Sequence[Outcome]]]

_HANDLERS: Mapping[str, Mapping[str, Handler]] = {
    SOURCE: {"commit": source.commit, "cancel": source.cancel, "closed": source.closed},
    ACQUIRER: {"settle": acquirer.settle, "closed": acquirer.closed},
}
#: What was said last in a state: said again to a gateway that does not know the transfer.
LAST_WORDS = {
    (SOURCE, "locked"): ("propose",),
    (SOURCE, "released"): ("propose", "released"),
    (SOURCE, "done"): ("propose", "released"),
    (SOURCE, "void"): ("voided",),
    (ACQUIRER, "accepted"): ("answer",),
    (ACQUIRER, "rejected"): ("answer",),
    (ACQUIRER, "credited"): ("credited",),
    (ACQUIRER, "done"): ("credited",),
}


async def hear(tx: Tx, registry: Registry, transfer: str, role: str, told: Message) -> None:
    """Act on the statement of the gateway that an answer shows, and say what follows from it."""
    for kind, handler in _HANDLERS[role].items():
        message = _inside(registry, transfer, kind, told)
        if message is not None:
            await post.witness(tx, message.jws)
            judged = await handler(tx, registry, message)
            await outcomes.say_unsaid(tx, registry, [o.statement for o in judged if o.statement])


async def say_again(tx: Tx, registry: Registry, row: Row) -> None:
    """Say the last words about a transfer again, under new ids (R26)."""
    transfer, role = row["transfer"], row["role"]
    names = LAST_WORDS.get((role, row["state"]), ())
    said = await transfers.steps(tx, role, [transfer], names)
    for name in names:
        text = said.get((transfer, name))
        if text is not None and name == "propose":
            await proposing.say_proposals(tx, registry, {transfer: text})
        elif text is not None:
            await outcomes.say(tx, registry, [Statement(transfer, name, text, False)])


def _inside(registry: Registry, transfer: str, kind: str, told: Message) -> Message | None:
    """Give the gateway's message of this kind about the transfer, with that one item as its own."""
    found = told.evidence.of_transfer(transfer, kind, f"transfer.{kind}", registry.gateway)
    if found is None:
        return None
    item, jws = found
    payload: dict[str, Any] = segment(jws.split(".")[1])
    return Message(jws, digest(jws), "", payload, [item], told.evidence)
