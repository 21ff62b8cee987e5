"""Who may call: people and machines, their keys, and the keys tokens are signed with, for those who administer them.

People decide on what others ask for, so nobody adds one alone, nor a key to one: a single administrator with a second
name would be four eyes. It takes an approval, unless whoever asks has the database itself.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway import db
from gateway.access import commands, store
from gateway.access.commands import MAX_KEYS, Wanted
from gateway.access.store import Principal
from gateway.approvals.commands import Act
from gateway.domain.callers import Caller, Role, Scope
from gateway.messages.outbox import Node
from gateway.web import schemas
from gateway.web.approving import FourEyes
from gateway.web.auth import needs

#: The most that one call lists.
MAX_PAGE = 500

Administrator = Annotated[Caller, needs(Scope.ACCESS_ADMIN)]
#: What is asked for is answered 202 with the approval it takes.
_ASKED: dict[int | str, dict[str, Any]] = {202: {"model": schemas.Approval}}
Jwks = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_KEYS)]


class NewKeys(BaseModel):
    """Public keys (JWK: Ed25519 or P-256), and until when they count."""

    model_config = ConfigDict(extra="forbid")

    keys: Jwks
    not_after: schemas.Moment | None = None


class NewClient(NewKeys):
    """A machine: bound to a registry or link, or with null to all."""

    name: str = Field(max_length=64, examples=["reconciliation"])
    registry: str | None = Field(max_length=5, examples=["KOR01"])
    scopes: list[Scope] = Field(min_length=1)


class NewPerson(NewKeys):
    """A person: bound to a registry or link, or with null to all."""

    name: str = Field(max_length=64, examples=["a.kim"])
    registry: str | None = Field(max_length=5, examples=["KOR01"])
    role: Role


class Key(BaseModel):
    """A key that vouches for a person or machine."""

    kid: str
    alg: str
    not_after: datetime | None
    revoked: bool


class Listed(BaseModel):
    """A person or a machine, with what they may do and every key they had."""

    id: str
    name: str
    registry: str | None
    role: str | None
    scopes: list[str]
    revoked: bool
    keys: list[Key]


class ListedPage(BaseModel):
    """Some of them, and what to go on after, if any is left."""

    listed: list[Listed]
    next: str | None


class Added(BaseModel):
    """Who was added or changed: the id is what they call by, and what the log names them by."""

    id: str
    name: str
    registry: str | None
    keys: list[str] = []


class TokenKey(BaseModel):
    """A key that access tokens are signed with."""

    kid: str
    alg: str
    revoked: bool


def routes(database: db.Database, node: Node, four_eyes: FourEyes) -> APIRouter:
    """The routes for machines, for people, and for the token keys."""
    router = APIRouter(tags=["access"])
    _machines(router, database, node)
    _people(router, database, node, four_eyes)
    for noun, person in (("clients", False), ("people", True)):
        router.include_router(_administering(database, node, person=person), prefix=f"/{noun}")
    _token_keys(router, database, node)
    return router


def _machines(router: APIRouter, database: db.Database, node: Node) -> None:
    @router.post("/clients", status_code=201)
    async def add_client(new: NewClient, caller: Administrator) -> Added:
        """Register a machine; it gets its tokens under its keys."""
        wanted = Wanted(new.name, new.registry, new.keys, scopes=frozenset(new.scopes), not_after=new.not_after)
        return _added(*await database.run(lambda tx: commands.add(tx, node, caller, wanted), "access"))

    @router.post("/clients/{name}/keys", status_code=201)
    async def add_keys(name: str, new: NewKeys, caller: Administrator) -> Added:
        """Register further keys of a machine; the earlier ones count as before."""

        async def work(tx: db.Tx) -> tuple[Principal, list[str]]:
            return await commands.add_keys(tx, node, caller, name, new.keys, person=False, not_after=new.not_after)

        return _added(*await database.run(work, "access"))


def _people(router: APIRouter, database: db.Database, node: Node, four_eyes: FourEyes) -> None:
    @router.post("/people", status_code=201, responses=_ASKED)
    async def add_person(new: NewPerson, caller: Administrator, answer: Response) -> Added | schemas.Approval:
        """Ask that a person is registered; their role says what they may do."""
        wanted = Wanted(new.name, new.registry, new.keys, role=new.role, not_after=new.not_after)

        async def added(tx: db.Tx) -> tuple[Principal, list[str]]:
            return await commands.add(tx, node, caller, wanted)

        return await _decided(caller, answer, "person.add", new.model_dump(mode="json"), added)

    @router.post("/people/{name}/keys", status_code=201, responses=_ASKED)
    async def add_keys(name: str, new: NewKeys, caller: Administrator, answer: Response) -> Added | schemas.Approval:
        """Ask that further keys of a person are registered; the earlier ones count as before."""

        async def added(tx: db.Tx) -> tuple[Principal, list[str]]:
            return await commands.add_keys(tx, node, caller, name, new.keys, person=True, not_after=new.not_after)

        written = {"name": name, "registry": caller.sight.code, **new.model_dump(mode="json")}
        return await _decided(caller, answer, "person.keys-add", written, added)

    async def _decided(
        caller: Caller,
        answer: Response,
        kind: str,
        written: dict[str, Any],
        added: Callable[[db.Tx], Awaitable[tuple[Principal, list[str]]]],
    ) -> Added | schemas.Approval:
        if caller.at_hand and not caller.person:
            return _added(*await database.run(added, "access"))

        async def act(tx: db.Tx) -> Act:
            async with tx.begin_nested() as rehearsal:
                made, _ = await added(tx)  # raises for what cannot be done now
                await rehearsal.rollback()
            return Act(kind, made.registry, written | {"registry": made.registry})

        answer.status_code = 202
        return await four_eyes.ask(caller, act)


def _administering(database: db.Database, node: Node, *, person: bool) -> APIRouter:
    router = APIRouter()

    @router.get("")
    async def listing(
        caller: Administrator,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
        after: Annotated[str | None, Query(max_length=96, pattern=r"^[\x20-\x7e]*$")] = None,
    ) -> ListedPage:
        """Those bound to what the caller administers, by name."""
        async with database.reading() as tx:
            found = await store.listing(tx, caller.sight, person=person, after=after, limit=limit)
        following = f"{found[-1][0].name} {found[-1][0].id}" if len(found) == limit else None
        return ListedPage(listed=[_listed(principal, keys) for principal, keys in found], next=following)

    @router.post("/{name}/revoke")
    async def revoke(name: str, caller: Administrator) -> Added:
        """Let them call no longer, from now on. It cannot be undone."""
        return _added(await database.run(lambda tx: commands.revoke(tx, node, caller, name, person=person), "access"))

    @router.post("/{name}/keys/{kid}/revoke")
    async def revoke_key(name: str, kid: str, caller: Administrator) -> Added:
        """Let a key count no longer, from now on."""
        return _added(
            await database.run(lambda tx: commands.revoke_key(tx, node, caller, name, kid, person=person), "access")
        )

    return router


def _token_keys(router: APIRouter, database: db.Database, node: Node) -> None:
    @router.get("/token-keys")
    async def token_keys(caller: Administrator) -> list[TokenKey]:
        """Every key that access tokens were signed with, the latest first."""
        caller.require_all()
        async with database.reading() as tx:
            found = await store.token_keys(tx)
        return [TokenKey(kid=key.kid, alg=key.jwk["alg"], revoked=key.revoked) for key in found]

    @router.post("/token-keys/{kid}/revoke", status_code=204, response_class=Response)
    async def revoke_token_key(kid: str, caller: Administrator) -> None:
        """Let no token signed with this key count any more; their holders ask for others."""
        await database.run(lambda tx: commands.revoke_token_key(tx, node, caller, kid), "access")


def _added(principal: Principal, kids: list[str] | None = None) -> Added:
    return Added(id=principal.id, name=principal.name, registry=principal.registry, keys=kids or [])


def _listed(principal: Principal, keys: list[store.Key]) -> Listed:
    return Listed(
        id=principal.id,
        name=principal.name,
        registry=principal.registry,
        role=principal.role.value if principal.role else None,
        scopes=sorted(principal.allowed),
        revoked=principal.revoked,
        keys=[Key.model_validate(key, from_attributes=True) for key in keys],
    )
