"""What must happen, beside the ordinary load, so that a process passes the crash points of one name, twice."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import OKPKey

from tests.faults import load, members
from tests.faults import network as networks
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
    """What is done, one after the other; the victim is armed after the first.

    ``before``: the load is proposed, the victim lives (a worker is dead). ``during``: nothing is decided yet.
    ``afterwards``: all is decided. ``mirrored``: whether MEC01 must answer by messages of its own and KOR01 in the
    reply, or must not; None where it does not matter.
    """

    before: Act = nothing
    during: Act = nothing
    afterwards: Act = nothing
    mirrored: bool | None = None
    #: Who must live through it, because a fault that leads there is in its memory.
    needs: str = ""


def calls(code: str, method: str, path: str, **body: Any) -> Act:
    """The operator of a registry does this, until it is done."""

    async def call(network: Network) -> None:
        await network.insist(lambda: network.admin(code, method, path, **body), f"{code} does {method} {path}")

    return call


def message(network: Network, sender: str, key: str, receiver: str, message_type: str) -> tuple[str, str, bytes]:
    """A message that somebody with this key signs: its JWS, its content type and its body."""
    return signer(network, sender, key).compose(receiver, message_type, [])


def signer(network: Network, code: str, key: str) -> play.Party:
    """Somebody who signs in the name of ``code`` with the key of ``key``."""
    party = play.Party(code)
    party.key = OKPKey.import_key((network.folder / f"{key}.pem").read_bytes())
    party.seq = 1_000_000  # far beyond what the registry itself has numbered
    return party


def says(sender: str, key: str, receiver: str, message_type: str) -> Act:
    """Somebody with this key says this, until there is an answer."""

    async def say(network: Network) -> None:
        _, kind, body = message(network, sender, key, receiver, message_type)
        url = network.link_url if receiver == "GWY01" else network[receiver].url

        async def answered() -> bool:
            answer = await network.http.post(f"{url}/messages", content=body, headers={"content-type": kind})
            return answer.status_code == 200

        await network.until(answered, f"{receiver} answers {message_type}")

    return say


def meets(code: str, fault: str, message_type: str, times: int, **more: Any) -> Act:
    """The next messages of a type meet a fault at a registry."""
    return calls(code, "POST", "faults", fault=fault, type=message_type, times=times, **more)


def decides(code: str) -> Act:
    """Of those who acquire one decides on what it is offered."""

    async def decide(network: Network) -> None:
        await load.decide(network, True, code)

    return decide


def uses(code: str, party: str) -> Act:
    """A Party uses a unit of its own in a registry."""
    return calls(code, "POST", "use", party=party, account=members.OWN, to_account="200-1", quantity=1)


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
    [[transfer]] = await network.rows("SELECT id FROM transfer WHERE state = 'proposed' AND source = 'MEC01' LIMIT 1")
    await network.rows(
        f"CREATE TRIGGER spoil BEFORE UPDATE OF state ON transfer FOR EACH ROW WHEN (NEW.id = '{transfer}') "
        "EXECUTE FUNCTION spoil()"
    )


async def leave_it(_network: Network) -> None:
    """Nothing more is done until the victim has died twice."""


def speaks_on(victim: str) -> Act:
    """Whenever MEC01 has cosigned all that is published, something is proposed, and so published; no more is done."""
    newest = "size = (SELECT max(size) FROM log_checkpoint)"
    cosigned = f"log_cosignature WHERE witness = 'mec01.sandbox.invalid/witness' AND {newest}"

    async def speak(network: Network) -> None:
        async def died_twice() -> bool:
            if await network.count(cosigned) and not network[victim].ended():
                await load.propose(network, [load.wish(1)])
            return len(network[victim].deaths) == 2

        await network.until(died_twice, f"something is published, and {victim} dies")

    return speak


async def wake_it(network: Network) -> None:
    """Whenever the worker sleeps, something is proposed."""

    async def died_twice() -> bool:
        if await network.count("worker WHERE asleep") and not network["worker"].ended():
            await load.propose(network, [load.wish(1)])
        return len(network["worker"].deaths) == 2

    await network.until(died_twice, "the worker is woken, and dies")


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
    unsaid = "transfer WHERE state = 'proposed' OR state = 'checked' AND offer_id IS NULL"

    async def all_stored() -> bool:
        return not await network.count(unsaid)

    for _ in range(MANY_OFFERS):
        await load.propose(network, [load.wish(1)])
        await network.until(all_stored, "the offer is stored")
    network["worker"].kill()
    await network.start("KOR01")
    await meets("KOR01", "delay-reply", "transfer.offer", 2 * AT_ONCE, seconds=5.0)(network)
    await network.rows("UPDATE transfer SET next_at = now(), leased_until = NULL WHERE state = 'checked'")


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


async def have_them_asked(network: Network) -> None:
    """The gateway has sent its offers often, so that it asks KOR01 where the transfers stand, until somebody dies."""
    again = "UPDATE transfer SET attempts = 3, next_at = now() WHERE state = 'checked' AND leased_until IS NULL"

    async def died_twice() -> bool:
        await network.rows(again)
        return sum(len(part.deaths) for part in network.parts.values()) == 2

    await network.until(died_twice, "somebody asks, and dies")


async def end_one(network: Network) -> None:
    """An operator of the gateway ends a transfer."""
    await network.until(lambda: network.count("transfer WHERE state = 'checked'"), "a transfer can be ended")
    [[transfer]] = await network.rows("SELECT id FROM transfer WHERE state = 'checked' ORDER BY id LIMIT 1")
    await _step_in(network, transfer, "end", reason="asked by the Party")


async def resume_all(network: Network) -> None:
    """KOR01 would not credit: two persons resume what therefore waits for them, while more is under way."""
    await network.until(lambda: network.count("transfer WHERE state = 'attention'"), "transfers wait for persons")
    await load.decide(network, False)
    await propose_more(network)
    for (transfer,) in await network.rows("SELECT id FROM transfer WHERE state = 'attention' ORDER BY id"):
        with suppress(networks.Refused):  # a word of KOR01's has led out of it meanwhile
            await networks.decided(network, "transfers", "resume", transfer)
    await load.decide(network, True)


async def keep_a_window(network: Network) -> None:
    """MEC01's proposals are taken up at another time of the day; then at any time."""
    noon = "CAST(extract(hour FROM now() AT TIME ZONE 'UTC') AS integer) + 12"
    away = f"window_opens = ({noon}) % 24 * 60, window_closes = ({noon}) % 24 * 60 + 1"
    await network.rows(f"UPDATE link SET {away} WHERE code = 'MEC01'")
    await propose_more(network)
    await network.until(lambda: network.count("transfer WHERE state = 'delayed'"), "proposals wait for the window")
    await network.rows("UPDATE link SET window_opens = NULL, window_closes = NULL WHERE code = 'MEC01'")
    await network.rows("UPDATE transfer SET next_at = now() WHERE state = 'delayed'")


async def _step_in(network: Network, transfer: str, what: str, **body: str) -> None:
    async def done() -> bool:
        answer = await network.operator("POST", f"/api/v1/transfers/{transfer}/{what}", json=body)
        return answer.status_code in (200, 409)

    await network.until(done, f"{what} of {transfer} is taken")


async def lie(network: Network) -> None:
    """MEC01 says of a transfer under way that it has released it."""
    locked = "transfer WHERE state = 'locked'"
    await network.until(lambda: network.count(locked, "MEC01"), "MEC01 has locked units")
    [[transfer]] = await network.rows("SELECT transfer FROM transfer WHERE state = 'locked' LIMIT 1", "MEC01")
    await calls("MEC01", "POST", "lies", lie="release-without-commit", transfer=transfer)(network)


async def let_a_stranger_answer(network: Network) -> None:
    """In KOR01's place, and with its key, somebody answers with what is no answer."""
    party = signer(network, "KOR01", "KOR01")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        jws = json.loads(body)["jws"] if body[:1] == b"{" else body.decode()
        part = jws.split(".")[1]
        asked = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        named = {"id": asked["id"], "sha256": play.sha(body)}
        _, kind, reply = party.compose("GWY01", "transfer.offer", ["{}"], in_reply_to=named)
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(reply)}\r\n\r\n".encode() + reply
        )
        await writer.drain()
        writer.close()

    host, _, port = network["KOR01"].address.rpartition(":")
    async with await asyncio.start_server(answer, host, int(port)):
        await has_died_at(network, "absorb.other.after-commit")
    await network.start("KOR01")


async def kill_korea(network: Network) -> None:
    network["KOR01"].kill()


async def be_quiet(network: Network) -> None:
    """MEC01 has said all it has to say and hears nothing, because all that is open is offered."""

    async def quiet() -> bool:
        owed = await network.count("sent WHERE owed", "MEC01")
        asked = await network.count("transfer_request WHERE state = 'sent'")
        return not owed + asked + await network.count("transfer WHERE next_at IS NOT NULL AND state <> 'checked'")

    await network.until(quiet, "MEC01 owes nothing")


async def back_up(network: Network) -> None:
    await be_quiet(network)
    await calls("MEC01", "POST", "backup")(network)


async def fall_back(network: Network) -> None:
    """MEC01 was restored, nothing lost, and must ask about everything before it serves again."""
    await back_up(network)
    since = (await network.admin("MEC01", "POST", "backup"))["at"]
    made = await network.admin("MEC01", "POST", "restore", known=True)
    keys = network.folder / "MEC01.jwks"
    earlier = json.loads(keys.read_text())["keys"]
    keys.write_text(json.dumps({"keys": [made["key"]]}))
    await networks.decided(network, "links", "restored", "MEC01", "--keys", str(keys), "--since", since)
    keys.write_text(json.dumps({"keys": [*earlier, made["key"]]}))
