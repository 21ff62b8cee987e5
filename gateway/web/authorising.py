"""Authorisations over HTTP: those that the caller's registry is concerned in, with every version as it was told.

People of the authorising Party's registry, and the gateway's own, ask that a version is told or one revoked; another
person approves it. What stands against it is answered before anybody is asked.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway import db
from gateway.approvals.commands import Act
from gateway.authorisations import commands, statements, store
from gateway.authorisations.store import Name, Shown
from gateway.domain import wire
from gateway.domain.callers import Caller, Scope
from gateway.domain.identifiers import parse_party
from gateway.web.approving import FourEyes
from gateway.web.auth import needs
from gateway.web.authorisation_schemas import (
    Authorisation,
    AuthorisationPage,
    AuthorisationRevocation,
    AuthorisationVersion,
    NewVersion,
    Revocation,
    Statement,
    StatementPage,
)
from gateway.web.schemas import Approval

Reader = Annotated[Caller, needs(Scope.TRANSFERS_READ)]
Teller = Annotated[Caller, needs(Scope.TRANSFERS_REQUEST)]
#: Where one authorisation is: its id may have slashes in it.
ONE = "/authorisations/{party}/{name:path}"


def authorising(database: db.Database, four_eyes: FourEyes) -> APIRouter:
    """Authorisations as they stand, and asking for a further version or for the end of one."""
    router = APIRouter(tags=["authorisations"])
    _reading(router, database)
    _telling(router, four_eyes)
    return router


def _reading(router: APIRouter, database: db.Database) -> None:

    @router.get("/authorisations")
    async def listing(
        caller: Reader,
        party: Annotated[str | None, Query(max_length=3)] = None,
        after: Annotated[str | None, Query(max_length=300, description="The `next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=store.MAX_PAGE)] = 50,
    ) -> AuthorisationPage:
        """Authorisations by Parties whose books the caller's registry keeps, or that transfers it sees rely on."""
        of = None if party is None else parse_party(party)
        edge = None if after is None else named(*after.partition("/")[::2])
        async with database.reading() as tx:
            found = await store.listed(tx, caller.sight, party=of, after=edge, limit=limit)
        shown = [_shown(one) for one in found]
        following = f"{shown[-1].party}/{shown[-1].id}" if len(shown) == limit else None
        return AuthorisationPage(authorisations=shown, next=following)

    @router.get("/statements")
    async def stated(
        caller: Reader,
        party: Annotated[str | None, Query(max_length=3)] = None,
        limit: Annotated[int, Query(ge=1, le=statements.MAX_PAGE)] = 50,
        before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    ) -> StatementPage:
        """What host Parties stated of Article 6.4 activities: the caller's Party, or others over the caller's link."""
        of = None if party is None else parse_party(party)
        async with database.reading() as tx:
            found = await statements.listing(tx, caller.sight, party=of, before=before, limit=limit)
        shown = [Statement.model_validate(one, from_attributes=True) for one in found]
        return StatementPage(statements=shown, next=found[-1].id if len(found) == limit else None)

    @router.get(ONE)
    async def show(party: str, name: str, caller: Reader) -> Authorisation:
        """One authorisation: every version as it was told, and what has moved under it."""
        wanted = named(party, name)
        async with database.reading() as tx:
            found = await store.shown(tx, caller.sight, wanted)
        if found is None:
            raise caller.sight.absent(f"there is no authorisation {name} by {party}", 3001)
        return _shown(found)


def _telling(router: APIRouter, four_eyes: FourEyes) -> None:
    @router.post("/authorisations", status_code=202)
    async def tell(wanted: NewVersion, caller: Teller) -> Approval:
        """Ask that a version of an authorisation of the caller's Party is told: the first one, or the next."""

        async def act(tx: db.Tx) -> Act:
            parameters = await commands.telling_wanted(tx, caller.sight, wanted.terms)
            return Act(commands.TELL, caller.sight.code, parameters)

        return await four_eyes.ask(caller, act)

    @router.post(f"{ONE}/revoke", status_code=202)
    async def revoke(party: str, name: str, wanted: Revocation, caller: Teller) -> Approval:
        """Ask that an authorisation of the caller's Party is revoked; what has moved under it is untouched, unless its
        own terms say otherwise.
        """
        one = named(party, name)

        async def act(tx: db.Tx) -> Act:
            found = await commands.revocation_wanted(tx, caller.sight, one, wanted.version, wanted.reason)
            return Act(commands.REVOKE, caller.sight.code, found)

        return await four_eyes.ask(caller, act)


def named(party: str, name: str) -> Name:
    """The Party and the id of an authorisation; raises MALFORMED with 2010 or 2001 for what can be neither."""
    return parse_party(party), wire.text(name, "the id of an authorisation")


def _shown(found: Shown) -> Authorisation:
    terms, revoked = found.known.current, found.revoked
    return Authorisation(
        party=terms.party,
        id=terms.id,
        versions=[
            AuthorisationVersion(version=nr, terms=told.terms, told_by=told.told_by, entry_id=told.entry_id)
            for nr, told in enumerate(found.versions, 1)
        ],
        revoked=AuthorisationRevocation.model_validate(revoked, from_attributes=True) if revoked else None,
        quantity=terms.quantity,
        drawn=found.known.drawn,
        left=found.known.left,
    )
