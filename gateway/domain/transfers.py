"""A transfer between two registries: its proposal, its states, and the one table that moves it.

``TRANSITIONS`` holds every step the gateway's row may take and ``advance`` is the only way to take one. A
pair that is not in the table has no effect: the message is logged and answered with the state. What is stored
in the transaction of a step, and what a row repeats until it is answered, is the commands' business; so is
telling the registries about a final state, which changes no state. A wrong step here can lose or double
units, hence the properties in ``tests/unit/test_transfer_states.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias, cast

from gateway.domain.identifiers import Address, TransferId
from gateway.domain.units import AuthorisationRef, Block
from gateway.errors import invariant


class Purpose(StrEnum):
    """What the acquiring Party means to do with the units."""

    #: Use towards its nationally determined contribution.
    NDC = "NDC"
    #: An international mitigation purpose other than an NDC.
    IMP = "IMP"
    #: Another purpose, as determined by the first transferring Party.
    OP = "OP"


class State(StrEnum):
    """What is true of a transfer now, who acts next, and where that leads."""

    #: The source's signed proposal is stored and the units are claimed in the book. The gateway checks it:
    #: ``checked``, ``delayed`` or ``ending``.
    PROPOSED = "proposed"
    #: A reconciliation cut or a transfer window holds the units. When it is over the checks start again, from
    #: ``proposed``; meanwhile the transfer may end.
    DELAYED = "delayed"
    #: All checks passed. The gateway stores and sends the offer, the acquirer answers: ``accepted`` or
    #: ``ending``.
    CHECKED = "checked"
    #: The acquirer's signed acceptance is stored and no commit is. The gateway stores the commit:
    #: ``committing``; until then the transfer may end.
    ACCEPTED = "accepted"
    #: The commit is stored and may have left. No timer, operator or refusal leads out, only the source's
    #: signed word (R5, R6): ``released``, ``cancelled``; ``attention`` when the source has lost the transfer.
    COMMITTING = "committing"
    #: The source's signed release and the settle are stored: the units have left. The acquirer credits:
    #: ``completed``; ``attention`` when it will not. Never back.
    RELEASED = "released"
    #: Decided, with an outcome, not to commit; the source has not confirmed (R7). Its ``voided`` leads to the
    #: outcome's final state, its ``released`` (the gateway had lost the commit) to ``released``.
    ENDING = "ending"
    #: Final: debited at the source, credited at the acquirer.
    COMPLETED = "completed"
    #: Final: a check failed; the source has unlocked the units.
    REFUSED = "refused"
    #: Final: the acquirer rejected it; the source has unlocked the units.
    REJECTED = "rejected"
    #: Final: withdrawn, out of time or ended by an operator; the source has unlocked the units.
    CANCELLED = "cancelled"
    #: The machine must not decide. A binding signed statement of the registry concerned moves it on; two
    #: persons may resume it, to ``committing`` or ``released``, never decide in a registry's stead.
    ATTENTION = "attention"

    @property
    def kyoto_status(self) -> int | None:
        """The transaction status of the Kyoto data exchange standards; None where they have none."""
        return _KYOTO_STATUS.get(self)


_KYOTO_STATUS = {
    State.PROPOSED: 1,
    State.DELAYED: 30,
    State.CHECKED: 2,
    State.ACCEPTED: 8,
    State.COMPLETED: 4,
    State.REFUSED: 5,
    State.REJECTED: 6,
    State.CANCELLED: 7,
    State.ATTENTION: 99,
}


class Outcome(StrEnum):
    """How an ending transfer will have ended once the source confirms it; fixed when ``ending`` begins."""

    REFUSED = "refused"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a transfer's row: our own decisions, and verified statements that were stored."""

    #: The source's proposal. If its units are claimed, or its data cannot be used, the checks fail at once.
    PROPOSED = "proposed"
    CHECKS_PASSED = "checks-passed"
    CHECKS_FAILED = "checks-failed"
    HELD_BY_RECONCILIATION = "held-by-reconciliation"
    RECONCILIATION_OVER = "reconciliation-over"
    #: It is not the time of the day at which the source's link takes transfers up; and then it is.
    OUTSIDE_WINDOW = "outside-window"
    WINDOW_OPENED = "window-opened"
    #: The acquirer's answer to an offer of ours.
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    #: The acquirer says that we closed this transfer at its side, and shows our own ``closed``.
    CLOSED_HERE = "closed-here"
    COMMIT_STORED = "commit-stored"
    #: The time for reaching a commit is over.
    TIME_OVER = "time-over"
    #: One of the gateway's operators ended it.
    OPERATOR_ENDED = "operator-ended"
    #: The source's binding word: released, naming a commit with our signature.
    RELEASED = "released"
    #: The source's binding word: not released and never will be.
    VOIDED = "voided"
    #: The source does not know the transfer it proposed: it has lost data.
    UNKNOWN_HERE = "unknown-here"
    #: The acquirer has credited the units, naming a settle with our signature.
    CREDITED = "credited"
    #: The acquirer's verdict on a settle: it finds no valid acceptance of its own in it.
    SETTLE_REFUSED = "settle-refused"
    #: Two persons: ask again.
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a row stands.

    ``outcome`` is set in ``ending`` and in the three unhappy final states, ``release_stored`` once the
    source's signed release is stored (the row's settle exists).
    """

    state: State
    outcome: Outcome | None = None
    release_stored: bool = False

    def __post_init__(self) -> None:
        ends = self.state is State.ENDING or self.state in UNHAPPY
        invariant(ends == (self.outcome is not None), f"outcome {self.outcome} in state {self.state}")


@dataclass(frozen=True, slots=True)
class ByRelease:
    """A cell of the table that depends on whether the source's release is stored; None is no effect."""

    before: State | None
    after: State | None


Cell: TypeAlias = State | Mapping[Outcome, State] | ByRelease

FINAL = frozenset({State.COMPLETED, State.REFUSED, State.REJECTED, State.CANCELLED})
#: The final states in which no units moved.
UNHAPPY = FINAL - {State.COMPLETED}
#: The states before a commit is stored: what a timer, an operator or a withdrawal may still end (R2).
CANCELLABLE = frozenset({State.PROPOSED, State.DELAYED, State.CHECKED, State.ACCEPTED})

#: Final state of an ending.
ENDED: Mapping[Outcome, State] = MappingProxyType({outcome: State(outcome.value) for outcome in Outcome})

#: The outcome an event gives to the ending it begins.
OUTCOME_OF: Mapping[Event, Outcome] = MappingProxyType(
    {
        Event.CHECKS_FAILED: Outcome.REFUSED,
        Event.REJECTED: Outcome.REJECTED,
        Event.CLOSED_HERE: Outcome.CANCELLED,
        Event.TIME_OVER: Outcome.CANCELLED,
        Event.OPERATOR_ENDED: Outcome.CANCELLED,
        Event.VOIDED: Outcome.CANCELLED,
    }
)

#: How a row begins. All but the first two rebuild a row the gateway has lost, and need evidence with the
#: gateway's own signature.
BEGINNINGS: Mapping[Event, State] = MappingProxyType(
    {
        Event.PROPOSED: State.PROPOSED,
        Event.VOIDED: State.CANCELLED,
        Event.ACCEPTED: State.ACCEPTED,
        Event.REJECTED: State.ENDING,
        Event.RELEASED: State.RELEASED,
        Event.CREDITED: State.COMPLETED,
    }
)

TRANSITIONS: Mapping[tuple[State, Event], Cell] = MappingProxyType(
    {
        (State.PROPOSED, Event.CHECKS_PASSED): State.CHECKED,
        (State.PROPOSED, Event.CHECKS_FAILED): State.ENDING,
        (State.PROPOSED, Event.HELD_BY_RECONCILIATION): State.DELAYED,
        (State.DELAYED, Event.RECONCILIATION_OVER): State.PROPOSED,
        (State.PROPOSED, Event.OUTSIDE_WINDOW): State.DELAYED,
        (State.DELAYED, Event.WINDOW_OPENED): State.PROPOSED,
        (State.CHECKED, Event.ACCEPTED): State.ACCEPTED,
        (State.CHECKED, Event.REJECTED): State.ENDING,
        (State.CHECKED, Event.CLOSED_HERE): State.ENDING,
        (State.ACCEPTED, Event.COMMIT_STORED): State.COMMITTING,
        # A row that was lost and taken up again (R26), whose units are not to be had any more.
        (State.ACCEPTED, Event.CHECKS_FAILED): State.ENDING,
        **{(state, Event.TIME_OVER): State.ENDING for state in CANCELLABLE},
        **{(state, Event.OPERATOR_ENDED): State.ENDING for state in CANCELLABLE},
        **{(state, Event.VOIDED): State.CANCELLED for state in CANCELLABLE},
        **{(state, Event.RELEASED): State.RELEASED for state in CANCELLABLE},
        (State.COMMITTING, Event.RELEASED): State.RELEASED,
        (State.COMMITTING, Event.VOIDED): State.CANCELLED,
        (State.COMMITTING, Event.UNKNOWN_HERE): State.ATTENTION,
        (State.RELEASED, Event.CREDITED): State.COMPLETED,
        (State.RELEASED, Event.CLOSED_HERE): State.ATTENTION,
        (State.RELEASED, Event.SETTLE_REFUSED): State.ATTENTION,
        (State.ENDING, Event.VOIDED): ENDED,
        (State.ENDING, Event.RELEASED): State.RELEASED,
        (State.ATTENTION, Event.RELEASED): ByRelease(before=State.RELEASED, after=None),
        (State.ATTENTION, Event.VOIDED): ByRelease(before=State.CANCELLED, after=None),
        (State.ATTENTION, Event.CREDITED): State.COMPLETED,
        (State.ATTENTION, Event.RESUMED): ByRelease(before=State.COMMITTING, after=State.RELEASED),
    }
)


def begin(event: Event) -> Progress | None:
    """Where a new row begins, or None when the event begins none (answer "not known here")."""
    state = BEGINNINGS.get(event)
    return None if state is None else _progress(state, OUTCOME_OF.get(event), False)


def advance(progress: Progress, event: Event) -> Progress | None:
    """Where the row stands after the event, or None when it has no effect.

    The caller MUST guard its update with the state and version it read, and MUST log the event either way.
    """
    cell = TRANSITIONS.get((progress.state, event))
    if isinstance(cell, ByRelease):
        cell = cell.after if progress.release_stored else cell.before
    if cell is None:
        return None
    outcome = progress.outcome or OUTCOME_OF.get(event)
    if not isinstance(cell, State):
        cell = cell[cast(Outcome, outcome)]  # Progress sees to it that an ending has one
    return _progress(cell, outcome, progress.release_stored)


def contradicts(progress: Progress, event: Event) -> bool:
    """Whether a registry signed the opposite of what it, or the closed row, says: an alarm, and no effect."""
    if event is Event.CLOSED_HERE:
        return progress.state is State.COMPLETED
    if event is Event.VOIDED:
        return progress.release_stored
    return event is Event.RELEASED and progress.state in UNHAPPY


def shows_lost_data(progress: Progress, event: Event) -> bool:
    """Whether an event that has an effect proves that this gateway has lost data: an alarm."""
    if event is Event.RELEASED:
        return progress.state in CANCELLABLE or progress.state is State.ENDING
    return event is Event.CLOSED_HERE and progress.state is State.CHECKED


def _progress(state: State, outcome: Outcome | None, release_stored: bool) -> Progress:
    """``completed`` implies a release: a credit names a settle, which carries it."""
    if state is State.ENDING or state in UNHAPPY:
        return Progress(state, outcome)
    return Progress(state, None, release_stored or state in (State.RELEASED, State.COMPLETED))


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a source proposes: ``quantity`` units in ``blocks``, from one address to another.

    ``request`` is the UUIDv7 of the request it answers, if any; ``authorisation`` is the one the transfer
    relies on, None for units that have none; ``entity`` the authorised entity that acquires, None for the Party.
    """

    transfer: TransferId
    request: str | None
    transferring: Address
    acquiring: Address
    purpose: Purpose
    authorisation: AuthorisationRef | None
    quantity: int
    blocks: tuple[Block, ...]
    entity: str | None = None
