"""What is deducted when A6.4ERs are issued, and which deductions are refused.

Source: 3/CMA.3 annex paras 67, 69 and 70, and CMA 6 on the exempt hosts; the texts were not available, and no public
one says how a part of a tonne is rounded, so that rounding is a setting. Hosts are real, quantities synthetic.
"""

from dataclasses import replace

import pytest

from gateway.domain import levies
from gateway.domain.identifiers import AccountType
from gateway.domain.levies import Levies, Rounding
from gateway.domain.nomenclature import UnitType
from gateway.domain.parties import EXEMPT_FROM_PROCEEDS, LEAST_DEVELOPED, SMALL_ISLANDS
from tests.announcing import issued
from tests.proposing import block, propose, sound

OTHER, LEAST, ISLAND = "GHA", "MMR", "FJI"
KINDS = (AccountType.HOLDING, AccountType.SHARE_OF_PROCEEDS, AccountType.CANCELLATION_OMGE)


def test_the_hosts_tried_are_what_they_stand_for() -> None:
    assert OTHER not in EXEMPT_FROM_PROCEEDS
    assert LEAST in LEAST_DEVELOPED - SMALL_ISLANDS and ISLAND in SMALL_ISLANDS - LEAST_DEVELOPED


def test_five_percent_go_to_adaptation_and_two_are_cancelled() -> None:
    assert levies.due(1_000, OTHER, Rounding.UP) == Levies(50, 20, 930)


@pytest.mark.parametrize("host", [LEAST, ISLAND])
def test_exempt_hosts_give_no_share_of_proceeds_and_cancel_all_the_same(host: str) -> None:
    assert levies.due(58_428, host, Rounding.UP) == Levies(0, 1_169, 57_259)


@pytest.mark.parametrize(
    ("gross", "rounding", "adaptation", "omge"),
    [
        (1_009, Rounding.UP, 51, 21),  # 50.45 and 20.18
        (1_009, Rounding.DOWN, 50, 20),
        (1_009, Rounding.NEAREST, 50, 20),
        (1_030, Rounding.UP, 52, 21),  # 51.5 and 20.6
        (1_030, Rounding.DOWN, 51, 20),
        (1_030, Rounding.NEAREST, 52, 21),
        (1, Rounding.UP, 1, 1),
        (1, Rounding.DOWN, 0, 0),
        (1, Rounding.NEAREST, 0, 0),
        (100, Rounding.UP, 5, 2),
        (100, Rounding.DOWN, 5, 2),
        (100, Rounding.NEAREST, 5, 2),
    ],
)
def test_a_part_of_a_tonne_is_rounded_as_set(gross: int, rounding: Rounding, adaptation: int, omge: int) -> None:
    assert levies.due(gross, OTHER, rounding) == Levies(adaptation, omge, gross - adaptation - omge)


@pytest.mark.parametrize("rounding", Rounding)
def test_no_rounding_is_a_tonne_away_from_the_exact_share(rounding: Rounding) -> None:
    for gross in range(1, 2_001):
        for percent in (levies.ADAPTATION_PERCENT, levies.OMGE_PERCENT):
            assert abs(levies.share(gross, percent, rounding) * 100 - gross * percent) < 100


def test_a_share_is_exact_beyond_what_a_float_carries() -> None:
    assert levies.share(2**53 - 1, 5, Rounding.UP) == 450359962737050
    assert levies.share(2**53 - 1, 5, Rounding.DOWN) == 450359962737049


def found(host: str, *tonnes: int, kind: UnitType = UnitType.A64ER, rounding: Rounding = Rounding.UP) -> list[int]:
    """What stands against an issuance of so many tonnes held, given to adaptation and cancelled for OMGE."""
    [one] = sound(propose(block(1, 100, named=False))).blocks
    attributes = replace(one.attributes, first_transferring_party=host, unit_type=kind, underlying=None)
    parts, first = [], 1
    for quantity, account in zip(tonnes, KINDS, strict=True):
        if quantity:
            parts.append((replace(one, first=first, last=first + quantity - 1, attributes=attributes), account))
        first += quantity
    return [f.code for f in levies.issuance_findings(issued(*parts).positions, rounding)]


@pytest.mark.parametrize(
    ("host", "tonnes", "codes"),
    [
        (OTHER, (930, 50, 20), []),
        (OTHER, (920, 50, 30), []),  # more may be cancelled than must be
        (OTHER, (931, 49, 20), [5120]),
        (OTHER, (929, 51, 20), [5120]),
        (OTHER, (931, 50, 19), [5120]),
        (OTHER, (940, 40, 20), [5120]),
        (OTHER, (981, 0, 19), [5121]),
        (OTHER, (1_000, 0, 0), [5121]),
        (LEAST, (980, 0, 20), []),
        (ISLAND, (980, 0, 20), []),
        (LEAST, (930, 50, 20), [5120]),
        (LEAST, (1_000, 0, 0), [5120]),
        (LEAST, (999, 1, 0), [5120, 5120]),
    ],
)
def test_an_issuance_shows_the_deductions_that_are_due(host: str, tonnes: tuple[int, ...], codes: list[int]) -> None:
    assert found(host, *tonnes) == codes


def test_the_gross_quantity_counts_whatever_account_the_rest_is_in() -> None:
    [one] = sound(propose(block(1, 100, named=False))).blocks
    one = replace(one, attributes=replace(one.attributes, first_transferring_party=OTHER))
    kinds = (AccountType.PENDING, AccountType.REVERSAL_BUFFER, AccountType.SHARE_OF_PROCEEDS)
    spans = ((1, 45), (46, 93), (94, 98))
    parts = [(replace(one, first=a, last=b), kind) for (a, b), kind in zip(spans, kinds, strict=True)]
    parts.append((replace(one, first=99, last=100), AccountType.CANCELLATION_OMGE))
    assert levies.issuance_findings(issued(*parts).positions, Rounding.UP) == []


def test_deductions_are_judged_as_they_are_rounded_here() -> None:
    assert [found(OTHER, 938, 50, 21, rounding=r) for r in (Rounding.UP, Rounding.NEAREST)] == [[5120], []]


def test_only_a64ers_bear_deductions() -> None:
    assert found(OTHER, 1_000, 0, 0, kind=UnitType.MO) == []


def shared(*shares: tuple[str, str, AccountType, int]) -> list[int]:
    """What stands against one issuance of so many tonnes for each host, activity and type of account."""
    [one] = sound(propose(block(1, 100, named=False))).blocks
    parts, first = [], 1
    for host, activity, kind, quantity in shares:
        attributes = replace(one.attributes, first_transferring_party=host, activity=activity)
        parts.append((replace(one, first=first, last=first + quantity - 1, attributes=attributes), kind))
        first += quantity
    return [f.code for f in levies.issuance_findings(issued(*parts).positions, Rounding.UP)]


def test_units_of_two_hosts_are_levied_host_by_host() -> None:
    kept, adaptation, omge = KINDS
    mine = (LEAST, "A", kept, 98), (LEAST, "A", omge, 2)
    assert shared(*mine, (OTHER, "B", kept, 93), (OTHER, "B", adaptation, 5), (OTHER, "B", omge, 2)) == []
    assert shared(*mine, (OTHER, "B", kept, 98), (OTHER, "B", omge, 2)) == [5121]
    assert shared((LEAST, "A", kept, 100), (OTHER, "B", kept, 91), (OTHER, "B", adaptation, 5),
                  (OTHER, "B", omge, 4)) == [5120]  # fmt: skip


def test_one_activitys_surplus_does_not_pay_for_another_of_its_host() -> None:
    kept, _, omge = KINDS
    assert shared((LEAST, "A", kept, 100), (LEAST, "B", kept, 96), (LEAST, "B", omge, 4)) == [5120]
