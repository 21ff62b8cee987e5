"""Takes the mark of a run away: proposals for its books are judged again, and the log says so.

Done in the transaction that takes the mark out of the run's row, so books are marked as long as a row says it. Fails as
the database does.
"""

from collections.abc import Sequence

from gateway import db
from gateway.audit import log
from gateway.holdings import flags
from gateway.messages.outbox import Node
from gateway.transfers import leases


async def unmark(tx: db.Tx, node: Node, run: str, registries: Sequence[str], answer: str | None) -> None:
    """Let things begin with the books again; ``answer`` is the hash of the registry's cut, None if it was not taken."""
    now = node.clock()
    record = {"reconciliation": run, "answer": answer}
    [entry_id] = await log.append(tx, [log.draft("reconciliation.cut-over", now, record)])
    await flags.unmark_reconciling(tx, registries, entry_id)
    await leases.wake_reconciled(tx, registries, now)
