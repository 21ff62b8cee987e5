"""The gateway's own side of a comparison: a node as far as it is known, and its children without asking the book again.

A node is known by its summary alone, by its content, or as one that holds the whole of its series (an *apex* or
wider): then everything but the way down to the apex is empty. Nothing here fails on what a peer says.
"""

from dataclasses import dataclass

from gateway.domain.fingerprints import (
    FANOUT,
    MOST_RUNS,
    NOTHING,
    Node,
    NodeContent,
    Run,
    SeriesEntry,
    Summary,
    clipped,
    of_children,
    of_runs,
)


@dataclass(frozen=True, slots=True)
class Here:
    """What is known of a node of the gateway's book; with ``runs`` these are all of them."""

    node: Node
    summary: Summary
    runs: tuple[Run, ...] | None = None
    children: tuple[Summary, ...] | None = None
    within: SeriesEntry | None = None

    @classmethod
    def nothing(cls, node: Node) -> "Here":
        """A node in which nothing is."""
        return cls(node, NOTHING, runs=())

    @classmethod
    def of(cls, content: NodeContent) -> "Here":
        """A node as the book gives it."""
        if content.summary.count <= MOST_RUNS:
            return cls(content.node, content.summary, runs=content.runs)
        return cls(content.node, content.summary, children=content.children)

    @classmethod
    def around(cls, entry: SeriesEntry, node: Node) -> "Here":
        """A node that holds all of a series."""
        if node == entry.apex:
            return cls(node, entry.summary)
        return cls(node, _raised(entry, node), within=entry)

    @property
    def known(self) -> bool:
        """Whether its children are known."""
        return not (self.runs is None and self.children is None and self.within is None)

    def child(self, which: int) -> "Here":
        """One of its children, as far as this node tells."""
        node = self.node.child(which)
        if self.runs is not None:
            runs = tuple(clipped(self.runs, node.first, node.last))
            return Here(node, of_runs(runs), runs=runs)
        if self.within is not None:
            return Here.around(self.within, node) if node.holds(self.within.apex) else Here.nothing(node)
        summary = self.children[which] if self.children else NOTHING
        return Here(node, summary) if summary.count else Here.nothing(node)


def _raised(entry: SeriesEntry, to: Node) -> Summary:
    """What is said of a node that holds the apex of a series."""
    node, summary = entry.apex, entry.summary
    while node != to and summary.count > MOST_RUNS:
        children = [NOTHING] * FANOUT
        children[node.nr % FANOUT] = summary
        node, summary = node.parent, of_children(summary.count, children)
    return summary
