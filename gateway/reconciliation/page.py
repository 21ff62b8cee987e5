"""The report of a run as a page that a person can read and print: plain HTML, nothing fetched, everything escaped."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from gateway.domain.check_codes import text
from gateway.reconciliation.view import WORDS, Report
from gateway.reconciliation.view_store import BookRow, FindingRow
from gateway.signing import compact

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 } caption { text-align: left; font-weight: 600 }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top }
td { overflow-wrap: anywhere } td.number { text-align: right; white-space: nowrap }
"""
#: What a browser may do with the page: show it, in its own style.
POLICY = f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"


def page(report: Report) -> str:
    """The whole page."""
    run = report.run
    title = f"Reconciliation of {run.link}"
    status = WORDS.get(run.status or 0, run.state)
    summary = (
        ("Result", f"{status} (status {run.status})" if run.status else status),
        ("Findings", f"{report.found:,} left to persons, {report.explained:,} explained by what was moving"),
        ("Cut", f"{run.cut or 'none'}, announced for {_moment(run.cut_at)}, taken there {_moment(run.taken_at)}"),
        ("Our cut", f"the log's tree of {run.size:,} leaves" if run.size is not None else "none"),
        ("Took", f"{run.round_trips:,} round trips, {run.bytes_sent:,} bytes sent, {run.bytes_received:,} received"),
        ("From, to", f"{_moment(run.begun_at)}, {_moment(run.ended_at)}"),
        ("Asked for by", run.asked_by or "the schedule"),
        *(("Remark", remark) for remark in run.remarks),
        *((("Waits", run.waiting),) if run.waiting else ()),
        ("Log entry", str(run.entry_id or "none")),
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table("Run " + run.id, ("", ""), summary),
        _table("Books", ("book", "root here", "root there", "totals"), map(_book, report.books)),
        *(_totals(book) for book in report.books if book.codes),
        _table("Findings", ("units", "what", "here", "there", "case"), map(_finding, report.findings)),
    ]
    more = "<p>There are more findings than are shown here.</p>" if report.next is not None else ""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}{more}</body></html>"
    )


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    shown = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return f"<table><caption>{escape(caption)}</caption>{shown}<tbody>{body}</tbody></table>"


def _book(book: BookRow) -> tuple[str, ...]:
    there = compact.encode(book.theirs) if book.theirs is not None else "not told"
    return book.registry, compact.encode(book.root), there, "differ" if book.codes else "agree"


def _totals(book: BookRow) -> str:
    here, there = _by_key(book.totals), _by_key(book.totals_there)
    rows = [
        (*map(str, key), f"{here.get(key, 0):,}", f"{there.get(key, 0):,}")
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    ]
    columns = ("Party", "account type", "vintage", "here", "there")
    return _table(f"Totals of {book.registry} that differ", columns, rows)


def _by_key(totals: Iterable[dict[str, Any]]) -> dict[tuple[str, int, int], int]:
    return {(one["party"], one["account_type"], one["vintage"]): one["quantity"] for one in totals}


def _finding(one: FindingRow) -> tuple[str, ...]:
    units = f"{one.origin_registry}/{one.series} {one.first}–{one.last} ({one.last - one.first + 1:,} units)"
    what = f"{one.code}, not met: {text(one.code)}; {one.detail}"
    case = one.case or "explained by " + (", ".join(one.explained_by or ()) or "units that moved meanwhile")
    return units, what, one.here or "nothing", one.there or "nothing", case


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at is not None else "–"
