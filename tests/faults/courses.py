"""What must happen, beside the ordinary load, so that a process passes the crash points of one name, twice."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
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


def moves(what: str, to: str) -> Act:
    """MEC01 uses or cancels a unit."""
    return calls("MEC01", "POST", what, party="MMR", account=members.OWN, to_account=to, quantity=1)


def message(network: Network, sender: str, key: str, receiver: str, message_type: str) -> tuple[str, str, bytes]:
    """A message that somebody with this key signs: its JWS, its content type and its body."""
    return _signer(network, sender, key).compose(receiver, message_type, [])


def _signer(network: Network, code: str, key: str) -> play.Party:
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
    return (
        await network.count(
            "(SELECT DISTINCT offer_id FROM transfer WHERE state = 'checked' AND acquirer = 'KOR01') AS o"
        )
        > number
    )


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
    [[transfer]] = await network.rows("SELECT id FROM transfer WHERE state = 'checked' ORDER BY id LIMIT 1")
    await _step_in(network, transfer, "end", person="operator-1", reason="asked by the Party")


async def resume_all(network: Network) -> None:
    """KOR01 would not credit: two persons resume what therefore waits for them, while more is under way."""
    await network.until(lambda: network.count("transfer WHERE state = 'attention'"), "transfers wait for persons")
    await load.decide(network, False)
    await propose_more(network)
    for (transfer,) in await network.rows("SELECT id FROM transfer WHERE state = 'attention' ORDER BY id"):
        for person in ("operator-1", "operator-2"):
            await _step_in(network, transfer, "resume", person=person)
    await load.decide(network, True)


async def _step_in(network: Network, transfer: str, what: str, **body: str) -> None:
    async def done() -> bool:
        answer = await network.operator("POST", f"/api/v1/transfers/{transfer}/{what}", json=body)
        return answer.status_code in (200, 409)

    await network.until(done, f"{what} of {transfer} is taken")


async def lie(network: Network) -> None:
    """MEC01 says of a transfer under way that it has released it."""
    [[transfer]] = await network.rows("SELECT transfer FROM transfer WHERE state = 'locked' LIMIT 1", "MEC01")
    await calls("MEC01", "POST", "lies", lie="release-without-commit", transfer=transfer)(network)


async def let_a_stranger_answer(network: Network) -> None:
    """In KOR01's place, and with its key, somebody answers with what is no answer."""
    party = _signer(network, "KOR01", "KOR01")

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
    ended, said = await networks.run(network, "links", "restored", "MEC01", "--keys", str(keys), "--since", since)
    assert ended == 0, said
    keys.write_text(json.dumps({"keys": [*earlier, made["key"]]}))


ISSUE = members.issuance("MMR", "MMR-MORE", gross=100)
MANY = [members.issuance("GHA", "GHA-MORE", gross=100 + nr) for nr in range(20)]
ACCOUNT = {"party": "MMR", "account": "100-7"}

_refuse_settle = meets("KOR01", "refuse-settle", "transfer.settle", 1)

#: Of the gateway: what the ordinary load does not pass.
GATEWAY = {
    "receive.link.activate": Course(during=calls("KOR01", "POST", "activate")),
    "receive.action.notice": Course(during=calls("MEC01", "POST", "issue", **ISSUE)),
    "receive.transfer.propose": Course(during=propose_more),
    "receive.transfer.answer": Course(mirrored=False),
    "receive.transfer.released": Course(mirrored=True),
    "receive.transfer.credited": Course(mirrored=False),
    "receive.time.query": Course(during=says("MEC01", "MEC01", "GWY01", "time.query")),
    "receive.other": Course(during=says("MEC01", "MEC01", "GWY01", "transfer.settle")),
    "request": Course(during=load.request),
    "absorb.transfer.answer": Course(afterwards=propose_more, mirrored=True),
    "absorb.transfer.credited": Course(mirrored=True),
    "absorb.transfer.released": Course(mirrored=False),
    "absorb.transfer.voided": Course(mirrored=False),
    "absorb.refusal": Course(before=meets("KOR01", "refuse", "transfer.offer", 2), needs="KOR01"),
    "absorb.other": Course(before=kill_korea, during=let_a_stranger_answer),
    "absorb.status.answer": Course(during=have_them_asked),
    "send.status.query": Course(during=have_them_asked),
    "ask": Course(during=have_them_asked),
    "end": Course(during=end_one),
    "resume": Course(before=_refuse_settle, afterwards=resume_all, needs="KOR01"),
    "decide.record": Course(during=moves("use", "200-1")),
    "send.action.record": Course(during=moves("use", "200-1")),
    "put-off": Course(before=spoil_one, during=mend_it),
    "renew": Course(before=store_offers_one_by_one, during=let_the_lease_run, needs="KOR01"),
    "leave": Course(during=tell_to_end),
}
#: Of the registries: at whom it happens, and what the ordinary load does not pass.
REGISTRY = {
    "receive.transfer.request": ("MEC01", Course(during=load.request)),
    "receive.transfer.offer": ("KOR01", Course(during=propose_more)),
    "receive.transfer.settle": ("KOR01", Course()),
    "receive.action.record": ("INT01", Course(during=moves("use", "200-1"))),
    "receive.time.query": ("MEC01", Course(during=says("GWY01", "gateway", "MEC01", "time.query"))),
    "receive.status.query": ("KOR01", Course(during=have_them_asked)),
    "receive.refused": ("MEC01", Course(during=says("GWY01", "gateway", "MEC01", "transfer.answer"))),
    "duties.decide": ("KOR01", Course()),
    "duties.ask": ("MEC01", Course(during=calls("MEC01", "POST", "ask"))),
    "duties.heard": ("MEC01", Course(during=calls("MEC01", "POST", "ask"))),
    "send.transfer.answer": ("KOR01", Course()),
    "send.transfer.credited": ("KOR01", Course(mirrored=False)),
    "send.transfer.propose": ("MEC01", Course(during=propose_more)),
    "send.transfer.released": ("MEC01", Course(mirrored=True)),
    "send.link.activate": ("KOR01", Course(during=calls("KOR01", "POST", "activate"))),
    "send.action.notice": ("MEC01", Course(during=calls("MEC01", "POST", "issue", **ISSUE))),
    "send.keys": ("MEC01", Course(before=fetch_keys_again, during=activate_until_pinned)),
    "admin.activate": ("KOR01", Course(during=calls("KOR01", "POST", "activate"))),
    "admin.transfers": ("MEC01", Course(during=propose_more)),
    "admin.accounts": ("MEC01", Course(during=calls("MEC01", "POST", "accounts", **ACCOUNT))),
    "admin.issue": ("MEC01", Course(during=calls("MEC01", "POST", "issue", **ISSUE))),
    "admin.issuances": ("INT01", Course(during=calls("INT01", "POST", "issuances", issuances=MANY))),
    "admin.use": ("MEC01", Course(during=moves("use", "200-1"))),
    "admin.cancel": ("MEC01", Course(during=moves("cancel", "300-1"))),
    "admin.policy": ("KOR01", Course()),
    "admin.lies": ("MEC01", Course(during=lie)),
    "admin.backup": ("MEC01", Course(during=calls("MEC01", "POST", "backup"))),
    "admin.restore": ("MEC01", Course(before=back_up, during=calls("MEC01", "POST", "restore", known=False))),
    "admin.synchronise": ("MEC01", Course(before=fall_back, during=calls("MEC01", "POST", "synchronise"))),
    "admin.look": ("MEC01", Course(during=calls("MEC01", "GET", "books"))),
}
