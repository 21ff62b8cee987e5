"""The demo's verdict, its plan and its children, without the network around them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.demo import arrows, loading, outcome, processes
from gateway.demo.blocks import RealBlock
from gateway.demo.members import EVERYONE, FOR_BLOCKS
from gateway.demo.outcome import Result as Told
from gateway.demo.outcome import Way
from gateway.demo.plan import Arrow
from gateway.demo.records import Records
from gateway.doctor.report import Report, Result, finding
from gateway.domain.identifiers import MAX_SERIAL
from gateway.domain.parties import PARTIES
from gateway.errors import GatewayError, Kind


def row(registry: str, **tonnes: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("issued", "held", "in_transit", "used", "cancelled", "moved_in", "moved_out"), 0)
    return {"registry": registry, **nothing, **tonnes}


MEC01 = row("MEC01", issued=10, cancelled=1, moved_out=9)
KOR01 = row("KOR01", held=9, moved_in=9)
REFUSED = Way(Arrow.SECTION_TO_SECTION, "THA99", "GHA99", "an activity", 1, 1, "refused", 4017, 4017)
GOOD = Told(
    books={"registries": [MEC01, KOR01], "conservation": "holds"},
    registries={"MEC01": MEC01, "KOR01": KOR01},
    behind={"MEC01": ("MEC01",), "KOR01": ("KOR01",)},
    total=3,
    completed=2,
    final=3,
    units_moved=9,
    seconds=1.0,
    ways=(Way(Arrow.MECHANISM_TO_PARTY, "MEC01", "KOR01", "an activity", 9, 2, "completed"), REFUSED),
    records=Records(2, 18, True),
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


def test_a_link_with_sections_says_what_the_book_says_of_all_of_them() -> None:
    sections = [row("THA99", issued=4, held=4), row("SWE99", held=9, moved_in=9)]
    books = {"registries": [MEC01, *sections], "conservation": "holds"}
    own = {"MEC01": MEC01, "INT01": row("INT01", issued=4, held=13, moved_in=9)}
    told = replace(GOOD, books=books, registries=own, behind={"MEC01": ("MEC01",), "INT01": ("THA99", "SWE99")})
    assert told.agrees
    assert not replace(told, behind={**told.behind, "INT01": ("THA99",)}).agrees


def test_a_database_that_does_not_fit_together_is_no_success() -> None:
    found = Result("a check", "a rule")
    found.add([finding("something")])
    ill = replace(GOOD, doctor=Report(datetime.now(UTC), (found,)))
    assert ill.conservation == "holds" and not ill.succeeded


def test_records_that_are_not_the_gateways_actions_are_no_success() -> None:
    assert not replace(GOOD, records=Records(1, 9, False)).succeeded
    assert replace(GOOD, records=None).succeeded


@pytest.mark.parametrize(
    "change", [{"state": "completed", "code": None}, {"code": 5150}, {"expected": None}, {"state": "rejected"}]
)
def test_a_way_that_ends_otherwise_than_it_should_is_no_success(change: Mapping[str, Any]) -> None:
    assert not replace(GOOD, ways=(replace(REFUSED, **change),)).succeeded


def test_what_came_of_a_move_is_found_among_the_transfers() -> None:
    moves = [*arrows.FIRST, *(move for move in arrows.EVERY if move.arrow is Arrow.BACK_INTO_MECHANISM)]
    transfers = [
        {**move.terms(), "state": "refused" if move.code else "completed", "findings": [{"code": 5150}]}
        for move in moves
    ]
    first, back = outcome.ways(moves, transfers)
    assert (first.quantity, first.transfers, first.state, first.code) == (57_259, 10, "completed", None)
    assert (back.quantity, back.state, back.code) == (10, "refused", 5150)
    assert first.as_it_should and back.as_it_should
    [some, _] = outcome.ways(moves, transfers[1:])
    assert (some.transfers, some.state, some.as_it_should) == (10, "absent and completed", False)


def test_every_arrow_is_in_the_story_and_no_two_transfers_of_a_kind_are_alike() -> None:
    assert {move.arrow for move in arrows.EVERY} == set(Arrow)
    assert {move.code for move in arrows.EVERY} == {None, 4017, 5101, 5133, 5150}
    public = {move.quantity for move in arrows.EVERY if move.arrow is Arrow.SECTION_TO_PARTY}
    assert public == {1_916, 49_717, 11_733, 1_009, 433, 194, 86_564}
    assert sum(move.quantity for move in arrows.FIRST) == 57_259 and len(arrows.FIRST) == 10
    others = [repr(sorted(move.terms().items(), key=repr)) for move in (*arrows.THEN, *arrows.AT_LAST)]
    assert len(set(others)) == len(others)


def test_every_party_has_books_somewhere_and_korea_a_section_beside_its_own() -> None:
    books = [party for member in EVERYONE for party in member.registries.values() if party]
    assert sorted(books) == sorted([*PARTIES, "KOR"])


@pytest.mark.parametrize(
    ("net", "omge", "sop", "gross"),
    [(57_259, 2, 0, 58_428), (930, 2, 5, 1_000), (1_000, 2, 5, 1_076), (1, 2, 5, 3), (1, 2, 0, 2), (5, 0, 0, 5)],
)
def test_the_gross_quantity_is_the_smallest_that_leaves_the_net(net: int, omge: int, sop: int, gross: int) -> None:
    def left(quantity: int) -> int:
        return quantity - sum(-(-quantity * percent // 100) for percent in (omge, sop))

    assert loading.gross_for(net, omge, sop) == gross
    assert left(gross) == net and all(left(quantity) != net for quantity in range(gross))


def real(line: int, alpha2: str, first: int, last: int, unit_type: str = "CER") -> RealBlock:
    return RealBlock(line, datetime(2019, 1, 1), first, last, unit_type, alpha2, 7)


def test_a_real_block_underlies_the_net_block_and_goes_whole_to_another_party() -> None:
    blocks = [real(2, "CN", 101, 1_030), real(3, "MM", 1, 98), real(4, "KR", 1, 930), real(5, "CN", 1_031, 1_960)]
    made = loading.loaded(blocks)
    assert [(one.series, one.first, one.gross) for one in made] == [
        ("CHN-A64-CER", 1, 1_000), ("MMR-A64-CER", 1, 100), ("KOR-A64-CER", 1, 1_000), ("CHN-A64-CER", 1_001, 1_000)
    ]  # fmt: skip
    acquirers = {member.code for member in FOR_BLOCKS if member.party}
    assert all(one.to in acquirers and one.to_party != one.real.party for one in made)
    form, wish = made[0].issuance(), made[3].wish()
    assert (form["net"], form["sop_percent"], made[1].issuance()["sop_percent"]) == (930, 5, 0)
    assert form["attributes"]["underlying"] == {"registry": "CDM", "first": "CN-CER-101", "last": "CN-CER-1030"}
    assert form["vintage"] == 2021 and "synthetic" in form["activity"] and "SYNTHETIC" in form["authorisation"]["id"]
    assert [(b["first"], b["last"]) for b in wish["blocks"]] == [(1_001, 1_930)]


def test_blocks_that_leave_no_serials_for_what_is_deducted_are_named_by_line() -> None:
    with pytest.raises(GatewayError, match=r"line 9: .*CHN-A64-CER") as raised:
        loading.loaded([real(8, "CN", 1, 10), real(9, "CN", 11, MAX_SERIAL)])
    assert raised.value.kind is Kind.MALFORMED


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
