"""The comparison of one book with what its registry holds, without any I/O: what to load, what to ask, what differs.

Its user loads what is ``wanted`` from the fingerprints of the gateway's book, sends what ``ask`` returns, and gives
what was answered to ``hear``, until it is ``done``. Both sides answer as of one cut and no state is kept at the other
end, so any question can be sent again; of an answer that covers some of the nodes the others are asked for again.

``differences`` are all there are, and proven: the gateway's book with them has the root that the registry has signed.
Where there are too many to be listed, or too many bytes are needed (``more``), those found until then are true of
what was told, and not all. A registry that lies ends it with 6901, after work that is bounded by the limits here.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from gateway.domain.fingerprints import DirectoryContent, Node, NodeContent, Summary
from gateway.errors import invariant
from gateway.reconciliation.differences import Difference, joined
from gateway.reconciliation.matching import MOST_WANTED, Matching
from gateway.reconciliation.packing import MAX_ASKED, Asked, impossible, read_told, write_asked
from gateway.reconciliation.pairs import Books, Differs, Pair, Place
from gateway.reconciliation.proof import Changes, Shape, beside, proven

#: Questions of one comparison. Ten thousand differences scattered over ten million blocks need six; a registry that
#: answers in smaller parts needs some more.
MAX_QUESTIONS = 64
#: Characters of one comparison, both ways: the same differences take a fifth. What is told for nothing costs seconds.
MAX_CHARACTERS = 32 * 1024 * 1024
#: Differences that are listed. Persons resolve them; so many mean that a book is not the registry's at all.
MAX_DIFFERENCES = 100_000


@dataclass(frozen=True, slots=True)
class Question:
    """``series`` and ``asked`` of a ``positions.query``; ``nodes`` are those asked for."""

    series: list[str]
    asked: bytes
    nodes: tuple[Asked, ...]


class Comparison:
    """Compares the book of ``registry``, which has the root ``own`` here, with one that has ``theirs`` there."""

    def __init__(self, registry: str, own: bytes, theirs: bytes) -> None:
        self.registry = registry
        self.more = False
        self.questions = self.characters_asked = self.characters_told = 0
        self.differences: list[Difference] = []
        self.done = own == theirs
        self._theirs = theirs
        self._found: list[Difference] = []
        self._matching = Matching(own, MAX_DIFFERENCES)
        self._top = Shape(None, 0, None)
        self._open: tuple[Question, list[Pair]] | None = None
        self._at_most = MAX_ASKED
        self._beside: dict[tuple[str, int], bytes | None] | None = None
        if not self.done:
            whole = Books("", Summary(1, own))
            self._matching.add([Pair(whole, Differs(), place=Place(self._top, 0))])

    @property
    def wanted(self) -> tuple[list[str], list[Node]]:
        """Own directory nodes, by prefix, and own nodes of series, that the next ``ask`` is to be given."""
        if self._beside is None:
            return self._matching.wanted
        return [], [Node(series, 0, serial) for series, serial in self._unknown()[:MOST_WANTED]]

    def ask(self, directories: Iterable[DirectoryContent], nodes: Iterable[NodeContent]) -> Question | None:
        """The next question; None: it is done, or something is ``wanted`` first.

        Raises 6901 when it is over and what was told does not have the root that was told.
        """
        invariant(self._open is None, "a question is asked while another is not answered")
        if self._beside is not None:
            self._beside |= {(one.node.series, one.node.first): _state(one) for one in nodes}
            if not self._unknown():
                self._prove(self._beside)
            return None
        self._matching.load(directories, nodes)
        if self._over() or self._matching.waits:
            return None
        return self._question()

    def hear(self, question: Question, series: Sequence[str], answered: int, told: bytes, states: bytes) -> None:
        """Take in what was answered; 6901 where it cannot be true. ``told`` and ``states`` are unpacked bytes."""
        invariant(self._open is not None and self._open[0] is question, "an answer to no question")
        _, pairs = self._open or (question, [])
        self._open = None
        self.characters_told += _written(series, told, states)
        if not 1 <= answered <= len(pairs):
            impossible(f"{answered} of {len(pairs)} nodes are answered")
        parts = read_told(question.nodes[:answered], series, told, states)
        self._matching.to_ask.extendleft(reversed(pairs[answered:]))
        # Who could not answer all is asked for fewer, so that what is said of the others is not said for nothing.
        self._at_most = answered if answered < len(pairs) else min(2 * self._at_most, MAX_ASKED)
        heard = zip(pairs, parts, strict=False)
        self._matching.add([Pair(one.here, part, one.claim, one.place) for one, part in heard])
        self._over()

    def _question(self) -> Question:
        if self.questions == MAX_QUESTIONS:
            impossible(f"after {MAX_QUESTIONS} questions it is not told what differs")
        to_ask = self._matching.to_ask
        pairs = [to_ask.popleft() for _ in range(min(len(to_ask), self._at_most))]
        nodes = tuple(self._matching.question(pair) for pair in pairs)
        question = Question(*write_asked(nodes), nodes)
        self._open = question, pairs
        self.questions += 1
        self.characters_asked += _written(question.series, question.asked)
        return question

    def _over(self) -> bool:
        """Whether nothing is left to do; then what was told is proved, which may want a few own units first."""
        if self._matching.full or self.characters_asked + self.characters_told > MAX_CHARACTERS:
            self.differences = joined(self._matching.pieces)
            self.more = self.done = True
        elif not self._matching.to_ask and not self._matching.waits:
            self._found = joined(self._matching.pieces)
            self._beside = self._states_beside()
            if not self._unknown():
                self._prove(self._beside)
            return True
        return self.done

    def _states_beside(self) -> dict[tuple[str, int], bytes | None]:
        """The states beside differences, as far as they are known."""
        seen = sorted(self._matching.seen, key=lambda one: (one[0].series, one[0].first))
        begins = [(node.series, node.first) for node, _ in seen]
        states: dict[tuple[str, int], bytes | None] = {}
        for series, serial in beside(self._found):
            apex = self._matching.apexes.get(series)
            if apex is None or not apex.first <= serial <= apex.last:
                states[series, serial] = None
                continue
            node, runs = seen[bisect_right(begins, (series, serial)) - 1]
            if node.series == series and node.first <= serial <= node.last:
                states[series, serial] = next((r.state for r in runs if r.first <= serial <= r.last), None)
        return states

    def _unknown(self) -> list[tuple[str, int]]:
        return [one for one in beside(self._found) if self._beside is not None and one not in self._beside]

    def _prove(self, states: Mapping[tuple[str, int], bytes | None]) -> None:
        changes = {
            name: Changes(name, list(found), states) for name, found in groupby(self._found, key=lambda one: one.series)
        }
        root = self._top.parts[0]
        digest = (root if isinstance(root, Summary) else proven(root, changes)).digest
        if digest != self._theirs:
            impossible("what is told of a book has not the root that was told of it")
        if not self._found:
            impossible("another root is told of a book in which nothing differs")
        self.differences, self.done = self._found, True


def _state(content: NodeContent) -> bytes | None:
    return content.runs[0].state if content.runs else None


def _written(series: Sequence[str], *packed: bytes) -> int:
    """Characters of the message: names with their quotes and comma, bytes in base64url."""
    return sum(len(name) + 3 for name in series) + sum((4 * len(one) + 2) // 3 for one in packed)
