"""Two synthetic administrators of the gateway: one asks for what takes two persons, the other approves it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from gateway import db
from gateway.approvals import commands
from gateway.approvals.commands import Act
from gateway.domain.callers import EVERYTHING, Caller, Scope
from gateway.links import changing
from gateway.links import commands as links
from gateway.links.lifecycle import Step
from gateway.links.store import Link
from gateway.messages.outbox import Node
from gateway.wiring import EXECUTORS

if TYPE_CHECKING:  # a stage links its registries by these
    from tests.stage import Stage

ONE, TWO = (Caller(f"administrator-{n}", person=True, sight=EVERYTHING, scopes=frozenset(Scope)) for n in (1, 2))


async def asked(stage: "Stage", path: str, method: str = "POST", *, by: Caller = ONE, **body: Any) -> httpx.Response:
    """One of them asks; the answer."""
    headers = {"authorization": await stage.authorization(by)}
    url = f"{stage.operator_url}/api/v1/{path}"
    return await stage.http.request(method, url, headers=headers, **({"json": body} if body else {}))


async def approved(stage: "Stage", approval: dict[str, Any], *, by: Caller = TWO) -> httpx.Response:
    """Another approves; the answer."""
    return await asked(stage, f"approvals/{approval['id']}/approve", by=by, sha256=approval["sha256"])


async def decided(stage: "Stage", path: str, method: str = "POST", **body: Any) -> dict[str, Any]:
    """One asks and the other approves; the approval as it is then."""
    first = await asked(stage, path, method, **body)
    assert first.status_code == 202, first.text
    done = await approved(stage, first.json())
    assert done.status_code == 200, done.text
    return dict(done.json())


async def establish(
    tx: db.Tx, node: Node, link: Link, parties: Mapping[str, str | None], jwks: Sequence[Mapping[str, Any]]
) -> None:
    """Register a link, and let the two put it to the test, so that its registry can open it."""
    await links.register(tx, node, link, parties, jwks)
    await decide(tx, node, Act("link.test", None, await changing.step_wanted(tx, link.code, Step.TEST)))


async def decide(tx: db.Tx, node: Node, act: Act) -> None:
    """One asks for an act and the other approves it, in a transaction of the test's."""
    waiting = await commands.request(tx, node, ONE, act)
    done = await commands.approve(tx, node, TWO, waiting.id, waiting.sha256, replace(EXECUTORS, standing=_standing))
    assert done.state == "approved", done.reason


async def _standing(_tx: db.Tx, person: str) -> Caller | None:
    """The two are who they are, though they call nobody and are not registered."""
    return {one.id: one for one in (ONE, TWO)}.get(person)
