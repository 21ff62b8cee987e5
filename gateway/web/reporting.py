"""What Parties report: their actions, each side's from the same row, and the adjustments that follow from them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from gateway import db
from gateway.domain import moments
from gateway.domain.callers import Caller, Scope
from gateway.domain.identifiers import parse_party
from gateway.domain.nomenclature import FIRST_VINTAGE
from gateway.errors import GatewayError, Kind
from gateway.messages.outbox import Node
from gateway.reports import adjustments, store
from gateway.reports.adjustments import Account, Entry, Method, Quotient, Year
from gateway.web import report_schemas as schemas
from gateway.web.auth import needs
from gateway.web.watching import Before

#: A calendar year of the time in which moments are known.
CalendarYear = Annotated[int, Query(ge=moments.FIRST.year, lt=moments.LAST.year)]
#: The causes behind the figures of an account (Party, metric), by year.
_Behind = Mapping[tuple[str, str, int], Sequence[Entry]]


def reporting(database: db.Database, node: Node) -> APIRouter:
    """Actions and corresponding adjustments."""
    router = APIRouter(tags=["reports"])

    @router.get("/actions")
    async def listing(
        caller: Annotated[Caller, needs(Scope.TRANSFERS_READ)],
        party: Annotated[str | None, Query(max_length=3)] = None,
        year: CalendarYear | None = None,
        limit: Annotated[int, Query(ge=1, le=store.MAX_PAGE)] = 50,
        before: Before = None,
    ) -> schemas.ActionPage:
        """Actions of both Parties' views that concern the caller's registry, newest first; of one Party or year."""
        known = parse_party(party) if party is not None else None
        async with database.reading() as tx:
            found, following = await store.actions(tx, caller.sight, party=known, year=year, limit=limit, before=before)
        shown = [schemas.Action.model_validate(a, from_attributes=True) for a in found]
        return schemas.ActionPage(actions=shown, next=following)

    @router.get("/adjustments")
    async def adjusted(
        caller: Annotated[Caller, needs(Scope.REPORTS_READ)],
        party: Annotated[str | None, Query(max_length=3)] = None,
        method: Method = Method.TRAJECTORY,
        first: CalendarYear = FIRST_VINTAGE,
        last: CalendarYear | None = None,
        explain: bool = False,
    ) -> schemas.Adjustments:
        """Corresponding adjustments of the caller's Party, or of all that are seen; until this year or ``last``."""
        until = last if last is not None else node.clock().year
        if until < first:
            raise GatewayError(Kind.MALFORMED, "the last year is before the first", code=2014)
        known = parse_party(party) if party is not None else caller.sight.party
        async with database.reading() as tx:
            summed, caused = await store.movements(tx, caller.sight, party=known, explained=explain)
        found = adjustments.accounts(adjustments.counted(summed, known), method, first, until)
        behind = _behind(adjustments.counted(caused, known)) if explain else None
        return schemas.Adjustments(
            accounts=[_account(account, behind) for account in found], more=len(caused) == store.MAX_EXPLAINED
        )

    return router


def _behind(caused: Sequence[Entry]) -> _Behind:
    found: dict[tuple[str, str, int], list[Entry]] = defaultdict(list)
    for entry in caused:
        found[entry.party, entry.metric, entry.year].append(entry)
    return found


def _account(account: Account, behind: _Behind | None) -> schemas.AdjustmentAccount:
    return schemas.AdjustmentAccount(
        party=account.party,
        metric=account.metric,
        method=account.method,
        years=[_year(account, year, behind) for year in account.years],
        outside=account.outside,
    )


def _year(account: Account, year: Year, behind: _Behind | None) -> schemas.AdjustmentYear:
    causes = None
    if behind is not None:
        listed = behind.get((account.party, account.metric, year.year), ())
        causes = [schemas.Cause(cause=str(e.cause), effect=e.effect, quantity=e.quantity) for e in listed]
    return schemas.AdjustmentYear(
        year=year.year,
        first_transferred=year.first_transferred,
        used=year.used,
        annual=year.annual,
        cumulative=year.cumulative,
        applied=_quotient(year.applied),
        behind=causes,
    )


def _quotient(value: Quotient) -> schemas.Quotient:
    return schemas.Quotient(text=str(value), whole=value.whole, remainder=value.remainder, by=value.by)
