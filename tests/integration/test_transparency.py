"""The log as a Merkle tree: all that is appended gets one place, whoever works and whenever it commits."""

import asyncio
import base64
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import pytest

from gateway import db
from gateway.audit import log, merkle, own_keys, proofs, sequencing, store
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import Growth
from gateway.audit.sequencing import Sequencer
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.log_keys import LogKey
from gateway.signing.notes import Verifier
from tests.stage import Stage


async def append(stage: Stage, number: int, kind: str = "test") -> list[int]:
    """Append entries in one transaction; their ids."""
    drafts = [log.draft(kind, datetime.now(UTC), {"nr": nr}) for nr in range(number)]
    return await stage.run(lambda tx: log.append(tx, drafts))


async def integrated(stage: Stage) -> list[int]:
    """The entries in the order of their leaves; every entry has one, and the tree is the one its leaves make."""
    leaves = await stage.rows("SELECT leaf_index, entry_id FROM log_leaf ORDER BY leaf_index")
    hashes = [bytes(h) for (h,) in await stage.rows(
        "SELECT e.leaf_hash FROM log_leaf l JOIN log_entry e ON e.id = l.entry_id ORDER BY l.leaf_index"
    )]  # fmt: skip
    assert [index for index, _ in leaves] == list(range(await stage.count("log_entry")))
    [(size, root)] = await stage.rows("SELECT size, root FROM log_head")
    assert (size, bytes(root)) == (len(hashes), merkle.subtree(hashes))
    grown = Growth.of(0, {})
    grown.add(hashes)
    tiles = {
        (level, nr): bytes(hashes) for level, nr, hashes in await stage.rows("SELECT level, nr, hashes FROM log_tile")
    }
    assert tiles == grown.tiles
    return [entry for _, entry in leaves]


async def checkpoint(stage: Stage) -> Checkpoint:
    """What is published, as a reader who has the log's keys believes it."""
    answer = await stage.http.get(f"{stage.link_url}/log/checkpoint")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/plain; charset=utf-8"
    note = notes.read(answer.text)
    signed = note.signed_by(notes.read_keys((stage.folder / "GWY01.vkeys").read_text()))
    assert {one.by.kind for one in signed} == {notes.ED25519, notes.ML_DSA_44}
    return Checkpoint.read(note.text)


async def test_what_is_appended_is_in_the_published_tree_after_a_turn(stage: Stage) -> None:
    await append(stage, 700)
    await stage.transparency.turn()
    entries = await integrated(stage)
    found = await checkpoint(stage)
    assert found.size == len(entries) > 700  # keys and the first caller were entered before
    for index in (0, 255, 256, found.size - 1):
        async with stage.gateway.database.reading() as tx:
            [proof] = await proofs.inclusion(tx, [index], found.size)
            [leaf] = await store.entries(tx, index, 1)
        assert merkle.included(merkle.leaf_hash(leaf), index, found.size, proof, found.root)


async def test_every_checkpoint_begins_the_next(stage: Stage) -> None:
    seen = []
    for number in (1, 3, 251, 1, 256, 1_000):
        await append(stage, number)
        await stage.transparency.turn()
        async with stage.gateway.database.reading() as tx:
            seen.append(Checkpoint.read(notes.read((await store.published(tx, None, 1))[0].note).text))
    for old, new in pairwise(seen):
        async with stage.gateway.database.reading() as tx:
            proof = await proofs.consistency(tx, old.size, new.size)
        assert merkle.consistent(old.size, new.size, proof, old.root, new.root)
    listed = (await stage.http.get(f"{stage.link_url}/log/checkpoints", params={"above": seen[0].size})).text
    assert len(listed.splitlines()) == len(seen) - 1


async def test_an_entry_that_commits_after_later_ones_is_not_left_out(stage: Stage) -> None:
    inside, leave = asyncio.Event(), asyncio.Event()

    async def slow(tx: db.Tx) -> list[int]:
        ids = await log.append(tx, [log.draft("slow", datetime.now(UTC), {})])
        inside.set()
        await leave.wait()
        return ids

    late = asyncio.create_task(stage.run(slow))
    await inside.wait()
    for _ in range(5):  # the sweep would pass it, if it went by ids alone
        await append(stage, 2)
        await stage.transparency.turn()
    [(swept,)] = await stage.rows("SELECT swept FROM log_head")
    leave.set()
    [entry] = await late
    assert swept < entry
    await stage.transparency.turn()
    assert (await integrated(stage))[-1] == entry


async def test_the_sweep_passes_what_was_rolled_back(stage: Stage) -> None:
    async def gone(tx: db.Tx) -> None:
        await log.append(tx, [log.draft("gone", datetime.now(UTC), {})])
        raise GatewayError(Kind.CONFLICT, "taken back")

    with pytest.raises(GatewayError, match="taken back"):
        await stage.run(gone)
    await append(stage, 1)
    for _ in range(3):
        await stage.transparency.turn()
    [(last,)] = await stage.rows("SELECT max(id) FROM log_entry")
    assert await stage.rows("SELECT swept FROM log_head") == [(last,)]
    await integrated(stage)


async def test_a_database_that_was_put_back_leaves_no_entry_out(stage: Stage) -> None:
    """Ids that were given after the copy was made are given again; the sweep of before says nothing of them."""
    await append(stage, 3)
    await stage.transparency.turn()
    await stage.back_up()
    await append(stage, 10)
    for _ in range(3):
        await stage.transparency.turn()
    await stage.fall_back()
    await append(stage, 2)
    for _ in range(3):
        await stage.transparency.turn()
        await append(stage, 2)
    await stage.transparency.turn()
    await integrated(stage)
    assert await stage.doctor() == []


async def test_retired_keys_sign_nothing_more_however_long_their_process_runs(stage: Stage) -> None:
    own, database = stage.transparency.own, stage.gateway.database
    following = own_keys.Identity(own.origin, "", LogKey.generate())
    await database.run(lambda tx: own_keys.add(tx, following, stage.clock()), "log.add-key")
    await database.run(lambda tx: own_keys.retire(tx, own.key.id, stage.clock()), "log.retire-key")
    with pytest.raises(GatewayError, match="are retired"):
        await stage.transparency.sequencer.turn()
    assert (await stage.count("log_checkpoint"), await stage.count("log_leaf")) == (0, await stage.count("log_entry"))


async def test_many_leaders_at_once_make_one_tree(stage: Stage) -> None:
    own = stage.transparency.own
    leaders = [Sequencer(stage.gateway.database, own.origin, own.key, stage.clock) for _ in range(6)]

    async def lead(leader: Sequencer) -> None:
        for _ in range(15):
            await leader.turn()

    async def write() -> None:
        for _ in range(15):
            await append(stage, 7)

    await asyncio.gather(*map(lead, leaders), *(write() for _ in range(4)))
    await leaders[0].turn()
    await integrated(stage)


async def test_more_than_one_turn_takes_is_taken_in_several(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencing, "MOST_AT_ONCE", 100)
    await append(stage, 350)
    turns = 1
    while await stage.transparency.turn():
        turns += 1
    assert turns == 4
    await integrated(stage)


async def test_tiles_and_entries_are_served_as_the_specification_writes_them(stage: Stage) -> None:
    there = await stage.count("log_entry")
    await append(stage, 300 - there)
    await stage.transparency.turn()

    async def get(path: str, **headers: str) -> tuple[int, bytes]:
        answer = await stage.http.get(f"{stage.link_url}/log/{path}", headers=headers)
        return answer.status_code, answer.content

    status, whole = await get("tile/0/000")
    assert (status, len(whole)) == (200, 8_192)
    assert (await get("tile/0/001.p/44"))[1] == await stored(stage, 0, 1)
    assert (await get("tile/0/001.p/7"))[1] == (await stored(stage, 0, 1))[: 7 * 32]
    assert (await get("tile/1/000.p/1"))[1] == merkle.subtree(merkle.cut(whole))
    status, bundle = await get("tile/entries/001.p/44", **{"accept-encoding": "gzip"})
    hashes, at = [], 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        hashes.append(merkle.leaf_hash(bundle[at + 2 : at + 2 + length]))
        at += 2 + length
    assert b"".join(hashes) == await stored(stage, 0, 1)
    for wrong in (
        "tile/0/1", "tile/0/x000/001", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/001.p/45", "tile/0/001.p/0",
        "tile/0/000.p/256", "tile/0/000.p/007", "tile/0/001", "tile/entries/001", "tile/entries/001.p/45", "tile/0/002",
        "tile/2/000.p/1", "tile/0/x999/x999/x999/x999/x999/x999/999", "tile/0/..%2f..%2fcheckpoint", "tile/0/000/",
        "tile/a/000", "tile/0/\u0660\u0660\u0660",
    ):  # fmt: skip
        assert (await get(wrong))[0] in (404, 405), wrong


async def stored(stage: Stage, level: int, nr: int) -> bytes:
    [(hashes,)] = await stage.rows(f"SELECT hashes FROM log_tile WHERE level = {level} AND nr = {nr}")
    return bytes(hashes)


async def test_nothing_is_served_before_something_is_published(stage: Stage) -> None:
    answer = await stage.http.get(f"{stage.link_url}/log/checkpoint")
    assert (answer.status_code, answer.json()["code"]) == (404, 3001)


async def test_a_proof_is_asked_for_what_is_in_the_tree_only(stage: Stage) -> None:
    await append(stage, 4)
    await stage.transparency.turn()
    async with stage.gateway.database.reading() as tx:
        for index, size in ((5, 5), (-1, 5), (0, 0), (0, 2**63)):
            with pytest.raises(GatewayError) as refused:
                await proofs.inclusion(tx, [index], size)
            assert (refused.value.kind, refused.value.code) == (Kind.MALFORMED, 2014)
        for old, size in ((6, 5), (-1, 5)):
            with pytest.raises(GatewayError, match="does not begin"):
                await proofs.consistency(tx, old, size)
        with pytest.raises(GatewayError, match="not as many leaves") as missing:
            await proofs.inclusion(tx, [0], 600)
    assert missing.value.kind is Kind.NOT_FOUND


async def test_keys_of_the_log_follow_each_other_and_what_the_first_signed_stays_good(stage: Stage) -> None:
    transparency, database = stage.transparency, stage.gateway.database
    await append(stage, 2)
    await transparency.turn()
    first = (await stage.http.get(f"{stage.link_url}/log/checkpoint")).text
    own, following = transparency.own, own_keys.Identity(transparency.own.origin, "", LogKey.generate())
    with pytest.raises(GatewayError, match="were never added") as unknown:
        await database.run(lambda tx: own_keys.start(tx, following, stage.clock()), "log-keys")
    assert unknown.value.kind is Kind.CONFLICT
    with pytest.raises(GatewayError, match="the only keys that may sign"):
        await database.run(lambda tx: own_keys.retire(tx, own.key.id, stage.clock()), "log.retire-key")
    await database.run(lambda tx: own_keys.add(tx, following, stage.clock()), "log.add-key")
    with pytest.raises(GatewayError, match="known already"):
        await database.run(lambda tx: own_keys.add(tx, following, stage.clock()), "log.add-key")
    await database.run(lambda tx: own_keys.start(tx, following, stage.clock()), "log-keys")
    await database.run(lambda tx: own_keys.retire(tx, own.key.id, stage.clock()), "log.retire-key")
    with pytest.raises(GatewayError, match="are retired"):
        await transparency.start()
    other_name = own_keys.Identity("another.example/log", "", following.key)
    with pytest.raises(GatewayError, match="keeps its name"):
        await database.run(lambda tx: own_keys.start(tx, other_name, stage.clock()), "log-keys")
    shown = (await stage.http.get(f"{stage.link_url}/log/keys")).json()
    assert [key["not_after"] is None for key in shown["keys"]] == [False, False, True, True]
    known = [Verifier.read(key["vkey"]) for key in shown["keys"]]
    assert len(notes.read(first).signed_by(known)) == 2
    await Sequencer(database, own.origin, following.key, stage.clock).turn()
    later = notes.read((await stage.rows("SELECT note FROM log_checkpoint ORDER BY size DESC LIMIT 1"))[0][0])
    assert {one.by for one in later.signed_by(known)} == set(following.key.verifiers(own.origin))


async def test_a_receipt_verifies_without_us(stage: Stage) -> None:
    """A tlog-proof of one leaf, read as its specification says."""
    await append(stage, 20)
    await stage.transparency.turn()
    async with stage.gateway.database.reading() as tx:
        newest = await store.latest(tx)
        assert newest is not None
        [proof] = await proofs.inclusion(tx, [11], newest.size)
        [leaf] = await store.entries(tx, 11, 1)
    text = proofs.tlog_proof(11, proof, newest.note)
    head, _, note = text.partition("\n\n")
    version, index, *hashes = head.split("\n")
    assert (version, index) == ("c2sp.org/tlog-proof@v1", "index 11")
    found = Checkpoint.read(notes.read(note).text)
    decoded = list(map(partial(base64.b64decode, validate=True), hashes))
    assert merkle.included(merkle.leaf_hash(leaf), 11, found.size, decoded, found.root)
