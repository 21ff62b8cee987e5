"""How a transfer's row begins: what it says of itself, and the claim on its units."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from gateway import db
from gateway.domain import checks
from gateway.domain.check_codes import Finding
from gateway.domain.proposals import FaultyProposal
from gateway.domain.transfers import Proposal
from gateway.domain.units import UnitRange
from gateway.holdings import claims
from gateway.holdings.claims import Claim
from gateway.links.store import Behind
from gateway.signing.envelope import Item
from gateway.transfers.judge import judge
from gateway.transfers.store import New

Parsed = Proposal | FaultyProposal


def new(
    sender: str,
    item: Item,
    proposal: Parsed,
    reached: Mapping[str, Behind],
    request: str | None,
    deadline: datetime,
    entry_id: int,
) -> New:
    """The row of a proposal, as its source wrote it; ``reached`` says by which link registries are reached."""
    raw = item.value
    acquirer = reached.get(raw["acquiring"]["registry"])
    return New(
        str(proposal.transfer),
        sender,
        acquirer.code if acquirer else None,
        request,
        _address(raw["transferring"]),
        _address(raw["acquiring"]),
        raw["purpose"],
        raw["quantity"],
        len(raw["blocks"]),
        deadline,
        entry_id,
    )


def _address(raw: dict[str, str]) -> tuple[str, str, str]:
    return raw["registry"], raw["party"], raw["account"]


async def claim(tx: db.Tx, sender: str, sound: Sequence[Proposal], now: datetime) -> dict[str, tuple[Finding, ...]]:
    """Claim the units of sound proposals; the findings of those that cannot have them, judged at once."""
    wanted = [Claim(str(p.transfer), block, p.transferring.registry) for p in sound for block in p.blocks]
    refused: dict[str, list[UnitRange]] = {}
    for nr in sorted(await claims.take(tx, wanted, sender)):
        refused.setdefault(wanted[nr].transfer, []).append(wanted[nr].block.range)
    if not refused:
        return {}
    failed = [p for p in sound if str(p.transfer) in refused]
    judged = await judge(tx, [(sender, p) for p in failed], now)
    found = {str(p.transfer): verdict.findings for p, verdict in zip(failed, judged, strict=True)}
    taken = {t: (Finding(4005, tuple(units), "claimed by another transfer"),) for t, units in refused.items()}
    return {t: taken[t] if checks.passed(found[t]) else found[t] for t in refused}
