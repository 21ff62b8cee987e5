"""Use and cancellation elsewhere of units hosted here, as the gateway tells of them: kept, each once.

The first transferring Party has to be notified of them (2/CMA.3 annex paragraph 2; its text was not available). What
is told moves nothing here: the units are in somebody else's books.
"""

from . import shapes
from .database import Row, Tx, columns
from .envelope import Message, Refusal
from .outcomes import Outcome
from .registry import Registry


async def take(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Keep each action, the first text told of it; raises ``Refusal`` (2005) for too many blocks."""
    if sum(len(item.value["blocks"]) for item in message.own) > shapes.MAX_BLOCKS:
        raise Refusal(2005, "more than 3,000 blocks", message.id, message.body_sha256)
    await tx.execute(
        "INSERT INTO told_action (action, item) SELECT * FROM unnest(%b::text[], %b::text[]) ON CONFLICT DO NOTHING",
        *columns([(item.value["action"], item.text) for item in message.own], 2),
    )
    return [Outcome(item, "recorded") for item in message.own]


async def listed(tx: Tx) -> list[Row]:
    """Give every action told of, with the text as it was signed."""
    return await tx.rows("SELECT action, item FROM told_action ORDER BY action")
