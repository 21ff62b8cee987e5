"""Shows runs: what was compared, at which cut, what it took, and every finding down to serials.

A run that is not seen, or not there, is FORBIDDEN (8001; NOT_FOUND to who sees everything). Who is bound to a registry
is told nothing of another one's books: neither who else has its units, nor transfers that it does not see.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime

from gateway import db
from gateway.domain.callers import Sight
from gateway.reconciliation import view_store
from gateway.reconciliation.classify import for_its_people
from gateway.reconciliation.view_store import BookRow, FindingRow, RunRow

#: Most runs of a page, and most findings.
MAX_RUNS, MAX_FINDINGS = 200, 1_000
#: A registry or a link in a remark.
_CODE = re.compile(r"\b[A-Z]{3}[0-9]{2}\b")
#: What the statuses of the Kyoto log say, in words.
WORDS = {
    1: "initiated",
    2: "validated",
    3: "totals differ",
    4: "blocks differ",
    5: "the books agree",
    6: "the books agree after correction",
    7: "could not be compared",
    98: "totals by account type differ",
    99: "differences, or what cannot be true, are left to persons",
}


@dataclass(frozen=True, slots=True)
class Report:
    """A run, its books, and its findings: ``found`` and ``explained`` of them, ``next`` where there are more."""

    run: RunRow
    books: list[BookRow]
    findings: list[FindingRow]
    found: int
    explained: int
    next: int | None


async def listing(
    tx: db.ReadTx, sight: Sight, *, link: str | None, before: datetime | None, limit: int
) -> list[RunRow]:
    """Runs that are seen: those that have not ended, then the others, the last first."""
    return [_seen(one, sight) for one in await view_store.runs(tx, sight, link=link, before=before, limit=limit)]


async def report(tx: db.ReadTx, sight: Sight, run: str, *, after: int = 0, limit: int = MAX_FINDINGS) -> Report:
    """One run, with its findings from behind ``after`` on; raises as the module says."""
    found = await view_store.run(tx, sight, run)
    if found is None:
        raise sight.absent(f"there is no reconciliation {run}", 3001)
    books = await view_store.books(tx, sight, run)
    findings = await view_store.findings(tx, sight, run, after=after, limit=limit)
    if sight.code is not None:
        findings = [replace(one, detail=for_its_people(one.registry, one.code, one.detail)) for one in findings]
    count, explained = await view_store.counts(tx, sight, run)
    following = findings[-1].id if len(findings) == limit else None
    return Report(_seen(found, sight), books, findings, count, explained, following)


def _seen(run: RunRow, sight: Sight) -> RunRow:
    remarks = [
        one for one in run.remarks if sight.code in (None, run.link) or _concerns(one, str(sight.code), run.link)
    ]
    return replace(run, waiting=sight.why(run.waiting), remarks=remarks)


def _concerns(remark: str, registry: str, link: str) -> bool:
    """Whether a remark names no book but this one, and no transfer: whose that is it does not say."""
    return not remark.startswith("transfer ") and set(_CODE.findall(remark)) <= {registry, link}
