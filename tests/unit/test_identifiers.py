"""Names parse exactly as the field writes them, and in no other way."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.domain import identifiers as ids
from gateway.domain.parties import PARTIES
from gateway.errors import GatewayError, Kind

UUID = "01920000-0000-7000-8000-00000000000a"


def code_of(parse: Callable[[str], Any], text: str) -> int | None:
    with pytest.raises(GatewayError) as caught:
        parse(text)
    assert caught.value.kind is Kind.MALFORMED
    return caught.value.code


def test_all_alpha_3_codes_and_the_european_union_are_parties() -> None:
    assert len(PARTIES) == 250
    assert {"MMR", "JPN", "CHE", "GHA", "EUE"} <= PARTIES
    assert not PARTIES & {"EUU", "MEC", "INT", "UNK", "XXX"}


@pytest.mark.parametrize("text", ["", "mmr", "MM", "MMRR", "MMR ", "XXX", "\u039cMR"])
def test_what_is_no_party_is_refused_with_2010(text: str) -> None:
    assert code_of(ids.parse_party, text) == 2010


def test_link_codes_need_not_begin_with_a_party() -> None:
    assert [ids.parse_registry_code(text) for text in ("MEC01", "INT01", "GWY01", "JPN01")]


@pytest.mark.parametrize("text", ["", "MEC1", "MEC001", "mec01", "MEC0A", "MEC0\u0661", "MEC01\n", " MEC01"])
def test_what_is_no_link_code_is_refused_with_2011(text: str) -> None:
    assert code_of(ids.parse_link_code, text) == 2011


def test_account_prints_as_it_was_read_and_knows_its_type() -> None:
    account = ids.parse_account("310-42")
    assert (account.type, account.number, str(account)) == (ids.AccountType.CANCELLATION_OP, 42, "310-42")


@pytest.mark.parametrize("text", ["", "100", "100-", "100-0", "100-01", "999-1", "100-1-1", "100-\u0661"])
def test_one_account_has_one_spelling(text: str) -> None:
    assert code_of(ids.parse_account, text) == 2014


def test_standing_follows_the_account_type() -> None:
    held = {100, 110, 410, 420}
    for member in ids.AccountType:
        expected = "held" if member in held else "used" if member // 100 == 2 else "cancelled"
        assert member.standing == expected


def test_transfer_id_names_its_source() -> None:
    transfer = ids.parse_transfer_id(f"MEC01-{UUID}")
    assert transfer.source == "MEC01"
    assert str(transfer) == f"MEC01-{UUID}"


@pytest.mark.parametrize(
    "text",
    [
        "MEC01",
        UUID,
        f"MEC1-{UUID}",
        f"MEC01-{UUID.upper()}",
        f"MEC01-{UUID}0",
        f"MEC01-{UUID}\n",
        "MEC01-01920000-0000-4000-8000-00000000000a",  # version 4
        "MEC01-01920000-0000-7000-c000-00000000000a",  # variant
    ],
)
def test_transfer_id_is_a_link_code_and_a_uuid_of_version_7(text: str) -> None:
    assert code_of(ids.parse_transfer_id, text) == 2003


def test_itmo_identifier_has_five_parts() -> None:
    itmo = ids.parse_itmo_id("CA0003-GHA01-GHA-11733-2022")
    assert (itmo.cooperative_approach, itmo.registry, itmo.party) == ("CA0003", "GHA01", "GHA")
    assert (itmo.serial, itmo.vintage, itmo.stem) == (11733, 2022, "CA0003-GHA01-GHA-2022")
    assert str(itmo) == "CA0003-GHA01-GHA-11733-2022"


def test_thousands_commas_are_read_and_not_kept() -> None:
    assert str(ids.parse_itmo_id("CA0003-GHA01-GHA-1,011,733-2022")) == "CA0003-GHA01-GHA-1011733-2022"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("CA003-GHA01-GHA-1-2022", 2006),
        ("CA0003-GHA01-GHA-0-2022", 2006),
        ("CA0003-GHA01-GHA-01-2022", 2006),
        ("CA0003-GHA01-GHA-1,01-2022", 2006),
        ("CA0003-GHA01-GHA-1011,733-2022", 2006),
        ("CA0003-GHA01-GHA-1-22", 2006),
        ("CA0003-GHA01-GHA-1-2022 ", 2006),
        ("CA0003-GHA01-GHA-9007199254740992-2022", 2006),
        ("CA0003-GHA01-GHA-" + "9" * 5000 + "-2022", 2006),
        ("CA0003-MEC01-GHA-1-2022", 2011),
        ("CA0003-GHA01-XXX-1-2022", 2010),
    ],
)
def test_itmo_identifier_faults_have_their_codes(text: str, code: int) -> None:
    assert code_of(ids.parse_itmo_id, text) == code


def test_itmo_identifiers_order_by_number_within_a_stem() -> None:
    texts = ["CA0003-GHA01-GHA-9-2022", "CA0003-GHA01-GHA-10-2022", "CA0003-GHA01-GHA-2-2023"]
    assert sorted(map(ids.parse_itmo_id, reversed(texts))) == list(map(ids.parse_itmo_id, texts))


def test_largest_serial_is_the_largest_exact_double() -> None:
    assert ids.parse_itmo_id("CA0003-GHA01-GHA-9007199254740991-2022").serial == ids.MAX_SERIAL == 2**53 - 1
