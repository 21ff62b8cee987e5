"""Any two books are compared to exactly what differs in them, whatever blocks their units lie in.

Method: a registry's answers are those of ``tests.peer_books``, written from the contract; what must be found is
computed serial by serial from the two books. Scope: the comparison and its packing; synthetic series and states.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.fingerprints import Run
from gateway.reconciliation import compare
from tests.bench import comparing
from tests.peer_books import Book
from tests.two_books import MAX, STATES, Runs, books, compared, naive


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


def test_of_an_answer_that_covers_some_of_the_nodes_the_others_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare, "MAX_QUESTIONS", 256)  # a node at a time is less than a registry may tell
    here = {"MEC01/SYN": [Run(2 * nr + 1, 2 * nr + 1, STATES[0]) for nr in range(700)]}
    there = {"MEC01/SYN": [Run(run.first, run.first, STATES[run.first % 7 == 0]) for run in here["MEC01/SYN"]]}
    at_once, one_by_one = (compared(Book.of(here), Book.of(there, full)) for full in (2**22, 1))
    assert one_by_one.differences == at_once.differences == naive(here, there)
    assert one_by_one.questions > 10 > at_once.questions


@pytest.mark.parametrize(
    ("number", "how", "questions", "characters"),
    [(1, "scattered", 3, 30_000), (1_000, "scattered", 3, 1_000_000), (1_000, "clustered", 3, 50_000)],
)
def test_a_comparison_takes_what_its_differences_take(number: int, how: str, questions: int, characters: int) -> None:
    """At most two megabytes in a signed message, and four round trips with that of the cut."""
    own = comparing.series(100_000)
    changed, planted = comparing.differing(own, comparing.chosen(100_000, number, how))
    found = comparing.compared(Book([own]), Book([changed]), planted)
    assert found.round_trips <= questions + 1
    assert found.characters_asked + found.characters_told <= characters
