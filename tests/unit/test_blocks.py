"""Reading real unit blocks: what is right is read whole; what is wrong is named by its line, and nothing is used."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.demo import blocks
from gateway.demo.alpha2 import ALPHA_3
from gateway.domain.parties import PARTIES
from gateway.errors import GatewayError, Kind
from tests.realblocks import HEADER, REAL, REAL_BLOCKS, REAL_UNITS, needs_real_file, rows, text

Rows = list[dict[str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "blocks.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(GatewayError) as raised:
        blocks.read(path)
    assert raised.value.kind is Kind.MALFORMED
    assert "\n" not in raised.value.detail
    return raised.value.detail


def test_a_file_of_the_reports_shape_is_read_whole(file: Callable[[str], Path]) -> None:
    made = rows(500)
    read = blocks.read(file(text(made)))
    assert [block.line for block in read] == list(range(2, 502))
    assert [str(block.quantity) for block in read] == [row["quantity"] for row in made]
    assert [block.alpha2 for block in read] == [row["party_alpha2"] for row in made]
    assert {block.party for block in read} == {"CHN", "IND", "BRA", "KOR", "MMR", "UGA", "FJI", "PAK"}
    assert {block.unit_type for block in read} == {"CER", "tCER", "lCER"}


@needs_real_file
def test_the_real_report_is_read_whole_and_has_no_overlap() -> None:
    read = blocks.read(REAL)
    assert len(read) == REAL_BLOCKS
    assert sum(block.quantity for block in read) == REAL_UNITS
    assert len({(block.party, block.unit_type) for block in read}) == 96


@needs_real_file
def test_a_block_that_is_twice_in_the_real_report_is_found(file: Callable[[bytes], Path]) -> None:
    lines = REAL.read_bytes().splitlines(keepends=True)
    lines.insert(9_000, lines[8_999])
    assert "line 9001" in refusal(file(b"".join(lines)))


def test_lines_may_end_as_on_other_systems(file: Callable[[str], Path]) -> None:
    assert len(blocks.read(file(text(rows(3)).replace("\n", "\r\n")))) == 3


def test_blocks_of_different_series_may_bear_the_same_serials(file: Callable[[str], Path]) -> None:
    made = rows(3)
    for row, party, unit_type in zip(made, ("HN", "IN", "HN"), ("CER", "CER", "tCER"), strict=True):
        row |= {"party_alpha2": party, "unit_type": unit_type, "serial_start": "1", "serial_end": "9", "quantity": "9"}
    assert len(blocks.read(file(text(made)))) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quantity": "8"}, "quantity 8 is not that of serials 1 to 9"),
        ({"quantity": "0"}, "quantity '0' is no whole number from 1"),
        ({"quantity": "9.0"}, "quantity '9.0'"),
        ({"serial_start": "9", "serial_end": "1"}, "serial_start 9 is larger than serial_end 1"),
        ({"serial_start": "0"}, "serial_start '0' is no whole number from 1 to 9007199254740991"),
        ({"serial_start": "-1"}, "serial_start '-1'"),
        ({"serial_start": "01"}, "serial_start '01'"),
        ({"serial_start": "\u0661"}, "serial_start '\u0661'"),
        ({"serial_end": "9007199254740992"}, "serial_end '9007199254740992' is no whole number"),
        ({"serial_end": "9" * 500}, "serial_end '999"),
        ({"serial_end": ""}, "serial_end '' is no whole number"),
        ({"party_alpha2": "XX"}, "party_alpha2 'XX' is no Party's code"),
        ({"party_alpha2": "hn"}, "party_alpha2 'hn'"),
        ({"party_alpha2": "HND"}, "party_alpha2 'HND'"),
        ({"unit_type": "ERU"}, "unit_type 'ERU' is not CER or tCER or lCER"),
        ({"transaction_type": "3"}, "transaction_type '3' is not 1"),
        ({"status": "5"}, "status '5' is not 4"),
        ({"completed_at": "9999-01-01T00:00:00.000"}, "lies in the future"),
        ({"commitment_period": "3"}, "commitment_period '3' is not 1 or 2"),
        ({"project_number": "x"}, "project_number 'x'"),
        ({"completed_at": "2007-13-09T10:33:23.293"}, "completed_at '2007-13-09T10:33:23.293' is no time"),
        ({"completed_at": "09/11/2007"}, "completed_at '09/11/2007' is no time"),
        ({"completed_at": "2007-11-09T10:33:23Z"}, "completed_at '2007-11-09T10:33:23Z' is no time"),
        ({"completed_at": "2007-01-01T00:00:00.000"}, "out of order: completed before line 4"),
        ({"project_number": "1,2"}, "11 values instead of 10"),
        ({"project_number": '"1'}, "not comma-separated values"),
        ({"project_number": "1" * 1_000}, "longer than 1,000 bytes"),
        ({"project_number": "1" * 10_000}, "longer than 1,000 bytes"),
    ],
)
def test_a_line_that_is_wrong_is_named_with_the_reason(
    file: Callable[[str], Path], change: dict[str, str], reason: str
) -> None:
    made = rows(8)
    made[3] |= {"serial_start": "1", "serial_end": "9", "quantity": "9", "party_alpha2": "HN", **change}
    detail = refusal(file(text(made)))
    assert f"line 5: {reason}" in detail
    assert detail.count("line ") == 1 + reason.count("line ")


def test_an_overlap_inside_a_series_names_both_lines(file: Callable[[str], Path]) -> None:
    made = rows(6)
    for row, (first, last) in zip(
        made, ((1, 99), (200, 299), (90, 95), (100, 199), (300, 300), (150, 320)), strict=True
    ):
        row |= {"party_alpha2": "HN", "unit_type": "CER", "serial_start": str(first), "serial_end": str(last)}
        row["quantity"] = str(last - first + 1)
    detail = refusal(file(text(made)))
    assert "line 4: serials 90 to 95 of HN CER are those of line 2 too" in detail
    assert "line 7: serials 150 to 199 of HN CER are those of line 5 too" in detail
    assert detail.count(": ") == 3


def test_columns_in_another_order_are_refused_before_any_line_is_read(file: Callable[[str], Path]) -> None:
    made = rows(2)
    turned = text(made).replace("serial_start,serial_end", "serial_end,serial_start")
    assert "line 1: the columns are not completed_at," in refusal(file(turned))
    assert "line 1: the columns" in refusal(file(text(made).partition("\n")[2]))


def test_what_is_not_utf_8_is_named_by_line_and_byte(file: Callable[[bytes], Path]) -> None:
    content = text(rows(5)).encode().splitlines(keepends=True)
    content[3] = content[3][:10] + b"\xff" + content[3][10:]
    assert "line 4: not UTF-8 at byte 11" in refusal(file(b"".join(content)))
    assert "line 1: not UTF-8" in refusal(file(HEADER.encode("utf-16")))


def test_a_file_without_blocks_is_refused(file: Callable[[str], Path]) -> None:
    assert refusal(file("")).endswith("has no blocks")
    assert refusal(file(HEADER + "\n")).endswith("has no blocks")


def test_every_wrong_line_counts_and_the_first_are_named(file: Callable[[str], Path]) -> None:
    made = rows(50)
    for row in made[10:]:
        row["status"] = "1"
    detail = refusal(file(text(made)))
    assert detail.count("; line ") + 1 == blocks.MAX_NAMED
    assert "line 12: status" in detail and detail.endswith("and 20 more lines")


def test_a_file_of_more_blocks_than_the_limit_is_refused(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MAX_BLOCKS", 8)
    assert len(blocks.read(file(text(rows(8))))) == 8
    assert "line 10: a file has at most 8 blocks" in refusal(file(text(rows(20))))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(GatewayError, match=str(path)) as raised:
            blocks.read(path)
        assert raised.value.kind is Kind.NOT_FOUND


def test_each_two_letter_code_stands_for_a_party_of_its_own() -> None:
    assert sorted(ALPHA_3.values()) == sorted(PARTIES)
    assert all(len(alpha2) == 2 and alpha2.isascii() and alpha2.isupper() for alpha2 in ALPHA_3)
