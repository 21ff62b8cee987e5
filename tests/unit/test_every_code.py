"""Every code of the stages that judge a message (1xxx to 3xxx): an input that raises exactly it, and a near miss.

The rows of the later stages are in ``test_every_rule``; that no code is without a row is asserted here, over both
tables. All data are synthetic.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain import authority, checks, integrity, notices, proposals
from gateway.domain.check_codes import CHECKS
from gateway.domain.nomenclature import Metric, UnitType
from gateway.domain.units import MAX_SERIAL, Block
from gateway.errors import GatewayError
from tests.every import Elsewhere, Pair, Table, wrong
from tests.proposing import JPN01, MEC01, block, codes, facts, propose, sound
from tests.unit import test_envelope as enveloped
from tests.unit import test_every_rule as rules
from tests.unit import test_notices as noticed

#: What is told of the gateway itself, not of what was sent: faults, load, what may be seen.
OF_ITSELF = {8001, 9001, 9002, 9003, 9999}
#: What is found in a history that is pulled (``integration.test_history``).
OF_HISTORY = {8002, 8003, 8004, 8005}
#: What is found when books are compared (``integration.test_reconciliation``).
OF_RECONCILIATION = {6101, 6102, 6103, 6201, 6202, 6301, 6302, 6303, 6304, 6401, 6402, 6403, 6901}


def vector(name: str) -> dict[str, Any]:
    return next(v for v in (*enveloped.GOOD, *enveloped.BAD) if v["name"] == name)


def judged(vector: dict[str, Any]) -> list[int]:
    """The codes found when a vector's message arrives."""
    return raised(lambda: enveloped.judged(vector))


def raised(act: Callable[[], object]) -> list[int]:
    try:
        act()
    except GatewayError as error:
        return [error.code or 0]
    return []


def received(
    *, key: dict[str, Any] | None = None, ahead: timedelta = timedelta(), receiver: str = "GWY01"
) -> list[int]:
    """A good notice, under a key with this window, sent so far ahead of our clock, to this receiver."""
    message = enveloped.signed(sent_at=enveloped.NOW + ahead, receiver=receiver)
    return raised(lambda: enveloped.received(message.body, enveloped.ring(**(key or {}))))


def tampered(index: int) -> list[int]:
    """A message whose signature has another character at the index: the last one of 64 bytes has two unused bits."""
    jws = enveloped.signed().body.decode()
    other = "A" if jws[index] != "A" else "B"
    body = jws[:index] + other + jws[index + 1 :] if index else jws
    return raised(lambda: enveloped.received(body.encode()))


def proposal(*blocks: dict[str, Any], **members: Any) -> list[int]:
    """What is found wrong with the proposal that has these blocks and members."""
    item = propose(*blocks) | members
    return raised(lambda: proposals.parse_proposal(item)) or codes(proposals.parse_proposal(item))


def with_attributes(named: bool = False, **attributes: Any) -> list[int]:
    changed = block(1, 100, named=named)
    changed["attributes"] |= attributes
    return proposal(changed)


def with_first(**members: Any) -> list[int]:
    return proposal({**block(1, 100, named=False), **members})


def many(count: int) -> list[int]:
    return proposal(*(block(10 * n + 1, 10 * n + 5, named=False) for n in range(count)))


def acquired_by(**members: Any) -> list[int]:
    """What the reading finds in another acquiring address: whether it is linked is the later stages' business."""
    item = propose()
    item["acquiring"] |= members
    read = proposals.parse_proposal(item)
    return [f.code for f in read.findings] if isinstance(read, proposals.FaultyProposal) else []


def announced(item: dict[str, Any]) -> list[int]:
    read = notices.parse_action(item, noticed.ALL_PARTIES)
    return [f.code for f in read] if isinstance(read, tuple) else []


def used(to_account: str) -> list[int]:
    members = {"party": "MMR", "account": "100-1", "to_account": to_account, "blocks": [noticed.block(1, 9)]}
    return announced(noticed.action("use", **members))


def metered(*metrics: Metric) -> list[int]:
    """Units of the additional registry services, a block in each metric."""
    [one, other] = (replace(b, attributes=replace(b.attributes, unit_type=UnitType.MO)) for b in sound().blocks)
    blocks: list[Block] = [
        replace(b, attributes=replace(b.attributes, metric=metric))
        for b, metric in zip((one, other), metrics, strict=True)
    ]
    return [f.code for f in integrity.metrics_2016(blocks)]


def above(first: str, last: str) -> Iterable[int]:
    return with_attributes(underlying={"registry": "GS", "first": first, "last": last})


def sent_by(sender: Any) -> list[int]:
    return [f.code for f in checks.check(sound(), facts(sound(), sender=sender))]


def shown(certificate: str | None) -> list[int]:
    return [f.code for f in authority.certificate_1004(certificate, "MEC01")]


MOMENT = timedelta(milliseconds=1)
FORESTS = {"sector": "Forestry and land use", "activity_type": "Reforestation"}
ENDED = {"not_after": enveloped.NOW}
CASES: Table = {
    1001: Pair(lambda: judged(vector("version-2")), lambda: judged(vector("action-notice-issuance"))),
    1002: Pair(
        lambda: raised(lambda: enveloped.received(enveloped.signed().body, keys=[])),
        lambda: raised(lambda: enveloped.received(enveloped.signed().body)),
    ),
    1003: Elsewhere(
        "integration/test_bad_links.py::test_over_a_suspended_link_what_is_committed_drains_and_nothing_begins"
    ),
    1004: Pair(lambda: shown("KOR01"), lambda: [*shown("MEC01"), *shown(None)]),
    1005: Pair(lambda: judged(vector("algorithm-of-another-key")), lambda: judged(vector("transfer-answer"))),
    1006: Pair(lambda: tampered(-20), lambda: tampered(0)),
    1007: Pair(lambda: received(key=ENDED), lambda: received(key=ENDED, ahead=-MOMENT)),
    1008: Pair(lambda: received(receiver="GWY02"), lambda: received(receiver="GWY01")),
    1009: Pair(lambda: received(ahead=timedelta(seconds=300) + MOMENT), lambda: received(ahead=timedelta(seconds=300))),
    1010: Pair(
        lambda: announced(noticed.issuance(origin={"registry": "JPN01", "series": "J"})),
        lambda: announced(noticed.issuance(origin={"registry": "MEC01", "series": "J"})),
    ),
    2001: Pair(lambda: proposal(quantity=200.0), lambda: proposal(quantity=200)),
    2002: Elsewhere("integration/test_replay.py::test_an_id_comes_with_one_content"),
    2003: Pair(lambda: sent_by(JPN01), lambda: sent_by(MEC01)),
    2004: Elsewhere(
        "integration/test_bad_proposals.py::test_a_transfer_id_comes_with_one_content_only",
        "integration/test_bad_notices.py::test_units_are_used_once_whatever_the_message",
    ),
    2005: Pair(lambda: many(3001), lambda: many(3000)),
    2006: Pair(
        lambda: with_first(first=MAX_SERIAL, last=MAX_SERIAL + 1),
        lambda: proposal({**block(1, 1, named=False), "first": MAX_SERIAL, "last": MAX_SERIAL}, quantity=1),
    ),
    2007: Pair(lambda: with_first(first=101), lambda: proposal(block(100, 100, named=False))),
    2008: Pair(lambda: proposal(block(1, 100), block(100, 199)), lambda: proposal(block(1, 100), block(101, 200))),
    2009: Pair(lambda: proposal(quantity=199), lambda: proposal(quantity=200)),
    2010: Pair(lambda: acquired_by(party="EUX"), lambda: acquired_by(party="EUE")),
    2011: Pair(lambda: acquired_by(registry="JPN1"), lambda: acquired_by(registry="JPN02")),
    2012: Pair(
        lambda: with_attributes(named=True, cooperative_approach="CA0002"),
        lambda: with_attributes(named=True, cooperative_approach="CA0001"),
    ),
    2013: Pair(
        lambda: {*with_attributes(vintage=2020), *with_attributes(vintage=2027)},
        lambda: [*with_attributes(vintage=2021), *with_attributes(vintage=2026)],
    ),
    2014: Pair(
        lambda: with_attributes(**FORESTS | {"sector": "Forestry and Land Use"}), lambda: with_attributes(**FORESTS)
    ),
    2015: Pair(lambda: used("310-1"), lambda: used("210-1")),
    2016: Pair(lambda: metered(Metric.GHG, Metric.NON_GHG), lambda: metered(Metric.NON_GHG, Metric.NON_GHG)),
    2017: Pair(lambda: above("GS1-1-MM-1", "GS1-1-MM-99"), lambda: above("GS1-1-MM-1", "GS1-1-MM-100")),
    3001: Elsewhere(
        "integration/test_bad_words.py::test_the_unknown_and_what_is_not_the_senders_are_answered_alike",
        "integration/test_bad_links.py::test_over_a_suspended_link_what_is_committed_drains_and_nothing_begins",
    ),
    3002: Elsewhere("integration/test_bad_words.py::test_words_out_of_turn_have_no_effect"),
    3003: Elsewhere("integration/test_bad_words.py::test_a_withdrawn_transfer_hears_no_more"),
    3004: Elsewhere(
        "integration/test_answers.py::test_an_answer_counts_only_when_the_registry_that_was_asked_signed_it"
    ),
    3005: Elsewhere(
        "integration/test_relay_endings.py"
        "::test_a_transfer_undecided_when_its_time_is_over_is_cancelled_on_both_sides"
    ),
    3006: Elsewhere("integration/test_bad_proposals.py::test_two_proposals_for_one_request_are_both_answered"),
    3007: Elsewhere("integration/test_doctor.py::test_messages_of_a_peer_that_have_not_arrived_are_noted"),
}  # fmt: skip


@pytest.mark.parametrize("code", CASES)
def test_a_code_is_raised_by_its_fault_alone_and_not_by_its_near_miss(code: int) -> None:
    assert wrong(code, CASES[code]) == []


def test_no_code_is_without_a_test() -> None:
    tried = CASES.keys() | rules.CASES.keys()
    assert [code for code in CHECKS if code not in tried | OF_ITSELF | OF_HISTORY | OF_RECONCILIATION] == []
