"""The international registry, played by a test: what it was told to record, and what it says to that.

Nobody listens at its address, so records stay owed until the test lets it answer. All units are synthetic.
"""

import json
from dataclasses import dataclass
from typing import Any

from gateway.messages import store as messages
from gateway.messages.store import Message
from tests.integration.test_sandbox_play import sha, text
from tests.played import Course, Played, join
from tests.stage import Stage

SECTIONS: dict[str, str | None] = {"MMR99": "MMR", "KOR99": "KOR"}


@dataclass
class International:
    """INT01 with its sections, linked."""

    played: Played

    @classmethod
    async def joined(cls, stage: Stage, sections: dict[str, str | None] | None = None) -> "International":
        return cls(await join(stage, "INT01", "international", sections=sections or SECTIONS))

    @property
    def stage(self) -> Stage:
        return self.played.stage

    async def told(self, message_type: str = "action.record") -> list[Message]:
        """The messages of a type that were stored for it, oldest first."""
        ids = await self.stage.rows(
            f"SELECT message_id::text FROM message WHERE (direction, type) = ('out', '{message_type}')"
            f" AND peer = '{self.played.code}' ORDER BY entry_id"
        )
        async with self.stage.gateway.database.reading() as tx:
            found = await messages.outgoing(tx, [message for (message,) in ids])
        return sorted(found, key=lambda m: m.entry_id)

    async def receipt(self, sent: Message, *states: str, **finding: Any) -> None:
        """Answer item by item; the last state holds for all that follow. Who refuses gives the finding."""
        items = texts(sent)
        each = [states[min(nr, len(states) - 1)] for nr in range(len(items))]
        said = [
            {"kind": "receipt", "item": sha(item), "state": state, "findings": [finding] if state == "refused" else []}
            for item, state in zip(items, each, strict=True)
        ]
        await self.answer(sent, "receipt", [text(item) for item in said])

    async def answer(self, sent: Message, kind: str, items: list[str], **members: Any) -> None:
        """Answer a message in its HTTP response."""
        named = {"id": sent.message_id, "sha256": sha(sent.body)}
        _, body = self.played.compose(kind, items, in_reply_to=named, **members)
        await self.stage.gateway.inbox.absorb(body, sent)

    async def records(self) -> dict[str, str]:
        """The state of every record, by its action."""
        found = await self.stage.rows("SELECT action, state FROM action_record WHERE kind = 'record' ORDER BY id")
        return dict(found)  # type: ignore[arg-type]

    async def owed(self) -> list[str]:
        """The messages that are owed to it."""
        due = f"SELECT message_id::text FROM owed WHERE peer = '{self.played.code}' ORDER BY message_id"
        found = await self.stage.rows(due)
        return [message for (message,) in found]


def texts(sent: Message) -> list[str]:
    """The items of a message."""
    return list(json.loads(sent.body)["items"])


def items(sent: Message) -> list[dict[str, Any]]:
    return [json.loads(item) for item in texts(sent)]


async def begun(stage: Stage) -> tuple[Course, International]:
    """MEC01 and KOR01, played, with sections for both Parties in INT01, played too."""
    course = await Course.begun(stage)
    return course, await International.joined(stage)
