"""The transition table never takes a unit back that has left, nor ends what the source may still release.

Method: random sequences of all events from every beginning, and every cell of the table reached once. Scope:
``gateway.domain.transfers`` alone; who may cause an event, and what is stored with it, is tested elsewhere.
"""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain import transfers
from gateway.domain.transfers import (
    BEGINNINGS,
    CANCELLABLE,
    ENDED,
    FINAL,
    TRANSITIONS,
    UNHAPPY,
    ByRelease,
    Event,
    Outcome,
    Progress,
    State,
)
from gateway.errors import GatewayError

EVENTS = st.lists(st.sampled_from(list(Event)), max_size=40)


def walk(beginning: Event, events: list[Event]) -> list[tuple[Progress, Event, Progress]]:
    """Every step that had an effect: (before, event, after)."""
    progress = transfers.begin(beginning)
    assert progress is not None
    steps = []
    for event in events:
        after = transfers.advance(progress, event)
        if after is not None:
            steps.append((progress, event, after))
            progress = after
    return steps


def reachable() -> set[Progress]:
    """Every progress any sequence of events leads to."""
    seen: set[Progress] = set()
    todo = [progress for event in BEGINNINGS if (progress := transfers.begin(event))]
    while todo:
        progress = todo.pop()
        if progress not in seen:
            seen.add(progress)
            todo += [after for event in Event if (after := transfers.advance(progress, event))]
    return seen


@given(st.sampled_from(list(BEGINNINGS)), EVENTS)
@example(
    Event.PROPOSED,
    [
        Event.CHECKS_PASSED,
        Event.ACCEPTED,
        Event.COMMIT_STORED,
        Event.RELEASED,
        Event.CLOSED_HERE,
        Event.VOIDED,
        Event.RESUMED,
        Event.VOIDED,
        Event.CREDITED,
    ],
)
def test_no_sequence_of_events_breaks_a_promise(beginning: Event, events: list[Event]) -> None:
    for before, event, after in walk(beginning, events):
        assert before.state not in FINAL
        if before.state is State.COMMITTING:
            assert (event, after.state) in {
                (Event.RELEASED, State.RELEASED),
                (Event.VOIDED, State.CANCELLED),
                (Event.UNKNOWN_HERE, State.ATTENTION),
            }
        if before.release_stored:
            assert after.release_stored
            assert after.state in {State.RELEASED, State.COMPLETED, State.ATTENTION}
        if before.state is State.ENDING:
            assert after.state in {ENDED[before.outcome or Outcome.REFUSED], State.RELEASED}
            assert after.outcome in {before.outcome, None}
        if after.state is State.CANCELLED and before.state is not State.ENDING:
            assert event is Event.VOIDED
        if after.state in CANCELLABLE:
            assert before.state in CANCELLABLE


def test_every_state_and_every_cell_of_the_table_is_reachable() -> None:
    progresses = reachable()
    assert {progress.state for progress in progresses} == set(State)
    for (state, event), cell in TRANSITIONS.items():
        there = [transfers.advance(p, event) for p in progresses if p.state is state]
        targets = {after.state for after in there if after is not None}
        if isinstance(cell, State):
            assert targets == {cell}
        elif isinstance(cell, ByRelease):
            assert targets == {target for target in (cell.before, cell.after) if target}
        else:
            assert targets == set(cell.values())


def test_every_event_does_something_somewhere() -> None:
    assert {event for _, event in TRANSITIONS} | set(BEGINNINGS) == set(Event)


def test_units_leave_towards_completion_in_five_steps() -> None:
    happy = [
        Event.CHECKS_PASSED,
        Event.ACCEPTED,
        Event.COMMIT_STORED,
        Event.RELEASED,
        Event.CREDITED,
    ]
    states = [after.state for _, _, after in walk(Event.PROPOSED, happy)]
    assert states == ["checked", "accepted", "committing", "released", "completed"]


@pytest.mark.parametrize("event", [Event.TIME_OVER, Event.OPERATOR_ENDED, Event.REJECTED, Event.CHECKS_FAILED])
def test_nothing_but_the_sources_word_ends_a_committed_transfer(event: Event) -> None:
    assert transfers.advance(Progress(State.COMMITTING), event) is None
    assert transfers.advance(Progress(State.RELEASED, release_stored=True), event) is None


@pytest.mark.parametrize("state", sorted(CANCELLABLE))
def test_before_a_commit_a_transfer_can_end_and_waits_for_the_source(state: State) -> None:
    assert transfers.advance(Progress(state), Event.TIME_OVER) == Progress(State.ENDING, Outcome.CANCELLED)
    assert transfers.advance(Progress(state), Event.VOIDED) == Progress(State.CANCELLED, Outcome.CANCELLED)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_an_ending_keeps_its_outcome_until_the_source_confirms(outcome: Outcome) -> None:
    ending = Progress(State.ENDING, outcome)
    for event in (Event.TIME_OVER, Event.REJECTED, Event.ACCEPTED, Event.CHECKS_FAILED, Event.CLOSED_HERE):
        assert transfers.advance(ending, event) is None
    assert transfers.advance(ending, Event.VOIDED) == Progress(State(outcome.value), outcome)
    assert transfers.advance(ending, Event.RELEASED) == Progress(State.RELEASED, release_stored=True)


def test_two_persons_can_only_have_the_gateway_ask_again() -> None:
    held = Progress(State.ATTENTION)
    released = Progress(State.ATTENTION, release_stored=True)
    assert transfers.advance(held, Event.RESUMED) == Progress(State.COMMITTING)
    assert transfers.advance(released, Event.RESUMED) == Progress(State.RELEASED, release_stored=True)
    assert transfers.advance(released, Event.VOIDED) is None


def test_checks_start_again_after_a_delay() -> None:
    steps = walk(Event.PROPOSED, [Event.HELD_BY_RECONCILIATION, Event.CHECKS_PASSED, Event.RECONCILIATION_OVER])
    assert [after.state for _, _, after in steps] == ["delayed", "proposed"]


def test_a_source_that_signs_the_opposite_raises_an_alarm_and_changes_nothing() -> None:
    for progress in reachable():
        for event in (Event.VOIDED, Event.RELEASED):
            if transfers.contradicts(progress, event):
                assert transfers.advance(progress, event) is None
    assert transfers.contradicts(Progress(State.RELEASED, release_stored=True), Event.VOIDED)
    assert transfers.contradicts(Progress(State.COMPLETED, release_stored=True), Event.VOIDED)
    for state in UNHAPPY:
        assert transfers.contradicts(Progress(state, Outcome(state.value)), Event.RELEASED)
    assert not transfers.contradicts(Progress(State.COMMITTING), Event.VOIDED)


def test_a_release_of_a_commit_the_row_does_not_know_shows_lost_data() -> None:
    for state in State:
        if state in UNHAPPY or state is State.ENDING:
            continue
        expected = state in CANCELLABLE
        assert transfers.shows_lost_data(Progress(state), Event.RELEASED) is expected
    assert transfers.shows_lost_data(Progress(State.ENDING, Outcome.REFUSED), Event.RELEASED)


def test_unknown_transfers_are_begun_only_by_a_proposal_a_withdrawal_or_signed_evidence() -> None:
    assert transfers.begin(Event.CREDITED) == Progress(State.COMPLETED, release_stored=True)
    assert transfers.begin(Event.REJECTED) == Progress(State.ENDING, Outcome.REJECTED)
    assert {event for event in Event if transfers.begin(event) is None} == set(Event) - set(BEGINNINGS)


@pytest.mark.parametrize("state", [State.ENDING, State.REFUSED])
def test_an_end_without_an_outcome_cannot_be_stated(state: State) -> None:
    with pytest.raises(GatewayError):
        Progress(state)


def test_kyoto_numbers_are_those_of_the_data_exchange_standards() -> None:
    numbers = [state.kyoto_status for state in State]
    assert numbers == [1, 30, 2, 8, None, None, None, 4, 5, 6, 7, 99]
