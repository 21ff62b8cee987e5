"""What was told of nodes, held against the gateway's own: what is equal, what differs, what must be loaded or asked.

Work is a heap of pairs (a node here, what is told of it). A pair ends as equal, as differences, as pairs of its
children, as a node whose content the gateway's book must give first, or as a node to ask for. Nothing is done twice,
and there are never more pairs than bytes were told or own nodes loaded. What cannot be true is 6901.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.domain.fingerprints import (
    FANOUT,
    MOST_RUNS,
    NOTHING,
    DirectoryContent,
    Node,
    NodeContent,
    Run,
    SeriesEntry,
    apex,
    clipped,
    hashed,
    of_runs,
)
from gateway.errors import invariant
from gateway.reconciliation.differences import Difference, differing
from gateway.reconciliation.here import Here
from gateway.reconciliation.packing import (
    NOTHING_TOLD,
    START,
    Asked,
    AsSaid,
    Children,
    Digest,
    Listed,
    Nothing,
    Runs,
    Told,
    impossible,
)
from gateway.reconciliation.pairs import Books, Differs, Entries, Pair, Place, Within
from gateway.reconciliation.proof import Shape, require

#: Nodes that the own book is asked for at a time, beside those that lie in them and are told.
MOST_WANTED = 4096


class Matching:
    """The work of one comparison. ``to_ask`` are pairs of what is to be asked for, ``pieces`` what differs."""

    def __init__(self, root: bytes, most: int) -> None:
        self._root, self._most = root, most
        self._pairs: list[Pair] = []
        self._waiting: list[Pair] = []
        self._nodes: dict[Node, NodeContent] = {}
        self._directories: dict[str, DirectoryContent] = {}
        self.to_ask: deque[Pair] = deque()
        self.pieces: list[Difference] = []
        #: Of the series that were compared and are here, the nodes that hold them.
        self.apexes: dict[str, Node] = {}
        #: Nodes of which all runs here are known, with these.
        self.seen: list[tuple[Node, tuple[Run, ...]]] = []

    @property
    def full(self) -> bool:
        """Whether more differs than is listed."""
        return len(self.pieces) > self._most

    @property
    def waits(self) -> bool:
        """Whether own nodes are wanted."""
        return bool(self._waiting)

    @property
    def wanted(self) -> tuple[list[str], list[Node]]:
        """Own nodes without which nothing goes on: prefixes, and nodes of series."""
        prefixes: dict[str, None] = {}
        nodes: dict[Node, None] = {}
        for pair in self._waiting[-MOST_WANTED:]:
            if isinstance(pair.here, Books):
                prefixes[pair.here.prefix] = None
            else:
                nodes[pair.here.node] = None
                nodes |= dict.fromkeys(_told_below(pair.here.node, pair.told))
        return list(prefixes), list(nodes)

    def load(self, directories: Iterable[DirectoryContent], nodes: Iterable[NodeContent]) -> None:
        """Go on with what the own book has given."""
        self._directories |= {one.prefix: one for one in directories}
        self._nodes |= {one.node: one for one in nodes}
        self.add(self._waiting)
        self._nodes.clear()
        self._directories.clear()

    def add(self, pairs: Iterable[Pair]) -> None:
        """Match pairs as far as it goes."""
        self._pairs = list(pairs)
        self._waiting = []
        while self._pairs and not self.full:
            pair = self._known(self._pairs.pop())
            if isinstance(pair.here, Here):
                self._serials(pair, pair.here)
            else:
                self._directory(pair, pair.here)

    def question(self, pair: Pair) -> Asked:
        """A node to ask for, with what helps to tell less."""
        there = pair.here.summary if pair.claim is None else pair.claim
        if there.count <= MOST_RUNS or pair.here.summary.count == 0:
            return Asked(pair.target)
        children = [pair.here.child(which).summary for which in range(FANOUT)]
        return Asked(pair.target, tuple(one.digest[:START] if one.count else b"" for one in children))

    def _known(self, pair: Pair) -> Pair:
        """The pair with its own content, if that was loaded."""
        here = pair.here
        if isinstance(here, Here):
            if here.known or (node := self._nodes.pop(here.node, None)) is None:
                return pair
            invariant(node.summary == here.summary, "a node of the own book is not what its parent says of it")
            return replace(pair, here=Here.of(node))
        if here.content or (books := self._directories.pop(here.prefix, None)) is None:
            return pair
        invariant(here.prefix != "" or books.summary.digest == self._root, "the own directory has not the own root")
        invariant(here.prefix == "" or books.summary == here.summary, "an own directory is not what is said of it")
        return replace(pair, here=Books(here.prefix, books.summary, books))

    # ---- series ------------------------------------------------------------------------------------------------

    def _serials(self, pair: Pair, here: Here) -> None:
        told = pair.told
        if isinstance(told, Within) and told.apex == here.node:
            pair = replace(pair, told=(told := told.told))
        if isinstance(told, AsSaid | Digest):
            self._by_digest(pair, told)
        elif isinstance(told, Nothing):
            if pair.claim is not None:
                impossible("a node is told by its digest, and then as nothing")
            self._runs(pair, here, ())
        elif isinstance(told, Runs):
            self._told_runs(pair, told.runs)
            self._runs(pair, here, told.runs)
        elif not here.known:
            self._waiting.append(pair)
        elif isinstance(told, Within):
            for which in range(FANOUT):
                child = here.child(which)
                inside = child.node.holds(told.apex)
                self._pairs.append(Pair(child, told, place=pair.place) if inside else Pair(child, NOTHING_TOLD))
        elif isinstance(told, Children):
            self._children(pair, told, Shape(here.node, here.summary.count, pair.claim))

    def _by_digest(self, pair: Pair, told: AsSaid | Digest) -> None:
        """A node that is equal, or to be asked for: then its own children are said, if it has many there."""
        summary = pair.here.summary
        if isinstance(told, AsSaid) or told.fits(summary):
            if pair.place is not None:
                pair.place.take(summary)
            return
        if told.start == summary.digest[:START]:
            impossible("a node has our digest, and another count")
        known = pair.here.known if isinstance(pair.here, Here) else pair.here.content is not None
        if told.count > MOST_RUNS and summary.count and not known:
            self._waiting.append(pair)
        else:
            self.to_ask.append(replace(pair, claim=told))

    def _told_runs(self, pair: Pair, runs: tuple[Run, ...]) -> None:
        """What runs are told of a node must have the digest told of it; an apex must be the smallest node."""
        if pair.claim is None and pair.place is None:
            return
        summary = of_runs(runs)
        require(pair.claim, summary)
        if pair.place is not None:
            pair.place.take(summary)
            if pair.place.shape.apexes and _apex_of(pair.target, runs) != pair.target:
                impossible("the apex of a series is not the smallest node")

    def _runs(self, pair: Pair, here: Here, runs: tuple[Run, ...]) -> None:
        """All runs there are known: those here are compared with them, or loaded first."""
        if here.runs is not None:
            if here.runs != runs:
                self.seen.append((here.node, here.runs))
                self.pieces += differing(here.node.series, here.runs, runs)
        elif here.known:
            for which in range(FANOUT):
                child = here.child(which)
                self._pairs.append(Pair(child, Runs(tuple(clipped(runs, child.node.first, child.node.last)))))
        elif of_runs(runs) != here.summary:
            self._waiting.append(Pair(here, Runs(runs)))

    def _children(self, pair: Pair, told: Children, shape: Shape) -> None:
        if pair.claim is not None:
            _counted(pair, pair.claim, told)
        if pair.place is not None:
            pair.place.take(shape)
            if pair.place.shape.apexes and sum(not isinstance(part, Nothing) for part in told.parts) < 2:
                impossible("the apex of a series is not the smallest node")
        for which, part in enumerate(told.parts):
            self._pairs.append(Pair(pair.here.child(which), part, place=Place(shape, which)))

    # ---- the directory -----------------------------------------------------------------------------------------

    def _directory(self, pair: Pair, here: Books) -> None:
        told = pair.told
        if isinstance(told, AsSaid | Digest):
            self._by_digest(pair, told)
        elif here.summary.count and here.content is None:
            self._waiting.append(pair)
        elif isinstance(told, Differs):
            self.to_ask.append(pair)
        elif isinstance(told, Children):
            self._children(pair, told, Shape(None, here.summary.count, pair.claim))
        elif isinstance(told, Listed):
            if pair.claim is not None and pair.claim.count != len(told.series):
                impossible("not as many series are told as were counted")
            apexes = tuple(one for one, _ in told.series)
            shape = Shape(None, here.summary.count, pair.claim, apexes, [NOTHING] * len(apexes))
            if pair.place is not None:
                pair.place.take(shape)
            self._entries(here, tuple((*one, Place(shape, nr)) for nr, one in enumerate(told.series)))
        else:
            if pair.claim is not None:
                impossible("a directory is told by its digest, and then as nothing")
            self._entries(here, told.series if isinstance(told, Entries) else ())

    def _entries(self, here: Books, told: tuple[tuple[Node, Told, Place], ...]) -> None:
        """The series of a directory node: all that are there are known."""
        if (listed := here.listed) is None:
            for which in range(FANOUT):
                child = here.child(which)
                inside = tuple(one for one in told if hashed(one[0].series).hex().startswith(child.prefix))
                self._pairs.append(Pair(child, Entries(inside)))
            return
        own = {one.name: one for one in listed}
        self.apexes |= {name: one.apex for name, one in own.items()}
        for theirs, part, place in told:
            self._pairs.append(_of_series(own.pop(theirs.series, None), theirs, part, place))
        self._pairs += [Pair(Here(one.apex, one.summary), NOTHING_TOLD) for one in own.values()]


def _counted(pair: Pair, claim: Digest, told: Children) -> None:
    """As many must be in the children as were counted in the node, or a peer could go on for ever at no cost.

    A run that goes on from one child to the next is counted in both; no series is in two.
    """
    if claim.count <= MOST_RUNS:
        impossible("a node of few is told by its children")
    counts = [
        pair.here.child(which).summary.count if isinstance(part, AsSaid) else part.count
        for which, part in enumerate(told.parts)
        if isinstance(part, AsSaid | Digest)
    ]
    open_ended = any(isinstance(part, Children | Runs | Listed) for part in told.parts)
    twice = FANOUT - 1 if isinstance(pair.here, Here) else 0
    if sum(counts) - twice > claim.count or not (open_ended or sum(counts) >= claim.count):
        impossible("the children of a node have not what was counted in it")


def _of_series(own: SeriesEntry | None, theirs: Node, told: Told, place: Place) -> Pair:
    """A series that is there: at the smallest node that holds all its units here and there."""
    if own is None:
        return Pair(Here.nothing(theirs), told, place=place)
    both = apex(theirs.series, min(own.apex.first, theirs.first), max(own.apex.last, theirs.last))
    return Pair(Here.around(own, both), told if both == theirs else Within(theirs, told), place=place)


def _apex_of(target: Node | str, runs: Sequence[Run]) -> Node | None:
    return apex(target.series, runs[0].first, runs[-1].last) if isinstance(target, Node) else None


def _told_below(node: Node, told: Told | Within | Differs | Entries) -> Iterable[Node]:
    """Nodes in a node that are told by their children: what is to be known here of each can be loaded together."""
    if isinstance(told, Within):
        yield from _told_below(told.apex, told.told)
        yield told.apex
    elif isinstance(told, Children):
        for which, part in enumerate(told.parts):
            if isinstance(part, Children):
                yield node.child(which)
                yield from _told_below(node.child(which), part)
