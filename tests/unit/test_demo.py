"""The demo's verdict and its children, without the network around them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.demo import processes
from gateway.demo.story import Result as Told
from gateway.doctor.report import Report, Result, finding
from gateway.errors import GatewayError, Kind


def row(registry: str, **tonnes: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("issued", "held", "in_transit", "used", "cancelled", "moved_in", "moved_out"), 0)
    return {"registry": registry, **nothing, **tonnes}


MEC01 = row("MEC01", issued=10, cancelled=1, moved_out=9)
KOR01 = row("KOR01", held=9, moved_in=9)
GOOD = Told(
    books={"registries": [MEC01, KOR01], "conservation": "holds"},
    registries={"MEC01": MEC01, "KOR01": KOR01},
    total=3,
    completed=2,
    final=3,
    units_moved=9,
    seconds=1.0,
    doctor=Report(datetime.now(UTC), (Result("a check", "a rule"),)),
)


def test_a_demo_whose_books_agree_and_whose_transfers_are_final_has_succeeded() -> None:
    assert GOOD.agrees and GOOD.conservation == "holds" and GOOD.succeeded


def test_a_transfer_that_is_not_final_is_no_success() -> None:
    open_end = replace(GOOD, final=2)
    assert open_end.conservation == "holds" and not open_end.succeeded


def test_a_book_that_does_not_add_up_is_no_success() -> None:
    broken = replace(GOOD, books={**GOOD.books, "conservation": "broken"})
    assert broken.conservation == "broken" and not broken.succeeded


@pytest.mark.parametrize("figure", ["issued", "held", "used", "cancelled", "moved_in", "moved_out"])
def test_a_registry_whose_own_books_differ_breaks_conservation(figure: str) -> None:
    lost = replace(GOOD, registries={"MEC01": MEC01, "KOR01": {**KOR01, figure: KOR01[figure] + 1}})
    assert lost.conservation == "broken" and not lost.succeeded


def test_units_at_a_registry_the_book_does_not_know_break_conservation() -> None:
    unknown = replace(GOOD, books={"registries": [MEC01], "conservation": "holds"})
    assert unknown.conservation == "broken"


def test_a_database_that_does_not_fit_together_is_no_success() -> None:
    found = Result("a check", "a rule")
    found.add([finding("something")])
    ill = replace(GOOD, doctor=Report(datetime.now(UTC), (found,)))
    assert ill.conservation == "holds" and not ill.succeeded


def test_a_child_that_does_not_start_says_why() -> None:
    child = processes.start("the child", ["no_such_module_of_ours"])
    with pytest.raises(GatewayError, match=r"the child ended with exit code 1: .*no_such_module_of_ours") as raised:
        child.ready()
    assert raised.value.kind is Kind.INVARIANT
    assert "\n" not in raised.value.detail
    child.stop()


def test_a_child_that_was_killed_says_by_what() -> None:
    child = processes.start("the child", ["http.server", "--bind", "127.0.0.1", "0"])
    child.check()
    child.process.kill()
    child.process.wait()
    with pytest.raises(GatewayError, match="the child was ended by SIGKILL"):
        child.check()
    child.stop()
