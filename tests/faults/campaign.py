"""Trials of crash points, in lanes side by side: who dies where, which fault messages meet meanwhile, who dies with it.

A trial: everything is proposed, the victim is told to kill itself (SIGKILL) just before a commit or a send while at
least twenty transfers are under way, is started again and dies just after the same, and is left alive at its third
start. Then everything comes to its end, final or with a person, and all books must agree. A lane is a network of its
own, because much of the time is waiting; after a failure it goes on with a fresh one. Where the victim did not come to
its point at all, that is tried once more; what is lost or doubled is never tried again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.sandbox import crash as registry
from gateway import crash as gateway
from tests.faults import courses, load, points
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.courses import Course
from tests.faults.members import MIRRORED, USUAL
from tests.faults.network import Network
from tests.faults.postgres import Postgres

#: Networks side by side: whether the registries answer in the usual way, or mirrored.
LANES = (False, False, True)
#: How long a victim may take to come to its point.
REACH_SECONDS = 45.0
LATE_SECONDS = 0.7
#: Who dies at the gateway's points, by their names.
VICTIMS = {
    **dict.fromkeys(gateway.SERVING, "serve"),
    **dict.fromkeys(gateway.WORKING, "worker"),
    **dict.fromkeys(gateway.SENDING, "worker"),
    **dict.fromkeys(gateway.LOOKING, "serve"),
}
#: What the gateway posts to whom while a load goes through, and what each registry posts by itself.
ASKS, OFFERS, ENDS = ("transfer.commit", "transfer.cancel"), ("transfer.offer", "transfer.settle"), "transfer.closed"
TO = {
    "MEC01": ("transfer.request", *ASKS, ENDS),
    "KOR01": (*ASKS, *OFFERS, ENDS),
    "CHE01": (*OFFERS, ENDS),
    "SRV01": (*ASKS, ENDS),
    "INT01": (*ASKS, *OFFERS, ENDS, "action.record"),
}
PROPOSES, ANSWERS = ("transfer.propose", "transfer.voided"), ("transfer.answer", "transfer.credited")
FROM = {
    "MEC01": (*PROPOSES, "action.notice"),
    "KOR01": (*PROPOSES, "transfer.released", *ANSWERS, "action.notice"),
    "SRV01": ("transfer.propose",),
    "INT01": (*PROPOSES, "transfer.released", *ANSWERS, "action.notice"),
}
#: Faults of the way, in both directions, and of a receiver.
BOTH_WAYS = ("lose-reply", "lose-request", "delay", "repeat", "reorder")
RECEIVER = ("delay-reply", "refuse", "refuse-unsigned", "garbage", "wrong-signature", "by-message")


def _cases() -> dict[str, tuple[str, str, Course]]:
    found = {f"gateway-{n}": (VICTIMS[n], n, points.GATEWAY.get(n, Course())) for n in VICTIMS}
    for name in (*registry.COMMITS, *registry.SENDS):
        victim, course = points.REGISTRY.get(name, ("MEC01", Course()))
        found[f"registry-{name}"] = (victim, name, course)
    return found


#: Name of a pair of points → who dies there, what is committed or sent, and what leads there.
CASES = _cases()
#: The same points at other registries (``points.ELSEWHERE``).
ELSEWHERE = {
    f"registry-{name} at {victim}": (victim, name, course) for (name, victim), course in points.ELSEWHERE.items()
}
_ALL = {**CASES, **ELSEWHERE}


@dataclass(frozen=True)
class Trial:
    """One death: at which case, while all types of messages meet which fault (one each), and who is killed with it."""

    case: str
    fault: str = ""
    direction: str = "in"
    other: str = ""

    @property
    def victim(self) -> str:
        return _ALL[self.case][0]


class NotReachedError(AssertionError):
    """The victim did not come to its point with enough under way: nothing was tried, so nothing is known."""


#: Told of each trial, and of its failure if it failed.
Told = Callable[[Trial, BaseException | None], None]


async def run(
    postgres: Postgres, folder: Path, trials: Sequence[Trial], told: Told, *, over: float | None = None
) -> None:
    """Try ``trials`` in their order, none after the (monotonic) time ``over``."""
    todo = {kind: [t for t in trials if _ALL[t.case][2].mirrored is kind] for kind in (False, True, None)}
    place = {trial: nr for nr, trial in enumerate(trials)}
    async with asyncio.TaskGroup() as group:
        for nr, mirrored in enumerate(LANES):
            group.create_task(_lane(postgres, folder / str(nr), todo, told, place, mirrored, over))


async def _lane(
    postgres: Postgres,
    folder: Path,
    todo: Mapping[bool | None, list[Trial]],
    told: Told,
    place: Mapping[Trial, int],
    mirrored: bool,
    over: float | None,
) -> None:
    """Try what is left to be tried, in its order: what needs registries that answer like those here, and the rest."""

    def left() -> list[Trial]:
        """The list whose turn it is."""
        mine = [trials for trials in (todo[mirrored], todo[None]) if trials]
        if not mine or (over is not None and time.monotonic() > over):
            return []
        return min(mine, key=lambda trials: place[trials[0]])

    fresh, again = 0, set[Trial]()
    while left():
        fresh += 1
        inside = folder / str(fresh)
        inside.mkdir(parents=True)
        async with networks.opened(postgres, inside, answers=MIRRORED if mirrored else USUAL) as network:
            sound = True
            while sound and (mine := left()):
                trial = mine.pop(0)
                try:
                    await attempt(network, trial)
                    await agree(network, doctor=not left())
                    told(trial, None)
                except NotReachedError as error:
                    sound = False
                    if trial in again:
                        told(trial, error)
                    else:  # what leads there races the clock on a busy machine; a second time it must succeed
                        again.add(trial)
                        mine.insert(0, trial)
                except (Exception, asyncio.CancelledError) as error:
                    told(trial, error)
                    sound = False


async def attempt(network: Network, trial: Trial) -> None:
    """Let the victim die before and after its point, with everything under way, and wait until all is at rest."""
    victim, name, course = _ALL[trial.case]
    network.step_clock(0)
    for part in network.parts.values():
        part.deaths.clear()
    act = "send" if name.startswith("send.") else "commit"
    if victim == "worker":
        network[victim].kill()
    await load.begin(network)
    await network.until(lambda: _has_arrived(network), "the load has arrived")
    await course.before(network)
    network[victim].kill()
    if trial.fault:
        await meet(network, trial.fault, trial.direction)
    working = None
    async with hurried(network) if trial.fault else _in_time():
        try:
            for point in (f"{name}.before-{act}", f"{name}.after-{act}"):
                network[victim].start(armed=point)
                working = working or asyncio.create_task(_work(network, course, f"{name}.after-{act}"))
                await _until_death(network, victim, working)
                under_way = await network.under_way()
                if len(under_way) < load.UNDER_WAY:
                    raise NotReachedError(f"only {len(under_way)} transfers under way at {point}")
                if trial.other:
                    await network.restart(trial.other)
            await network.start(victim)
            await working
        finally:
            if working is not None:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
        await network.settle()


async def meet(network: Network, fault: str, direction: str) -> None:
    """The next message of every type meets a fault; of a registry that is dead none does."""
    more = {"seconds": LATE_SECONDS} if fault.startswith("delay") else {}
    for code, types in (TO if direction == "in" else FROM).items():
        for message_type in () if network[code].ended() else types:
            body = {"fault": fault, "direction": direction, "type": message_type, **more}
            await network.admin(code, "POST", "faults", **body)


@asynccontextmanager
async def hurried(network: Network) -> AsyncIterator[None]:
    """What the gateway has put off is due at once, again and again."""

    async def hurry() -> None:
        while True:
            for table in ("transfer", "owed"):
                soon = f"UPDATE {table} SET next_at = now() WHERE next_at > now() AND leased_until IS NULL"
                await network.rows(soon)
            await asyncio.sleep(0.3)

    hurrying = asyncio.create_task(hurry())
    try:
        yield
    finally:
        hurrying.cancel()
        await asyncio.gather(hurrying, return_exceptions=True)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    yield


async def _until_death(network: Network, victim: str, working: "asyncio.Task[None]") -> None:
    async def has_died() -> bool:
        if working.done():
            working.result()
        return await network[victim].has_died()

    try:
        await network.until(has_died, f"{victim} dies at {network[victim].armed}", patience_seconds=REACH_SECONDS)
    except Exception as error:
        raise NotReachedError(str(error)) from error


async def _work(network: Network, course: Course, last: str) -> None:
    """What leads to the points; nothing is decided until the second death, where that does not need it."""
    if course.during is not courses.nothing:
        await course.during(network)
        await courses.has_died_at(network, last)
    await load.end(network)
    await course.afterwards(network)


async def _has_arrived(network: Network) -> bool:
    return await network.count("transfer WHERE state IN ('proposed', 'checked')") >= load.UNDER_WAY
