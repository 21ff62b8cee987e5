"""The protocol holds whatever is done to a gateway and its registries, in whatever order (hypothesis).

``make test`` runs few examples, always the same. With FAULTS=long (``make faults``) many more are run, other ones each
time; what a failure prints (its steps, and the blob for ``@reproduce_failure``) brings it back, as far as timing
allows.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.long import LONG
from tests.stateful.books import ACQUIRER, GATEWAY, SOURCE
from tests.stateful.conftest import Worlds
from tests.stateful.machine import Machine
from tests.stateful.model import Loss

MANY = LONG
PROFILE = settings(
    max_examples=200 if MANY else 5,
    stateful_step_count=16 if MANY else 12,
    derandomize=not MANY,
    database=None,
    print_blob=True,
    # Processes and databases take part: an example takes seconds, and how long depends on the machine.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def test_the_protocol_holds(worlds: Worlds) -> None:
    run_state_machine_as_test(lambda: Machine(worlds), settings=PROFILE)


def test_transfers_that_nothing_befalls_are_completed(worlds: Worlds) -> None:
    state = Machine(worlds)
    state.first([0, 1], Loss(), (1, 1), [])
    state.teardown()
    assert states(state) == {"completed"}


def test_a_gateway_that_falls_back_behind_its_commit_completes_with_the_release_of_the_first(worlds: Worlds) -> None:
    """The commit it stores again is not the one that the release names; both are kept."""
    state = Machine(worlds)
    state.first([0, 1, 2], Loss(GATEWAY), (2, 4), ["listen", "turn"])
    state.work(["listen"])
    assert states(state) == {"accepted"}
    for _ in range(4):
        state.grow_old(1, ["turn", "listen"])
    assert (states(state), state.losses) == ({"accepted"}, 1)
    state.teardown()
    assert states(state) == {"completed"}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("code", [SOURCE, ACQUIRER])
def test_a_registry_that_falls_back_to_before_its_word_says_it_again(worlds: Worlds, code: str, known: bool) -> None:
    state = Machine(worlds)
    state.first([0, 1], Loss(code, known=known), (2, 2), ["listen"])
    state.work(["turn"])
    state.work(["listen", "turn", "turn"])
    state.work([])
    assert state.losses == 1
    state.teardown()
    assert states(state) == {"completed"}


def test_a_registry_can_be_restored_as_soon_as_it_is_up(worlds: Worlds) -> None:
    """What it does of its own accord had just begun, and did not always end."""
    state = Machine(worlds)
    state.do("backup", state.world.back_up(ACQUIRER))
    for _ in range(20 if MANY else 2):
        state.do("kill", state.world.kill(ACQUIRER))
        assert state.do("restore", state.world.restore(ACQUIRER, known=False))
    state.teardown()


def states(state: Machine) -> set[str]:
    """Where the gateway has the transfers of an example."""
    assert state.before is not None
    return {row.state for row in state.before.gateway.rows.values()}
