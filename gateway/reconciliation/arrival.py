"""Waits until what a registry had told by its cut is here, and asks again for its answers that were lost on their way.

Everything a registry says has a number, its answers included. One of these is lost for good where its registry has said
the same by a message of its own meanwhile: nothing of ours is due any more, so nobody sends it again. What it answered
is sent once more here, the same bytes, and has no effect there but the same answer again. Silence proves nothing: what
does not come is left missing, and the run decides how long it waits.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from gateway import db
from gateway.errors import GatewayError
from gateway.history.questions import Questions
from gateway.messages import store as messages
from gateway.messages.outbox import Node

#: How long is waited at once, and how often it is looked.
WAIT_SECONDS, LOOK_SECONDS = 5.0, 1.0
#: Numbers of a registry's stream that are looked at: what is missing further back is no news, and not of this cut.
LAST_NUMBERS = 10_000
#: Messages with a registry among which unanswered ones are looked for, and how many of them are sent again at once.
LAST_MESSAGES, MOST_AGAIN = 10_000, 100

#: How many of the last ``:wanted`` numbers up to ``:told`` are here of a link's stream.
ARRIVED = """
  SELECT count(DISTINCT seq) AS here FROM message
  WHERE direction = 'in' AND peer = :link AND seq > CAST(:told AS bigint) - :wanted AND seq <= :told
"""
#: What we sent a link ``:before`` then, as a message that is to be answered, and has no answer here; the last first.
UNANSWERED = f"""
  WITH last AS MATERIALIZED (
    SELECT p.* FROM message p WHERE p.peer = :link ORDER BY p.entry_id DESC LIMIT {LAST_MESSAGES}
  )
  SELECT CAST(p.message_id AS text) AS id FROM last p
  WHERE p.direction = 'out' AND p.seq IS NOT NULL AND p.in_reply_to IS NULL AND p.at < :before AND NOT EXISTS (
    SELECT FROM message a WHERE a.in_reply_to = p.message_id AND a.direction = 'in' OFFSET 0)
  ORDER BY p.entry_id DESC LIMIT {MOST_AGAIN}
"""


async def arrived(database: db.Database, node: Node, questions: Questions, link: str, told: int) -> bool:
    """Whether all that ``link`` had numbered up to ``told`` is here, or comes within a while, or by asking again."""
    if await _in_time(database, link, told):
        return True
    for stored in await _unanswered(database, link, node.clock() - timedelta(seconds=WAIT_SECONDS)):
        with suppress(GatewayError):  # whatever it says, or does not, is here, or is not
            await questions.again(stored)
    return await _here(database, link, told)


async def _in_time(database: db.Database, link: str, told: int) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if await _here(database, link, told):
                    return True
                await asyncio.sleep(LOOK_SECONDS)
    return False


async def _here(database: db.Database, link: str, told: int) -> bool:
    wanted = min(told, LAST_NUMBERS)
    async with database.reading() as tx:
        found = await db.one(tx, ARRIVED, {"link": link, "told": told, "wanted": wanted})
    assert found is not None  # an aggregate always gives a row
    return bool(found.here == wanted)


async def _unanswered(database: db.Database, link: str, before: datetime) -> list[messages.Message]:
    async with database.reading() as tx:
        found = await db.rows(tx, UNANSWERED, {"link": link, "before": before})
        return await messages.outgoing(tx, [r.id for r in found])
