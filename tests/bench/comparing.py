"""(r) What comparing two books takes: bytes each way, round trips and time, by numbers of blocks and of differences.

In memory and without a network: the gateway's comparison, and a registry's answers by ``tests.peer_books``. A book is
one series of blocks of 2 to 999 units, no two side by side in one state. The registry's is the same but for the
planted differences: blocks in another state, blocks that it has not, and blocks of which one half is in another state,
each kind by turns; scattered over the series, or one beside the other. A comparison that does not find exactly these
does not count. Characters are those of the packed fields; the signed message adds a third of that. Of the time,
``own_cpu_seconds`` are the gateway's, without the registry's answers and without waiting for a busy machine. Synthetic.
"""

import random
import sys
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.domain.fingerprints import hashed
from gateway.reconciliation.compare import Comparison
from gateway.reconciliation.differences import Difference, joined
from tests.bench import gate
from tests.peer_books import Book, Series

NAME = "MEC01/SYN"
#: States of a block and of its neighbours, and as many again for what is changed.
PALETTE = [hashed(f"synthetic state {nr}") for nr in range(6)]
DIFFERENCES = (0, 1, 100, 1_000, 10_000)
WIDEST = 999
#: Bytes on the wire of what is written in base64url into a message, which is written so again.
AGAIN = 4 / 3


@dataclass(frozen=True, slots=True)
class Compared:
    """What one comparison took; of the time, ``own_cpu_seconds`` are the gateway's."""

    characters_asked: int
    characters_told: int
    round_trips: int
    seconds: float
    own_cpu_seconds: float


def measured(sizes: Iterable[int]) -> dict[str, Any]:
    """A line for each size, number of differences, and how these lie."""
    lines: list[dict[str, Any]] = []
    for size in sizes:
        began = time.perf_counter()
        own = series(size)
        here = Book([own])
        print(f"{size:,} blocks, {time.perf_counter() - began:.1f} s for the fingerprints", file=sys.stderr, flush=True)
        for number in DIFFERENCES:
            if 5 * number > size:
                continue
            for how in ("scattered", "clustered") if number > 1 else ("scattered",):
                lines.append(_line(here, own, size, number, how))
    return {"comparing": lines}


def _line(here: Book, own: Series, size: int, number: int, how: str) -> dict[str, Any]:
    changed, planted = differing(own, chosen(size, number, how))
    found = compared(here, Book([changed]), planted)
    wire = AGAIN * (found.characters_asked + found.characters_told)
    print(
        f"{size:>10,} blocks {number:>6,} {how}: asked {found.characters_asked:>9,} told {found.characters_told:>9,} "
        f"wire {wire / 1e6:.3f} MB, {found.round_trips} round trips, "
        f"{found.seconds:.2f} s, our CPU {found.own_cpu_seconds:.2f} s",
        file=sys.stderr,
        flush=True,
    )
    return {
        "blocks": size,
        "differences": number,
        "lie": how,
        "characters_asked": found.characters_asked,
        "characters_told": found.characters_told,
        "wire_bytes": round(wire),
        "round_trips": found.round_trips,
        "seconds": round(found.seconds, 3),
        "own_cpu_seconds": round(found.own_cpu_seconds, 3),
    }


def compared(here: Book, there: Book, planted: list[Difference]) -> Compared:
    """A comparison to its end; the round trip of the cut, in which the roots are told, is counted."""
    roots = here.root, there.root
    began, cpu = time.perf_counter(), time.process_time()
    comparison, answering = Comparison("MEC01", *roots), 0.0
    while not comparison.done:
        prefixes, nodes = comparison.wanted
        question = comparison.ask([here.directory(one) for one in prefixes], [here.node(one) for one in nodes])
        if question is not None:
            asked = time.process_time()
            answer = there.answer(question.series, question.asked)
            answering += time.process_time() - asked
            comparison.hear(question, *answer)
    seconds, own = time.perf_counter() - began, time.process_time() - cpu - answering
    if comparison.more or comparison.differences != planted:
        raise gate.Failed(f"{len(planted)} differences were planted, not these are found")
    return Compared(comparison.characters_asked, comparison.characters_told, comparison.questions + 1, seconds, own)


def series(size: int) -> Series:
    """So many blocks, some of them with units missing before them."""
    drawn = random.Random(size)  # noqa: S311 - a book that is the same each time
    firsts, lasts = array("q", bytes(8 * size)), array("q", bytes(8 * size))
    at = 1
    for nr in range(size):
        at += nr % 7 == 0
        firsts[nr] = at
        at += 2 + int((WIDEST - 1) * drawn.random())
        lasts[nr] = at - 1
    return Series(NAME, firsts, lasts, array("H", (nr % 3 for nr in range(size))), PALETTE)


def differing(own: Series, chosen: list[int]) -> tuple[Series, list[Difference]]:
    """The series with these blocks changed, and what differs then."""
    firsts, lasts, states = array("q"), array("q"), array("H")
    planted: list[Difference] = []
    before = 0
    for turn, at in enumerate(chosen):
        firsts += own.firsts[before:at]
        lasts += own.lasts[before:at]
        states += own.states[before:at]
        before = at + 1
        first, last, state = own.firsts[at], own.lasts[at], own.states[at]
        middle = (first + last) // 2
        kept = ([(first, last, state + 3)], [], [(first, middle, state), (middle + 1, last, state + 3)])[turn % 3]
        for piece in kept:
            firsts.append(piece[0])
            lasts.append(piece[1])
            states.append(piece[2])
        there = None if turn % 3 == 1 else PALETTE[state + 3]
        planted.append(Difference(NAME, middle + 1 if turn % 3 == 2 else first, last, PALETTE[state], there))
    firsts += own.firsts[before:]
    lasts += own.lasts[before:]
    states += own.states[before:]
    touched = [(one.first, one.last) for one in planted]
    return Series(NAME, firsts, lasts, states, PALETTE).after(own, touched), joined(planted)


def chosen(size: int, number: int, how: str) -> list[int]:
    """Which blocks are changed."""
    drawn = random.Random(number)  # noqa: S311 - differences that are the same each time
    if how == "clustered":
        first = drawn.randrange(size - number) if number else 0
        return list(range(first, first + number))
    return sorted(drawn.sample(range(size), number))
