"""Changes of links that two persons decide on: the next state, and how far a link may be used.

``step_wanted`` and ``change_wanted`` say what is to be approved, and refuse what is not possible now; ``take_step``
and ``change`` do it, in the transaction that consumes the approval, if the link still is as it was then. What is
approved when a link is put to the test names its address, its registries with the Party of each, its time limit and its
keys: that is what the second person vouches for.
Each is one entry of the log. Raises NOT_FOUND 3001 without such a link, CONFLICT 3002 for a state, a field or a key
that has changed meanwhile, MALFORMED 2014 for a value that is none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway import db
from gateway.audit import log
from gateway.errors import GatewayError, Kind
from gateway.links import key_store, store
from gateway.links.lifecycle import STEPS, State, Step, sound
from gateway.links.store import Link
from gateway.messages.outbox import Node

Parameters = Mapping[str, Any]
#: What each step is called in the log.
_NOTED = {Step.TEST: "testing", Step.SUSPEND: "suspended", Step.REACTIVATE: "reactivated", Step.CLOSE: "closed"}


async def step_wanted(tx: db.Tx | db.ReadTx, code: str, step: Step) -> dict[str, Any]:
    """What is to be approved so that a link takes ``step``."""
    link = await require(tx, code)
    begins, _ = STEPS[step]
    if link.state not in begins:
        raise GatewayError(Kind.CONFLICT, f"the link is {link.state}: no {step} from there", code=3002)
    return await _as_it_is(tx, link, step)


async def take_step(tx: db.Tx, node: Node, step: Step, parameters: Parameters, by: Sequence[str]) -> dict[str, Any]:
    """Take a step that was approved."""
    code = str(parameters["link"])
    await store.lock(tx, code)
    if await step_wanted(tx, code, step) != dict(parameters):
        raise GatewayError(Kind.CONFLICT, f"the link with {code} is not as it was when this was asked for", code=3002)
    begins, after = STEPS[step]
    record = {"link": code, "by": list(by)}
    [entry_id] = await log.append(tx, [log.draft(f"link.{_NOTED[step]}", node.clock(), record)])
    await store.move(tx, code, [State(state) for state in begins], after, entry_id)
    return {"link": code, "state": after.value}


async def change_wanted(tx: db.Tx | db.ReadTx, node: Node, code: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be approved so that fields of a link have other values; says of each what it was."""
    link = await require(tx, code)
    if link.state is State.CLOSED:
        raise GatewayError(Kind.CONFLICT, "the link is closed", code=3002)
    before = link.fields
    read = {field: sound(link.kind, field, value) for field, value in wanted.items()}
    if "url" in read:
        node.reach.check(read["url"])
    changes = {field: {"from": before[field], "to": value} for field, value in read.items() if before[field] != value}
    if not changes:
        raise GatewayError(Kind.MALFORMED, f"nothing of the link with {code} would change", code=2014)
    return {"link": code, "changes": changes}


async def change(tx: db.Tx, node: Node, parameters: Parameters, by: Sequence[str]) -> dict[str, Any]:
    """Make a change that was approved."""
    code, changes = str(parameters["link"]), parameters["changes"]
    await store.lock(tx, code)
    link = await require(tx, code)
    moved = [field for field, value in changes.items() if link.fields[field] != value["from"]]
    if moved or link.state is State.CLOSED:
        what = f"{moved[0]} has been changed meanwhile" if moved else "the link is closed"
        raise GatewayError(Kind.CONFLICT, what, code=3002)
    entry = log.draft("link.changed", node.clock(), {"link": code, "changes": changes, "by": list(by)})
    [entry_id] = await log.append(tx, [entry])
    await store.change(tx, code, {**link.fields, **{f: v["to"] for f, v in changes.items()}}, entry_id)
    return {"link": code, **{field: value["to"] for field, value in changes.items()}}


async def require(tx: db.Tx | db.ReadTx, code: str) -> Link:
    """The link; raises NOT_FOUND with 3001."""
    link = await store.find(tx, code)
    if link is None:
        raise GatewayError(Kind.NOT_FOUND, f"no link with {code} is registered", code=3001)
    return link


async def _as_it_is(tx: db.Tx | db.ReadTx, link: Link, step: Step) -> dict[str, Any]:
    """What a step is about: before anything is received, everything that will be believed."""
    if step is not Step.TEST:
        return {"link": link.code, "from": link.state.value}
    keys = sorted(key.kid for key in await key_store.keys(tx, [link.code]) if key.revoked_at is None)
    parties = {code: behind.party for code, behind in (await store.behind(tx, link.registries)).items()}
    believed = {"kind": link.kind, "url": link.url, "registries": parties, "time_limit_hours": link.time_limit_hours}
    return {"link": link.code, **believed, "keys": keys}
