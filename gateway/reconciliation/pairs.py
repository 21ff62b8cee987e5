"""What is matched in a comparison: a node here, and what is told of it. Plain data, which fails on nothing."""

from dataclasses import dataclass

from gateway.domain.fingerprints import NOTHING, DirectoryContent, Node, SeriesEntry, Summary, directory
from gateway.reconciliation.here import Here
from gateway.reconciliation.packing import Digest, Told
from gateway.reconciliation.proof import Shape


@dataclass(frozen=True, slots=True)
class Place:
    """Where what is proved of a node belongs: one of the parts of a node above it."""

    shape: Shape
    which: int

    def take(self, what: Summary | Shape) -> None:
        """Put there what is known now."""
        self.shape.parts[self.which] = what


@dataclass(frozen=True, slots=True)
class Within:
    """Of a node told: all that is there lies in a smaller one."""

    apex: Node
    told: Told


@dataclass(frozen=True, slots=True)
class Differs:
    """Of the whole book: its root is another."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Series told of a directory node, and where each belongs."""

    series: tuple[tuple[Node, Told, Place], ...]


@dataclass(frozen=True, slots=True)
class Books:
    """A directory node here, as far as it is known."""

    prefix: str
    summary: Summary
    content: DirectoryContent | None = None

    @property
    def listed(self) -> tuple[SeriesEntry, ...] | None:
        """Its series, where it is known by these."""
        if self.summary.count == 0:
            return ()
        return None if self.content is None or self.content.children else self.content.series

    def child(self, which: int) -> "Books":
        """One of its children, as far as this node tells."""
        prefix = f"{self.prefix}{which:x}"
        if (entries := self.listed) is not None:
            content = directory(prefix, entries)
            return Books(prefix, content.summary, content)
        return Books(prefix, self.content.children[which] if self.content else NOTHING)


@dataclass(frozen=True, slots=True)
class Pair:
    """A node here, what is told of it now, and what was told of it before."""

    here: Here | Books
    told: Told | Within | Differs | Entries
    claim: Digest | None = None
    place: Place | None = None

    @property
    def target(self) -> Node | str:
        """What it is about."""
        return self.here.node if isinstance(self.here, Here) else self.here.prefix
