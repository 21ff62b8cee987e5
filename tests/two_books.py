"""Any two books of a registry, what differs between them serial by serial, and their comparison. Synthetic."""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import strategies as st

from gateway.domain.fingerprints import Run, clipped, hashed, joined
from gateway.reconciliation.compare import Comparison, Question
from gateway.reconciliation.differences import Difference
from tests.peer_books import Book

STATES = [hashed(f"synthetic state {nr}") for nr in range(3)]
MAX = 2**53 - 1
Runs = dict[str, list[Run]]


def compared(here: Book, there: Book) -> Comparison:
    """A comparison that has come to its end."""
    comparison = Comparison("KOR01", here.root, there.root)
    for question in questions(comparison, here):
        comparison.hear(question, *there.answer(question.series, question.asked))
    return comparison


def questions(comparison: Comparison, here: Book) -> Iterator[Question]:
    while not comparison.done:
        prefixes, nodes = comparison.wanted
        question = comparison.ask([here.directory(one) for one in prefixes], [here.node(one) for one in nodes])
        if question is not None:
            yield question


def naive(here: Runs, there: Runs) -> list[Difference]:
    """What differs, by the serials at which anything begins or ends."""
    found: list[Difference] = []
    for series in sorted({*here, *there}):
        both = [book.get(series, []) for book in (here, there)]
        bounds = sorted({at for runs in both for run in runs for at in (run.first, run.last + 1)})
        for first, after in pairwise(bounds):
            states = [state_at(runs, first) for runs in both]
            if states[0] == states[1]:
                continue
            last = found[-1] if found else None
            if last and (last.series, last.last + 1, last.here, last.there) == (series, first, *states):
                found[-1] = Difference(series, last.first, after - 1, *states)
            else:
                found.append(Difference(series, first, after - 1, *states))
    return found


def state_at(runs: list[Run], serial: int) -> bytes | None:
    which = bisect_right(runs, serial, key=lambda run: run.first) - 1
    return runs[which].state if which >= 0 and serial <= runs[which].last else None


@st.composite
def runs_of_a_series(draw: st.DrawFn) -> list[Run]:
    """Clusters of runs, near and far, so that nodes of every level have few and many."""
    pieces: list[Run] = []
    at = draw(st.sampled_from([1, 1, 16, 255, 4000, 2**40 - 30]))
    for _ in range(draw(st.integers(0, 4))):
        at += draw(st.sampled_from([0, 1, 5, 16**3, 16**7, 2**50]))
        widths, gap = draw(st.sampled_from([1, 3, 17, 300, 2**33])), draw(st.sampled_from([0, 0, 1, 40]))
        turns = draw(st.integers(1, 3))
        for nr in range(draw(st.sampled_from([1, 2, 30, 64, 65, 90, 200]))):
            if at + widths > MAX:
                break
            pieces.append(Run(at, at + widths - 1, STATES[nr % turns]))
            at += widths + gap
    if draw(st.booleans()) and at <= MAX:
        pieces.append(Run(MAX, MAX, STATES[0]))
    return joined(pieces)


@st.composite
def changed(draw: st.DrawFn, runs: list[Run]) -> list[Run]:
    """The same runs, with some units taken out or put in, or in another state."""
    for _ in range(draw(st.integers(0, 4))):
        edges = sorted({at for run in runs for at in (run.first, run.last)}) or [1]
        first = min(MAX, max(1, draw(st.sampled_from(edges)) + draw(st.integers(-2, 2))))
        last = min(MAX, first + draw(st.sampled_from([0, 1, 15, 700, 2**36])))
        state = draw(st.sampled_from([None, *STATES]))
        piece = [] if state is None else [Run(first, last, state)]
        runs = joined([*clipped(runs, 1, first - 1), *piece, *clipped(runs, last + 1, MAX)])
    return runs


@st.composite
def books(draw: st.DrawFn) -> tuple[Runs, Runs]:
    names = [f"MEC01/SYN-{nr}" for nr in range(draw(st.integers(0, 3)))]
    here = {name: draw(runs_of_a_series()) for name in names}
    there = {name: draw(st.one_of(changed(runs), runs_of_a_series())) for name, runs in here.items()}
    if draw(st.booleans()):
        there["MEC01/SYN-THERE"] = draw(runs_of_a_series())
    return here, there
