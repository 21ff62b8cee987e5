"""Two listings are merged to exactly what differs, in whatever pieces the units are listed; synthetic books."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.fingerprints import Run
from gateway.errors import GatewayError
from gateway.reconciliation import merge
from gateway.reconciliation.differences import Difference
from gateway.reconciliation.merge import Piece, merged
from tests.two_books import MAX, STATES, Runs, books, naive


def listed(book: Runs, cut: int) -> list[Piece]:
    """A book in order, its runs cut where a serial is a multiple of so many, into 20 pieces at most."""
    pieces = []
    for series in sorted(book):
        for run in book[series]:
            first, parts = run.first, 0
            while first <= run.last:
                last = min(run.last, first - first % cut + cut - 1) if parts < 20 else run.last
                pieces.append(Piece(series, Run(first, last, run.state)))
                first, parts = last + 1, parts + 1
    return pieces


async def stream(pieces: Iterable[Piece]) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece


def found(here: Iterable[Piece], there: Iterable[Piece]) -> tuple[list[Difference], bool]:
    return asyncio.run(merged(stream(here), stream(there)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(books(), st.sampled_from([1, 7, 2**20]), st.sampled_from([2, MAX]))
def test_exactly_what_differs_is_found_in_whatever_pieces(both: tuple[Runs, Runs], cut: int, other: int) -> None:
    here, there = both
    assert found(listed(here, cut), listed(there, other)) == (naive(here, there), False)


@pytest.mark.parametrize(
    "wrong",
    [
        [Piece("MEC01/SYN", Run(5, 9, STATES[0])), Piece("MEC01/SYN", Run(9, 12, STATES[0]))],
        [Piece("MEC01/SYN", Run(5, 9, STATES[0])), Piece("MEC01/SYN", Run(1, 2, STATES[0]))],
        [Piece("MEC01/SYN", Run(5, 9, STATES[0])), Piece("MEC01/A", Run(10, 12, STATES[0]))],
        [Piece("MEC01/SYN", Run(5, 4, STATES[0]))],
        [Piece("MEC01/SYN", Run(0, 4, STATES[0]))],
        [Piece("MEC01/SYN", Run(5, MAX + 1, STATES[0]))],
    ],
)
def test_a_listing_that_cannot_be_true_is_refused(wrong: list[Piece]) -> None:
    with pytest.raises(GatewayError) as raised:
        found([], wrong)
    assert raised.value.code == 6901


def test_who_lists_for_ever_is_not_heard_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "MAX_PIECES", 1_000)
    read = 0

    def for_ever() -> Iterable[Piece]:
        nonlocal read
        for serial in range(1, MAX):
            read += 1
            yield Piece("MEC01/SYN", Run(serial, serial, STATES[0]))

    differences, more = found([], for_ever())
    assert (differences, more) == ([Difference("MEC01/SYN", 1, 1_001, None, STATES[0])], True)
    assert read < 1_010
