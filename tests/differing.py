"""What a reconciliation would have found, made by tests: differences between the gateway's book and a registry's."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from gateway import db
from gateway.audit import log
from gateway.domain import wire
from gateway.domain.fingerprints import state_text
from gateway.domain.identifiers import parse_registry_code
from gateway.domain.units import Origin, UnitRange
from gateway.holdings import book
from gateway.reconciliation import cases
from gateway.reconciliation.findings import Found
from tests.stage import Stage


def units(series: str, first: int, last: int, registry: str = "MEC01") -> UnitRange:
    return UnitRange(Origin(parse_registry_code(registry), series), first, last)


async def state(stage: Stage, where: UnitRange, **changes: Any) -> str:
    """The state that the book has of the first of these units, with ``changes`` of some members."""
    async with stage.gateway.database.reading() as tx:
        [[held, *_]] = await book.held(tx, [UnitRange(where.origin, where.first, where.first)])
    naming = held.block.itmo
    told = {
        "party": held.party,
        "account_type": held.account_type.value,
        "attributes": wire.attributes_to_wire(held.block.attributes),
        "itmo": (naming.stem, naming.offset) if naming else None,
    }
    return state_text(**{**told, **changes})


async def run_entry(tx: db.Tx) -> int:
    """The entry of a run of the log."""
    [entry] = await log.append(tx, [log.draft("reconciliation.run", datetime.now(UTC), {"by": "a test"})])
    return entry


async def opened(
    stage: Stage, *found: Found, link: str = "KOR01", run: str = "run-1", due: timedelta | None = None
) -> list[str]:
    """What a run does with what it found; a response is due within ``due``, or as usual."""
    node = stage.gateway.node if due is None else replace(stage.gateway.node, response_due=due)

    async def work(tx: db.Tx) -> list[str]:
        return await cases.open_for(tx, node, link, run, found, await run_entry(tx))

    return await stage.run(work)


async def settled(stage: Stage, registry: str, *still: UnitRange, run: str = "run-2") -> list[str]:
    """What a later run does once it has compared a book, in which some units still differ."""

    async def work(tx: db.Tx) -> list[str]:
        return await cases.settle(tx, stage.gateway.node, registry, run, still, await run_entry(tx))

    return await stage.run(work)


async def flagged(stage: Stage, series: str, kind: str = "discrepancy") -> list[tuple[int, int]]:
    """The units of a series that are flagged, as first and last serials."""
    return await _ranges(
        stage,
        "flag JOIN unit_series s ON s.id = series_id"
        f" WHERE closed_by IS NULL AND kind = '{kind}' AND series = '{series}'",
    )


async def inside(stage: Stage, case: str) -> list[tuple[int, int]]:
    """The units that are in a case now."""
    return await _ranges(stage, f"case_unit WHERE closed_by IS NULL AND case_id = '{case}'")


async def _ranges(stage: Stage, rows: str) -> list[tuple[int, int]]:
    return [(first, last) for first, last in await stage.rows(f"SELECT first, last FROM {rows} ORDER BY first")]


async def events(stage: Stage, case: str) -> list[str]:
    """What has happened to a case."""
    rows: Sequence[tuple[Any, ...]] = await stage.rows(
        f"SELECT event FROM case_event WHERE case_id = '{case}' ORDER BY version"
    )
    return [str(event) for (event,) in rows]


async def standing(stage: Stage, case: str) -> str:
    """The state of a case."""
    [(found,)] = await stage.rows(f"SELECT state FROM inconsistency_case WHERE id = '{case}'")
    return str(found)


def refused(answer: httpx.Response, status: int, code: int) -> None:
    """What was asked for is refused with this status and code."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
