"""Authorisations over HTTP: those that the caller's registry is concerned in, with every version as it was told."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway import db
from gateway.authorisations import store
from gateway.authorisations.store import Name, Shown
from gateway.domain import wire
from gateway.domain.callers import Caller, Scope
from gateway.domain.identifiers import parse_party
from gateway.web.auth import needs
from gateway.web.authorisation_schemas import (
    Authorisation,
    AuthorisationPage,
    AuthorisationRevocation,
    AuthorisationVersion,
)

Reader = Annotated[Caller, needs(Scope.TRANSFERS_READ)]
#: Where one authorisation is: its id may have slashes in it.
ONE = "/authorisations/{party}/{name:path}"


def authorising(database: db.Database) -> APIRouter:
    """Authorisations as they stand."""
    router = APIRouter(tags=["authorisations"])

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

    @router.get(ONE)
    async def show(party: str, name: str, caller: Reader) -> Authorisation:
        """One authorisation: every version as it was told, and what has moved under it."""
        wanted = named(party, name)
        async with database.reading() as tx:
            found = await store.shown(tx, caller.sight, wanted)
        if found is None:
            raise caller.sight.absent(f"there is no authorisation {name} by {party}", 3001)
        return _shown(found)

    return router


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
