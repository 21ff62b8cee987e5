"""The bench's arithmetic and its gate, without a network and without a clock."""

from dataclasses import replace

import pytest

from tests.bench import arithmetic, profiled, watching
from tests.bench.gate import Counts, failures

GOOD = Counts(
    proposed=10,
    accepted=10,
    logged=10,
    receipted=10,
    completed=10,
    done_at_source=10,
    done_at_acquirers=10,
    conservation="holds",
)


def test_the_spread_of_runs_is_their_median_lowest_and_highest() -> None:
    assert arithmetic.spread([3.0, 1.0, 2.0]) == {
        "median": 2.0,
        "lowest": 1.0,
        "highest": 3.0,
        "runs": [3.0, 1.0, 2.0],
    }


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: int) -> None:
    assert arithmetic.percentile(range(100, 0, -1), percent) == value


@pytest.mark.parametrize("percent", [0, 101])
def test_there_is_no_percentile_outside_one_to_a_hundred(percent: int) -> None:
    with pytest.raises(ValueError, match="percentile"):
        arithmetic.percentile([1.0], percent)


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="percentile"):
        arithmetic.percentile([], 50)


def test_transfers_per_message_counts_all_messages_and_what_each_carried() -> None:
    found = arithmetic.carried(
        {"transfer.offer": 2, "transfer.closed": 3}, {"transfer.offer": 8, "transfer.closed": 16}
    )
    assert (found["transfers_per_message"], found["messages"], found["carried"]) == (4.8, 5, 24)
    assert found["types"]["transfer.closed"] == {"messages": 3, "carried": 16}


def test_nothing_said_carries_nothing() -> None:
    assert arithmetic.carried({}, {})["transfers_per_message"] == 0.0


def test_bare_is_round_trips_and_commits_one_after_another() -> None:
    assert arithmetic.bare_ms(3, 8, 1.5, 0.25) == 6.5


def test_a_deviation_is_that_of_the_value_farthest_from_the_median() -> None:
    assert arithmetic.deviation([100.0, 101.0, 90.0]) == pytest.approx(0.1)
    assert arithmetic.deviation([50.0]) == 0.0


@pytest.mark.parametrize(("after", "fallen"), [(90.0, 0.1), (100.0, 0.0), (120.0, 0.0)])
def test_a_fall_is_what_is_missing(after: float, fallen: float) -> None:
    assert arithmetic.fall(100.0, after) == pytest.approx(fallen)


def test_a_whole_run_counts() -> None:
    assert failures(GOOD) == []


@pytest.mark.parametrize(
    "name", ["accepted", "logged", "receipted", "completed", "done_at_source", "done_at_acquirers"]
)
@pytest.mark.parametrize("number", [9, 11])
def test_a_run_in_which_a_count_differs_does_not_count(name: str, number: int) -> None:
    [why] = failures(replace(GOOD, **{name: number}))
    assert why == f"10 transfers were proposed, {number} {name}"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"conservation": "broken"}, "conservation is broken"),
        ({"disagreeing": ("KOR01",)}, "the books of KOR01 are not those of the gateway"),
        ({"to_record": 15, "recorded": 14}, "15 actions were to be recorded, 14 were"),
        ({"records": (30, 29)}, "the gateway knows of 30 records, the sections have 29"),
        ({"alarms": 1}, "1 alarms"),
        ({"refused": 2}, "2 messages were refused"),
    ],
)
def test_a_run_with_something_wrong_does_not_count(changed: dict[str, object], why: str) -> None:
    assert failures(replace(GOOD, **changed)) == [why]  # type: ignore[arg-type]


def test_a_run_of_nothing_does_not_count() -> None:
    nothing = Counts(0, 0, 0, 0, 0, 0, 0, "holds")
    assert failures(nothing) == ["no transfer was proposed"]


@pytest.mark.parametrize(
    ("title", "what"),
    [
        ("postgres: gateway_app gateway [local] idle", "for gateway"),
        ("postgres: mec01 mec01 [local] COMMIT", "for mec01"),
        ("postgres: postgres gateway [local] SELECT", None),
        ("postgres: walwriter ", "walwriter"),
    ],
)
def test_a_backend_is_named_by_whom_it_serves_and_our_own_is_not_counted(title: str, what: str | None) -> None:
    assert watching.serving(title) == what


COURSE = [
    (1.0, "serve", "receive.transfer.propose.after-commit"),
    (1.1, "worker", "decide.check.before-commit"),
    (1.2, "worker", "decide.check.after-commit"),
    (1.3, "worker", "decide.check.after-commit"),
    (1.4, "worker", "lease.after-commit"),
    (1.5, "KOR01", "receive.transfer.offer.after-commit"),
    (1.6, "worker", "send.transfer.offer.after-send"),
    (1.7, "KOR01", "send.transfer.answer.after-send"),
    (1.8, "worker", "absorb.transfer.credited.after-commit"),
]


def test_a_course_is_split_from_the_proposal_to_the_crediting() -> None:
    before, after = (0.5, "worker", "wake.after-commit"), (1.9, "worker", "absorb.receipt.after-commit")
    assert list(profiled.split([before, *COURSE, after, *COURSE])) == [COURSE, COURSE]


def test_of_a_course_each_step_counts_once_and_only_the_gateways_round_trips_do() -> None:
    trips, steps, other = profiled.counted([COURSE])
    assert trips == {"send.transfer.offer": 1}
    assert steps == {"absorb.transfer.credited": 1, "decide.check": 1, "receive.transfer.offer": 1}
    assert other == {"decide.check": 1, "lease": 1}
