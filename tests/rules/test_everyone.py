"""R22 to R27: what never expires, what is kept and recognised, who asks, and what nobody may delete."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

import connectors
from connectors.http import Client
from connectors.link import LinkRegistry
from gateway import db
from gateway.domain.addresses import LOOPBACK, Reach
from gateway.errors import GatewayError
from gateway.messages import outbox
from gateway.messages import store as messages
from gateway.messages.outbox import Draft
from gateway.signing import compact
from gateway.transfers import interventions
from tests import handmade
from tests.integration.test_sandbox_play import Heard
from tests.played import Course, block
from tests.rules.world import UNITS, World, overwrite
from tests.stage import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECT = Path(__file__).parents[2]
SAID = ("offer", "commit", "settle", "closed-source", "closed-acquirer")
#: What the gateway forgets beside the row when it deletes a transfer.
KEPT_OF_A_TRANSFER = ("transfer_step", "transfer_event", "claim", "reliance")


async def test_R22_a_commit_and_what_follows_never_expire(world: World) -> None:
    """A commit that expires is refused from then on, and may not be cancelled: its transfer is stuck for ever."""
    transfer = await committed_long_ago(world)
    await world.completes(transfer)
    said = {name: compact.read(messages.jws_of((await world.stored(transfer, name)).body)).payload for name in SAID}
    assert {name for name, payload in said.items() if "expires_at" in payload} == {"offer"}


async def test_R22_without_it_a_commit_is_stuck(world: World) -> None:
    await world.without("R22", "MEC01")
    transfer = await committed_long_ago(world)
    await is_stuck(world, transfer, "MEC01 refused transfer.commit: 1009")


async def test_R23_a_refusal_that_is_no_verdict_is_not_kept(world: World) -> None:
    """A source that was overloaded once, and keeps its refusal under the message's id, repeats it for ever."""
    transfer = await refused_once(world)
    await world.completes(transfer)
    assert await world.stage.count(f"message WHERE type = 'transfer.commit' AND {about(transfer)}") == 1


async def test_R23_without_it_a_commit_is_stuck(world: World) -> None:
    await world.without("R23", "MEC01")
    transfer = await refused_once(world)
    await is_stuck(world, transfer, "MEC01 refused transfer.commit: 9003")


async def test_R24_a_step_is_recognised_whatever_the_message(world: World) -> None:
    """A settle that is signed again, under another id, is credited again by whoever knows messages only."""
    transfer, heard = await settled_again(world)
    [(credited,)] = await world.stage.rows(f"SELECT item FROM transfer_step WHERE {step(transfer, 'credited')}")
    assert heard.texts[:1] == [credited]
    assert await world.books() == {"JPN01": UNITS}
    assert await credits(world, transfer) == 1


async def test_R24_without_it_units_are_credited_twice(world: World) -> None:
    await world.without("R24", "KOR01")
    transfer, heard = await settled_again(world)
    assert heard.type == "transfer.credited"
    assert await world.books() == {"KOR01": UNITS, "JPN01": UNITS}
    assert await credits(world, transfer) == 2


async def test_R24_a_gateway_without_its_replay_store_recognises_steps(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 10))
    [transfer] = await course.complete(course.proposal(block(1, 10)))
    heard = await stage.rows(f"SELECT content_type, body FROM message WHERE direction = 'in' AND {about(transfer)}")
    rows = "SELECT t.*, (SELECT count(*) FROM transfer_event) FROM transfer t"
    before = await stage.rows(rows)
    await overwrite(stage, stage.database_name, "DELETE FROM replay_key")
    for kind, body in heard:
        [receipt] = (await course.source.post(kind, bytes(body))).items
        assert (receipt["state"], receipt["findings"]) == ("completed", [])
    assert len(heard) == 4  # proposed, accepted, released, credited
    assert await stage.rows(rows) == before
    assert await stage.rows("SELECT registry FROM position WHERE closed_by IS NULL AND account_type <> 320") == [
        ("KOR01",)
    ]
    assert await stage.count("alarm") == 0


async def test_R25_asking_first_is_not_what_saves_it(world: World) -> None:
    """In flight, given up, asked about ("not known here"), and sent again: both arrive, and one is credited.

    It cannot be switched off here: every registry that the gateway reaches speaks the protocol and recognises a
    repetition itself; there is no adapter yet to one that does not.
    """
    await world.fault("KOR01", "delay", "transfer.settle", seconds=60)
    transfer = await world.at("released")
    in_flight = asyncio.create_task(world.deliver(transfer, "settle"))
    await world.stage.until(lambda: fired(world, "KOR01"))
    assert (await world.ask("KOR01", transfer, "settle")).body["message"] == "not known"
    again = await world.deliver(transfer, "settle")
    assert not in_flight.done()
    await world.mend("KOR01")
    assert (await in_flight).raw == again.raw
    await world.completes(transfer)
    assert await world.look("KOR01", "SELECT count(*) FROM journal WHERE reference = %s", transfer) == [(1,)]


async def test_R25_every_connector_leads_to_a_registry_that_recognises_repetitions() -> None:
    client = Client(Reach.of(LOOPBACK))
    made = {kind: make("KOR01", "http://127.0.0.1:9", client) for kind, make in connectors.KINDS.items()}
    await client.close()
    assert {kind: type(registry) for kind, registry in made.items()} == dict.fromkeys(made, LinkRegistry)


async def test_R26_registries_ask_until_they_are_told_of_the_end(world: World) -> None:
    """After the gateway has lost a transfer nobody would ever speak to those again who wait in it."""
    transfer = await accepted_and_lost(world)
    assert await asked(world, transfer)
    await world.stage.until(lambda: world.stands(transfer, "accepted"))
    assert await world.alarms(transfer) == ["KOR01 shows that this gateway has lost data: the whole transfer"]
    await world.completes(transfer)


@pytest.mark.parametrize("off", ["R26", "R26-evidence"])
async def test_R26_without_it_everybody_waits_for_ever(world: World, off: str) -> None:
    """The acquirer does not ask; or it does, and says its last word again without what that rests on."""
    await asyncio.gather(world.without(off, "KOR01"), world.without("R26", "MEC01"))
    transfer = await accepted_and_lost(world)
    assert await asked(world, transfer) == (off == "R26-evidence")
    assert (await world.registry("MEC01").post("ask"))["asked"] == 0
    await world.stage.until(lambda: nothing_owed(world, "KOR01"))  # what it says again has a receipt
    await world.turn()
    assert await world.state(transfer) == "absent"
    assert [await world.state_at(code, transfer) for code in ("MEC01", "KOR01")] == ["locked", "accepted"]
    assert await world.locked(transfer) == UNITS
    assert await world.stage.count(f"alarm WHERE transfer_id = '{transfer}'") == 0


async def test_R27_nothing_of_a_transfer_is_deleted(world: World) -> None:
    """Were it deleted here and at the source, a late copy of the proposal would begin it again, and end it untruly.

    The source has deleted it, as it may alone; the gateway's database refuses to.
    """
    transfer = await forgotten_by_its_source(world)
    [(item,)] = await world.stage.rows(f"SELECT item FROM transfer_step WHERE {step(transfer, 'propose')}")
    with pytest.raises(psycopg.errors.RestrictViolation):
        await forget(world, transfer)
    await proposed_again(world, transfer)
    signed = await handmade.say(world.stage, handmade.signer(world.stage, "MEC01"), "transfer.propose", [item])
    assert signed.items[0]["state"] == await world.state(transfer) == "completed"
    for name in ("transfer", *KEPT_OF_A_TRANSFER, "message", "replay_key", "log_entry", "early_withdrawal"):
        may = await world.stage.rows(f"SELECT has_table_privilege('gateway_app', '{name}', 'DELETE')")
        guarded = await world.stage.rows(
            f"SELECT count(*) FROM pg_trigger WHERE tgrelid = '{name}'::regclass AND tgenabled = 'O'"
            " AND tgfoid = 'refuse_change'::regproc AND tgtype & 8 = 8"  # before DELETE, the owner's too
        )
        assert (may, guarded) == ([(False,)], [(1,)]), name


async def test_R27_no_code_deletes_what_the_protocol_remembers() -> None:
    forgets = re.compile(r"DELETE FROM (\S+)|\"TRUNCATE (\S)")
    found = {
        (folder, "".join(names))
        for folder in ("gateway", "connectors")
        for path in (PROJECT / folder).rglob("*.py")
        for names in forgets.findall(path.read_text())
    }
    # The gateway's list of living workers, of what is due until it is answered, and of clients' assertions until they
    # are over; the sandbox's units as they move, its mark of a restore, the restore, and what its log takes in.
    assert found == {
        ("gateway", "worker"), ("gateway", "owed"), ("gateway", "assertion"),
        ("gateway", "fingerprint_node"), ("gateway", "fingerprint_series"), ("gateway", "fingerprint_directory"),
        ("connectors", "holding"), ("connectors", "setting"), ("connectors", "{"), ("connectors", "log.own_waiting"),
        ("connectors", "log.own_history_waiting"), ("connectors", "log.own_reconciliation_waiting"),
        ("connectors", "history_waiting"), ("connectors", "feed_entry"),
        ("connectors", 'book_touched")'), ("connectors", "book_node"), ("connectors", "book_series"),
        ("connectors", "book_total"), ("connectors", "cut"), ("connectors", 'cut_position")'),
    }  # fmt: skip


async def test_R27_without_it_a_row_is_refused_whose_units_have_moved(world: World) -> None:
    transfer = await forgotten_by_its_source(world)
    async with unguarded(world):
        await forget(world, transfer)
    await proposed_again(world, transfer)
    await world.on(transfer, "refused")
    assert await world.state_at("MEC01", transfer) == "void"
    assert await world.books() == {"KOR01": UNITS}  # refused, cancelled, rejected: nothing has moved, says the row


async def committed_long_ago(world: World) -> str:
    """The commit was sent and lost; nine days pass before it is sent again."""
    transfer = await world.committing()
    days = timedelta(days=9)
    world.stage.clock.ahead = days
    for code in ("MEC01", "KOR01"):
        await world.registry(code).post("clock", seconds=days.total_seconds())
    return transfer


async def is_stuck(world: World, transfer: str, why: str) -> None:
    """The commit is refused whenever it comes; no timer ends the transfer, and no person here."""
    node = world.stage.gateway.node
    await world.a_day_later(transfer)
    for _ in range(3):
        assert await world.turn(transfer)
        shown = (await world.stage.transfer(transfer))["transfer"]
        assert (shown["state"], shown["waiting"]) == ("committing", why)
    with pytest.raises(GatewayError):
        await world.stage.run(lambda tx: interventions.end(tx, node, transfer, caller=ROOT, reason="stuck"))
    assert [await world.state_at(code, transfer) for code in ("MEC01", "KOR01")] == ["locked", "accepted"]
    assert await world.locked(transfer) == UNITS


async def refused_once(world: World) -> str:
    """MEC01 cannot take the commit now, and says so; that is no verdict, and has no number."""
    transfer = await world.committing()
    await world.fault("MEC01", "refuse", "transfer.commit")
    assert "seq" not in (await world.deliver(transfer, "commit")).payload
    return transfer


async def settled_again(world: World) -> tuple[str, Heard]:
    """Completed, and the units moved on to JPN01; the settle comes again, at last signed again under another id."""
    transfer = await world.at("completed")
    while await world.turn(transfer):
        pass
    await world.completes(await world.propose(to="JPN01", source="KOR01"), to="JPN01")
    assert (await world.deliver(transfer, "settle")).type == "transfer.credited"
    assert await world.books() == {"JPN01": UNITS}  # the same bytes: the stored answer
    return transfer, await world.arrive(await signed_again(world, transfer))


async def credits(world: World, transfer: str) -> int:
    """How often the acquirer's books say that the transfer was credited."""
    lines = "SELECT count(*) FROM journal WHERE reference = %s AND entry = 'credit'"
    return int((await world.look("KOR01", lines, transfer))[0][0])


async def signed_again(world: World, transfer: str) -> messages.Message:
    """The gateway signs its settle again, under another id."""
    settle, node = await world.stored(transfer, "settle"), world.stage.gateway.node
    texts = json.loads(settle.body)["items"]
    evidence = compact.read(messages.jws_of(settle.body)).payload["body"]["evidence"]
    draft = Draft(settle.peer, settle.type, items=texts[:1], carried=texts[1:], evidence=evidence)

    async def sign(tx: db.Tx) -> messages.Message:
        [again] = await outbox.store(tx, node, [draft])
        return (await messages.outgoing(tx, [again.message.id]))[0]

    return await world.stage.run(sign)


async def fired(world: World, code: str) -> bool:
    return all(not fault["left"] for fault in (await world.registry(code).get("faults"))["faults"])


async def accepted_and_lost(world: World) -> str:
    """Accepted; and the gateway's database falls back to before the proposal."""
    await world.issue()
    await world.stage.back_up()
    transfer = await world.on(await world.propose(), "accepted")
    await world.stage.fall_back()
    assert await world.state(transfer) == "absent"
    return transfer


async def asked(world: World, transfer: str) -> bool:
    """The acquirer's time to ask has come: whether it does."""
    waiting = "SELECT count(*) FROM transfer WHERE transfer = %s AND ask_at IS NOT NULL"
    assert await world.look("KOR01", waiting, transfer) == [(1,)]
    return (await world.registry("KOR01").post("ask"))["asked"] == 1


async def nothing_owed(world: World, code: str) -> bool:
    return await world.look(code, "SELECT FROM sent WHERE owed") == []


async def forgotten_by_its_source(world: World) -> str:
    """Closed everywhere, and deleted by its source."""
    await world.without("R27", "MEC01")
    transfer = await world.at("completed")
    while await world.turn(transfer):
        pass
    assert await world.state_at("MEC01", transfer) == "unknown"
    return transfer


async def forget(world: World, transfer: str) -> None:
    """The owner of the gateway's database deletes a transfer, and what tells a repetition of its proposal."""
    about_it = f"SELECT message_id FROM message WHERE type = 'transfer.propose' AND {about(transfer)}"
    kept = [f"DELETE FROM {name} WHERE transfer_id = '{transfer}'" for name in KEPT_OF_A_TRANSFER]
    gone = [f"DELETE FROM replay_key WHERE message_id IN ({about_it})", *kept]
    await world.stage.rows("; ".join([*gone, f"DELETE FROM transfer WHERE id = '{transfer}'"]))


@asynccontextmanager
async def unguarded(world: World) -> AsyncIterator[None]:
    """The gateway's database without the triggers that keep what is closed from being forgotten."""
    tables = ("transfer", "replay_key", *KEPT_OF_A_TRANSFER)
    await world.stage.rows("; ".join(f"ALTER TABLE {name} DISABLE TRIGGER USER" for name in tables))
    try:
        yield
    finally:
        await world.stage.rows("; ".join(f"ALTER TABLE {name} ENABLE TRIGGER USER" for name in tables))


async def proposed_again(world: World, transfer: str) -> None:
    """A copy of the proposal was still on its way."""
    body = f"SELECT body FROM sent WHERE type = 'transfer.propose' AND {about(transfer)}"
    [(copy,)] = await world.look("MEC01", body)
    kind = {"content-type": "application/a6link+json"}
    answer = await world.stage.http.post(f"{world.stage.link_url}/messages", content=bytes(copy), headers=kind)
    assert answer.status_code == 200


def about(transfer: str) -> str:
    """The condition under which a message is about a transfer."""
    return f"position('{transfer}' IN convert_from(body, 'UTF8')) > 0"


def step(transfer: str, name: str) -> str:
    return f"transfer_id = '{transfer}' AND step = '{name}'"
