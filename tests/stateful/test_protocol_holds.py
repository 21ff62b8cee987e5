"""The protocol holds whatever is done to a gateway and its registries, in whatever order (hypothesis).

``make test`` runs few examples, always the same. With FAULTS=1 many more are run, other ones each time; what a
failure prints (its steps, and the blob for ``@reproduce_failure``) brings it back, as far as timing allows.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.conftest import Worlds
from tests.stateful.machine import Machine

MANY = os.environ.get("FAULTS") == "1"
PROFILE = settings(
    max_examples=200 if MANY else 8,
    stateful_step_count=30 if MANY else 20,
    derandomize=not MANY,
    database=None,
    print_blob=True,
    # Processes and databases take part: an example takes seconds, and how long depends on the machine.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def test_the_protocol_holds(worlds: Worlds) -> None:
    run_state_machine_as_test(lambda: Machine(worlds), settings=PROFILE)


def test_a_transfer_that_nothing_befalls_is_completed(worlds: Worlds) -> None:
    state = Machine(worlds)
    state.first([0, 1])
    state.teardown()
    assert state.before is not None
    assert {row.state for row in state.before.gateway.rows.values()} == {"completed"}
