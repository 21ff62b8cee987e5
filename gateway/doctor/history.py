"""The check of pulled history: each feed is proven from its texts and its pages, as ``gateway history verify`` does.

Keys count as they were known when a page was stored (``scene``). Of a feed the first faults are kept; memory is that of
some pages.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from gateway import db
from gateway.doctor.report import MOST_KEPT, Remark, finding
from gateway.doctor.scene import Scene
from gateway.history import verify, verify_store
from gateway.history.verify import Proof
from gateway.signing import compact


@dataclass
class Feed:
    """A feed, or the records that are in none, and what is wrong with it."""

    remarks: list[Remark] = field(default_factory=list)


async def feeds(tx: db.ReadTx, scene: Scene) -> AsyncIterator[Feed]:
    """Every feed that is kept, then what is in none."""
    logs = await verify.log_keys(tx)
    for row in await verify_store.feeds(tx):
        proof, feed = Proof(row, scene.keys_of, logs.get(row.source, ())), Feed()
        while not proof.done:
            _add(feed, await proof.read(tx))
        _add(feed, list(proof.ends()))
        yield feed
    alone = await verify_store.nowhere(tx, most=MOST_KEPT)
    yield Feed([finding("it is in no feed", record=compact.encode(sha256)) for sha256 in alone])


def history(feed: Feed, _scene: Scene) -> Iterable[Remark]:
    """Every feed of history is whole from its first record on, as its source signed it page by page."""
    return feed.remarks


def _add(feed: Feed, faults: Iterable[verify.Fault]) -> None:
    for fault in faults:
        if len(feed.remarks) == MOST_KEPT:
            return
        about: dict[str, str | int] = {"source": str(fault.source), "registry": str(fault.registry)}
        about |= {"record": fault.number} if fault.number is not None else {}
        feed.remarks.append(finding(fault.what, **about))
