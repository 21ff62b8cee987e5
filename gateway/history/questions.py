"""Asks a registry one question and reads its answer: for who looks or compares, never for what is kept.

The question is signed, stored and committed, then sent once; the answer goes through the inbox like any other message,
so both are in the log. Nothing else is stored. Silence is UNAVAILABLE 9001, and what a registry does not take or
answers otherwise is UNAVAILABLE 9002 with the reason; a refusal is ``Refused``, for units that may not be viewed with
8001. Nobody is asked again here: who looks may.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import db
from gateway.domain.registry import Accepted, Registry, Rejected, Unknown
from gateway.errors import GatewayError, Kind
from gateway.history.asking import RegistryOf, post, query
from gateway.messages import store as messages
from gateway.messages.inbox import Inbound, Inbox
from gateway.messages.outbox import Node
from gateway.messages.receipts import ItemReceipt
from gateway.signing.envelope import VerifiedMessage

#: Questions of one process under way to one registry: who looks on does not crowd out who moves units.
AT_ONCE = 4
#: Most codes of a refusal that are told.
MAX_CODES = 10


@dataclass(slots=True)
class Traffic:
    """What questions took: round trips, and the bytes of bodies."""

    round_trips: int = 0
    sent: int = 0
    received: int = 0


class Refused(GatewayError):
    """A registry refuses a question, by these codes."""

    def __init__(self, peer: str, codes: Sequence[int]) -> None:
        self.codes = frozenset(codes)
        said = ", ".join(map(str, codes)) or "it gives no reason"
        if 8001 in codes:
            super().__init__(Kind.FORBIDDEN, f"{peer} lets this not be viewed ({said})", code=8001)
        else:
            super().__init__(Kind.UNAVAILABLE, f"{peer} refuses to answer ({said})", code=9002)


async def heard(tx: db.Tx, node: Node, inbound: Inbound) -> Sequence[ItemReceipt]:
    """Pages, positions and cuts that were asked for: the inbox has verified them, and who asked reads them."""
    return ()


class Questions:
    """The questions of one process; ``commit`` names that of each question (``crash``)."""

    def __init__(
        self, database: db.Database, node: Node, inbox: Inbox, registry_of: RegistryOf, commit: str = "view"
    ) -> None:
        self._db = database
        self._node = node
        self._inbox = inbox
        self._registry_of = registry_of
        self._commit = commit
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    async def ask(
        self, peer: str, type: str, body: Mapping[str, Any], traffic: Traffic | None = None
    ) -> VerifiedMessage:
        """The answer of ``peer`` to a question of this type, counted in ``traffic``; raises as the module says."""
        traffic = traffic or Traffic()
        async with self._gates[peer]:
            registry = await self._reached(peer)
            asked = await self._db.run(lambda tx: query(tx, self._node, peer, type, body), self._commit)
            traffic.round_trips, traffic.sent = traffic.round_trips + 1, traffic.sent + len(asked.body)
            return await self._answered(registry, asked, traffic)

    async def again(self, stored: messages.Message) -> VerifiedMessage:
        """The answer to a message that was sent before, and is sent once more as it is."""
        async with self._gates[stored.peer]:
            return await self._answered(await self._reached(stored.peer), stored, Traffic())

    async def _reached(self, peer: str) -> Registry:
        async with self._db.reading() as tx:
            registry = await self._registry_of(tx, peer)
        if registry is None:
            raise GatewayError(Kind.UNAVAILABLE, f"no connector reaches {peer}", code=9002)
        return registry

    async def _answered(self, registry: Registry, asked: messages.Message, traffic: Traffic) -> VerifiedMessage:
        outcome = await post(registry, asked)
        match outcome:
            case Accepted(body):
                traffic.received += len(body)
                return _said(asked.peer, await self._absorbed(body, asked))
            case Rejected(detail, retry_after):
                context = {"retry_after_seconds": math.ceil(retry_after)} if retry_after else {}
                detail = f"{asked.peer} did not take {asked.type}: {detail}"
                raise GatewayError(Kind.UNAVAILABLE, detail, code=9002, context=context)
            case Unknown(reason):
                detail = f"no answer from {asked.peer} to {asked.type}: {reason}"
                raise GatewayError(Kind.UNAVAILABLE, detail, code=9001)

    async def _absorbed(self, body: bytes, asked: messages.Message) -> VerifiedMessage:
        try:
            return await self._inbox.absorb(body, asked)
        except GatewayError as error:
            if error.kind in (Kind.UNAVAILABLE, Kind.FORBIDDEN, Kind.INVARIANT):
                raise
            detail = f"the answer of {asked.peer} to {asked.type} was refused: {error.detail}"
            raise GatewayError(Kind.UNAVAILABLE, detail, code=9002) from error


def _said(peer: str, answer: VerifiedMessage) -> VerifiedMessage:
    if answer.type != "refusal":
        return answer
    listed = answer.body.get("findings")
    found = [f.get("code") for f in listed if isinstance(f, dict)] if isinstance(listed, list) else []
    raise Refused(peer, sorted({code for code in found if type(code) is int})[:MAX_CODES])
