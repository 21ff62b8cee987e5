"""Compares one book with its registry's, round by round: what differs, with the states on both sides.

Holds no transaction while a question is in flight, and nothing between two rounds but the comparison, which anybody
may begin again. Raises UNAVAILABLE for a registry that does not answer, and REJECTED 6901 for one whose answers cannot
be true, a state that is not that of its hash among them; INVARIANT where what is kept of our own book contradicts
itself.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway import db
from gateway.domain import wire
from gateway.domain.fingerprints import hashed
from gateway.domain.identifiers import LinkCode, RegistryCode
from gateway.domain.units import Origin, UnitRange
from gateway.errors import invariant
from gateway.history.questions import Questions, Traffic
from gateway.holdings import fingerprints
from gateway.reconciliation.classify import Differing
from gateway.reconciliation.compare import Comparison, Question
from gateway.reconciliation.differences import Difference
from gateway.reconciliation.listing import Listing, ours
from gateway.reconciliation.merge import merged
from gateway.reconciliation.reading import unpacked, untrue
from gateway.signing import compact
from gateway.signing.envelope import VerifiedMessage

#: States whose texts are asked for at once: with the longest there can be an answer stays below the limit of a body.
TEXTS_AT_ONCE = 500
#: The longest text of a state (``openapi/link.yaml``).
MAX_STATE = 8192
_TOLD = frozenset({"of", "cut", "registry", "series", "answered", "told", "states"})


class Comparing:
    """The comparison of the books of one cut."""

    def __init__(self, database: db.Database, questions: Questions, link: str, cut: str, traffic: Traffic) -> None:
        self._db, self._questions = database, questions
        self._link, self._cut, self._traffic = link, cut, traffic

    async def differences(self, registry: str, own: bytes, theirs: bytes) -> tuple[list[Differing], bool]:
        """What differs in a book, by its root here and there, and whether there is more; raises as the module says."""
        comparison = Comparison(registry, own, theirs)
        while not comparison.done:
            prefixes, nodes = comparison.wanted
            async with self._db.reading() as tx:
                directories = await fingerprints.directory(tx, registry, prefixes) if prefixes else []
                contents = await fingerprints.nodes(tx, registry, nodes) if nodes else []
            question = comparison.ask(directories, contents)
            if question is not None:
                answer = await self._ask(registry, question.series, question.asked)
                # A hostile answer may be as long as a message: what it is worth is found out beside the event loop.
                await asyncio.to_thread(_hear, comparison, question, answer)
        return await self._with_states(registry, comparison.differences), comparison.more

    async def listed(self, registry: str) -> tuple[list[Differing], bool]:
        """The same, unit by unit: both books are listed and read side by side; raises as the module says."""
        listing = Listing(self._db, self._questions, self._link, self._cut, registry, self._traffic)
        found, more = await merged(ours(self._db, registry), listing.pieces())
        return await self._differing(registry, found, listing.texts), more

    async def _ask(
        self, registry: str, series: Sequence[str], asked: bytes, texts: Sequence[bytes] = ()
    ) -> Mapping[str, Any]:
        body = {
            **{"of": self._link, "cut": self._cut, "registry": registry},
            **{"series": list(series), "asked": compact.encode(asked)},
        }
        if texts:
            body["texts"] = [compact.encode(one) for one in texts]
        answer = await self._questions.ask(self._link, "positions.query", body, self._traffic)
        return _body(answer, {name: body[name] for name in ("of", "cut", "registry")}, texts=bool(texts))

    async def _with_states(self, registry: str, found: Sequence[Difference]) -> list[Differing]:
        texts = await self._texts(registry, {one.there for one in found if one.there is not None})
        return await self._differing(registry, found, texts)

    async def _differing(
        self, registry: str, found: Sequence[Difference], there: Mapping[bytes, str]
    ) -> list[Differing]:
        async with self._db.reading() as tx:
            states = {state for one in found for state in (one.here, one.there) if state is not None}
            texts = {**there, **await fingerprints.texts(tx, sorted(states - there.keys()))}
        invariant(states <= texts.keys(), "a state of the own book is not known")
        return [
            Differing(
                registry,
                UnitRange(_origin(one.series), one.first, one.last),
                None if one.here is None else texts[one.here],
                None if one.there is None else texts[one.there],
            )
            for one in found
        ]

    async def _texts(self, registry: str, hashes: Iterable[bytes]) -> dict[bytes, str]:
        """The texts of states that the registry has told by their hashes."""
        texts: dict[bytes, str] = {}
        wanted = sorted(hashes)
        for first in range(0, len(wanted), TEXTS_AT_ONCE):
            some = wanted[first : first + TEXTS_AT_ONCE]
            answer = await self._ask(registry, (), b"", some)
            told = [wire.text(one, "state", MAX_STATE) for one in wire.array(answer["texts"], "texts")]
            if [hashed(one) for one in told] != some:
                raise untrue(f"the states of {registry} are not those of their hashes")
            texts |= zip(some, told, strict=True)
        return texts


def _hear(comparison: Comparison, question: Question, answer: Mapping[str, Any]) -> None:
    comparison.hear(question, *_told(answer))


def _told(answer: Mapping[str, Any]) -> tuple[list[str], int, bytes, bytes]:
    """The parts of an answer that tells of nodes."""
    series = [wire.text(one, "series", MAX_STATE) for one in wire.array(answer["series"], "series")]
    answered = wire.whole(answer["answered"], "answered")
    return series, answered, unpacked(answer["told"], "told"), unpacked(answer["states"], "states")


def _body(answer: VerifiedMessage, asked: Mapping[str, Any], *, texts: bool) -> dict[str, Any]:
    if answer.type != "positions.answer":
        raise wire.malformed(f"{answer.type} is no answer to this")
    optional = frozenset({"texts"})
    body = wire.members(answer.body, "body", _TOLD | optional if texts else _TOLD, optional)
    if {name: body[name] for name in asked} != asked:
        raise untrue("it answers about another book or another cut")
    return body


def _origin(series: str) -> Origin:
    registry, _, name = series.partition("/")
    return Origin(RegistryCode(LinkCode(registry)), name)
