"""How a transfer's row begins: what it says of itself, and the claim on its units."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from gateway import db
from gateway.domain import checks
from gateway.domain.check_codes import Finding
from gateway.domain.proposals import FaultyProposal
from gateway.domain.transfers import Proposal
from gateway.domain.units import UnitRange
from gateway.holdings import claims
from gateway.holdings.claims import Claim
from gateway.links import store as links
from gateway.links.store import Behind, Link
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


async def within_day(tx: db.Tx, link: Link, sound: Sequence[Proposal], now: datetime) -> dict[str, tuple[Finding, ...]]:
    """Count the blocks of sound proposals against what their link may propose today (UTC); the findings of those beyond
    it. Proposals that are faulty are not counted.
    """
    if link.blocks_per_day is None or not sound:
        return {}
    day = now.astimezone(UTC).date()
    used = await links.use_day(tx, link.code, day)
    beyond: dict[str, tuple[Finding, ...]] = {}
    for proposal in sound:
        if used + len(proposal.blocks) <= link.blocks_per_day:
            used += len(proposal.blocks)
        else:
            detail = f"{link.code} may propose {link.blocks_per_day} blocks a day"
            beyond[str(proposal.transfer)] = (Finding(4021, detail=detail),)
    await links.note_day(tx, link.code, day, used)
    return beyond


async def claim(tx: db.Tx, sender: str, sound: Sequence[Proposal], now: datetime) -> dict[str, tuple[Finding, ...]]:
    """Claim the units of sound proposals; the findings of those that cannot have them, judged at once."""
    units = [(p, block.range) for p in sound for block in p.blocks]
    wanted = [Claim(str(p.transfer), block, p.transferring.registry) for p, block in units]
    refused: dict[str, list[UnitRange]] = {}
    for nr in sorted(await claims.take(tx, wanted, sender)):
        refused.setdefault(wanted[nr].transfer, []).append(units[nr][1])
    if not refused:
        return {}
    failed = [p for p in sound if str(p.transfer) in refused]
    judged = await judge(tx, [(sender, p) for p in failed], now)
    found = {str(p.transfer): verdict.findings for p, verdict in zip(failed, judged, strict=True)}
    taken = {t: (Finding(4005, tuple(units), "claimed by another transfer"),) for t, units in refused.items()}
    return {t: taken[t] if checks.passed(found[t]) else found[t] for t in refused}
