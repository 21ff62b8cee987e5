"""Who may do what: every operation of the operator API × every role and every scope alone × whose registry it is.

Method: MEC01 has proposed a transfer to KOR01, and its people (*own*), those of KOR01 (*counterparty*), those of JPN01
(*foreign*) and the gateway's own (*all*) each call every operation, in each role and with each single scope. The table
says who is let in and, where everybody gets an answer, to whom the thing is shown; what it does not say is refused, and
changes nothing. A route or a command that the table does not name fails here: it needs one line.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
import typer
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Route

from gateway import cli, embedded, wiring
from gateway.access.endpoint import Endpoint
from gateway.access.tokens import Authority
from gateway.domain.callers import ROLES, Caller, Role, Scope, Sight
from gateway.reconciliation.findings import Found
from gateway.signing.keys import SoftwareKey
from gateway.web import operator
from tests import pulled, reconciling
from tests import stage as staging
from tests.authorised import action, terms, told
from tests.bearer import Bearer
from tests.differing import opened
from tests.differing import units as units_of
from tests.integration.test_sandbox_play import uuid7
from tests.matrix import CASES, EVERY_ROLE, READ, RECONCILIATIONS, Op
from tests.played import NOWHERE, Course, block, join
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Whose people call.
BOUND = {"own": Sight("MEC01"), "counterparty": Sight("KOR01", "KOR"), "foreign": Sight("JPN01", "JPN"),
         "all": Sight(None)}  # fmt: skip


ADDRESS = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
WISH = {"transferring": ADDRESS, "acquiring": ADDRESS, "purpose": "NDC", "quantity": 1}
ACT = ("transfers:request", "operator")
ADMIN = ("access:admin", "administrator")
SIDES = "own counterparty all"
#: Who is to be added: a name and a key that nobody had, until somebody who may has added them.
NEW = {"name": "new", "registry": "MEC01", "keys": [SoftwareKey.generate().public_jwk()]}
PERSON = {"name": "one", "registry": "MEC01", "role": "viewer", "keys": [SoftwareKey.generate().public_jwk()]}
MORE = {"keys": [SoftwareKey.generate().public_jwk()]}
VOUCHING = {"keys": [SoftwareKey.generate().public_jwk()]}
LINK = {"code": "CHE01", "kind": "party", "url": NOWHERE, "parties": {"CHE01": "CHE"}, "keys": MORE["keys"]}
LINKS = ("links:admin", "administrator")
CHANGE = (*LINKS, "own all")
APPROVALS = ("approvals:read", EVERY_ROLE)
DECIDE = ("approvals:decide", "approver administrator", "own all")
AUDIT = ("audit:read", "auditor")
PROPOSALS, PROPOSED = "?type=transfer.propose", '"kind":"transfer.propose"'
HALT = ("gateway:halt", "administrator")
BOOKS = ("books:read", EVERY_ROLE)
VIEW = ("history:pull", "operator", "counterparty all")
VIEWED = "?source=MEC01&registry=KOR01"

TABLE = {
    "GET /healthz": Op(),
    "GET /readyz": Op(),
    "GET /openapi.json": Op(),
    "GET /api/v1/transfers": Op(*READ, shown=SIDES, command="transfers list"),
    "GET /api/v1/transfers/{transfer}": Op(*READ, SIDES, shown=SIDES, command="transfers show"),
    "GET /api/v1/transfers/{transfer}/evidence": Op(
        "audit:read", "auditor", SIDES, also=(*READ, "own counterparty"), answers=(200, 409), command="evidence get"
    ),
    "POST /api/v1/transfers": Op(
        *ACT, "own all", body=WISH, headers={"idempotency-key": "one"}, answers=(202,), command="transfers request"
    ),
    "POST /api/v1/transfers/{transfer}/end": Op(
        *ACT, "own all", body={"reason": "x"}, answers=(200, 409), command="transfers end"
    ),
    "POST /api/v1/transfers/{transfer}/resume": Op(
        *ACT, "own all", people=True, answers=(409,), command="transfers resume"
    ),
    "GET /api/v1/authorisations": Op(
        *READ, shown="counterparty all", what='"id":"authorisations-1"', command="authorisations list"
    ),
    "GET /api/v1/authorisations/{party}/{name:path}": Op(
        *READ, "counterparty all", shown="counterparty all", what='"id":"authorisations-1"',
        command="authorisations show",
    ),
    "GET /api/v1/statements": Op(
        *READ, shown="counterparty all", what='"activity":"statements-1"', command="authorisations statements"
    ),
    "POST /api/v1/authorisations": Op(
        *ACT, "counterparty all", people=True, body={"terms": terms(id="new", party="KOR")}, answers=(202,),
        command="authorisations tell",
    ),
    "POST /api/v1/authorisations/{party}/{name:path}/revoke": Op(
        *ACT, "counterparty all", people=True, body={"version": 1, "reason": "x"}, answers=(202,),
        command="authorisations revoke",
    ),
    **CASES,
    **RECONCILIATIONS,
    "GET /api/v1/alarms": Op(*READ, shown=SIDES, command="alarms"),
    "GET /api/v1/records": Op(*READ, shown="", command="records"),
    "GET /api/v1/links": Op("links:read", EVERY_ROLE, shown="own all", what='"code":"MEC01"', command="links list"),
    "POST /api/v1/links": Op(*LINKS, "all", body=LINK, answers=(201, 409), command="links add"),
    "GET /api/v1/links/{code}": Op("links:read", EVERY_ROLE, "own all", shown="own all", what='"code":"MEC01"'),
    "GET /api/v1/links/{code}/keys": Op("links:read", EVERY_ROLE, "own all", command="links keys list"),
    "PATCH /api/v1/links/{code}": Op(
        *LINKS, "all", people=True, body={"time_limit_hours": 48}, answers=(202,), command="links change"
    ),
    "POST /api/v1/links/{code}/test": Op(*LINKS, "all", people=True, answers=(409,), command="links test"),
    "POST /api/v1/links/{code}/suspend": Op(*CHANGE, people=True, answers=(202,), command="links suspend"),
    "POST /api/v1/links/{code}/reactivate": Op(*LINKS, "all", people=True, answers=(409,), command="links reactivate"),
    "POST /api/v1/links/{code}/close": Op(*CHANGE, people=True, answers=(202,), command="links close"),
    "POST /api/v1/links/{code}/keys": Op(
        *CHANGE, people=True, body=VOUCHING, answers=(202,), command="links keys add"
    ),
    "POST /api/v1/links/{code}/keys/{kid}/revoke": Op(
        *CHANGE, people=True, body={"reason": "superseded"}, answers=(404, 409), command="links keys revoke"
    ),
    "POST /api/v1/links/{code}/restored": Op(
        *CHANGE, people=True, body=VOUCHING | {"since": "2026-01-01T00:00:00Z"}, answers=(202,),
        command="links restored",
    ),
    "GET /api/v1/approvals": Op(*APPROVALS, shown="own all", what="{approval}", command="approvals list"),
    "GET /api/v1/approvals/{approval}": Op(
        *APPROVALS, "own all", shown="own all", what="{approval}", command="approvals show"
    ),
    "POST /api/v1/approvals/{approval}/approve": Op(
        *DECIDE, people=True, body={"sha256": "0" * 64}, answers=(409,), command="approvals approve"
    ),
    "POST /api/v1/approvals/{approval}/decline": Op(
        *DECIDE, people=True, body={"reason": "x"}, answers=(200, 409), command="approvals decline"
    ),
    "GET /api/v1/books": Op(
        "books:read", EVERY_ROLE, shown="own all", what='"registry":"MEC01"', command="books"
    ),
    "GET /api/v1/history": Op(*BOOKS, shown=SIDES, what='"number":1', command="history list"),
    "GET /api/v1/history/feeds": Op(*BOOKS, shown=SIDES, what='"registry":"KOR01"', command="history feeds"),
    "GET /api/v1/history/feeds/{source}/{registry}": Op(*BOOKS, SIDES),
    "POST /api/v1/history/feeds/{source}/{registry}/pull": Op(*VIEW, answers=(202,), command="history pull"),
    # Nobody listens where it is asked.
    "GET /api/v1/history/live/holdings": Op(*VIEW, query=VIEWED, answers=(503,), command="history holdings"),
    "GET /api/v1/history/live/records": Op(*VIEW, query=VIEWED, answers=(503,), command="history view"),
    "GET /api/v1/history/difference": Op(*VIEW, query=VIEWED, answers=(503,), command="history difference"),
    "GET /api/v1/actions": Op(*READ, shown="", command="actions"),
    "GET /api/v1/adjustments": Op("reports:read", EVERY_ROLE, shown="", what='"party"', command="adjustments"),
    "GET /api/v1/strangers": Op("audit:read", "auditor", "all"),
    "GET /api/v1/keys": Op("links:read", EVERY_ROLE, command="keys list"),
    "GET /api/v1/messages/{message}/key": Op("audit:read", "auditor", "own all", command="keys which"),
    "GET /api/v1/audit/entries": Op(*AUDIT, shown=SIDES, what=PROPOSED, query=PROPOSALS, command="audit search"),
    "GET /api/v1/audit/export": Op(*AUDIT, shown=SIDES, what=PROPOSED, query=PROPOSALS, command="audit export"),
    "GET /api/v1/audit/provenance": Op(
        *AUDIT, SIDES, shown=SIDES, query="?unit={unit}", command="audit provenance"
    ),
    "GET /api/v1/audit/openapi.json": Op(),
    "POST /token": Op(answers=(400, 429), command="token"),
    "GET /jwks": Op(),
    "GET /.well-known/oauth-authorization-server": Op(),
    "GET /api/v1/clients": Op(*ADMIN, shown="own all", what='"name":"clients-1"', command="clients list"),
    "POST /api/v1/clients": Op(
        *ADMIN, "own all", body=NEW | {"scopes": ["books:read"]}, answers=(201, 409), command="clients add"
    ),
    "POST /api/v1/clients/{name}/keys": Op(
        *ADMIN, "own all", body=MORE, answers=(201, 409), command="clients keys add"
    ),
    "POST /api/v1/clients/{name}/keys/{kid}/revoke": Op(
        *ADMIN, "own all", answers=(409,), command="clients keys revoke"
    ),
    "POST /api/v1/clients/{name}/revoke": Op(*ADMIN, "own all", answers=(200, 409), command="clients revoke"),
    "GET /api/v1/people": Op(*ADMIN, shown="own all", what='"name":"people-1"', command="people list"),
    "POST /api/v1/people": Op(
        *ADMIN, "own all", people=True, body=PERSON, answers=(202,),
        command="people add",
    ),
    "POST /api/v1/people/{name}/keys": Op(
        *ADMIN, "own all", people=True, body=MORE, answers=(202, 409), command="people keys add"
    ),
    "POST /api/v1/people/{name}/keys/{kid}/revoke": Op(
        *ADMIN, "own all", answers=(409,), command="people keys revoke"
    ),
    "POST /api/v1/people/{name}/revoke": Op(*ADMIN, "own all", answers=(200, 409), command="people revoke"),
    "GET /api/v1/token-keys": Op(*ADMIN, "all", command="keys token list"),
    "POST /api/v1/token-keys/{kid}/revoke": Op(*ADMIN, "all", answers=(404,), command="keys token revoke"),
    # At last: nothing new is taken afterwards.
    "GET /api/v1/halt": Op(*READ),
    "POST /api/v1/halt": Op(*HALT, "all", body={"reason": "x"}, answers=(201, 409), command="halt"),
    "POST /api/v1/halt/lift": Op(*HALT, "all", people=True, answers=(202,)),
}  # fmt: skip
#: Commands that ask no API: what they work on is this machine's.
LOCAL = {
    *("demo", "serve", "worker", "migrate", "doctor", "checks", "nomenclature"),
    *("log verify", "log export", "log key", "history verify"),
    *("evidence verify", "evidence proof"),
    *("keys new", "keys show", "keys announce", "keys retire", "keys revoke"),
    *("keys log new", "keys log list", "keys log add", "keys log retire"),
    *("witnesses add", "witnesses remove", "witnesses watch", "witnesses list"),
}
CELLS = [(name, kind, bound) for name in TABLE for kind in (*Role, *Scope) for bound in BOUND]


@dataclass
class Scene:
    """A stage with the transfer that everybody calls about, and a client for every caller there is."""

    stage: Stage
    app: FastAPI
    #: What stands in the paths, by name.
    things: dict[str, str]
    callers: dict[tuple[Role | Scope, str], Bearer]

    async def call(self, name: str, shown: Bearer | dict[str, str]) -> httpx.Response:
        """What the application answers to an operation in the name of whoever's token is shown."""
        noun = "".join(name.split("/")[3:4])
        method, path = name.replace(":path", "").format(**self.things, name=f"{noun}-1").split()
        op = TABLE[name]
        path += op.query.format(**self.things)
        token = shown if isinstance(shown, dict) else {"authorization": shown.header}
        transport = httpx.ASGITransport(self.app)  # thousands of calls: over HTTP they would take minutes
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            return await http.request(method, path, json=op.body, headers={**op.headers, **token})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("matrix")) as stage:
        course = await Course.begun(stage)
        await join(stage, "JPN01", "party", "JPN")
        units = block(1, 10, series=uuid7())
        await course.issue(units)
        item = course.proposal(units)
        await course.propose(item)
        transfer = str(item["transfer"])
        # It is not KOR01's to void: an alarm.
        await course.acquirer.say("transfer.voided", [{"kind": "voided", "transfer": transfer, "findings": []}])
        await told(course.acquirer, terms(id="authorisations-1", party="KOR"))
        stated = action("KOR01", "statement", party="KOR", activity="statements-1", says="all")
        await course.acquirer.say("action.notice", [stated])
        for noun in ("clients", "people"):
            await stage.callers.bearer(
                Caller(f"{noun}-1", noun == "people", BOUND["own"], frozenset({Scope.BOOKS_READ}))
            )
        callers = {
            (kind, bound): await stage.callers.bearer(caller(kind, bound))
            for kind in (*Role, *Scope)
            for bound in BOUND
        }
        [(message,)] = await stage.rows("SELECT message_id::text FROM message WHERE type = 'transfer.propose'")
        wanted = await stage.api.post("/api/v1/links/MEC01/suspend")
        await pulled.pull(course.source, "KOR01", "KOR", pulled.chain(1, 10))
        unit = f"MEC01/{units['origin']['series']}/1"
        [case] = await opened(stage, Found("KOR01", 6302, units_of(units["origin"]["series"], 1, 10), "{}", None))
        named = {"transfer": transfer, "message": message, "approval": wanted.json()["id"], "case": case}
        named |= {"reconciliation": await reconciling.ask(stage, "MEC01")}
        yield Scene(
            stage,
            application(stage),
            named
            | {"code": "MEC01", "kid": "x" * 43, "party": "KOR", "unit": unit, "source": "MEC01", "registry": "KOR01"},
            callers,
        )


def application(stage: Stage) -> FastAPI:
    """The operator API as a process serves it."""
    gateway = stage.gateway
    endpoint = Endpoint(gateway.database, gateway.node, Authority("urn:example", SoftwareKey.generate()))
    parts = gateway.database, gateway.node, gateway.inbox, gateway.callers
    return operator.app(*parts, wiring.EXECUTORS, endpoint, live=gateway.live)


def caller(kind: Role | Scope, bound: str) -> Caller:
    """A person in a role, or a machine with one scope."""
    scopes = ROLES[kind] if isinstance(kind, Role) else frozenset({kind})
    return Caller(f"{kind}-{bound}", person=isinstance(kind, Role), sight=BOUND[bound], scopes=scopes)


def let_in(op: Op, kind: Role | Scope, bound: str) -> bool:
    """What the table says of a cell."""
    ways = [(op.scope, op.roles, op.bound), *([op.also] if op.also else [])]
    for scope, roles, people in ways:
        may = kind.value in roles.split() if isinstance(kind, Role) else kind.value == scope and not op.people
        if may and bound in people.split():
            return True
    return not op.scope


def judged_first(op: Op, kind: Role | Scope, bound: str) -> bool:
    """Whether a machine is told of the thing's state before it is told that this takes a person."""
    return op.people and kind.value == op.scope and bound in op.bound.split()


async def state(stage: Stage) -> list[tuple[Any, ...]]:
    """What a call that is refused would have changed."""
    return await stage.rows("SELECT count(*), (SELECT count(*) FROM transfer_request) FROM log_entry")


async def test_who_is_not_named_is_refused_and_changes_nothing(scene: Scene) -> None:
    before = await state(scene.stage)
    refused = [cell for cell in CELLS if not let_in(TABLE[cell[0]], *cell[1:])]
    for name, kind, bound in refused:
        answer = await scene.call(name, scene.callers[kind, bound])
        if judged_first(TABLE[name], kind, bound):
            assert answer.status_code in (403, 404, 409), (name, kind, bound, answer.text)
            continue
        assert (answer.status_code, answer.json()["code"]) == (403, 8001), (name, kind, bound, answer.text)
    assert await state(scene.stage) == before


async def test_who_is_named_is_let_in_and_shown_what_is_theirs(scene: Scene) -> None:
    for name, kind, bound in CELLS:
        op = TABLE[name]
        if not let_in(op, kind, bound):
            continue
        answer = await scene.call(name, scene.callers[kind, bound])
        assert answer.status_code in op.answers, (name, kind, bound, answer.text)
        if op.shown is not None:
            there = scene.things.get(op.what.strip("{}"), op.what) in answer.text
            assert there == (bound in op.shown.split()), (name, kind, bound, answer.text)


async def test_nobody_is_let_in_without_a_token(scene: Scene) -> None:
    before = await state(scene.stage)
    for name, op in TABLE.items():
        for token in ({}, {"authorization": "Bearer"}, {"authorization": "Bearer x"}, {"authorization": "Basic eDp4"}):
            answer = await scene.call(name, token)
            assert answer.status_code in ((401,) if op.scope else op.answers), (name, token, answer.text)
    assert await state(scene.stage) == before


async def test_every_route_is_in_the_table(scene: Scene) -> None:
    found = list(iter_route_contexts(scene.app.routes))
    assert all(isinstance(route.original_route, Route) for route in found), "what is mounted has routes of its own"
    routes = {f"{method} {route.path}" for route in found for method in route.methods or ()}
    assert {route for route in routes if not route.startswith("HEAD ")} == set(TABLE)


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with the words it is called by."""
    if hasattr(command, "list_commands"):
        context = command.make_context("gateway", [], resilient_parsing=True)
        for word in command.list_commands(context):
            yield from commands(command.get_command(context, word), f"{name} {word}".strip())
    else:
        yield name, command


async def test_every_command_is_in_the_table_or_asks_no_api() -> None:
    found = dict(commands(typer.main.get_command(cli.app)))
    asking = {name for name, command in found.items() if "gateway" in {p.name for p in command.params}}
    assert asking == {op.command for op in TABLE.values() if op.command}
    assert found.keys() - asking == LOCAL
