"""What must happen, beside the ordinary load, so that a process passes the crash points of one name, twice."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import OKPKey

from tests.faults import load
from tests.faults.network import Network
from tests.handmade import play

Act = Callable[[Network], Awaitable[object]]
#: More messages to one peer than a worker sends at once, and how many that is.
MANY_OFFERS, AT_ONCE = 12, 8
#: Beyond half of a lease, and less than what makes a message one from the future.
HALF_A_LEASE_SECONDS = 35.0


async def nothing(_network: Network) -> None:
    """The ordinary load passes it."""


@dataclass(frozen=True)
class Course:
    """``before``: the load is proposed, the victim lives (a worker is dead); ``after``: the victim is armed.

    ``mirrored``: the registries must answer the other way, MEC01 by messages of its own and KOR01 in the reply.
    """

    before: Act = nothing
    after: Act = nothing
    mirrored: bool = False


def calls(code: str, method: str, path: str, **body: Any) -> Act:
    """The operator of a registry does this, until it is done."""

    async def call(network: Network) -> None:
        await network.insist(lambda: network.admin(code, method, path, **body), f"{code} does {method} {path}")

    return call


def moves(what: str, to: str) -> Act:
    """MEC01 uses or cancels a unit."""
    return calls("MEC01", "POST", what, party="MMR", to_account=to, quantity=1)


def says(sender: str, key: str, receiver: str, message_type: str) -> Act:
    """Somebody with this key says this, until there is an answer."""

    async def say(network: Network) -> None:
        party = play.Party(sender)
        party.key = OKPKey.import_key((network.folder / f"{key}.pem").read_bytes())
        party.seq = 1_000_000
        _, kind, body = party.compose(receiver, message_type, [])
        url = network.link_url if receiver == "GWY01" else network[receiver].url

        async def answered() -> bool:
            answer = await network.http.post(f"{url}/messages", content=body, headers={"content-type": kind})
            return answer.status_code == 200

        await network.until(answered, f"{receiver} answers {message_type}")

    return say


def meets(code: str, fault: str, message_type: str, times: int, **more: Any) -> Act:
    """The next messages of a type meet a fault at a registry."""
    return calls(code, "POST", "faults", fault=fault, type=message_type, times=times, **more)


async def propose_more(network: Network) -> None:
    """Offers that are decided as they arrive."""
    await load.propose(network, [load.wish(1)] * load.UNDER_WAY)


async def has_died_at(network: Network, point: str) -> None:
    """Return when some process has died there."""

    async def died() -> bool:
        return any(point in part.deaths for part in network.parts.values())

    await network.until(died, f"somebody dies at {point}")


async def tell_to_end(network: Network) -> None:
    """The worker is told to end, as often as it is armed to die of that."""
    for point in ("leave.before-commit", "leave.after-commit"):

        async def lives_armed(point: str = point) -> bool:
            bells = "pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'gateway-worker%'"
            return network["worker"].armed == point and await network.count(bells) == 1

        await network.until(lives_armed, "the worker works")
        network["worker"].tell_to_end()
        await has_died_at(network, point)


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
    await has_died_at(network, "put-off.after-commit")
    await network.rows("DROP FUNCTION spoil() CASCADE")
    put_off = "UPDATE transfer SET next_at = now(), leased_until = NULL WHERE waiting LIKE 'the gateway cannot%'"
    await network.rows(put_off)


async def store_offers_one_by_one(network: Network) -> None:
    """Offers that cannot be sent, each in a message of its own; then they can, but slowly."""
    network["KOR01"].kill()
    await network.start("worker")
    for nr in range(MANY_OFFERS):
        await load.propose(network, [load.wish(1)])
        await network.until(lambda nr=nr: _offers(network, nr + 1), "the offer is stored")
    network["worker"].kill()
    await network.start("KOR01")
    await meets("KOR01", "delay-reply", "transfer.offer", 2 * AT_ONCE, seconds=2.0)(network)
    await network.rows("UPDATE transfer SET next_at = now(), leased_until = NULL WHERE state = 'checked'")


async def _offers(network: Network, number: int) -> bool:
    return await network.count("(SELECT DISTINCT offer_id FROM transfer WHERE state = 'checked') AS o") > number


async def let_the_lease_run(network: Network) -> None:
    """While some offers are under way and others wait for their turn, half of the lease goes by; twice."""
    for nr, point in enumerate(("renew.before-commit", "renew.after-commit"), 1):

        async def under_way(nr: int = nr) -> bool:
            listed = (await network.admin("KOR01", "GET", "faults"))["faults"]
            return sum(f["fired"] for f in listed) >= nr * AT_ONCE

        await network.until(under_way, "offers are under way")
        network.step_clock(network.ahead + HALF_A_LEASE_SECONDS)
        await has_died_at(network, point)


async def fetch_keys_again(network: Network) -> None:
    """From the next start on MEC01 has no file of the gateway's keys, and fetches them when it activates."""
    await network.rows("DELETE FROM setting WHERE name = 'gateway_keys'", "MEC01")
    arguments = list(network["MEC01"].arguments)
    arguments[arguments.index("--gateway-keys") + 1] = f"{network.link_url}/keys"
    network["MEC01"].arguments = arguments


async def activate_until_pinned(network: Network) -> None:
    await calls("MEC01", "POST", "activate")(network)


ISSUE = {"activity": "PoA 10471", "party": "MMR", "gross": 1, "vintage": 2021, "series": "MMR-MORE"}
ACCOUNT = {"party": "MMR", "account": "100-7"}

#: Of the gateway: what the ordinary load does not pass.
GATEWAY = {
    "receive.link.activate": Course(after=calls("KOR01", "POST", "activate")),
    "receive.action.notice": Course(after=calls("MEC01", "POST", "issue", **ISSUE)),
    "receive.transfer.propose": Course(after=propose_more),
    "receive.transfer.released": Course(mirrored=True),
    "receive.time.query": Course(after=says("MEC01", "MEC01", "GWY01", "time.query")),
    "receive.other": Course(after=says("MEC01", "MEC01", "GWY01", "transfer.settle")),
    "request": Course(after=load.request),
    "absorb.transfer.answer": Course(after=propose_more, mirrored=True),
    "absorb.transfer.credited": Course(mirrored=True),
    "absorb.refusal": Course(before=meets("KOR01", "refuse", "transfer.offer", 2)),
    "put-off": Course(before=spoil_one, after=mend_it),
    "renew": Course(before=store_offers_one_by_one, after=let_the_lease_run),
    "leave": Course(after=tell_to_end),
}
#: Of the registries: at whom it happens, and what the ordinary load does not pass.
REGISTRY = {
    "receive.transfer.request": ("MEC01", Course(after=load.request)),
    "receive.transfer.offer": ("KOR01", Course(after=propose_more)),
    "receive.transfer.settle": ("KOR01", Course()),
    "receive.time.query": ("MEC01", Course(after=says("GWY01", "gateway", "MEC01", "time.query"))),
    "duties.decide": ("KOR01", Course()),
    "duties.ask": ("MEC01", Course(after=calls("MEC01", "POST", "ask"))),
    "send.transfer.answer": ("KOR01", Course()),
    "send.transfer.credited": ("KOR01", Course()),
    "send.transfer.propose": ("MEC01", Course(after=propose_more)),
    "send.transfer.released": ("MEC01", Course(mirrored=True)),
    "send.link.activate": ("KOR01", Course(after=calls("KOR01", "POST", "activate"))),
    "send.action.notice": ("MEC01", Course(after=calls("MEC01", "POST", "issue", **ISSUE))),
    "send.keys": ("MEC01", Course(before=fetch_keys_again, after=activate_until_pinned)),
    "admin.activate": ("KOR01", Course(after=calls("KOR01", "POST", "activate"))),
    "admin.transfers": ("MEC01", Course(after=propose_more)),
    "admin.accounts": ("MEC01", Course(after=calls("MEC01", "POST", "accounts", **ACCOUNT))),
    "admin.issue": ("MEC01", Course(after=calls("MEC01", "POST", "issue", **ISSUE))),
    "admin.use": ("MEC01", Course(after=moves("use", "200-1"))),
    "admin.cancel": ("MEC01", Course(after=moves("cancel", "300-1"))),
    "admin.policy": ("KOR01", Course()),
    "admin.look": ("MEC01", Course(after=calls("MEC01", "GET", "books"))),
}
