"""The links over HTTP: register a system, and ask for changes of a link and of the keys that vouch for it.

Registering makes a link over which nothing is received yet. Everything that changes what is believed or passed on
takes two persons: it is answered 202 with an approval that says it exactly.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter

from gateway import db
from gateway.alarms import store as alarms
from gateway.approvals.commands import Act
from gateway.domain.callers import Caller, Scope, hidden
from gateway.domain.identifiers import parse_link_code
from gateway.links import changing, commands
from gateway.links import store as links
from gateway.links.lifecycle import Step, decided_by
from gateway.links.store import Link
from gateway.messages.outbox import Node
from gateway.signing.trust import PeerKey
from gateway.web import link_schemas, schemas
from gateway.web.approving import FourEyes
from gateway.web.auth import needs

#: Says what is to be approved, from what is stored now.
Wanted = Callable[[db.Tx], Awaitable[dict[str, Any]]]
Admin = Annotated[Caller, needs(Scope.LINKS_ADMIN)]
Reader = Annotated[Caller, needs(Scope.LINKS_READ)]


def linking(database: db.Database, node: Node, four_eyes: FourEyes) -> APIRouter:
    """Links: one as it is, registering one, and what two persons change of one."""
    router = APIRouter(tags=["links"])

    @router.post("/links", status_code=201)
    async def register(wanted: link_schemas.NewLink, caller: Admin) -> link_schemas.RegisteredLink:
        """Register a system and its keys. Nothing is received of it until two persons put the link to the test."""
        caller.require_all()
        made = wanted.link()

        async def work(tx: db.Tx) -> list[str]:
            return await commands.register(tx, node, made, wanted.parties, wanted.keys, [caller.id])

        kids = await database.run(work, "links.register")
        return link_schemas.RegisteredLink(link=made.code, state=made.state.value, keys=kids)

    @router.get("/links/{code}")
    async def show(code: str, caller: Reader) -> link_schemas.Link:
        """One link: its state, what it may be used for, its limits."""
        async with database.reading() as tx:
            found, raised = await _seen(tx, caller, code), await alarms.counts(tx, caller.sight)
        return shown(found, raised.get(code, 0))

    @router.get("/links/{code}/keys")
    async def keys(code: str, caller: Reader) -> list[link_schemas.LinkKey]:
        """Every key that was ever registered for a link, with its window and revocation."""
        async with database.reading() as tx:
            await _seen(tx, caller, code)
            return [_key(key) for key in await commands.keys(tx, code)]

    _steps(router, node, four_eyes)
    _keys(router, node, four_eyes)
    return router


def _steps(router: APIRouter, node: Node, four_eyes: FourEyes) -> None:
    """The states of a link, and its fields."""

    @router.patch("/links/{code}", status_code=202)
    async def change(code: str, wanted: link_schemas.LinkChange, caller: Admin) -> schemas.Approval:
        """Ask for another address, time limit, use, rate, daily quantity or transfer window; null is no limit."""
        changes = wanted.model_dump(exclude_unset=True)
        return await _asked(
            four_eyes, caller, code, "change", lambda tx: changing.change_wanted(tx, node, code, changes)
        )

    async def step(code: str, caller: Caller, step: Step) -> schemas.Approval:
        return await _asked(four_eyes, caller, code, step.value, lambda tx: changing.step_wanted(tx, code, step))

    @router.post("/links/{code}/test", status_code=202)
    async def test(code: str, caller: Admin) -> schemas.Approval:
        """Ask that a registered link is tested: its registry may then ask for the time, and open the link."""
        return await step(code, caller, Step.TEST)

    @router.post("/links/{code}/suspend", status_code=202)
    async def suspend(code: str, caller: Admin) -> schemas.Approval:
        """Ask that nothing begins over a link any more; what is under way comes to its end."""
        return await step(code, caller, Step.SUSPEND)

    @router.post("/links/{code}/reactivate", status_code=202)
    async def reactivate(code: str, caller: Admin) -> schemas.Approval:
        """Ask that a suspended link is used again."""
        return await step(code, caller, Step.REACTIVATE)

    @router.post("/links/{code}/close", status_code=202)
    async def close(code: str, caller: Admin) -> schemas.Approval:
        """Ask that a link is closed for good; what is under way comes to its end."""
        return await step(code, caller, Step.CLOSE)


def _keys(router: APIRouter, node: Node, four_eyes: FourEyes) -> None:
    """The keys that vouch for a link."""

    @router.post("/links/{code}/keys", status_code=202)
    async def add(code: str, wanted: link_schemas.NewKeys, caller: Admin) -> schemas.Approval:
        """Ask that further keys vouch for a system, from ``not_before`` (or the approval) until ``not_after``."""

        async def act(tx: db.Tx) -> dict[str, Any]:
            begins = wanted.not_before or node.clock()
            read = await commands.new_keys(tx, code, wanted.keys, begins, wanted.not_after)
            window = wanted.model_dump(mode="json", include={"not_before", "not_after"})
            return {"link": code, "keys": [dict(key.jwk) for key in read], **window}

        return await _asked(four_eyes, caller, code, "keys-add", act)

    @router.post("/links/{code}/keys/{kid}/revoke", status_code=202)
    async def revoke(code: str, kid: str, wanted: link_schemas.KeyRevocation, caller: Admin) -> schemas.Approval:
        """Ask that a key counts no longer, since ``since`` or from the approval on. It cannot be undone.

        Unless it is superseded, the keys it has announced since then are revoked with it (``also``), and a key that it
        gave an end counts again until the one it had before (``reopened``): those of now are in the text to approve,
        and ``result`` names those of the approval.
        """

        async def act(tx: db.Tx) -> dict[str, Any]:
            fall = await commands.falls_with(tx, code, kid, wanted.reason, now=node.clock(), since=wanted.since)
            return {"link": code, "key": kid, **wanted.model_dump(mode="json"), **fall.written}

        return await _asked(four_eyes, caller, code, "key-revoke", act)

    @router.post("/links/{code}/restored", status_code=202)
    async def restored(code: str, wanted: link_schemas.Restoration, caller: Admin) -> schemas.Approval:
        """Ask that of a registry that came back from a backup its new keys count alone. Once approved, ``result`` names
        the transfers since its backup: it must ask about them before it serves again.
        """

        async def act(tx: db.Tx) -> dict[str, Any]:
            read = await commands.new_keys(tx, code, wanted.keys, node.clock(), None)
            return {
                "link": code,
                "keys": [dict(k.jwk) for k in read],
                **wanted.model_dump(mode="json", include={"since"}),
            }

        return await _asked(four_eyes, caller, code, "restored", act)


async def _asked(four_eyes: FourEyes, caller: Caller, code: str, what: str, wanted: Wanted) -> schemas.Approval:
    """Ask for an act on a link."""
    _require(caller, code)
    deciding = decided_by(what, code)
    if deciding is None:
        caller.require_all()

    async def act(tx: db.Tx) -> Act:
        return Act(f"link.{what}", deciding, await wanted(tx))

    return await four_eyes.ask(caller, act)


async def _seen(tx: db.ReadTx, caller: Caller, code: str) -> Link:
    """A link as the caller sees it; who sees everything is told that it is not there, or is none."""
    if caller.sight.code is None:
        parse_link_code(code)
        return await changing.require(tx, code)
    found = [link for link in await links.links(tx, caller.sight) if link.code == code]
    if not found:
        raise hidden()
    return found[0]


def _require(caller: Caller, code: str) -> None:
    """What may not be seen is refused before anything is looked up."""
    caller.require_for(code)
    parse_link_code(code)


def shown(link: Link, alarms_raised: int) -> link_schemas.Link:
    """A link as it is shown."""
    state = {"code": link.code, "kind": link.kind, "state": link.state.value, "registries": list(link.registries)}
    return link_schemas.Link.model_validate({**state, **link.fields, "alarms": alarms_raised})


def _key(key: PeerKey) -> link_schemas.LinkKey:
    since = key.compromised_since or key.revoked_at
    return link_schemas.LinkKey(
        kid=key.kid, alg=key.alg, not_before=key.not_before, not_after=key.not_after,
        revoked=key.revoked_reason.value if key.revoked_reason else None, since=since,
    )  # fmt: skip
