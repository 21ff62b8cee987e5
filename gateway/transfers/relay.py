"""The worker's side of transfers: decides what is due, then sends what is stored.

What is due now is taken in lists (``decisions``), then every statement and message that still waits for its answer is
sent (``sending``). Losing the process at any point loses nothing: the rows say what is due, and nothing is ever
concluded from silence (R6).
"""

import asyncio
import secrets

from gateway import db
from gateway.messages.inbox import Inbox
from gateway.messages.outbox import Node
from gateway.transfers.decisions import Decisions
from gateway.transfers.sending import RegistryOf, Sender


class Relay:
    """What one worker does; any number of workers may run."""

    def __init__(
        self,
        database: db.Database,
        node: Node,
        inbox: Inbox,
        registry_of: RegistryOf,
    ) -> None:
        #: Unlike any other worker's, this one's next life included; no longer than PostgreSQL takes it (63 bytes).
        self.worker_id = f"gateway-worker-{secrets.token_hex(8)}"
        self.decisions = Decisions(database, node)
        self.sender = Sender(self.worker_id, database, node, inbox, registry_of)

    @property
    def moved(self) -> asyncio.Event:
        """Set as sends end; cleared when a turn begins."""
        return self.sender.moved

    async def begin(self) -> bool:
        """Decide what is due now and start sending what is; whether anything was."""
        self.moved.clear()
        await self.sender.give_back()
        decided = await self.decisions.take()
        started = self.decisions.to_send and await self.sender.start()
        if self.decisions.to_record and await self.decisions.record():
            return await self.sender.start() or started
        return started or decided

    async def take_over(self) -> None:
        """Free what workers that are gone had leased, so that nothing waits for the end of a lease."""
        await self.sender.take_over()

    async def finish(self) -> None:
        """Wait for the sends under way."""
        await self.sender.finish()

    async def turn(self) -> bool:
        """Do what is due now, to its end; whether anything was."""
        began = await self.begin()
        await self.finish()
        return began
