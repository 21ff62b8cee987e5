"""``gateway reconcile``: have books compared now, wait for the result, and say by the exit code what it is.

0: the books agree. 1: something differs. 2: they could not be compared, or it could not be asked for. A run of the link
that is under way already (two jobs, or a job and the schedule) is waited for like one of its own. Where the
database is, this process does the work (a worker may do it as well); with ``--gateway`` one of that gateway's workers.
"""

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.api import Where, ask, asking, given
from gateway.cli.keep import AsJson, chosen, plain_console
from gateway.errors import GatewayError, Kind
from gateway.reconciliation.view import WORDS

if TYPE_CHECKING:
    from gateway.settings import Settings

_PATH = "/api/v1/reconciliations"
#: How often runs that are waited for are looked at.
LOOK_SECONDS = 0.25
AGREE, DIFFER, COULD_NOT = 0, 1, 2
#: The status of what is left to persons.
LEFT = 99
#: Findings that are asked for at once.
PAGE = 1_000
#: The code of a link that has a run under way; how often one that ends just then is missed before that is said.
UNDER_WAY, JOINED = 3002, 3


@asking
def reconcile(
    where: Where,
    link: Annotated[str | None, typer.Option(help="This link; otherwise every link that is seen.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="First make the kept fingerprints anew from the whole book.")
    ] = False,
    announce: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Announce the cut so long ahead; 0 by agreement.")
    ] = None,
    patience: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="Wait no longer than this.")] = 3600,
    as_json: AsJson = False,
) -> None:
    """Compare the books of registries with the gateway's, and wait for the result.

    Exit code 0 when they agree, 1 when something differs, 2 when they could not be compared.
    """
    try:
        reports = _reconciled(where, given(link=link, announce_seconds=announce, whole=full), patience)
    except GatewayError as error:
        print(f"gateway: {error.detail}" + (f" [{error.code}]" if error.code else ""), file=sys.stderr)
        raise typer.Exit(COULD_NOT) from None
    if as_json:
        print(json.dumps(reports))
    else:
        for report in reports:
            _print(report)
    raise typer.Exit(_code([_came_to(report) for report in reports]))


def _came_to(report: dict[str, Any]) -> int:
    """What one run came to; one that was left to persons without having compared a book could not compare."""
    status = report["run"]["status"] if _over(report) else None
    if status == LEFT and report["books"]:
        return DIFFER
    return AGREE if status in (5, 6) else COULD_NOT


def _code(came_to: list[int]) -> int:
    if DIFFER in came_to:
        return DIFFER
    return AGREE if came_to and set(came_to) == {AGREE} else COULD_NOT


def _reconciled(where: Where, wanted: dict[str, Any], patience: float) -> list[dict[str, Any]]:
    """The reports of the runs that were asked for, ended or not when patience is, with every finding."""
    runs = _asked(where, wanted)
    until = time.monotonic() + patience
    if where.gateway is None:
        _work_here(where, runs, until)
    reports = [ask(where, "GET", f"{_PATH}/{run}") for run in runs]
    while not all(map(_over, reports)) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        reports = [ask(where, "GET", f"{_PATH}/{run}") for run in runs]
    return [_whole(where, report) for report in reports]


def _asked(where: Where, wanted: dict[str, Any]) -> list[str]:
    """The runs that were asked for; one of the link that is under way already is waited for instead.

    Not in the place of one that was to make anew what is kept here: that is another.
    """
    refused: GatewayError | None = None
    for _ in range(JOINED):
        try:
            return [run["id"] for run in ask(where, "POST", _PATH, json=wanted)]
        except GatewayError as error:
            if error.code != UNDER_WAY or "link" not in wanted:
                raise
            refused = error
        [*found] = ask(where, "GET", _PATH, params={"link": wanted["link"], "limit": 1})["reconciliations"]
        if found and found[0]["state"] != "ended":
            if wanted["whole"] and not found[0]["whole"]:
                raise refused
            return [found[0]["id"]]
    assert refused is not None  # or the runs would have been answered
    raise refused


def _whole(where: Where, report: dict[str, Any]) -> dict[str, Any]:
    """A report with all its findings, however many pages these are."""
    found, following = list(report["findings"]), report["next"]
    while following is not None:
        page = ask(where, "GET", f"{_PATH}/{report['run']['id']}", params={"after": following, "limit": PAGE})
        found, following = [*found, *page["findings"]], page["next"]
    return {**report, "findings": found, "next": None}


def _over(report: dict[str, Any]) -> bool:
    return bool(report["run"]["state"] == "ended")


def _work_here(where: Where, runs: list[str], until: float) -> None:
    """Reconcile in this process, and keep the log meanwhile, until these runs have ended."""
    from gateway import wiring
    from gateway.cli import processes
    from gateway.domain.callers import EVERYTHING
    from gateway.reconciliation import view

    async def work(settings: "Settings") -> None:
        gateway, stop = wiring.build(settings), asyncio.Event()

        async def ended() -> None:
            left = list(runs)
            while left and time.monotonic() < until:
                async with gateway.database.reading() as tx:
                    found = [await view.report(tx, EVERYTHING, run) for run in left]
                left = [one.run.id for one in found if one.run.state != "ended"]
                await asyncio.sleep(LOOK_SECONDS)
            stop.set()

        async with processes.started(settings, gateway):
            transparency = await processes.transparent(settings, gateway)
            async with asyncio.TaskGroup() as group:
                for task in (transparency.run(stop), gateway.reconciliations.run(stop), ended()):
                    group.create_task(task)

    try:
        with chosen(where.keep) as settings:
            asyncio.run(work(settings))
    except ExceptionGroup as group:  # a trace would end with the code of books that differ
        first = group.exceptions[0]
        error = first if isinstance(first, GatewayError) else GatewayError(Kind.UNAVAILABLE, f"it broke off: {first!r}")
        raise error from group


def _print(report: dict[str, Any]) -> None:
    console, run = plain_console(), report["run"]
    said = WORDS.get(run["status"], run["state"]) if _over(report) else f"not over: {run['waiting'] or run['state']}"
    took = f"{run['round_trips']:,} round trips, {run['bytes_sent'] + run['bytes_received']:,} bytes"
    console.print(f"{run['link']}: {said} ({took}); {_PATH}/{run['id']}/report", soft_wrap=True)
    for one in report["findings"]:
        units = f"{one['origin_registry']}/{one['series']}/{one['first']}-{one['last']}"
        why = f"case {one['case']}" if one["case"] else "explained by what was moving"
        console.print(f"  {one['registry']} {units}: {one['code']} {one['detail']}; {why}", soft_wrap=True)
    for remark in run["remarks"]:
        console.print(f"  remark: {remark}", soft_wrap=True)
