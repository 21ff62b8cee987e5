"""Registries and the gateway witness each other's logs: what fits is cosigned, what does not is kept and acted on."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator

import psycopg
import pytest

from gateway import db
from gateway.audit import cosigning, merkle, sequencing, witness
from gateway.audit import log as log_entries
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import Growth
from gateway.audit.witness_store import Watched, Witness
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.log_keys import LogKey
from tests.stage import Registry, Stage

ORIGIN = "another.example/log"


class Log:
    """A log that a test keeps: it can sign whatever it likes, and is served by nobody."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.key, self.leaves = stage, LogKey.generate(), list[bytes]()

    def root(self, size: int) -> bytes:
        return merkle.subtree(self.leaves[:size])

    def grow(self, number: int) -> int:
        self.leaves += [merkle.leaf_hash(os.urandom(8)) for _ in range(number)]
        return len(self.leaves)

    def signed(self, size: int, root: bytes) -> str:
        text = Checkpoint(ORIGIN, size, root).text
        return notes.Note(text, tuple(self.key.sign(ORIGIN, text, self.stage.clock()))).whole

    def proof(self, old: int, size: int) -> list[bytes]:
        def hashed(span: merkle.Range) -> bytes:
            return merkle.fold(
                [merkle.subtree(self.leaves[n.nr << n.height : (n.nr + 1) << n.height]) for n in merkle.whole(span)]
            )

        return [hashed(span) for span in merkle.consistency(old, size)]

    def request(self, old: int, size: int, root: bytes | None = None, proof: list[bytes] | None = None) -> str:
        hashes = self.proof(old, size) if proof is None else proof
        lines = [f"old {old}", *(base64.b64encode(h).decode() for h in hashes)]
        return "\n".join([*lines, "", self.signed(size, self.root(size) if root is None else root)])

    async def brought(self, *request: object, body: str | None = None) -> tuple[int, str]:
        content = self.request(*request) if body is None else body  # type: ignore[arg-type]
        answer = await self.stage.http.post(f"{self.stage.link_url}/witness/add-checkpoint", content=content)
        return answer.status_code, answer.text


@pytest.fixture
async def log(stage: Stage) -> AsyncIterator[Log]:
    """The log of KOR01, which the gateway witnesses from now on."""
    await stage.link("KOR01", "party", "KOR")
    made = Log(stage)
    vkeys = tuple(one.vkey for one in made.key.verifiers(ORIGIN))
    await stage.run(lambda tx: witness.watch(tx, Watched(ORIGIN, "KOR01", vkeys), stage.clock()))
    yield made


async def known(stage: Stage) -> int:
    [(size,)] = await stage.rows("SELECT size FROM witnessed_log")
    return int(size)


async def splits(stage: Stage) -> list[tuple[int, bool | None]]:
    return [tuple(row) for row in await stage.rows("SELECT size, proven FROM split_view ORDER BY at, size")]


async def standing(stage: Stage) -> tuple[str, int]:
    [(state,)] = await stage.rows("SELECT state FROM link WHERE code = 'KOR01'")
    return str(state), await stage.count("alarm WHERE link = 'KOR01'")


async def test_what_goes_on_from_what_was_cosigned_is_cosigned(log: Log) -> None:
    stage, old = log.stage, 0
    own = stage.transparency.own
    for number in (3, 1, 300):
        size = log.grow(number)
        status, line = await log.brought(old, size)
        assert status == 200
        note = notes.Note(Checkpoint(ORIGIN, size, log.root(size)).text, tuple(notes.lines(line)))
        [signed] = note.signed_by([own.key.witness(own.witness)])
        assert signed.at is not None
        old = size
    assert await known(stage) == 304
    assert (await log.brought(304, 304))[0] == 200  # the same again
    digest = merkle.sha256(ORIGIN.encode()).hexdigest()
    shown = await stage.http.get(f"{stage.link_url}/witness/{digest}/checkpoint")
    assert Checkpoint.read(notes.read(shown.text).text) == Checkpoint(ORIGIN, 304, log.root(304))
    assert (await stage.http.get(f"{stage.link_url}/witness/{'0' * 64}/checkpoint")).status_code == 404
    assert (await stage.http.get(f"{stage.link_url}/witness/..%2fkeys/checkpoint")).status_code == 404
    assert (await splits(stage), await standing(stage)) == ([], ("active", 0))


async def test_another_old_size_is_told_which_is_known(log: Log) -> None:
    log.grow(10)
    assert (await log.brought(0, 7))[0] == 200
    assert await log.brought(5, 10) == (409, "7\n")
    assert await log.brought(0, 5) == (409, "7\n")
    assert await known(log.stage) == 7


async def test_two_roots_of_one_size_suspend_the_link_and_are_kept(log: Log) -> None:
    log.grow(10)
    first = log.signed(10, log.root(10))
    assert (await log.brought(0, 10))[0] == 200
    other = os.urandom(32)
    for _ in range(3):  # repeated as often as they like
        assert (await log.brought(10, 10, other))[0] == 422
    assert (await splits(log.stage), await standing(log.stage)) == ([(10, True)], ("suspended", 1))
    [(kept, brought)] = await log.stage.rows("SELECT known, note FROM split_view")
    assert Checkpoint.read(notes.read(kept).text) == Checkpoint.read(notes.read(first).text)
    assert Checkpoint.read(notes.read(brought).text).root == other
    assert await known(log.stage) == 10


async def test_a_second_root_is_kept_whatever_old_size_it_is_brought_with(log: Log) -> None:
    log.grow(10)
    assert (await log.brought(0, 10))[0] == 200
    assert await log.brought(4, 10, os.urandom(32), []) == (409, "10\n")
    assert (await splits(log.stage), await standing(log.stage)) == ([(10, True)], ("suspended", 1))


async def test_a_bad_proof_alone_is_held_against_nobody(log: Log) -> None:
    """Anybody may bring a log's good checkpoint with a bad proof: its link stays open, and it is asked."""
    log.grow(20)
    assert (await log.brought(0, 10))[0] == 200
    for _ in range(2):
        assert (await log.brought(10, 20, None, [os.urandom(32)] * len(log.proof(10, 20))))[0] == 422
    assert (await splits(log.stage), await standing(log.stage)) == ([(20, None)], ("active", 0))
    served = Growth.of(0, {})
    served.add(log.leaves)

    async def tiles(wanted: object) -> dict[tuple[int, int], bytes]:
        return served.tiles

    [split] = await log.stage.run(lambda tx: witness.store.splits(tx, unsettled=True))
    settled = (log.stage.gateway.database, split, tiles, log.stage.clock(), log.stage.transparency.told)
    assert not await witness.settle(*settled)
    assert (await splits(log.stage), await standing(log.stage)) == ([(20, False)], ("active", 0))
    assert (await log.brought(10, 20))[0] == 200


async def test_a_log_that_does_not_answer_is_asked_again_and_nothing_is_settled(log: Log) -> None:
    """KOR01 serves no log at all: what its key has signed is in no tree it can show."""
    log.grow(20)
    assert (await log.brought(0, 10))[0] == 200
    assert (await log.brought(10, 20, os.urandom(32), log.proof(10, 20)))[0] == 422
    await log.stage.registries["KOR01"].stop()
    await log.stage.transparency.settle()
    assert (await splits(log.stage), await standing(log.stage)) == ([(20, None)], ("active", 0))
    await log.stage.restart("KOR01")
    await log.stage.transparency.settle()
    assert (await splits(log.stage), await standing(log.stage)) == ([(20, True)], ("suspended", 1))


async def test_of_two_that_go_on_differently_at_one_instant_one_is_cosigned(log: Log) -> None:
    log.grow(8)
    assert (await log.brought(0, 8))[0] == 200
    other = Log(log.stage)
    other.key, other.leaves = log.key, list(log.leaves)
    log.grow(4), other.grow(4)
    answers = await asyncio.gather(*(one.brought(8, 12) for one in (log, other) * 5))
    assert {status for status, _ in answers} <= {200, 409, 422}
    [(root,)] = await log.stage.rows("SELECT root FROM witnessed_log")
    won = log if bytes(root) == log.root(12) else other
    assert bytes(root) == won.root(12)
    assert {status for status, _ in answers[(won is log) :: 2]} <= {409, 422}
    assert await splits(log.stage) == [(12, True)]


async def test_what_is_no_request_moves_nothing(log: Log) -> None:
    log.grow(10)
    good = log.request(0, 10)
    wrong = {
        "": 400, "old 0\n": 400, "old 00\n\n" + good.partition("\n\n")[2]: 400, good.replace("old 0", "old -1"): 400,
        good.replace("old 0", "new 0"): 400, good.replace("old 0", "old 11"): 400, good[:-30]: 400,
        "old 0\n" + "AAAA\n" * 64 + "\n" + good.partition("\n\n")[2]: 400, "old 0\n" + good.partition("\n\n")[2]: 400,
        good.replace(ORIGIN, "unknown.example/log"): 404, good.replace("\n10\n", "\n9\n"): 403,
        "x" * (witness.MAX_REQUEST + 1): 413,
        good.replace("old 0", "old 0\n" + base64.b64encode(bytes(32)).decode()): 422,
    }  # fmt: skip
    for body, status in wrong.items():
        answered = await log.brought(body=body)
        assert answered[0] == status, (body[:200], answered)
    stranger = LogKey.generate()
    text = Checkpoint(ORIGIN, 10, log.root(10)).text
    foreign = notes.Note(text, tuple(stranger.sign(ORIGIN, text, log.stage.clock()))).whole
    assert (await log.brought(body=f"old 0\n\n{foreign}"))[0] == 403
    assert (await known(log.stage), await splits(log.stage), await standing(log.stage)) == (0, [], ("active", 0))


async def test_logs_and_witnesses_that_cannot_be_are_refused(log: Log) -> None:
    stage, now = log.stage, log.stage.clock()
    vkeys = tuple(one.vkey for one in log.key.verifiers(ORIGIN))
    cosigner = log.key.witness("w.example/witness").vkey
    for watched, kind in (
        (Watched(ORIGIN, "KOR01", vkeys), Kind.CONFLICT),
        (Watched("other.example/log", "KOR01", vkeys), Kind.MALFORMED),
        (Watched("other.example/log", "KOR01", ()), Kind.MALFORMED),
    ):
        with pytest.raises(GatewayError) as refused:
            await stage.run(lambda tx, watched=watched: witness.watch(tx, watched, now))  # type: ignore[misc]
        assert refused.value.kind is kind
    await stage.run(lambda tx: cosigning.add(tx, Witness("w.example/witness", cosigner, "KOR01"), now))
    for added, kind in (
        (Witness("w.example/witness", cosigner, "KOR01"), Kind.CONFLICT),
        (Witness("v.example/witness", cosigner, "KOR01"), Kind.MALFORMED),
        (Witness(ORIGIN, vkeys[0], "KOR01"), Kind.MALFORMED),
    ):
        with pytest.raises(GatewayError) as refused:
            await stage.run(lambda tx, added=added: cosigning.add(tx, added, now))  # type: ignore[misc]
        assert refused.value.kind is kind
    await stage.run(lambda tx: cosigning.remove(tx, "w.example/witness", now))
    with pytest.raises(GatewayError, match="no witness"):
        await stage.run(lambda tx: cosigning.remove(tx, "w.example/witness", now))


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
    await stage.transparency.turn()
    await mechanism.post("follow")
    before = await mechanism.get("promises")
    assert (before["counts"]["broken"], before["counts"]["open"]) == (0, 1)
    await mechanism.post("clock", seconds=61)
    await stage.until(lambda: broken(mechanism))
    [promise] = (await mechanism.get("promises"))["broken"]
    [(leaf,)] = await stage.rows("SELECT leaf_hash FROM log_entry WHERE kind = 'action.notice'")
    assert promise["leaf"] == base64.urlsafe_b64encode(bytes(leaf)).rstrip(b"=").decode()
    assert promise["evidence"]["jws"].count(".") == 2


async def broken(registry: Registry) -> bool:
    await registry.post("follow")
    return bool((await registry.get("promises"))["counts"]["broken"])


async def test_a_witness_that_knows_a_larger_tree_stops_the_publishing(stage: Stage) -> None:
    """As after a restore of an older database: what KOR01 has cosigned is not in it."""
    korea = await stage.link("KOR01", "party", "KOR", follows=True)
    own = stage.transparency.own
    later = Checkpoint(own.origin, 1_000, os.urandom(32)).text
    note = notes.Note(later, tuple(own.key.sign(own.origin, later, stage.clock()))).whole
    brought = await stage.http.post(f"{korea.url}/witness/add-checkpoint", content=f"old 0\n\n{note}")
    assert brought.status_code == 200, brought.text
    await stage.transparency.turn()
    await stage.transparency.cosigning.finish()
    assert stage.transparency.cosigning.behind
    published = await stage.count("log_checkpoint")
    await stage.run(lambda tx: log_entries.append(tx, [log_entries.draft("test", stage.clock(), {})]))
    await stage.transparency.turn()
    assert await stage.count("log_checkpoint") == published
    assert await stage.count("log_cosignature") == 0


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
    await stage.transparency.cosigning.finish()
    assert not stage.transparency.cosigning.behind
    assert await stage.count("log_checkpoint") == 1 and await stage.count("log_cosignature") == 0
    assert (await korea.get("log"))["witnessed"][0]["size"] == 1_000


@pytest.mark.parametrize("lie", ["fork", "rewrite"])
async def test_a_mechanism_registry_with_two_histories_is_suspended(stage: Stage, lie: str) -> None:
    mechanism = await stage.link("MEC01", "mechanism", follows=True)
    await stage.issue(net=100)
    await stage.until(lambda: stage.count("witnessed_log WHERE size > 0"))
    await mechanism.post(f"log/{lie}")
    await stage.until(lambda: stage.count("split_view"))
    await stage.transparency.settle()
    await stage.until(lambda: stage.count("split_view WHERE proven"))
    assert await stage.rows("SELECT state FROM link WHERE code = 'MEC01'") == [("suspended",)]
    [(detail,)] = await stage.rows("SELECT DISTINCT detail FROM alarm WHERE link = 'MEC01' LIMIT 1")
    assert "mec01.sandbox.invalid/log" in detail
