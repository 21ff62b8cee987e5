"""What happens in the demo: the first A6.4ER issuance is relayed to Korea, in trouble; then every other arrow.

``of_arrows`` is the default story (``arrows``): what begins where it was issued, then what moves on from where that has
brought it. ``of_blocks`` is the story of a file of real blocks (``loading``). Either takes up a network that was
interrupted anywhere, and moves nothing twice.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.demo import (
    arrows,
    blocks,
    health,
    history,
    loading,
    members,
    outcome,
    proving,
    reconciling,
    records,
    rights,
    rules,
    trouble,
)
from gateway.demo.loading import Loaded
from gateway.demo.members import Member
from gateway.demo.network import DEFAULT_STORY, Network
from gateway.demo.operating import Operators
from gateway.demo.outcome import Result, Way
from gateway.demo.watching import PATIENCE_SECONDS, POLL_SECONDS, Progress, Watch, final

#: Where the sections' records are kept.
INTERNATIONAL = "INT01"
_ARROWS_NOTE = (
    "Quantities: the first A6.4ER issuance (PoA 10471, Myanmar, 2026) and the completed Article 6.2 transfers whose "
    "quantities are public. Serials, accounts, identifiers, authorisations but one, the other quantities and the split "
    "into transfers are synthetic; the registries are sandboxes."
)
_BLOCKS_NOTE = (
    "The blocks are real, of the CDM registry. The A6.4ER issuances over them, their authorisations, vintages and "
    "acquirers are synthetic; the registries are sandboxes."
)


@dataclass(frozen=True, slots=True)
class Story:
    """Who takes part in it, how many tonnes arrive, what is synthetic in it, and its telling.

    ``name`` tells it from other stories: a folder that is kept holds one.
    """

    name: str
    members: tuple[Member, ...]
    tonnes: int
    note: str
    tell: Callable[[Network, Progress], Result]


def of_arrows() -> Story:
    """The default story."""
    return Story(DEFAULT_STORY, members.EVERYONE, arrows.TONNES, _ARROWS_NOTE, tell)


def of_blocks(path: Path) -> Story:
    """The story of a file of real blocks; raises as ``blocks.read`` and ``loading.loaded`` do."""
    made = loading.loaded(blocks.read(path))
    name = f"blocks {hashlib.sha256(repr(made).encode()).hexdigest()}"
    tonnes = sum(one.real.quantity for one in made)
    return Story(name, members.FOR_BLOCKS, tonnes, _BLOCKS_NOTE, lambda n, p: tell_blocks(n, made, p))


def tell(network: Network, progress: Progress) -> Result:
    """Let everything of ``arrows`` happen that has not yet, make trouble, and wait until every transfer is final.

    Raises ``GatewayError`` when a process of the network ends meanwhile, or does not do its part.
    """
    began = time.monotonic()
    with network.client() as http:
        operators, watch = Operators(http, network), Watch(http, network, progress)
        operators.open_accounts(arrows.EVERY)
        nowhere = 0
        proposed = 0
        for moves in (arrows.FIRST, arrows.THEN, arrows.AT_LAST):
            left = operators.missing(moves)
            operators.issue(left)
            watch.until_issued(operators.issued())
            if left and moves is arrows.FIRST:
                trouble.arm(http, network)
            operators.propose(left)
            if left and moves is arrows.FIRST:
                nowhere = trouble.strike(http, network)
            proposed += len(moves)
            if not watch.until_final(proposed):
                break
        else:
            rules.cancel(operators)
        ways = outcome.ways(arrows.EVERY, list(watch.pages("transfers")))
        result = _seen(network, operators, watch, began, lambda _books: ways, nowhere)
        result = replace(result, tries=rights.tried(http, network, result.total), rules=rules.seen(operators, watch))
        if result.settled:
            result = replace(result, history=history.across(http, network))
            result = replace(result, compared=reconciling.compared(http, network))
            result = replace(result, proof=proving.proven(http, network, watch))
        return replace(result, doctor=health.examined(network, result.total))


def tell_blocks(network: Network, made: Sequence[Loaded], progress: Progress) -> Result:
    """Relay each of these blocks that has not been yet, and wait until every transfer is final; raises as ``tell``."""
    began = time.monotonic()
    with network.client() as http:
        operators, watch = Operators(http, network), Watch(http, network, progress)
        loading.load(operators, watch, made)
        watch.until_final(len(made))
        result = _seen(network, operators, watch, began, lambda books: loading.ways(made, books))
        return replace(result, doctor=health.examined(network, result.total))


def _seen(
    network: Network, operators: Operators, watch: Watch, began: float,
    ways: Callable[[dict[str, Any]], tuple[Way, ...]], nowhere: int = 0,
) -> Result:  # fmt: skip
    """What has come of it, once the registries' own books and records are as the gateway says, if that can be."""
    behind = {member.code: tuple(member.registries) for member in network.members}
    sections = [party for member in network.members if member.code == INTERNATIONAL for party in member.sections]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        network.check()
        books = watch.books()
        tally: dict[str, int] = books["transfers"]
        result = Result(
            books,
            operators.books(),
            behind,
            total=sum(tally.values()),
            completed=tally.get("completed", 0),
            final=final(tally),
            units_moved=sum(row["moved_in"] for row in books["registries"]),
            seconds=time.monotonic() - began,
            ways=ways(books),
            records=records.compare(operators, watch, INTERNATIONAL, sections) if sections else None,
            nowhere=nowhere,
        )
        if result.settled or result.final < result.total or time.monotonic() > deadline:
            return result
        time.sleep(POLL_SECONDS)
