"""A page of history before it is signed, and the tricks an operator may have played on one.

A trick strikes the next page (or question) of its kind once, and is forgotten with the process.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .feeds import Entry, Place


@dataclass(frozen=True)
class Page:
    """A page before it is signed: whose, what it holds, and where each record is in this registry's own log."""

    after: Place
    until: Place
    more: bool
    entries: list[Entry]
    log: tuple[str, list[tuple[int, bytes]]] | None = None

    def body(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Write the body of the answer to a question."""
        members = {"of": asked["of"], "for": asked["for"], "after": written(self.after), "until": written(self.until)}
        if self.log is None or not self.entries:
            return {**members, "more": self.more}
        note, places = self.log
        salts = base64.urlsafe_b64encode(b"".join(salt for _, salt in places)).rstrip(b"=").decode()
        log = {"checkpoint": note, "leaves": [leaf for leaf, _ in places], "salts": salts}
        return {**members, "more": self.more, "log": log}


@dataclass
class Tricks:
    """Tricks that wait for their page, and the last page of each Party."""

    waiting: list[str] = field(default_factory=list)
    last: dict[str, Page] = field(default_factory=dict)

    def take(self, *names: str) -> str | None:
        """Give the first trick of these that waits, and let it wait no longer."""
        found = next((name for name in self.waiting if name in names), None)
        if found is not None:
            self.waiting.remove(found)
        return found


def written(place: Place) -> dict[str, Any]:
    """Write a place as a cursor."""
    return {"number": place.number, "digest": base64.urlsafe_b64encode(place.digest).rstrip(b"=").decode()}


def read(cursor: Mapping[str, Any]) -> Place:
    """Read a cursor of the right shape."""
    return Place(cursor["number"], base64.urlsafe_b64decode(cursor["digest"] + "="))


def _lose(page: Page, last: Page | None) -> Page:
    """Leave out the first record, and more of a long page, as if it had never been."""
    lost = max(len(page.entries) // 2, 1)
    log = (page.log[0], page.log[1][lost:]) if page.log else None
    return replace(page, entries=page.entries[lost:], log=log)


def _repeat(page: Page, last: Page | None) -> Page:
    """Give the page before again."""
    return last or page


def _reorder(page: Page, last: Page | None) -> Page:
    """Let the first record come last, and the last one first."""
    entries = [page.entries[-1], *page.entries[1:-1], page.entries[0]]
    log = (page.log[0], [page.log[1][-1], *page.log[1][1:-1], page.log[1][0]]) if page.log else None
    return replace(page, entries=entries, log=log) if len(page.entries) > 1 else page


ON_PAGES: Mapping[str, Callable[[Page, Page | None], Page]] = {
    "lose-page": _lose,
    "repeat": _repeat,
    "reorder": _reorder,
}
#: All tricks that can be played on a page.
TRICKS = ("expire", *ON_PAGES)
