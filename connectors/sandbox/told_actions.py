"""Use and cancellation elsewhere of units hosted here, as the gateway tells of them: kept, each once.

The first transferring Party has to be notified of them (guidance of CMA 6; its text was not available). What is told
moves nothing here: the units are in somebody else's books. One action may concern several Parties whose books are kept
here, so it is known by where it happened, its id there, and the Party whose units these are.
"""

from typing import TypeAlias

from . import shapes
from .database import Row, Tx, columns
from .envelope import Message, Refusal
from .evidence import Item
from .outcomes import Outcome, finding
from .registry import Registry
from .units import Declined

#: Where it happened, its id there, the Party whose units were used or cancelled.
Name: TypeAlias = tuple[str, str, str]


async def take(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Keep each action once, or say why not; raises ``Refusal`` (2005) for too many blocks."""
    if sum(len(item.value["blocks"]) for item in message.own) > shapes.MAX_BLOCKS:
        raise Refusal(2005, "more than 3,000 blocks", message.id, message.body_sha256)
    named = [(_name(item), item) for item in message.own]
    here = [(name, item) for name, item in named if _is_kept(registry, name[2])]
    await tx.execute(
        "INSERT INTO told_action (registry, action, party, item)"
        " SELECT * FROM unnest(%s::text[], %b::text[], %s::text[], %b::text[]) ON CONFLICT DO NOTHING",
        *columns([(*name, item.text) for name, item in here], 4),
    )
    found = await tx.rows(
        "SELECT registry, action, party, item FROM told_action"
        " WHERE (registry, action, party) IN (SELECT * FROM unnest(%s::text[], %b::text[], %s::text[]))",
        *columns([name for name, _ in here], 3),
    )
    kept = {(row["registry"], row["action"], row["party"]): row["item"] for row in found}
    return [_outcome(item, name[2], kept.get(name)) for name, item in named]


def _name(item: Item) -> Name:
    value = item.value
    return value["registry"], value["action"], value["blocks"][0]["attributes"]["first_transferring_party"]


def _is_kept(registry: Registry, party: str) -> bool:
    try:
        registry.books_of(party)
    except Declined:
        return False
    return True


def _outcome(item: Item, party: str, kept: str | None) -> Outcome:
    if kept is None:
        return Outcome(item, "refused", [finding(4002, f"no books of {party} are kept here")])
    if kept != item.text:
        return Outcome(item, "refused", [finding(2004, "the action was told with another text")])
    return Outcome(item, "recorded")


async def listed(tx: Tx) -> list[Row]:
    """Give every action told of, with the text as it was signed."""
    return await tx.rows("SELECT registry, action, party, item FROM told_action ORDER BY registry, action, party")
