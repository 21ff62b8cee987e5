"""Any two books are compared to exactly what differs in them, whatever blocks their units lie in.

Method: a registry's answers are those of ``tests.peer_books``, written from the contract; what must be found is
computed serial by serial from the two books. Scope: the comparison and its packing; synthetic series and states.
"""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
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
        runs = [*here.get(series, []), *there.get(series, [])]
        bounds = sorted({at for run in runs for at in (run.first, run.last + 1)})
        for first, after in pairwise(bounds):
            states = [
                next((run.state for run in book.get(series, []) if run.first <= first <= run.last), None)
                for book in (here, there)
            ]
            if states[0] == states[1]:
                continue
            last = found[-1] if found else None
            if last and (last.series, last.last + 1, last.here, last.there) == (series, first, *states):
                found[-1] = Difference(series, last.first, after - 1, *states)
            else:
                found.append(Difference(series, first, after - 1, *states))
    return found


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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(books(), st.sampled_from([5_000, 2**22]))
def test_exactly_what_differs_is_found_whatever_the_runs(both: tuple[Runs, Runs], full: int) -> None:
    here, there = both
    comparison = compared(Book.of(here), Book.of(there, full))
    assert comparison.differences == naive(here, there)
    assert not comparison.more


@pytest.mark.parametrize("number", [65, 1_100])
def test_more_series_than_are_listed_are_compared_by_their_prefixes(number: int) -> None:
    here: Runs = {f"MEC01/SYN-{nr}": [Run(nr + 1, nr + 9, STATES[0])] for nr in range(number)}
    there = dict(here)
    there["MEC01/SYN-7"] = [Run(8, 16, STATES[1])]
    there["MEC01/SYN-MORE"] = [Run(1, MAX, STATES[1])]
    del there["MEC01/SYN-9"]
    comparison = compared(Book.of(here), Book.of(there))
    assert comparison.differences == naive(here, there)
    assert comparison.questions <= 4


def test_equal_books_need_no_question() -> None:
    book = Book.of({"MEC01/SYN": [Run(1, 9, STATES[0])]})
    assert compared(book, book).questions == 0


def test_of_an_answer_that_covers_some_of_the_nodes_the_others_are_asked_for_again() -> None:
    here = {"MEC01/SYN": [Run(2 * nr + 1, 2 * nr + 1, STATES[0]) for nr in range(700)]}
    there = {"MEC01/SYN": [Run(run.first, run.first, STATES[run.first % 7 == 0]) for run in here["MEC01/SYN"]]}
    at_once, one_by_one = (compared(Book.of(here), Book.of(there, full)) for full in (2**22, 1))
    assert one_by_one.differences == at_once.differences == naive(here, there)
    assert one_by_one.questions > 10 > at_once.questions


def test_a_block_that_was_split_is_no_difference() -> None:
    whole = [Run(1, 1_000, STATES[0])]
    split = joined([Run(nr + 1, nr + 10, STATES[0]) for nr in range(0, 1_000, 10)])
    assert Book.of({"MEC01/SYN": whole}).root == Book.of({"MEC01/SYN": split}).root
