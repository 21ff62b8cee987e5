"""What must happen, beside the ordinary load, so that a process passes a certain crash point."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests import handmade
from tests.faults import load
from tests.faults.network import Network
from tests.handmade import play

Act = Callable[[Network], Awaitable[object]]
#: More messages to one peer than a worker sends at once.
MANY_OFFERS = 12
#: Beyond half of a lease, and less than what makes a message one from the future.
HALF_A_LEASE_SECONDS = 35.0


async def nothing(_network: Network) -> None:
    """The ordinary load passes it."""


@dataclass(frozen=True)
class Course:
    """``before``: while the victim lives, everybody is well and the load is proposed; ``after``: with the victim armed.

    ``mirrored``: the registries must answer the other way, MEC01 by messages of its own and KOR01 in the reply.
    """

    before: Act = nothing
    after: Act = nothing
    mirrored: bool = False


async def activate_again(network: Network) -> None:
    """KOR01 says once more that its link is open, and is refused."""
    await network.insist(lambda: network.admin("KOR01", "POST", "activate"), "KOR01 activates")


async def issue_more(network: Network) -> None:
    wanted = {"activity": "PoA 10471", "party": "MMR", "gross": 1, "vintage": 2021, "series": "MMR-MORE"}
    await network.insist(lambda: network.admin("MEC01", "POST", "issue", **wanted), "MEC01 issues")


def says(message_type: str) -> Act:
    """Somebody with MEC01's key says this, until there is an answer."""

    async def say(network: Network) -> None:
        message = handmade.signer(network, "MEC01").compose("GWY01", message_type, [])  # type: ignore[arg-type]
        _, kind, body = message

        async def answered() -> bool:
            url = f"{network.link_url}/messages"
            return (await network.http.post(url, content=body, headers={"content-type": kind})).status_code == 200

        await network.until(answered, f"{message_type} is answered")

    return say


def meets(code: str, fault: str, message_type: str, times: int = 1, **more: object) -> Act:
    """The next messages of a type meet a fault at a registry."""

    async def meet(network: Network) -> None:
        body = {"fault": fault, "type": message_type, "times": times, **more}
        await network.insist(lambda: network.admin(code, "POST", "faults", **body), f"{code} takes a fault")

    return meet


async def propose_more(network: Network) -> None:
    """Offers that are decided as they arrive."""
    await load.propose(network, [load.wish(1)] * load.UNDER_WAY)


async def tell_to_end(network: Network) -> None:
    network["worker"].tell_to_end()


async def spoil_one(network: Network) -> None:
    """The decision on one transfer fails, again and again, by a fault of the database that concerns it alone."""
    await network.rows(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'spoilt' USING ERRCODE = 'check_violation'; END $$"
    )
    [[transfer]] = await network.rows("SELECT id FROM transfer WHERE state = 'proposed' ORDER BY id LIMIT 1")
    await network.rows(
        f"CREATE TRIGGER spoil BEFORE UPDATE OF state ON transfer FOR EACH ROW WHEN (NEW.id = '{transfer}') "
        "EXECUTE FUNCTION spoil()"
    )


async def mend_it(network: Network) -> None:
    """The fault is removed once it has had its effect, and nobody waits for the row's next time."""
    await network.until(network["worker"].has_died, "the worker dies")
    await network.rows("DROP FUNCTION spoil() CASCADE")
    put_off = "UPDATE transfer SET next_at = now(), leased_until = NULL WHERE waiting LIKE 'the gateway cannot%'"
    await network.rows(put_off)


async def store_offers_one_by_one(network: Network) -> None:
    """Offers that cannot be sent, each in a message of its own."""
    network["KOR01"].kill()
    await network.start("worker")
    for nr in range(MANY_OFFERS):
        await load.propose(network, [load.wish(1)])
        await network.until(lambda nr=nr: _offers(network, nr + 1), "the offer is stored")
    network["worker"].kill()
    await network.start("KOR01")
    await meets("KOR01", "delay-reply", "transfer.offer", load.UNDER_WAY, seconds=2.0)(network)
    await network.rows("UPDATE transfer SET next_at = now(), leased_until = NULL WHERE state = 'checked'")


async def _offers(network: Network, number: int) -> bool:
    return await network.count("(SELECT DISTINCT offer_id FROM transfer WHERE state = 'checked') AS o") > number


async def let_the_lease_run(network: Network) -> None:
    """While some offers are under way and others wait for their turn, half of the lease goes by."""

    async def under_way() -> bool:
        listed = (await network.admin("KOR01", "GET", "faults"))["faults"]
        return sum(f["fired"] for f in listed) >= 8

    await network.until(under_way, "eight offers are under way")
    network.step_clock(network.ahead + HALF_A_LEASE_SECONDS)


#: The points of a commit or a send, by its name, that the ordinary load does not pass.
COURSES: dict[str, Course] = {
    "receive.link.activate": Course(after=activate_again),
    "receive.action.notice": Course(after=issue_more),
    "receive.transfer.released": Course(mirrored=True),
    "receive.time.query": Course(after=says("time.query")),
    "receive.other": Course(after=says("transfer.settle")),
    "absorb.transfer.answer": Course(after=propose_more, mirrored=True),
    "absorb.transfer.credited": Course(mirrored=True),
    "absorb.refusal": Course(before=meets("KOR01", "refuse", "transfer.offer")),
    "put-off": Course(before=spoil_one, after=mend_it),
    "renew": Course(before=store_offers_one_by_one, after=let_the_lease_run),
    "leave": Course(after=tell_to_end),
}


def course_to(point: str) -> Course:
    """What leads to a point (``name.moment``)."""
    return COURSES.get(point.rpartition(".")[0], Course())
