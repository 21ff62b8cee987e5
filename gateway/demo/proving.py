"""Shows that nobody has to believe the gateway: its log is verified as it is served, a transfer's evidence offline.

Every registry has looked whether what its receipts promised is in the log, and cosigned it; the gateway has cosigned
the log of the mechanism registry. Raises INVARIANT when that does not come to its end, or a process ends.
"""

import asyncio
import time
from dataclasses import dataclass

import httpx

from gateway import db
from gateway.audit import reading, store, walking, witness_store
from gateway.audit.verdict import Verdict
from gateway.demo import linking
from gateway.demo.members import GATEWAY
from gateway.demo.network import Network
from gateway.demo.watching import PATIENCE_SECONDS, POLL_SECONDS, Watch
from gateway.errors import GatewayError, Kind
from gateway.evidence.said import Pins
from gateway.evidence.verify import verify
from gateway.signing import notes
from gateway.signing.notes import Verifier


@dataclass(frozen=True, slots=True)
class Proof:
    """What was verified; ``valid`` is the log, ``evidence_valid`` the bundle of one transfer."""

    entries: int
    checkpoints: int
    root: str
    witnesses: int
    valid: bool
    promises_kept: int
    promises_open: int
    promises_broken: int
    #: Entries of the mechanism registry's own log that the gateway has cosigned.
    cosigned: int
    transfer: str
    evidence_checks: int
    evidence_valid: bool

    @property
    def as_it_should(self) -> bool:
        """Everything verifies, and every promise was kept."""
        kept = self.promises_kept > 0 and not (self.promises_open or self.promises_broken)
        return self.valid and self.evidence_valid and kept and self.cosigned > 0


def proven(http: httpx.Client, network: Network, watch: Watch) -> Proof:
    """Wait until everything that was said is published and cosigned by every registry, and verify it."""
    cosigned = asyncio.run(_until_cosigned(network))
    kept, waiting, broken = _promises(http, network)
    verdict = asyncio.run(_verified(network))
    transfer = next(row["id"] for row in watch.pages("transfers") if row["state"] == "completed")
    bundle = http.get(f"{network.operator}/api/v1/transfers/{transfer}/evidence", auth=network.tokens())
    witnesses = [_keys(network, member.code, "witness")[0] for member in network.members]
    report = verify(
        bundle.raise_for_status().content,
        Pins(tuple(_keys(network, GATEWAY, "log")), tuple(witnesses), len(witnesses)),
    )
    return Proof(
        entries=verdict.entries,
        checkpoints=verdict.checkpoints,
        root=verdict.checkpoint.root.hex() if verdict.checkpoint else "",
        witnesses=len(witnesses),
        valid=verdict.valid,
        promises_kept=kept,
        promises_open=waiting,
        promises_broken=broken,
        cosigned=cosigned,
        transfer=transfer,
        evidence_checks=len(report.results),
        evidence_valid=report.valid,
    )


async def _until_cosigned(network: Network) -> int:
    """Wait for it; how many entries of the mechanism registry's log are cosigned by us."""
    database = db.Database(network.database.dsn("gateway", "gateway_app"))
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while time.monotonic() < deadline:
            network.check()
            async with database.reading() as tx:
                head, newest = await store.head(tx), await store.latest(tx)
                waiting = await store.waiting(tx, head.swept, 1)
                theirs = sum(log.size for log in await witness_store.watched(tx))
            known = newest is not None and newest.size == head.size and newest.witnesses == len(network.members)
            if known and theirs and not waiting:
                return theirs
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await database.close()
    raise GatewayError(Kind.INVARIANT, "the log is not published and cosigned by every registry")


def _promises(http: httpx.Client, network: Network) -> tuple[int, int, int]:
    """What the registries find of the promises they were given, once none is open: kept, still open, broken."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = []
        for url in network.registries.values():
            http.post(f"{url}/admin/follow").raise_for_status()
            found.append(http.get(f"{url}/admin/promises").raise_for_status().json()["counts"])
        kept, waiting, broken = (sum(counts[state] for counts in found) for state in ("kept", "open", "broken"))
        if not waiting or time.monotonic() > deadline:
            return kept, waiting, broken
        network.check()
        time.sleep(POLL_SECONDS)


async def _verified(network: Network) -> Verdict:
    """The log, as everybody may read it, under its keys as they were pinned."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:

        async def read(path: str, most: int) -> bytes | None:
            answer = await http.get(f"{network.link}/log/{path}")
            return answer.content[: most + 1] if answer.status_code == 200 else None

        return await walking.verify(reading.Files(read, query=True), _keys(network, GATEWAY, "log"))


def _keys(network: Network, code: str, what: str) -> list[Verifier]:
    return list(notes.read_keys(linking.vkeys(network.folder, code, what).read_text()))
