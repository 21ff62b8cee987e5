"""When a unit is first transferred: section by section what authorisation, purpose and movement make of it.

Source of the rules: 2/CMA.3 annex para 2(a) and (b) as quoted publicly, and public summaries of CMA 6's decision on
Article 6.2; the texts were not available. All data are synthetic.
"""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from gateway.domain import first_transfer, first_transfer_rules
from gateway.domain import identifiers as ids
from gateway.domain.actions import FirstTransfer, Towards
from gateway.domain.authorisations import Authorisation, Days, Definition, Kind, Years
from gateway.domain.first_transfer import Way
from gateway.domain.identifiers import AccountType
from gateway.domain.transfers import Purpose
from gateway.domain.units import Block
from gateway.holdings.announced import Ruling
from tests.announcing import AT, disposed, drawn, first_transferred, held, issued, ruled
from tests.proposing import authorised, facts, propose, sound

MMR, JPN = ids.parse_party("MMR"), ids.parse_party("JPN")
ABROAD, AT_HOME = (JPN, False), (MMR, False)
LEAVING_SERVICES, LEAVING_SERVICES_AT_HOME = (JPN, True), (MMR, True)
TO_ANOTHER, UNDEFINED = FirstTransfer.TO_ANOTHER_PARTY, FirstTransfer.UNDEFINED
OTHERS = (Purpose.IMP, Purpose.OP)
BY_DEFINITION = {
    Definition.AUTHORISATION: FirstTransfer.AUTHORISATION,
    Definition.ISSUANCE: FirstTransfer.ISSUANCE,
    Definition.USE_OR_CANCELLATION: FirstTransfer.USE_OR_CANCELLATION,
}
#: For what is authorised for the NDC alone there is no definition.
NDC = {"purposes": "NDC", "definition": None}


def terms(**changes: Any) -> Authorisation:
    return authorised(**changes).current


def way(purpose: Purpose, end: tuple[ids.PartyCode, bool]) -> Way:
    acquiring, leaves_services = end
    return Way(purpose, MMR, acquiring, leaves_services)


@pytest.mark.parametrize("under", [NDC, *({"purposes": "NDC and OIMP", "definition": d} for d in Definition)], ids=str)
@pytest.mark.parametrize(
    ("end", "subtype"),
    [
        (ABROAD, TO_ANOTHER), (AT_HOME, None), (LEAVING_SERVICES, TO_ANOTHER), (LEAVING_SERVICES_AT_HOME, UNDEFINED),
    ],
)  # fmt: skip
def test_towards_an_ndc_it_is_the_first_international_transfer(
    under: dict[str, Any], end: tuple[ids.PartyCode, bool], subtype: FirstTransfer | None
) -> None:
    assert first_transfer.of_transfer(way(Purpose.NDC, end), terms(**under)) is subtype


def test_a_partys_move_of_another_partys_units_to_its_own_registry_is_the_first_transfer() -> None:
    assert first_transfer.of_transfer(Way(Purpose.NDC, JPN, JPN), terms()) is TO_ANOTHER


@pytest.mark.parametrize("purposes", ["OIMP", "NDC and OIMP"])
@pytest.mark.parametrize("purpose", OTHERS)
@pytest.mark.parametrize("end", [ABROAD, AT_HOME])
def test_for_other_purposes_it_is_as_the_authorisation_defines(
    purposes: str, purpose: Purpose, end: tuple[ids.PartyCode, bool]
) -> None:
    """By use or cancellation no transfer is one, across a border or not; by the other two it is recorded late."""
    found = {
        d: first_transfer.of_transfer(way(purpose, end), terms(purposes=purposes, definition=d)) for d in Definition
    }
    assert found == BY_DEFINITION | {Definition.USE_OR_CANCELLATION: None}


@pytest.mark.parametrize("purpose", OTHERS)
def test_without_a_definition_it_cannot_be_said_for_other_purposes(purpose: Purpose) -> None:
    with pytest.raises(KeyError):
        first_transfer.of_transfer(way(purpose, ABROAD), terms(**NDC))


def test_units_of_the_services_are_first_transferred_by_leaving_them() -> None:
    found = first_transfer.of_transfer(way(Purpose.OP, LEAVING_SERVICES), terms(purposes="OIMP"))
    assert found is UNDEFINED


@pytest.mark.parametrize("definition", Definition)
def test_units_for_other_purposes_alone_are_first_transferred_when_issued_if_so_defined(definition: Definition) -> None:
    by_issuance = {
        Definition.AUTHORISATION: FirstTransfer.AUTHORISATION,
        Definition.ISSUANCE: FirstTransfer.ISSUANCE,
        Definition.USE_OR_CANCELLATION: None,
    }
    assert first_transfer.by_being_issued(terms(purposes="OIMP", definition=definition)) is by_issuance[definition]
    assert first_transfer.by_being_issued(terms(purposes="NDC and OIMP", definition=definition)) is None
    assert first_transfer.by_being_issued(terms(**NDC)) is None


@pytest.mark.parametrize("definition", Definition)
def test_use_or_cancellation_for_other_purposes_first_transfers_at_the_latest(definition: Definition) -> None:
    under = terms(purposes="OIMP", definition=definition)
    assert [first_transfer.by_disposal(p, under) for p in OTHERS] == [BY_DEFINITION[definition]] * 2
    assert first_transfer.by_disposal(Purpose.NDC, under) is None
    assert first_transfer.by_disposal(None, under) is None
    assert first_transfer.by_disposal(Purpose.IMP, terms(**NDC)) is None


@pytest.mark.parametrize(
    ("ndc_period", "last_day"),
    [
        (Years(2021, 2030), date(2031, 12, 31)),  # the report with 2030 is due by 31 December 2032
        (Years(2021, 2025), date(2026, 12, 31)),
        (Years(2031, 2035), date(2036, 12, 31)),
    ],
)
def test_it_is_recorded_before_the_year_in_which_the_last_report_is_due(ndc_period: Years, last_day: date) -> None:
    assert first_transfer.to_be_recorded_by(ndc_period) == last_day


@pytest.mark.parametrize(
    ("today", "said"),
    [
        (date(2031, 7, 4), []),
        (date(2031, 7, 5), ["the first transfer is to be recorded by 2031-12-31, in 179 days"]),
        (date(2031, 12, 31), ["the first transfer is to be recorded by 2031-12-31, in 0 days"]),
        (date(2032, 1, 1), ["the deadline for recording the first transfer is over"]),
    ],
)
def test_a_first_transfer_is_flagged_before_its_deadline_and_after_it(today: date, said: list[str]) -> None:
    proposal = sound(propose() | {"purpose": "OP"})
    found = first_transfer_rules.deadline_5136(proposal, facts(proposal, today=today))
    assert [(f.code, f.detail) for f in found] == [(5136, detail) for detail in said]


def classified(purpose: str, *, transferred: bool = False, **under: Any) -> FirstTransfer | None:
    proposal = sound(propose() | {"purpose": purpose})
    known = facts(proposal, authorisations={MMR: authorised(**under)})
    pieces = [[replace(h, first_transferred=transferred) for h in there] for there in known.pieces]
    return first_transfer_rules.classified(proposal, replace(known, pieces=pieces))


def test_a_transfer_is_classified_by_its_purpose_and_only_for_units_that_never_were() -> None:
    assert classified("NDC") is TO_ANOTHER
    assert classified("IMP") is None
    assert classified("IMP", definition=Definition.ISSUANCE) is FirstTransfer.ISSUANCE
    assert classified("IMP", definition=None) is None
    assert classified("NDC", transferred=True) is None


def test_the_first_transfer_of_one_block_is_that_of_the_transfer() -> None:
    proposal = sound()  # the first block has moved before, the second never
    assert first_transfer_rules.classified(proposal, facts(proposal)) is TO_ANOTHER
    assert first_transfer_rules.way_of(proposal, facts(proposal)) == Way(Purpose.NDC, MMR, JPN)


def when(ruling: Ruling) -> list[datetime | None]:
    """When each block is first transferred as ruled; the item passes."""
    assert ruling.findings == ()
    assert ruling.moves is not None
    return [m.first_transferred_at for m in ruling.moves]


FRESH = sound().blocks[1]
OIMP = {"purposes": "OIMP", "given_on": date(2026, 3, 1)}


def at_issuance(*accounts: AccountType, **under: Any) -> Ruling:
    parts = FRESH.split_at(251) if len(accounts) == 2 else (FRESH,)
    item = issued(*zip(parts, accounts, strict=True))
    return ruled(item, [[]] * len(parts), drawn(authorised(**OIMP | under)))


def test_units_issued_under_an_authorisation_are_first_transferred_on_the_day_that_counts() -> None:
    by_authorisation = at_issuance(AccountType.HOLDING, definition=Definition.AUTHORISATION)
    assert when(by_authorisation) == [datetime(2026, 3, 1, tzinfo=UTC)]
    assert by_authorisation.first is FirstTransfer.AUTHORISATION
    by_issuance = at_issuance(AccountType.HOLDING, definition=Definition.ISSUANCE)
    assert (when(by_issuance), by_issuance.first) == ([AT], FirstTransfer.ISSUANCE)


@pytest.mark.parametrize(
    ("under", "code"),
    [
        ({"vintages": Years(2022, 2030)}, 5105),
        ({"period": Days(None, date(2026, 6, 30))}, 5102),  # the day before they are issued
        ({"kinds": frozenset({Kind.ENTITIES})}, 5102),
        ({"cooperative_approach": "CA0002"}, 5104),
        ({"sectors": frozenset({"Waste"})}, 5106),
    ],
    ids=str,
)
def test_units_outside_the_terms_are_not_first_transferred_by_being_issued_and_draw_nothing(
    under: dict[str, Any], code: int
) -> None:
    known = drawn(authorised(**OIMP | {"definition": Definition.ISSUANCE} | under))
    ruling = ruled(issued((FRESH, AccountType.HOLDING)), [[]], known)
    assert [f.code for f in ruling.findings] == [code]
    assert known.by_action == {} and [a.drawn for a in known.known.values()] == [0]


def test_units_of_a_vintage_in_the_future_are_not_issued() -> None:
    def of(vintage: int) -> Block:
        return replace(FRESH, attributes=replace(FRESH.attributes, vintage=vintage))

    found = [ruled(issued((of(year), AccountType.HOLDING)), [[]], drawn(authorised())) for year in (AT.year, 2027)]
    assert [[f.code for f in ruling.findings] for ruling in found] == [[], [2013]]


def test_units_that_may_go_towards_an_ndc_are_not_first_transferred_at_issuance() -> None:
    ruling = at_issuance(AccountType.HOLDING, purposes="NDC and OIMP", definition=Definition.ISSUANCE)
    assert (when(ruling), ruling.first) == ([None], None)


def test_what_is_deducted_at_issuance_is_not_first_transferred_with_the_rest() -> None:
    ruling = at_issuance(AccountType.HOLDING, AccountType.CANCELLATION_OMGE, definition=Definition.ISSUANCE)
    assert when(ruling) == [AT, None]


@pytest.mark.parametrize("purpose", [Towards.IMP, Towards.OP])
def test_use_or_cancellation_for_other_purposes_is_the_first_transfer_of_what_never_was(purpose: Towards) -> None:
    ruling = ruled(disposed(FRESH, purpose), [held(FRESH)], drawn(authorised(**OIMP)))
    assert (when(ruling), ruling.first) == ([AT], FirstTransfer.USE_OR_CANCELLATION)


@pytest.mark.parametrize("purpose", [Towards.OMGE, Towards.OTHER, Towards.NDC])
def test_other_ends_of_units_are_no_first_transfer(purpose: Towards) -> None:
    ruling = ruled(disposed(FRESH, purpose), [held(FRESH)], drawn(authorised()))
    assert (when(ruling), ruling.first) == ([None], None)


def ended(**members: Any) -> list[int]:
    """What stands against use for other purposes once the authorisation is revoked."""
    known = drawn(replace(authorised(), revoked=True))
    return [f.code for f in ruled(disposed(FRESH, Towards.IMP), [held(FRESH, **members)], known).findings]


def test_nothing_is_first_transferred_under_a_revoked_authorisation() -> None:
    revoked = replace(authorised(purposes="OIMP", definition=Definition.ISSUANCE), revoked=True)
    at_issue = ruled(issued((FRESH, AccountType.HOLDING)), [[]], drawn(revoked))
    told = ruled(first_transferred(FRESH, FirstTransfer.ISSUANCE), [held(FRESH)], drawn(revoked))
    assert [[f.code for f in r.findings] for r in (at_issue, told)] == [[5103], [5103]]
    assert ended() == [5103]


def test_a_move_that_was_no_first_transfer_does_not_shield_from_revocation() -> None:
    assert ended(relied_on=1) == [5103]
    assert ended(relied_on=1, first_transferred=True) == []


def test_every_part_of_a_block_is_judged_under_its_own_version() -> None:
    known = drawn(replace(authorised(), revoked=True))
    left, right = FRESH.split_at(251)
    there = [*held(left, relied_on=1, first_transferred=True), *held(right)]
    ruling = ruled(disposed(FRESH, Towards.IMP), [there], known)
    assert [f.code for f in ruling.findings] == [5103]


def test_units_opened_as_first_transferred_are_under_the_version_they_came_with() -> None:
    [opened] = held(sound().blocks[0], first_transferred=True)
    assert (opened.relied_on, opened.transferred_under) == (None, 1)
    [moved] = held(FRESH, relied_on=1)
    assert moved.transferred_under is None


def test_a_first_transfer_draws_once_on_its_authorisation() -> None:
    known = drawn(authorised(quantity=150))
    one, other = FRESH.split_at(251)
    for part in (one, other):
        assert ruled(disposed(part, Towards.IMP, action=f"A-{part.first}"), [held(part)], known).findings == ()
    [now] = known.known.values()
    assert (now.drawn, now.left) == (100, 50)
    moved = ruled(disposed(FRESH, Towards.IMP), [held(FRESH, relied_on=1)], known)  # drawn when it moved
    assert (moved.findings, [a.drawn for a in known.known.values()]) == ((), [100])
    third = replace(FRESH, first=301, last=351)
    beyond = ruled(disposed(third, Towards.IMP), [held(third)], known)
    assert [f.code for f in beyond.findings] == [5107]
