"""What a registry tells the gateway of itself: ``action.notice``, stored in the transaction of the change.

Items go out in the order given, in as few messages as the limits allow. A message that holds an authorisation leads:
notices stored after it wait until it is receipted, because they may rest on it and messages may overtake each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import batches, clock, post, strictjson
from .batches import Written
from .database import Tx
from .envelope import Draft, Outgoing
from .registry import Registry


def new_action() -> str:
    """Give an action its id, unique in this registry for ever."""
    return f"A-{clock.uuid7()}"


def write(
    kind: str, registry: str, action: str, members: Mapping[str, Any], blocks: int = 0, at: str | None = None
) -> Written:
    """Write the item of an action: ``kind`` is its type, ``registry`` the books it happened in, now or ``at``."""
    heading = {"kind": "action", "action": action, "type": kind, "at": at or clock.now(), "registry": registry}
    return Written(action, strictjson.dumps({**heading, **members}), blocks)


async def tell(tx: Tx, registry: Registry, items: Sequence[Written], first: Iterable[Written] = ()) -> list[Outgoing]:
    """Store messages with these items, after those (authorisations) that go ``first``; gives the messages."""
    leading = list(first)
    led = {item.about for item in leading}
    messages = []
    for batch in batches.batches([*leading, *items]):
        draft = Draft("action.notice", [item.text for item in batch])
        leads = any(item.about in led for item in batch)
        messages.append(await post.store(tx, registry, draft, owed=True, leads=leads))
    return messages
