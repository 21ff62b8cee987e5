"""Compares what the international registry has recorded with what the gateway knows to have happened.

Three lists must tell the same: the records of the sections, as INT01 shows them; the actions the gateway says it had
recorded; and what follows from the completed transfers: one action for each side whose Party has a section.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.demo.operating import Operators
from gateway.demo.watching import Watch

#: Records one call lists.
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Records:
    """How many actions the international registry has recorded, of how many tonnes; ``equal``: all lists agree."""

    recorded: int
    quantity: int
    equal: bool


def compare(operators: Operators, watch: Watch, link: str, parties: Sequence[str]) -> Records:
    """Compare the records of the sections of these Parties behind ``link``."""
    recorded = {row["action"]: (row["type"], row["party"], row["quantity"]) for row in _recorded(operators, link)}
    said = {
        row["action"]: (row["type"], row["party"], row["quantity"]) for row in watch.pages("records", kind="record")
    }
    follow = dict(_following(watch.pages("transfers", state="completed"), frozenset(parties)))
    equal = recorded == said and all(recorded.get(action, ("",))[1:] == what for action, what in follow.items())
    return Records(len(recorded), sum(quantity for _, _, quantity in recorded.values()), equal)


def _recorded(operators: Operators, link: str) -> Iterator[Mapping[str, Any]]:
    after = ""
    while page := operators.get(link, "records", after=after, limit=PAGE)["records"]:
        yield from page
        after = page[-1]["action"]


def _following(
    transfers: Iterator[Mapping[str, Any]], parties: frozenset[str]
) -> Iterator[tuple[str, tuple[str, int]]]:
    """The actions that completed transfers are, for the sides whose Parties have a section."""
    for row in transfers:
        for side, name in (("transferring", "transfer"), ("acquiring", "acquisition")):
            if row[side]["party"] in parties:
                yield f"{row['id']}/{name}", (row[side]["party"], row["quantity"])
