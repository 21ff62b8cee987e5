"""What follows when nothing goes wrong any more: everybody comes back, and everything that is due is done.

Fails when that has no end: a transfer that waits for ever, though everybody is up and nothing is lost on the way.
"""

from datetime import timedelta

from tests.stateful.books import Books
from tests.stateful.operations import REGISTRIES, World

#: Rounds of everything that is due, until nothing is; each may take two steps of a transfer.
ROUNDS = 25
#: How often persons let what waits for them be asked about again.
PERSONS_TRY = 3
#: A registry waits up to five seconds before it sends again what was not answered.
LISTEN_SECONDS = 6.0
#: Longer than the relay waits for any answer.
SEND_SECONDS = 35.0
#: Longer than any wait of the relay.
A_WHILE = timedelta(minutes=10)


async def mend(world: World) -> None:
    """Start who is down, take away faults and crash points, decide everything, come back from a restore."""
    for code in REGISTRIES:
        await world.start(code)
        await world.clear(code)
        await _disarm(world, code)
        await world.set_policy(code, decide=True, refuse_parties=[], refuse_release=[])
    for _ in range(5):
        if not world.down or await world.synchronise():
            break
        await world.listen(0.2)
    assert not world.down, "a restored registry cannot come back"
    # Its policy could not be changed before.
    for code in REGISTRIES:
        await world.set_policy(code, decide=True, refuse_parties=[], refuse_release=[])


async def rest(world: World) -> Books:
    """Do what is due until nothing changes any more; the books then."""
    before = world.books()
    for number in range(ROUNDS):
        for code in REGISTRIES:
            await world.ask_waiting(code)
        await world.pass_time(A_WHILE)
        await world.take_over(0)
        await world.turn(0)
        await world.finish(SEND_SECONDS)
        await world.listen(LISTEN_SECONDS)
        if number < PERSONS_TRY:
            for transfer, row in world.books().gateway.rows.items():
                if row.state == "attention":
                    await world.resume(transfer)
        now = world.books()
        if now == before and not any(world.reader.owed(code) for code in REGISTRIES):
            return now
        before = now
    raise AssertionError(f"this does not come to rest: {[before.line(t) for t in before.transfers]}")


async def deliver_everything_again(world: World) -> None:
    """Let late copies of all messages of the example arrive: the network may have kept them this long."""
    for letter in list(world.letters.values()):
        await world.deliver(letter)


async def _disarm(world: World, code: str) -> None:
    for point in sorted(world.armed.pop(code, ())):
        await world.die_at(code, point, times=1_000_000)
