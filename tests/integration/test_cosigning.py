"""Registries look after the gateway's log: they cosign it, find what is left out, and know when it was put back."""

import asyncio
import base64
import os
from dataclasses import replace

import psycopg
import pytest

from gateway import db
from gateway.audit import log as log_entries
from gateway.audit import sequencing, witness_store
from gateway.audit import store as log_store
from gateway.audit.checkpoint import Checkpoint
from gateway.signing import notes
from gateway.signing.log_keys import LogKey
from tests.stage import Registry, Stage


async def test_registries_cosign_the_gateways_log_and_the_gateway_theirs(stage: Stage) -> None:
    await asyncio.gather(
        stage.link("MEC01", "mechanism", follows=True), stage.link("KOR01", "party", "KOR", follows=True)
    )
    await stage.issue(net=100)
    assert await stage.relay(await stage.propose(10)) == ["completed"]

    async def cosigned() -> bool:
        await stage.transparency.turn()
        [(newest,)] = await stage.rows("SELECT max(size) FROM log_checkpoint")
        return await stage.count(f"log_cosignature WHERE size = {newest}") == 2

    await stage.until(cosigned)

    async def served() -> str | None:
        answer = await stage.http.get(f"{stage.link_url}/log/checkpoint")
        return answer.text if answer.is_success and answer.text.count("/witness ") == 2 else None

    await stage.until(served)
    note = notes.read((await served()) or "")
    vkeys = [vkey for (vkey,) in await stage.rows("SELECT vkey FROM log_witness")]
    signed = note.signed_by([notes.Verifier.read(vkey) for vkey in vkeys])
    assert {one.by.name for one in signed} == {"mec01.sandbox.invalid/witness", "kor01.sandbox.invalid/witness"}
    await stage.until(lambda: stage.count("witnessed_log WHERE size > 0"))
    for code in ("MEC01", "KOR01"):
        await stage.registries[code].post("follow")
        promised = await stage.registries[code].get("promises")
        assert not promised["broken"] and promised["kept"], promised


async def test_an_entry_left_out_of_the_log_is_found_by_the_registry_it_was_promised_to(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mechanism = await stage.link("MEC01", "mechanism", follows=True)
    waiting = sequencing.store.waiting

    async def but_one(tx: db.Tx, after: int, limit: int) -> list[tuple[int, bytes]]:
        out = await db.rows(tx, "SELECT id FROM log_entry WHERE kind = 'action.notice'")
        return [entry for entry in await waiting(tx, after, limit) if entry[0] not in {row.id for row in out}]

    monkeypatch.setattr(sequencing.store, "waiting", but_one)
    await stage.issue(net=100)
    [(leaf,)] = await stage.rows("SELECT leaf_hash FROM log_entry WHERE kind = 'action.notice'")
    left_out = base64.urlsafe_b64encode(bytes(leaf)).rstrip(b"=").decode()

    async def all_but_that_one() -> bool:
        """Published, and seen to be: whatever else was promised is kept."""
        await stage.transparency.turn()
        await mechanism.post("follow")
        return [one["leaf"] for one in (await mechanism.get("promises"))["open"]] == [left_out]

    await stage.until(all_but_that_one)
    assert (await mechanism.get("promises"))["counts"]["broken"] == 0
    await mechanism.post("clock", seconds=121)
    await stage.until(lambda: broken(mechanism))
    [promise] = (await mechanism.get("promises"))["broken"]
    assert promise["leaf"] == left_out
    assert promise["evidence"]["jws"].count(".") == 2


async def broken(registry: Registry) -> bool:
    await registry.post("follow")
    return bool((await registry.get("promises"))["counts"]["broken"])


async def cosigns(stage: Stage, korea: Registry, size: int, root: bytes, old: int = 0) -> None:
    """Let KOR01 cosign a checkpoint that our keys sign."""
    own = stage.transparency.own
    text = Checkpoint(own.origin, size, root).text
    note = notes.Note(text, tuple(own.key.sign(own.origin, text, stage.clock()))).whole
    brought = await stage.http.post(f"{korea.url}/witness/add-checkpoint", content=f"old {old}\n\n{note}")
    assert brought.status_code == 200, brought.text


async def test_a_witness_that_knows_a_larger_tree_stops_the_publishing_before_it_begins(stage: Stage) -> None:
    """As after a restore of an older database: what KOR01 has cosigned is not in it. No process publishes any more."""
    korea = await stage.link("KOR01", "party", "KOR", follows=True)
    await cosigns(stage, korea, 1_000, os.urandom(32))
    again = replace(stage.transparency, _surveyed=False)
    for transparency in (stage.transparency, again):
        await transparency.turn()
        await transparency.finish()
    assert (await stage.count("log_checkpoint"), await stage.count("log_stop")) == (0, 1)
    assert await stage.count("log_leaf") > 0
    assert [line for line in await stage.doctor() if "nothing is published any more" in line]


async def test_a_witness_that_knows_another_tree_stops_the_publishing_later_as_well(stage: Stage) -> None:
    """It was not there when the process began; our tree is longer than what it has cosigned by then."""
    korea = await stage.link("KOR01", "party", "KOR", follows=True)
    await korea.stop()
    await stage.transparency.turn()
    await stage.transparency.finish()
    await stage.restart("KOR01")
    await cosigns(stage, korea, 2, os.urandom(32))

    async def stopped() -> int:
        await stage.transparency.turn()
        await stage.transparency.finish()
        return await stage.count("log_stop")

    await stage.until(stopped)
    published = await stage.count("log_checkpoint")
    await stage.run(lambda tx: log_entries.append(tx, [log_entries.draft("test", stage.clock(), {})]))
    await stage.transparency.turn()
    assert await stage.count("log_checkpoint") == published


async def test_what_another_process_has_published_meanwhile_stops_nothing(stage: Stage) -> None:
    """KOR01 has cosigned what a second worker published while the first was asking for the checkpoint before."""
    korea = await stage.link("KOR01", "party", "KOR", follows=True)
    await stage.transparency.turn()
    await stage.transparency.finish()
    async with stage.gateway.database.reading() as tx:
        [asked] = await witness_store.witnesses(tx)
        before = await log_store.latest(tx)
    assert before is not None
    await stage.run(lambda tx: log_entries.append(tx, [log_entries.draft("test", stage.clock(), {})]))

    async def cosigned() -> bool:
        await stage.transparency.turn()
        await stage.transparency.finish()
        return bool(await stage.count(f"log_cosignature WHERE size > {before.size}"))

    await stage.until(cosigned)
    await stage.transparency.cosigning._ask(asked, before)
    assert await stage.count("log_stop") == 0
    assert (await korea.get("log"))["witnessed"][0]["size"] > before.size


async def test_a_witness_that_only_says_it_knows_a_larger_tree_stops_nothing(stage: Stage) -> None:
    """Anybody can say a number: what KOR01 would have to show is signed by nobody of ours."""
    korea, stranger = await stage.link("KOR01", "party", "KOR", follows=True), LogKey.generate()
    origin, name = stage.transparency.own.origin, f"kor01_{stage.database_name}"
    text = Checkpoint(origin, 1_000, os.urandom(32)).text
    note = notes.Note(text, tuple(stranger.sign(origin, text, stage.clock()))).whole
    with psycopg.connect(stage.server.dsn(name), autocommit=True) as books:
        said = "INSERT INTO log.witnessed (origin, size, root, note) VALUES (%s, 1000, sha256('x'), %s)"
        books.execute(said, (origin, note))
    await stage.transparency.turn()
    await stage.transparency.finish()
    assert await stage.count("log_stop") == 0
    assert await stage.count("log_checkpoint") == 1 and await stage.count("log_cosignature") == 0
    assert (await korea.get("log"))["witnessed"][0]["size"] == 1_000
