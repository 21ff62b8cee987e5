"""Random operations and faults on a gateway and two registries; after each, the model is asked what is wrong.

The rules draw from fixed domains only and have no bundles: which transfers exist depends on timing, so a rule takes a
number and acts on the transfer that many places from the first, if there is one. What hypothesis prints of a failure
can be pasted into a test as it is.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.stateful import model, recovery
from tests.stateful.books import ACQUIRER, GATEWAY, SOURCE, Books
from tests.stateful.model import Loss
from tests.stateful.operations import REGISTRIES, World

#: What a fault can be set on: (registry, direction): the types of messages that go there.
PATHS = {
    (SOURCE, "in"): ("transfer.commit", "transfer.cancel", "transfer.closed"),
    (SOURCE, "out"): ("transfer.propose", "transfer.released", "transfer.voided"),
    (ACQUIRER, "in"): ("transfer.offer", "transfer.settle", "transfer.closed"),
    (ACQUIRER, "out"): ("transfer.answer", "transfer.credited"),
}
ON_THE_ROAD = ("lose-reply", "lose-request", "delay", "repeat", "reorder")
BY_THE_RECEIVER = ("delay-reply", "refuse", "refuse-unsigned", "garbage", "wrong-signature", "by-message")
FAULTS = sorted(
    (code, way, kind, fault)
    for (code, way), kinds in PATHS.items()
    for kind in kinds
    for fault in (*ON_THE_ROAD, *(BY_THE_RECEIVER if way == "in" else ()))
)
KINDS = sorted({kind for kinds in PATHS.values() for kind in kinds} | {"receipt", "status.answer"})
#: Where a registry's process may die by itself.
DEATHS = sorted(
    (code, f"{'receive' if way == 'in' else 'send'}.{kind}.{when}-{'commit' if way == 'in' else 'send'}")
    for (code, way), kinds in PATHS.items()
    for kind in kinds
    for when in ("before", "after")
) + [(code, f"outbox.turn.{when}-commit") for code in REGISTRIES for when in ("before", "after")]
POLICIES = {
    "accept": (ACQUIRER, {"decide": True, "refuse_parties": []}),
    "reject": (ACQUIRER, {"decide": True, "refuse_parties": ["MMR"]}),
    "undecided": (ACQUIRER, {"decide": False, "refuse_parties": []}),
    "release": (SOURCE, {"refuse_release": []}),
    "keep": (SOURCE, {"refuse_release": ["KOR"]}),
}
#: Until the faults are cleared.
HELD_SECONDS = 600.0
#: Longer than any operation takes, so that one that hangs is told of with its story.
PATIENCE_SECONDS = 120.0
#: What the gateway logs when its program is at fault.
AT_FAULT = {"decision-failed", "send-failed", "invariant-broken", "internal-fault"}

#: What is proposed in one go: lots that are apart, and ones that overlap what was proposed before.
APART, OVERLAPPING = ([0], [1], [0, 1], [0, 1, 2]), ([2], [3], [4], [5])
#: What lets the world go on: workers that take a turn, or time for messages to arrive.
WORK: dict[str, tuple[int, ...]] = {"turn": (0,), "other turn": (1,), "both turn": (0, 1), "listen": ()}

#: Who may lose data; in a third of the examples nobody does.
_FALLEN = [Loss(code, known=known) for code in REGISTRIES for known in (True, False)]
LOSSES = [Loss(), Loss(), Loss(), Loss(GATEWAY), *_FALLEN]

which = st.integers(0, 5)
#: After how many operations.
soon = st.integers(1, 8)
registry = st.sampled_from(REGISTRIES)
#: With every operation, so that each example gets on, whichever of the rules it uses.
going = st.lists(st.sampled_from(sorted(WORK)), max_size=3)
T = TypeVar("T")


class Holder(Protocol):
    """Who has the world (``conftest``)."""

    loop: Any

    def take(self) -> World:
        """The world for the next example."""


class Machine(RuleBasedStateMachine):
    """One example."""

    def __init__(self, worlds: Holder) -> None:
        super().__init__()
        self.loop, self.world = worlds.loop, worlds.take()
        self.is_broken = False
        self.units: dict[str, frozenset[int]] = {}
        self.loss, self.before, self.story = Loss(), None, list[str]()
        self.deaths = self.losses = 0
        self.settle_refused = False
        self.loses, self.backs_up_at, self.falls_back_at, self.age = Loss(), 0, 0, 0
        self.do("begin", self.world.begin())

    # -- doing, and looking -----------------------------------------------------------------------

    def do(self, name: str, act: Coroutine[Any, Any, T], *, loss: Loss | None = None) -> T:
        """Let something happen, and see whether all is well after it; a failure tells the whole story."""
        try:
            with structlog.testing.capture_logs() as logged:
                done = self.loop.run_until_complete(asyncio.wait_for(act, PATIENCE_SECONDS))
                self.loop.run_until_complete(self.world.collect())
            self.look(name, loss)
            faults = [line for line in logged if line["event"] in AT_FAULT and "database cannot be" not in str(line)]
            assert not faults, faults
        except BaseException as error:
            self.is_broken = self.world.is_spoiled = True
            error.add_note("\n".join(self.story))
            raise
        return done

    def look(self, name: str, loss: Loss | None = None) -> None:
        """Hold the books against the model; ``loss``: data was lost just now."""
        now, before = self.world.books(), self.before
        self.units |= now.source.proposed
        self.story.append(f"{name}: {'; '.join(now.line(t) for t in now.transfers)}")
        self.loss = replace(loss or self.loss, down=bool(self.world.down))
        wrong = list(model.books(now, self.loss, self.units))
        if not self.loss.who:
            wrong += model.situations(now)
            wrong += model.moves(before, now) if before else ()
        if self.loss.who != GATEWAY:
            wrong += model.decided(before, now) if before else ()
        wrong += [f"at fault: {r.waiting}" for r in now.gateway.rows.values() if _is_fault(r.waiting)]
        self.before = now
        assert not wrong, "\n".join(wrong)

    def transfer(self, number: int) -> str | None:
        """The transfer so many places from the first."""
        known = sorted(self.units)
        return known[number % len(known)] if known else None

    def teardown(self) -> None:
        """Let everything come to rest, and look whether it is as it should be."""
        if self.is_broken:
            return
        if self.falls_back_at > self.age > self.backs_up_at:
            self.fall_back()
        self.do("mend", recovery.mend(self.world))
        self.do("rest", recovery.rest(self.world))
        self.do("every message once more", recovery.deliver_everything_again(self.world))
        self.do("rest", recovery.rest(self.world))
        try:
            assert self.before is not None
            wrong = list(model.at_rest(self.before, self.loss, self.units, self.settle_refused))
            wrong += self.loop.run_until_complete(self.world.stage.doctor())
            assert not wrong, "\n".join(wrong)
        except BaseException as error:
            self.is_broken = self.world.is_spoiled = True
            error.add_note("\n".join(self.story))
            raise

    def go_on(self, then: list[str]) -> None:
        """Let workers and messages go on for a while."""
        for what in then:
            workers = WORK[what]
            self.do(what, self.world.turn(*workers) if workers else self.world.listen(0.5))
        self.lose_when_due()

    # -- transfers --------------------------------------------------------------------------------

    @initialize(lots=st.sampled_from(APART), loses=st.sampled_from(LOSSES), when=st.tuples(soon, soon), then=going)
    def first(self, lots: list[int], loses: Loss, when: tuple[int, int], then: list[str]) -> None:
        self.loses, self.backs_up_at, self.falls_back_at = loses, when[0], sum(when)
        self.propose(lots, False, then)

    @rule(lots=st.sampled_from([*APART, *OVERLAPPING]), alone=st.booleans(), then=going)
    def propose(self, lots: list[int], alone: bool, then: list[str]) -> None:
        self.do(f"propose {lots}", self.world.propose(lots, alone))
        self.go_on(then)

    @rule(number=which, unheard=st.booleans(), then=going)
    def withdraw(self, number: int, unheard: bool, then: list[str]) -> None:
        """``unheard``: the word is held back, and meanwhile the gateway goes on."""
        if unheard:
            held = {"fault": "delay", "direction": "out", "type": "transfer.voided", "seconds": HELD_SECONDS}
            self.do("hold back a withdrawal", self.world.fault(SOURCE, **held))
        if (transfer := self.transfer(number)) is not None:
            self.do(f"withdraw {transfer[-6:]}", self.world.withdraw(transfer))
        self.go_on(then)

    @rule(number=which, then=going)
    def end(self, number: int, then: list[str]) -> None:
        if (transfer := self.transfer(number)) is not None:
            self.do(f"end {transfer[-6:]}", self.world.end(transfer))
        self.go_on(then)

    @rule(number=which, then=going)
    def resume(self, number: int, then: list[str]) -> None:
        if (transfer := self.transfer(number)) is not None:
            self.do(f"resume {transfer[-6:]}", self.world.resume(transfer))
        self.go_on(then)

    @rule(policy=st.sampled_from(sorted(POLICIES)), then=going)
    def decide(self, policy: str, then: list[str]) -> None:
        code, members = POLICIES[policy]
        self.do(policy, self.world.set_policy(code, **members))
        self.go_on(then)

    # -- work -------------------------------------------------------------------------------------

    @rule(then=st.lists(st.sampled_from(sorted(WORK)), min_size=1, max_size=5))
    def work(self, then: list[str]) -> None:
        self.go_on(then)

    @rule(worker=st.integers(0, 1), then=going)
    def take_over(self, worker: int, then: list[str]) -> None:
        self.do(f"{worker} takes over", self.world.take_over(worker))
        self.go_on(then)

    @rule(code=registry, then=going)
    def ask(self, code: str, then: list[str]) -> None:
        self.do(f"{code} asks", self.world.ask_waiting(code))
        self.go_on(then)

    @rule(hours=st.sampled_from([0.02, 1, 72]), then=going)
    def grow_old(self, hours: float, then: list[str]) -> None:
        """A minute, longer than any wait, or longer than the time limit."""
        self.do(f"{hours} hours", self.world.pass_time(timedelta(hours=hours)))
        self.go_on(then)

    @rule(seconds=st.sampled_from([1, 30, 120]), then=going)
    def clock_runs_ahead(self, seconds: int, then: list[str]) -> None:
        self.world.advance_clock(timedelta(seconds=seconds))
        self.go_on(then)

    # -- faults -----------------------------------------------------------------------------------

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 2), skip=st.integers(0, 1), then=going)
    def disturb(self, fault: tuple[str, str, str, str], times: int, skip: int, then: list[str]) -> None:
        code, way, kind, name = fault
        members = {"fault": name, "direction": way, "type": kind, "times": times, "skip": skip}
        seconds = {"seconds": HELD_SECONDS} if name in ("delay", "delay-reply") else {}
        self.do(f"{name} {way} {kind} at {code}", self.world.fault(code, **members, **seconds))
        self.go_on(then)

    @rule(then=going)
    def refuse_settle(self, then: list[str]) -> None:
        self.settle_refused = True
        members = {"fault": "refuse-settle", "type": "transfer.settle"}
        self.do("refuse a settle", self.world.fault(ACQUIRER, **members))
        self.go_on(then)

    @rule(code=registry, then=going)
    def clear(self, code: str, then: list[str]) -> None:
        self.do(f"no faults at {code}", self.world.clear(code))
        self.go_on(then)

    @rule(kind=st.sampled_from(KINDS), number=which, then=going)
    def deliver_again(self, kind: str, number: int, then: list[str]) -> None:
        letters = [letter for letter in self.world.letters.values() if letter.type == kind]
        if letters:
            self.do(f"{kind} of long ago", self.world.deliver(letters[number % len(letters)]))
        self.go_on(then)

    @precondition(lambda self: self.deaths < 2)
    @rule(code=registry, then=going)
    def kill(self, code: str, then: list[str]) -> None:
        self.deaths += 1
        self.do(f"{code} is killed", self.world.kill(code))
        self.go_on(then)

    @precondition(lambda self: self.deaths < 2)
    @rule(death=st.sampled_from(DEATHS), then=going)
    def die(self, death: tuple[str, str], then: list[str]) -> None:
        self.deaths += 1
        self.do(f"{death[0]} is to die at {death[1]}", self.world.die_at(*death))
        self.go_on(then)

    @precondition(lambda self: self.deaths)
    @rule(code=registry, then=going)
    def start(self, code: str, then: list[str]) -> None:
        self.do(f"{code} is started", self.world.start(code))
        self.go_on(then)

    # -- lost data: once in an example --------------------------------------------------------------

    def lose_when_due(self) -> None:
        """Whoever is to lose data makes a backup, and later falls back to it."""
        self.age += 1
        if not self.loses.who or self.losses:
            return
        if self.age == self.backs_up_at:
            who = self.loses.who
            back_up = self.world.copy(self.world.stage.back_up) if who == GATEWAY else self.world.back_up(who)
            self.do(f"{who} makes a backup", back_up)
        elif self.age == self.falls_back_at:
            self.fall_back()

    def fall_back(self) -> None:
        """Lose everything since the backup, if there is one."""
        self.losses += 1
        who, known = self.loses.who, self.loses.known
        assert self.before is not None
        if who == GATEWAY:
            self.do("the gateway falls back", self.world.copy(self.world.stage.fall_back), loss=self.loses)
        elif who in self.world.backed_up:
            closed = frozenset(t for t in self.before.transfers if not known and _is_closed(self.before, t, who))
            lost = replace(self.loses, closed=closed)
            self.do(f"{who} falls back, known: {known}", self.world.restore(who, known=known), loss=lost)

    @precondition(lambda self: self.losses)
    @rule(then=going)
    def synchronise(self, then: list[str]) -> None:
        self.do("synchronise", self.world.synchronise())
        self.go_on(then)


def _is_closed(books: Books, transfer: str, code: str) -> bool:
    """Whether nobody will speak to a registry about a transfer any more."""
    at = books.source if code == SOURCE else books.acquirer
    return at.rows.get(transfer) in ("done", "void") or books.state(transfer) in ("completed", *model.UNHAPPY)


def _is_fault(waiting: str) -> bool:
    return waiting.startswith("the gateway cannot") or "status 500" in waiting
