"""The trail of a case on both sides: what moved its units in the gateway's book, and what their registry told of them.

It begins at the last clean reconciliation of that book before the case was opened, or with the first thing known where
there was none. The registry's side is what was pulled of its history; a transaction that both know and tell with other
times, or in another order than another one of the same units, is named (6403). Everybody sees of both sides what they
see elsewhere. It reads no more than ``MOST_UNITS`` ranges of a case and ``MOST_RECORDS`` records. Nothing is changed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.history import view_store
from gateway.history.view_store import Along, Question
from gateway.reconciliation import case_view
from gateway.reconciliation.case_view import MAX_PAGE, Moved, Shown

#: Ranges of units of a case whose history is read: those of one page of its findings.
MOST_UNITS = MAX_PAGE
#: Records that are looked at, as the history itself does for one page.
MOST_RECORDS = 2_000
#: The code of a transaction that is told with another time, or in another order.
ELSEWHEN = 6403
#: Times are written in milliseconds.
_PRECISION = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Told:
    """A record of the registry's own history: which transaction did what to units, and when.

    ``here_at`` and ``here_entry`` are of the same transaction in the gateway's log, None where it knows none;
    ``code`` is 6403 where the two do not agree, and ``detail`` says how.
    """

    sha256: bytes
    registry: str
    transaction: str
    type: str
    at: datetime
    units: UnitRange
    here_at: datetime | None
    here_entry: int | None
    code: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Trail:
    """Both sides since a moment (None: since ever), newest first."""

    since: datetime | None
    moved: Sequence[Moved]
    told: Sequence[Told]


async def trail(tx: db.ReadTx, sight: Sight, case: Shown, *, since: datetime | None, limit: int) -> Trail:
    """The trail of a case, which is seen, since a moment, by default since its book was last found equal."""
    begin = since if since is not None else await case_view.last_clean(tx, case.id)
    moved = await case_view.trail(tx, sight, case.id, since=begin, limit=limit)
    return Trail(begin, moved, await _told(tx, sight, case, begin, limit))


async def _told(tx: db.ReadTx, sight: Sight, case: Shown, since: datetime | None, limit: int) -> list[Told]:
    found = await case_view.findings(tx, sight, case.id, after=0, limit=MOST_UNITS)
    if case.link is None or not found:
        return []
    units = tuple(
        UnitRange(Origin(RegistryCode(LinkCode(one.origin_registry)), one.series), one.first, one.last) for one in found
    )
    asked = Question(sight, Along.UNITS, source=case.link, since=since, units=units)
    window = await view_store.window(tx, asked, None, candidates=MOST_RECORDS, limit=min(limit, MAX_PAGE))
    said = [(row, json.loads(row.item)) for row in window.rows]
    known = await case_view.transactions(tx, [(one["registry"], one["transaction"]) for _, one in said])
    return compared([_record(row, one, known) for row, one in said])


def _record(row: Any, said: Mapping[str, Any], known: Mapping[tuple[str, str], tuple[datetime, int]]) -> Told:
    block, name = said["block"], (said["registry"], said["transaction"])
    origin = Origin(RegistryCode(LinkCode(block["origin"]["registry"])), block["origin"]["series"])
    units, (at, entry) = UnitRange(origin, block["first"], block["last"]), known.get(name, (None, None))
    return Told(bytes(row.sha256), *name, said["type"], row.at, units, at, entry)


def compared(told: Sequence[Told]) -> list[Told]:
    """The same records, each with what it says of time and order that the gateway's log does not."""
    return [_compared(one, told) for one in told]


def _compared(one: Told, others: Sequence[Told]) -> Told:
    if one.here_at is None or one.here_entry is None:
        return one
    said = []
    if abs(one.here_at - one.at) >= _PRECISION:
        said.append("its time is another one here")
    for other in others:
        if other.here_entry is None or other.units.intersect(one.units) is None:
            continue
        if (one.at < other.at and one.here_entry > other.here_entry) or (
            one.at > other.at and one.here_entry < other.here_entry
        ):
            said.append(f"it is in another order here than {other.transaction}")
            break
    if not said:
        return one
    return Told(
        one.sha256, one.registry, one.transaction, one.type, one.at, one.units, one.here_at, one.here_entry, ELSEWHEN,
        "; ".join(said),
    )  # fmt: skip
