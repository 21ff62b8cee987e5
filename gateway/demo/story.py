"""What happens in the demo: the first A6.4ER issuance is issued, announced and relayed to the acquiring Party.

PoA 10471, Myanmar: 58,428 t issued. Myanmar is a least developed country, so no share of proceeds is taken;
2 % of what is issued, rounded up to 1,169 t, is cancelled for overall mitigation in global emissions; 57,259 t
are relayed to Korea's registry. The figures are public (domain facts of the first issuance, 2026); serials,
accounts, the authorisation's id and the split into transfers are synthetic. In the middle, at the worst moment, an
answer is lost and the worker killed (``trouble``).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx

from gateway.demo import trouble
from gateway.demo.network import Network
from gateway.doctor.report import Report
from gateway.errors import GatewayError, Kind

ACTIVITY = "PoA 10471"
ISSUED_TONNES = 58_428
OMGE_PERCENT = 2
RELAYED_TONNES = 57_259
TRANSFERS = 10
AUTHORISATION = {"id": "MMR-SYNTHETIC-2026-1", "version": 1}
#: How long the demo waits for every transfer to be final.
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.1

#: The states in which nothing more happens.
FINAL = ("completed", "refused", "rejected", "cancelled")


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo found at its end, in tonnes; ``agrees``: every registry's own books are those of the gateway."""

    books: dict[str, Any]
    registries: dict[str, dict[str, Any]]
    total: int
    completed: int
    final: int
    units_moved: int
    seconds: float
    #: Tonnes debited and not credited when the worker was killed; nothing was proposed where this is 0.
    nowhere: int = 0
    #: What the doctor found of the gateway's database at the end.
    doctor: Report | None = None

    @property
    def agrees(self) -> bool:
        """Whether each registry of the demo says of itself what the gateway's book says of it."""
        same = ("issued", "held", "used", "cancelled", "moved_in", "moved_out")
        book = {row["registry"]: row for row in self.books["registries"]}
        return all(
            all(own[name] == book.get(code, {}).get(name, 0) for name in same) for code, own in self.registries.items()
        )

    @property
    def conservation(self) -> str:
        """``holds`` when nothing is lost or doubled, by the gateway's book and by the registries' own."""
        return "holds" if self.agrees and self.books["conservation"] == "holds" else "broken"

    @property
    def succeeded(self) -> bool:
        """Conservation holds, every transfer is final, and everything in the database fits together."""
        healthy = self.doctor is not None and self.doctor.fits
        return self.conservation == "holds" and self.final == self.total and healthy


def tell(network: Network, progress: Callable[[int, int, int], None]) -> Result:
    """Issue once, propose what is still in Myanmar's account, make trouble, and wait until every transfer is final.

    ``progress`` is told (transfers, of these final, tonnes arrived) as things happen. Raises ``GatewayError`` when
    a process of the network ends meanwhile, or does not do its part.
    """
    began = time.monotonic()
    with network.client() as http:
        _issue_once(http, network)
        _until_announced(http, network)
        trouble.arm(http, network)
        proposed, fresh = _propose(http, network)
        nowhere = trouble.strike(http, network) if fresh else 0
        while True:
            network.check()
            result = _look(http, network, time.monotonic() - began)
            progress(result.total, result.final, result.units_moved)
            settled = result.total >= proposed and result.final == result.total and result.agrees
            if settled or result.seconds > PATIENCE_SECONDS:
                return replace(result, nowhere=nowhere, doctor=trouble.examined(network))
            time.sleep(POLL_SECONDS)


def _issue_once(http: httpx.Client, network: Network) -> None:
    mechanism = network.registries["MEC01"]
    if http.get(f"{mechanism}/admin/books").raise_for_status().json()["issued"]:
        return
    http.post(
        f"{network.registries['KOR01']}/admin/accounts", json={"party": "KOR", "account": "100-1"}
    ).raise_for_status()
    issuance = {
        "activity": ACTIVITY, "party": "MMR", "gross": ISSUED_TONNES, "vintage": 2021, "series": "MMR-A64",
        "omge_percent": OMGE_PERCENT, "sop_percent": 0, "authorisation": AUTHORISATION,
    }  # fmt: skip
    http.post(f"{mechanism}/admin/issue", json=issuance).raise_for_status()


def _until_announced(http: httpx.Client, network: Network) -> None:
    """Wait until the gateway's book has the issuance: only then can a proposal pass its checks."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        network.check()
        books = http.get(f"{network.operator}/api/v1/books").raise_for_status().json()
        if any(row["issued"] for row in books["registries"]):
            return
        time.sleep(POLL_SECONDS)
    raise GatewayError(Kind.INVARIANT, f"MEC01's issuance did not reach the gateway in {PATIENCE_SECONDS:.0f} s")


def _propose(http: httpx.Client, network: Network) -> tuple[int, bool]:
    """Propose what is free in Myanmar's account, in one message: transfers ever proposed, and whether any is new."""
    mechanism = network.registries["MEC01"]
    books = http.get(f"{mechanism}/admin/books").raise_for_status().json()
    free = books["held"] - books["locked"]
    if free:
        share = -(-free // TRANSFERS)
        parts = [min(share, free - begun) for begun in range(0, free, share)]
        to = {"registry": "KOR01", "party": "KOR", "account": "100-1"}
        wishes = [{"party": "MMR", "to": to, "quantity": part, "authorisation": AUTHORISATION} for part in parts]
        http.post(f"{mechanism}/admin/transfers", json={"transfers": wishes}).raise_for_status()
    return len(http.get(f"{mechanism}/admin/transfers").raise_for_status().json()["transfers"]), bool(free)


def _look(http: httpx.Client, network: Network, seconds: float) -> Result:
    books = http.get(f"{network.operator}/api/v1/books").raise_for_status().json()
    registries = {
        code: http.get(f"{url}/admin/books").raise_for_status().json() for code, url in network.registries.items()
    }
    tally: dict[str, int] = books["transfers"]
    return Result(
        books,
        registries,
        total=sum(tally.values()),
        completed=tally.get("completed", 0),
        final=sum(tally.get(state, 0) for state in FINAL),
        units_moved=sum(row["moved_in"] for row in books["registries"]),
        seconds=seconds,
    )
