"""A registry that lies about its book is found out, after bounded work, and no difference is reported on its word.

Method: a book answers as the contract says, and one thing is changed in what it tells before it is packed, or in the
bytes. Scope: the comparison; form alone is the subject of ``test_packing``. Synthetic books.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.fingerprints import MOST_RUNS, Node, Run, SeriesEntry, Summary, hashed
from gateway.errors import GatewayError, Kind
from gateway.reconciliation import compare, matching
from gateway.reconciliation.compare import Comparison
from tests.peer_books import Book
from tests.two_books import STATES, Runs, compared, naive, questions

NAME, FEW = "MEC01/SYN", "MEC01/SYN-FEW"
HERE: Runs = {
    NAME: [Run(3 * nr + 1, 3 * nr + 2, STATES[0]) for nr in range(20_000)],
    FEW: [Run(17, 18, STATES[0]), Run(33, 35, STATES[1])],
}
THERE: Runs = {
    NAME: [Run(run.first, run.last, STATES[1]) if run.first in (61, 7_003) else run for run in HERE[NAME]],
    FEW: [Run(17, 18, STATES[2]), Run(33, 35, STATES[1])],
}
OWN, PEER = Book.of(HERE), Book.of(THERE)
DIFFERENT = naive(HERE, THERE)
FALSE = bytes(range(32))
Lie = Callable[[list[Any]], None]


class Lying(Book):
    """Tells what its book says, but for what ``lie`` changes in it."""

    lie: Lie

    def expand(self, trees: list[Any]) -> None:
        super().expand(trees)
        self.lie(trees)


def lying(lie: Lie, there: Runs = THERE) -> Lying:
    book = Lying.of(there)
    assert isinstance(book, Lying)
    book.lie = lie
    return book


def every(kind: str, change: Lie) -> Lie:
    """A lie about each node that is told in this way."""

    def lie(trees: list[Any]) -> None:
        for tree in trees:
            if isinstance(tree, list):
                if tree[0] == "children":
                    lie(tree[1])
                if tree[0] == "series":
                    lie([part for _, part in tree[1]])
                if tree[0] == kind:
                    change(tree)

    return lie


def another_state(tree: list[Any]) -> None:
    tree[2] = (Run(tree[2][0].first, tree[2][0].last, hashed("synthetic lie")), *tree[2][1:])


def a_run_less(tree: list[Any]) -> None:
    tree[2] = tree[2][1:] or tree[2]


def another_digest(tree: list[Any]) -> None:
    tree[2] = Summary(tree[2].count, FALSE)


def another_count(tree: list[Any]) -> None:
    tree[2] = Summary(tree[2].count + 1, tree[2].digest)


def another_count_of_many(tree: list[Any]) -> None:
    if tree[2].count > MOST_RUNS:
        another_count(tree)


def as_was_said(trees: list[Any]) -> None:
    """Of the nodes asked for later, every child is as was said."""
    for tree in trees:
        if isinstance(tree, list) and tree[0] == "children":
            tree[1] = ["same" if part else None for part in tree[1]]


def nothing_of_nodes(trees: list[Any]) -> None:
    trees[:] = [None if tree[0] != "series" else tree for tree in trees]


def nothing_at_all(trees: list[Any]) -> None:
    trees[:] = [None for _ in trees]


def few_by_children(trees: list[Any]) -> None:
    for tree in trees:
        if tree[0] == "runs":
            told = [None] * 16
            told[tree[2][0].first >> 4 * (tree[1].level - 1) & 15] = ["digest", tree[1], Summary(1, FALSE)]  # type: ignore[call-overload]
            tree[:] = ["children", told]


def a_wider_apex(trees: list[Any]) -> None:
    for tree in trees:
        if tree[0] == "series":
            tree[1] = [[node.parent if node.series == FEW else node, told] for node, told in tree[1]]


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (every("runs", another_state), "otherwise than by its digest"),
        (every("runs", a_run_less), "otherwise than by its digest"),
        (every("digest", another_digest), "otherwise than by its digest"),
        (every("digest", another_count), "another count"),
        (every("digest", another_count_of_many), "another count"),
        (as_was_said, "otherwise than by its digest"),
        (nothing_of_nodes, "and then as nothing"),
        (nothing_at_all, "has not the root"),
        (few_by_children, "a node of few"),
        (a_wider_apex, "not the smallest"),
    ],
)
def test_one_lie_anywhere_ends_the_comparison(lie: Lie, why: str) -> None:
    with pytest.raises(GatewayError, match=why) as raised:
        compared(OWN, lying(lie))
    assert raised.value.code == 6901


def test_without_a_lie_the_same_book_is_compared() -> None:
    assert compared(OWN, lying(lambda _: None)).differences == naive(HERE, THERE)


def test_a_difference_that_is_kept_back_is_found_out() -> None:
    """The registry answers with the gateway's own book, whose root is not the one it gave."""
    comparison = Comparison("KOR01", OWN.root, Book.of(THERE).root)
    with pytest.raises(GatewayError, match="has not the root") as raised:
        for question in questions(comparison, OWN):
            comparison.hear(question, *OWN.answer(question.series, question.asked))
    assert raised.value.code == 6901
    assert comparison.differences == []


def test_a_difference_that_is_made_up_is_found_out() -> None:
    """The registry answers with a book of its own making, in itself consistent, and not the one whose root it gave."""
    made_up = Book.of({**THERE, FEW: [Run(17, 18, STATES[2])]})
    comparison = Comparison("KOR01", OWN.root, Book.of(THERE).root)
    with pytest.raises(GatewayError, match="has not the root"):
        for question in questions(comparison, OWN):
            comparison.hear(question, *made_up.answer(question.series, question.asked))
    assert not comparison.done


def test_a_registry_that_always_tells_more_nodes_is_not_asked_further() -> None:
    """Sixteen children of a thousand runs in a node of a thousand: that could go on down to single serials."""
    node = b"\3\xff\xff" + 16 * (b"\2\xe8\x07" + FALSE[:16])
    comparison = Comparison("KOR01", OWN.root, Book.of(THERE).root)
    with pytest.raises(GatewayError, match="what was counted in it") as raised:
        for question in questions(comparison, OWN):
            comparison.hear(question, [], len(question.nodes), node * len(question.nodes), b"")
    assert raised.value.code == 6901
    assert comparison.questions == 2


def test_fewer_series_than_were_counted_are_found_out() -> None:
    there: Runs = {f"MEC01/SYN-{nr}": [Run(nr + 1, nr + 9, STATES[0])] for nr in range(1_300)}

    def a_series_less(trees: list[Any]) -> None:
        for tree in trees:
            if tree[0] == "children":
                a_series_less([part for part in tree[1] if isinstance(part, list)])
            if tree[0] == "series" and len(tree[1]) > 1:
                del tree[1][0]

    with pytest.raises(GatewayError, match="not as many series") as raised:
        compared(OWN, lying(a_series_less, there))
    assert raised.value.code == 6901


def test_a_node_that_was_not_counted_and_has_few_runs_is_not_told_by_children() -> None:
    """Where the count was not told it follows from what differs."""
    here: Runs = {NAME: [Run(2 * nr + 1, 2 * nr + 1, STATES[0]) for nr in range(70)]}
    there: Runs = {NAME: here[NAME][:50]}

    def by_children(trees: list[Any]) -> None:
        book = Book.of(there)
        for tree in trees:
            if tree[0] == "series":
                node: Node = tree[1][0][0]
                children = [book.node(node.child(which)) for which in range(16)]
                tree[1][0][1] = [
                    "children",
                    [["digest", one.node, one.summary] if one.summary.count else None for one in children],
                ]

    with pytest.raises(GatewayError, match="a node of 50 runs is told by its children"):
        compared(Book.of(here), lying(by_children, there))


def test_a_root_over_a_wider_apex_is_no_difference_and_no_root() -> None:
    """The registry's books are the gateway's, and its directory names a node that is not the smallest of a series."""
    there = Book.of({FEW: HERE[FEW]})
    there._entries = [SeriesEntry(one.apex.parent, one.summary) for one in there._entries]
    with pytest.raises(GatewayError, match="in which nothing differs") as raised:
        compared(Book.of({FEW: HERE[FEW]}), there)
    assert raised.value.code == 6901


@pytest.mark.parametrize("answered", [0, 2])
def test_neither_none_nor_more_than_was_asked_for_is_answered(answered: int) -> None:
    comparison = Comparison("KOR01", OWN.root, Book.of(THERE).root)
    question = next(questions(comparison, OWN))
    series, _, told, states = Book.of(THERE).answer(question.series, question.asked)
    with pytest.raises(GatewayError, match="nodes are answered") as raised:
        comparison.hear(question, series, answered, told, states)
    assert raised.value.code == 6901


def test_who_answers_a_node_at_a_time_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MAX_QUESTIONS", 20)
    there = {NAME: [Run(run.first, run.last, STATES[1]) for run in HERE[NAME]]}
    with pytest.raises(GatewayError, match="after 20 questions") as raised:
        compared(OWN, Book.of(there, full=1))
    assert raised.value.code == 6901


def test_a_comparison_ends_where_too_much_differs_or_too_much_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [Run(run.first, run.last, STATES[1]) for run in HERE[NAME]]
    there = Book.of({**HERE, NAME: others})
    monkeypatch.setattr(compare, "MAX_DIFFERENCES", 1_000)
    few = compared(OWN, there)
    assert few.more
    assert 900 < len(few.differences) <= 1_000 + 2 * MOST_RUNS
    differs = {run.first: run.last for run in others}
    for one in few.differences:
        assert (one.series, one.here, one.there) == (NAME, STATES[0], STATES[1])
        first = one.first - (one.first % 3 == 2)
        assert one.last <= differs[first]
    monkeypatch.setattr(compare, "MAX_CHARACTERS", 10_000)
    short = compared(OWN, there)
    assert short.more
    assert short.questions <= 2


def test_an_own_book_that_does_not_add_up_is_no_lie_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Book.of({**HERE, NAME: HERE[NAME][1:]})
    monkeypatch.setattr(OWN, "node", other.node)
    with pytest.raises(GatewayError, match="own book") as raised:
        compared(OWN, Book.of(THERE))
    assert raised.value.kind is Kind.INVARIANT


def test_own_nodes_are_wanted_some_thousand_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (matching, compare):
        monkeypatch.setattr(module, "MOST_WANTED", 3)
    nothing = Book.of({})
    assert compared(OWN, nothing).differences == naive(HERE, {})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_byte_changed_anywhere_leads_to_a_refusal_or_to_what_is_true(data: st.DataObject) -> None:
    comparison = Comparison("KOR01", OWN.root, PEER.root)
    spoiled = data.draw(st.integers(0, 2))
    try:
        for nr, question in enumerate(questions(comparison, OWN)):
            series, answered, told, states = PEER.answer(question.series, question.asked)
            if nr == spoiled:
                whole = bytearray(told + states)
                at = data.draw(st.integers(0, len(whole) - 1))
                whole[at] ^= data.draw(st.integers(1, 255))
                told, states = bytes(whole[: len(told)]), bytes(whole[len(told) :])
            comparison.hear(question, series, answered, told, states)
    except GatewayError as refusal:
        assert refusal.code == 6901
    else:
        assert comparison.differences == DIFFERENT
