"""Shows that the books agree, and how a book that was made wrong on purpose is found and put right.

Every link is reconciled. Then units vanish from KOR01's books by hand, and nobody tells: the next reconciliation finds
just these, marks them, and opens a case. Two people of KOR01 put them back, and the one after that closes the case. A
kept network shows it again. Raises INVARIANT when a process ends meanwhile, or a reconciliation does not.
"""

import time
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.demo.network import Network
from gateway.demo.watching import PATIENCE_SECONDS, POLL_SECONDS
from gateway.errors import GatewayError, Kind

_WRONG = "KOR01"
#: How many of its units vanish.
_VANISHING = 100
#: Statuses of the Kyoto log, in words: the books agree, agree again, or do not.
_AGREE, _AGAIN, _DIFFER = 5, 6, 99
_OUTCOMES = {_AGREE: "equal", _AGAIN: "equal, case closed", _DIFFER: "case opened", 7: "not compared"}


@dataclass(frozen=True, slots=True)
class Compared:
    """A reconciliation: when, what it found (tonnes by code), and what it took; ``as_it_should`` for its outcome."""

    link: str
    when: str
    books: int
    differing: int
    codes: tuple[int, ...]
    outcome: str
    round_trips: int
    bytes: int
    as_it_should: bool


def compared(http: httpx.Client, network: Network) -> tuple[Compared, ...]:
    """Reconcile every link; make KOR01's books wrong, and see it found and put right."""
    shown = [_shown(one, "at the end", _AGREE, 0) for one in _reconciled(http, network, {})]
    units = _vanished(http, network)
    [found] = _reconciled(http, network, {"link": _WRONG})
    shown.append(_shown(found, "units vanished", _DIFFER, _VANISHING))
    if found["findings"]:
        _put_right(http, network, units, found["findings"][0])
        [after] = _reconciled(http, network, {"link": _WRONG})
        shown.append(_shown(after, "put right by two", _AGAIN, 0))
    return tuple(shown)


def _reconciled(http: httpx.Client, network: Network, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask for reconciliations without announcement, as the demo's registries agree to, and wait for their reports."""
    at, tokens = f"{network.operator}/api/v1/reconciliations", network.tokens()
    asked = http.post(at, json={**wanted, "announce_seconds": 0}, auth=tokens).raise_for_status().json()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        network.check()
        reports = [http.get(f"{at}/{run['id']}", auth=tokens).raise_for_status().json() for run in asked]
        if all(report["run"]["state"] == "ended" for report in reports):
            return reports
        if time.monotonic() > deadline:
            raise GatewayError(Kind.INVARIANT, f"a reconciliation did not end in {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _vanished(http: httpx.Client, network: Network) -> dict[str, Any]:
    """Let the first of the units that KOR01 holds vanish from its books."""
    url = f"{network.registries[_WRONG]}/admin/books"
    blocks = http.get(url, params={"blocks": True}).raise_for_status().json()["blocks"]
    block = next(one["block"] for one in blocks if one["block"]["last"] - one["block"]["first"] >= _VANISHING)
    units = {"origin": block["origin"], "first": block["first"], "last": block["first"] + _VANISHING - 1}
    http.post(f"{url}/lose", json={"units": units}).raise_for_status()
    return units


def _put_right(http: httpx.Client, network: Network, units: dict[str, Any], finding: dict[str, Any]) -> None:
    wish = {
        "units": units, "state": finding["here"], "case": finding["case"], "who": ["registrar", "second registrar"],
        "why": "they had vanished from the books (synthetic)",
    }  # fmt: skip
    http.post(f"{network.registries[_WRONG]}/admin/books/correct", json=wish).raise_for_status()


def _shown(report: dict[str, Any], when: str, status: int, differing: int) -> Compared:
    run, open_ = report["run"], [one for one in report["findings"] if one["case"]]
    tonnes = sum(one["last"] - one["first"] + 1 for one in open_)
    return Compared(
        run["link"], when, len(report["books"]), tonnes, tuple(sorted({one["code"] for one in open_})),
        _OUTCOMES.get(run["status"], str(run["status"])), run["round_trips"],
        run["bytes_sent"] + run["bytes_received"], run["status"] == status and tonnes == differing,
    )  # fmt: skip
