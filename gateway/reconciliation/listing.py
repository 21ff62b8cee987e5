"""The books of a cut, unit by unit in order: our own as it is kept, and one that its registry lists.

Both are read as they are compared (``merge``), a page at a time. A listing that is not of the protocol is MALFORMED
2001; one that goes on after its end, or repeats its place, is REJECTED 6901.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from gateway import db
from gateway.domain import wire
from gateway.domain.fingerprints import Node, Run, hashed, state_text
from gateway.domain.identifiers import parse_account
from gateway.history.questions import Questions, Traffic
from gateway.holdings import fingerprints
from gateway.reconciliation.merge import Piece
from gateway.reconciliation.reading import untrue

#: Positions of one page of a registry's listing, and nodes that are read at once of our own.
PAGE, NODES_AT_ONCE = 1_000, 256
_LISTED = frozenset({"of", "cut", "registry"})
_POSITION = frozenset({"kind", "party", "account", "block"})
_LONGEST_PLACE = 512


async def ours(database: db.Database, registry: str) -> AsyncIterator[Piece]:
    """Our own book as it is kept at its cut: each series whole, by its name."""
    for top in sorted([one async for one in _apexes(database, registry)]):
        waiting = [top]
        while waiting:
            some = [waiting.pop() for _ in range(min(len(waiting), NODES_AT_ONCE))]
            async with database.reading() as tx:
                contents = await fingerprints.nodes(tx, registry, some)
            deeper = _first_inner(contents)
            for content in contents[:deeper]:
                for run in content.runs:
                    yield Piece(top.series, run)
            waiting += reversed(some[deeper + 1 :])
            if deeper < len(contents):
                children = contents[deeper].children
                waiting += [some[deeper].child(nr) for nr in reversed(range(len(children))) if children[nr].count]


def _first_inner(contents: Sequence[Any]) -> int:
    """The number of the first node whose runs are in its children; that of all nodes if there is none."""
    return next((nr for nr, content in enumerate(contents) if content.children), len(contents))


async def _apexes(database: db.Database, registry: str) -> AsyncIterator[Node]:
    waiting = [""]
    while waiting:
        async with database.reading() as tx:
            found = await fingerprints.directory(tx, registry, waiting)
        waiting = []
        for one in found:
            for entry in one.series:
                yield entry.apex
            waiting += [f"{one.prefix}{nr:x}" for nr, child in enumerate(one.children) if child.count]


class Listing:
    """A book as its registry lists it.

    ``texts`` are the states it has told that no book here was ever in, by their hashes: all of them differ.
    """

    def __init__(
        self, database: db.Database, questions: Questions, link: str, cut: str, registry: str, traffic: Traffic
    ) -> None:
        self._db, self._questions, self._traffic = database, questions, traffic
        self._asked = {"of": link, "cut": cut, "registry": registry}
        self._link = link
        self.texts: dict[bytes, str] = {}

    async def pieces(self) -> AsyncIterator[Piece]:
        """Its positions, as they are listed."""
        after: dict[str, str] = {}
        while True:
            body = {**self._asked, "limit": PAGE, **after}
            answer = await self._questions.ask(self._link, "positions.query", body, self._traffic)
            if answer.type != "positions.answer":
                raise wire.malformed(f"{answer.type} is no answer to this")
            said = wire.members(answer.body, "body", _LISTED, frozenset({"next"}))
            if {name: said[name] for name in _LISTED} != self._asked:
                raise untrue("it answers about another book or another cut")
            told = [_piece(item.value) for item in answer.items]
            await self._keep({piece.run.state: state for piece, state in told})
            for piece, _ in told:
                yield piece
            if "next" not in said:
                return
            place = wire.text(said["next"], "next", _LONGEST_PLACE)
            if not answer.items or place == after.get("after"):
                raise untrue("its listing does not go on")
            after = {"after": place}

    async def _keep(self, told: Mapping[bytes, str]) -> None:
        async with self._db.reading() as tx:
            known = await fingerprints.texts(tx, list(told))
        self.texts |= {name: state for name, state in told.items() if name not in known}


def _piece(value: Mapping[str, Any]) -> tuple[Piece, str]:
    """A listed position, and the text of its state."""
    raw, faults = wire.members(value, "position", _POSITION), wire.Faults()
    block = wire.read_block(raw["block"], faults)
    if raw["kind"] != "position" or block is None:
        raise wire.malformed("not an item of kind position with a sound block")
    party, account = wire.text(raw["party"], "party"), parse_account(wire.text(raw["account"], "account"))
    itmo = (str(block.itmo.stem), block.itmo.offset) if block.itmo is not None else None
    state = state_text(party, int(account.type), wire.attributes_to_wire(block.attributes), itmo)
    series = f"{block.origin.registry}/{block.origin.series}"
    return Piece(series, Run(block.first, block.last, hashed(state))), state
