"""Who sees a transfer, and who acts for its source.

Its sides see it from its beginning: the source, the acquirer, and their registries that it is between; these rows are
written with its own (``store.insert``). The Party whose units they are sees it from their first transfer on: from the
release that says it is one, and of units that were first transferred before, from when the checks find them in the
book. A viewer once is a viewer for ever. A registry that a proposal names and that is not behind the link concerned,
is none of its sides.
"""

from collections.abc import Sequence

from gateway import db
from gateway.domain.callers import Sight
from gateway.domain.identifiers import PartyCode

#: Whether a transfer ``t`` is seen (``Sight.parameters``).
SEEN = """
  (CAST(:sight AS text) IS NULL OR EXISTS (
    SELECT FROM transfer_viewer v WHERE v.viewer IN (CAST(:sight AS text), CAST(:sight_party AS text))
      AND v.created_at = t.created_at AND v.transfer_id = t.id))
"""


async def add(tx: db.Tx, first_transferred: Sequence[tuple[str, PartyCode]]) -> None:
    """Let Parties see transfers of units they have first transferred; one statement for all."""
    if not first_transferred:
        return
    await db.execute(
        tx,
        """
        INSERT INTO transfer_viewer (viewer, created_at, transfer_id)
        SELECT n.party, t.created_at, t.id
        FROM unnest(CAST(:party AS text[]), CAST(:transfer AS text[])) AS n(party, transfer)
        JOIN transfer t ON t.id = n.transfer
        ON CONFLICT DO NOTHING
        """,
        {"transfer": [transfer for transfer, _ in first_transferred], "party": [p for _, p in first_transferred]},
    )


async def of_source(tx: db.Tx | db.ReadTx, transfer: str, sight: Sight) -> bool:
    """Whether there is such a transfer and ``sight`` is that of its source's people, or everything."""
    found = await db.one(
        tx,
        """
        SELECT 1 FROM transfer t LEFT JOIN link_registry r ON r.registry = t.transferring_registry AND r.link = t.source
        WHERE t.id = :id AND (CAST(:sight AS text) IS NULL OR CAST(:sight AS text) IN (t.source, r.registry))
        """,
        {"id": transfer, "sight": sight.code},
    )
    return found is not None
