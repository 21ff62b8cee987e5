"""Registries and the gateway witness each other's logs: what fits is cosigned, what does not is kept and acted on."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.audit import cosigning, merkle, witness
from gateway.audit import log as log_entries
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.merkle import Growth
from gateway.audit.witness_store import Watched, Witness
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.log_keys import LogKey
from tests.integration.test_sandbox_play import uuid7
from tests.serving import served
from tests.stage import Stage

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

    def signed_as_kept(self, note: str) -> str:
        """The note with the lines of this log's keys alone."""
        read = notes.read(note)
        lines = {one.by: one.line for one in read.signed_by(self.key.verifiers(ORIGIN))}
        return notes.Note(read.text, tuple(lines.values())).whole

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


async def test_what_a_log_does_not_show_is_in_doubt_until_it_shows_something_else(
    log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """KOR01 is silent, then serves no such tree, then one with another root: only that is held against it."""
    stage, transparency = log.stage, log.stage.transparency
    monkeypatch.setattr("gateway.audit.transparency.REST_SECONDS", 0.0)
    log.grow(20)
    assert (await log.brought(0, 10))[0] == 200
    assert (await log.brought(10, 20, os.urandom(32), log.proof(10, 20)))[0] == 422
    await stage.registries["KOR01"].stop()
    await transparency.settle()
    assert (await splits(stage), await standing(stage)) == ([(20, None)], ("active", 0))
    tile = tmp_path / "log" / "tile" / "0" / "000.p" / "20"
    tile.parent.mkdir(parents=True)
    tile.write_bytes(b"".join(log.leaves))
    with served(tmp_path) as url:
        await stage.rows(f"UPDATE link SET url = '{url}' WHERE code = 'KOR01'")
        await transparency.settle()
    assert (await splits(stage), await standing(stage)) == ([(20, True)], ("suspended", 1))


async def test_the_settling_of_doubts_holds_up_no_turn(log: Log) -> None:
    """KOR01 is stopped, not ended: whoever asks it waits; the log goes on."""
    stage, process = log.stage, log.stage.registries["KOR01"].process
    log.grow(20)
    assert (await log.brought(0, 10))[0] == 200
    assert (await log.brought(10, 20, None, [os.urandom(32)] * len(log.proof(10, 20))))[0] == 422
    process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            await stage.run(lambda tx: log_entries.append(tx, [log_entries.draft("test", stage.clock(), {})]))
            await stage.transparency.turn()
            [(published, entries)] = await stage.rows(
                "SELECT (SELECT max(size) FROM log_checkpoint), (SELECT count(*) FROM log_entry)"
            )
            assert published == entries
            assert stage.transparency._settling is not None and not stage.transparency._settling.done()
    finally:
        process.send_signal(signal.SIGCONT)
    await stage.transparency.finish()


async def test_lines_that_are_not_the_logs_are_not_kept(log: Log) -> None:
    log.grow(10)
    strange = notes.line(notes.Verifier("x.example", notes.ED25519, bytes(32)), bytes(3_000)).text
    assert (await log.brought(body=log.request(0, 10) + f"{strange}\n" * 40))[0] == 200
    [(note,)] = await log.stage.rows("SELECT note FROM witnessed_log")
    assert note == log.signed_as_kept(note) and "x.example" not in note


async def test_a_log_may_be_witnessed_under_other_keys(log: Log) -> None:
    log.grow(10)
    assert (await log.brought(0, 7))[0] == 200
    log.key = LogKey.generate()
    assert (await log.brought(7, 10))[0] == 403
    vkeys = tuple(one.vkey for one in log.key.verifiers(ORIGIN))
    await log.stage.run(lambda tx: witness.watch(tx, Watched(ORIGIN, "KOR01", vkeys), log.stage.clock()))
    assert (await log.brought(7, 10))[0] == 200


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


@pytest.mark.parametrize("lie", ["fork", "rewrite"])
async def test_a_mechanism_registry_with_two_histories_is_suspended(stage: Stage, lie: str) -> None:
    mechanism = await stage.link("MEC01", "mechanism", follows=True)
    await stage.issue(net=100)

    async def cosigned() -> int:  # by what the registry itself has kept of it: only that can a lie contradict
        return int((await mechanism.get("log"))["own"]["cosigned"])

    await stage.until(cosigned)
    await mechanism.post(f"log/{lie}")

    async def proven() -> int:
        await stage.issue(net=1, series=f"MMR-{uuid7()[:13]}", announce=False)  # its honest log grows beyond the lie
        await stage.transparency.settle()
        return await stage.count("split_view WHERE proven")

    await stage.until(proven)
    assert await stage.rows("SELECT state FROM link WHERE code = 'MEC01'") == [("suspended",)]
    [(detail,)] = await stage.rows("SELECT DISTINCT detail FROM alarm WHERE link = 'MEC01' LIMIT 1")
    assert "mec01.sandbox.invalid/log" in detail
