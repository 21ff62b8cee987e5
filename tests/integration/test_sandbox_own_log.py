"""The mechanism registry's own log: every line of its journal and every record of its history, once, in a tree that
only grows, and who cosigns it.

Its checkpoints, tiles and proofs are held against code of the tests alone (``tests/playedlog``). The gateway is
played here; its witness answers what a test wants.
"""

import asyncio
import base64
import hashlib
import json
import re
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi import Response

from tests import playedlog
from tests.integration import test_sandbox_log, test_sandbox_play
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_log import Logging, until
from tests.integration.test_sandbox_play import ROOT, Sandbox, registry, stamp, uuid7

server, gateway = test_sandbox_play.server, test_sandbox_log.gateway

ORIGIN = "mec01.sandbox.invalid/log"
LEAF = re.compile(rb'{"at":"[0-9T:.Z-]{24}","digest":"[0-9a-f]{64}","kind":"[a-z_]+"}')
#: What a reconciliation says, it says openly.
PLAIN = re.compile(
    rb'{"at":"[0-9T:.Z-]{24}","cut":"[0-9a-f-]{36}","kind":"reconciliation","roots":{("MEC01":"[A-Za-z0-9_-]{43}")?}}'
)


async def served(mechanism: Sandbox, path: str, status: int = 200) -> Any:
    answer = await mechanism.client.get(f"{mechanism.url}/log/{path}")
    assert answer.status_code == status, path
    return answer


async def key(mechanism: Sandbox) -> str:
    told = (await served(mechanism, "keys")).json()
    assert told["origin"] == ORIGIN
    (one,) = told["keys"]
    return str(one["vkey"])


async def head(mechanism: Sandbox) -> tuple[int, bytes]:
    """The head that is served, proven."""
    return playedlog.read((await served(mechanism, "checkpoint")).text, await key(mechanism))


async def grown(mechanism: Sandbox, size: int) -> str:
    """Wait until a checkpoint of at least this size is served; gives it."""

    async def there() -> str | None:
        note = str((await served(mechanism, "checkpoint")).text)
        return note if int(note.split("\n")[1]) >= size else None

    return str(await until(there))


async def leaves(mechanism: Sandbox) -> list[bytes]:
    """The leaf hashes of the served head: of the tiles, of the entries, and under the root, or the test fails."""
    size, root = await head(mechanism)
    found: list[bytes] = []
    for number in range(-(-size // 256)):
        width = min(size - number * 256, 256)
        path = f"{number:03}" + (f".p/{width}" if width < 256 else "")
        tile = (await served(mechanism, f"tile/0/{path}")).content
        entries = playedlog.entries((await served(mechanism, f"tile/entries/{path}")).content)
        assert all(LEAF.fullmatch(entry) or PLAIN.fullmatch(entry) for entry in entries)
        hashes = [playedlog.leaf(entry) for entry in entries]
        assert (len(hashes), b"".join(hashes)) == (width, tile)
        found += hashes
    assert playedlog.root(found) == root
    return found


async def move(mechanism: Sandbox, times: int) -> None:
    """Cancel units: of each time there is a line of the journal and a record of history."""
    wish = {"party": "MMR", "account": "100-1", "to_account": "300-1", "quantity": 1, "announce": False}
    for _ in range(times):
        await mechanism.admin("POST", "/cancel", wish, 201)


async def begin(mechanism: Sandbox) -> None:
    """Have four entries written: of an issuance without deductions, and of a cancellation."""
    wanted = {"activity": "PoA 10471", "party": "MMR", "gross": 100, "vintage": 2021, "series": "MMR-A64"}
    wanted |= {"omge_percent": 0, "sop_percent": 0, "announce": False}
    await mechanism.admin("POST", "/issue", wanted, 201)
    await move(mechanism, 1)


async def test_every_line_of_the_journal_is_an_entry_that_shows_nothing_but_its_kind(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    database = f"sandbox_{uuid7().replace('-', '')}"
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=database) as mechanism:
        await grown(mechanism, 0)
        assert await head(mechanism) == (0, hashlib.sha256(b"").digest())
        await begin(mechanism)
        await grown(mechanism, 4)
        assert len(await leaves(mechanism)) == 4
        with psycopg.connect(server.dsn(database, database)) as connection:
            written = "FROM log.own_entry e LEFT JOIN history h ON h.id = e.history ORDER BY e.leaf_index"
            every = connection.execute(f"SELECT e.entry, e.record, h.text, e.salt {written}").fetchall()
            journal = connection.execute("SELECT id, entry, quantity FROM journal ORDER BY id").fetchall()
        lines = [(entry, record, salt) for entry, record, text, salt in every if text is None]
        for (entry, record, salt), (number, kind, quantity) in zip(lines, journal, strict=True):
            leaf, told = json.loads(entry), json.loads(record)
            assert leaf["digest"] == hashlib.sha256(salt + record.encode()).hexdigest() and len(salt) == 32
            assert (leaf["kind"], told["id"], told["entry"], told["quantity"]) == (kind, number, kind, quantity)
        told = [(json.loads(entry), text, salt) for entry, _, text, salt in every if text is not None]
        assert [json.loads(text)["type"] for _, text, _ in told] == ["issuance", "cancellation"]
        for leaf, text, salt in told:
            digest = hashlib.sha256(salt + text.encode()).hexdigest()
            assert leaf == {"at": json.loads(text)["at"], "digest": digest, "kind": "history"} and len(salt) == 32
        assert len({salt for *_, salt in every}) == 4


async def test_a_result_of_a_reconciliation_is_an_entry_with_this_registrys_roots(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await begin(mechanism)
        asked = {"of": "MEC01", "cut": uuid7(), "at": stamp(datetime.now(UTC))}
        taken = (await mechanism.send("cut.query", body=asked)).payload["body"]
        told = {"of": "MEC01", "cut": asked["cut"], "status": 5, "findings": 0, "books": [], "evidence": []}
        sent_at = stamp(datetime.now(UTC))
        for body in (told, {**told, "cut": uuid7(), "status": 7}):
            await mechanism.send("reconciliation.result", body=body, sent_at=sent_at)
        await grown(mechanism, 6)
        roots = {"MEC01": taken["books"][0]["root"]}
        entry = {"at": sent_at, "cut": asked["cut"], "kind": "reconciliation", "roots": roots}
        expected = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        found = await leaves(mechanism)
        assert hashlib.sha256(b"\0" + expected.encode()).digest() == found[4]


async def test_a_result_that_comes_after_the_next_cut_has_the_roots_this_registry_signed(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    database = f"sandbox_{uuid7().replace('-', '')}"
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database=database) as mechanism:
        await begin(mechanism)
        asked, other = [{"of": "MEC01", "cut": uuid7(), "at": stamp(datetime.now(UTC))} for _ in range(2)]
        answer = await mechanism.send("cut.query", body=asked)
        await mechanism.admin("POST", "/issue", issuance(series="MMR-1", net=1000), 201)
        later = await mechanism.send("cut.query", body=other)
        told = {"of": "MEC01", "status": 5, "findings": 0, "books": []}
        forged = answer.jws[:-8] + "AAAAAAAA"
        carried = [(asked, [answer.jws]), (asked, [later.jws]), (asked, [forged]), (other, [forged]), (other, [])]
        for of, evidence in carried:
            body = {**told, "cut": of["cut"], "evidence": evidence}
            assert (await mechanism.send("reconciliation.result", body=body)).type == "receipt"
        kept = (await mechanism.admin("GET", "/reconciliations"))["reconciliations"]
        assert len(kept) == len(carried)
        roots = [one.payload["body"]["books"][0]["root"] for one in (answer, later)]
        with psycopg.connect(server.dsn(database, database)) as connection:
            entries = [
                json.loads(text) for (text,) in connection.execute("SELECT entry FROM reconciliation ORDER BY id")
            ]
        expected = [{"MEC01": roots[0]}, {}, {}, {"MEC01": roots[1]}, {"MEC01": roots[1]}]
        assert (roots[0] != roots[1], [entry["roots"] for entry in entries]) == (True, expected)


async def test_tiles_are_served_as_the_specification_says_and_nothing_beside(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        wanted = {
            "activity": "PoA 1",
            "party": "MMR",
            "net": 1,
            "vintage": 2021,
            "series": "MMR-A64",
            "announce": False,
        }
        await mechanism.admin("POST", "/issuances", {"issuances": [wanted] * 60}, 201)
        await grown(mechanism, 257)
        found = await leaves(mechanism)
        size = len(found)
        assert 257 <= size < 512
        over = (await served(mechanism, "tile/1/000.p/1")).content
        assert over == playedlog.root(found[:256])
        narrow = await served(mechanism, "tile/0/001.p/1")
        assert narrow.content == found[256]
        assert narrow.headers["content-type"] == "application/octet-stream"
        assert "immutable" in narrow.headers["cache-control"]
        for path in ("0/001", f"0/001.p/{size - 255}", "0/002.p/1", "1/000", "1/000.p/2", "2/000.p/1", "entries/001"):
            await served(mechanism, f"tile/{path}", 404)
        for path in ("0/0", "0/x000/000", "00/000", "64/000", "0/..%2f000", "%2e%2e/keys", "0/000.p/256", "x", "0/-01"):
            await served(mechanism, f"tile/{path}", 404)


async def test_only_the_mechanism_registry_keeps_a_log(server: Any, gateway: Logging, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "party", "KOR01") as korea:
        for path in ("checkpoint", "keys", "tile/0/000"):
            await served(korea, path, 404)
        await korea.admin("POST", "/log/fork", status=409)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "connectors.sandbox", "party", "--code", "KOR01", "--party", "KOR", "--witness"),
        *("--database", "unused", "--key", "unused", "--gateway-url", "http://127.0.0.1:9", "--gateway-keys", "unused"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2 and b"--witness" in said


@pytest.mark.parametrize("name", ["log.entries", "log.checkpoint"])
async def test_a_death_while_the_log_grows_leaves_no_gap_and_no_fork(
    name: str, server: Any, gateway: Logging, tmp_path: Path
) -> None:
    members: dict[str, Any] = {"database": f"sandbox_{uuid7().replace('-', '')}"}
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", **members) as mechanism:
        await begin(mechanism)
        await grown(mechanism, 4)
        before, known = await leaves(mechanism), await key(mechanism)
    for moment in ("before", "after"):
        async with registry(server, gateway, tmp_path, "mechanism", "MEC01", **members) as mechanism:
            await move(mechanism, 1)
            await mechanism.admin("POST", "/crash", {"point": f"{name}.{moment}-commit"}, 201)
            assert await mechanism.process.wait() == -9
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", **members) as mechanism:
        await grown(mechanism, 8)
        after = await leaves(mechanism)
        assert (len(after), after[:4], await key(mechanism)) == (8, before, known)


async def test_a_restore_of_the_books_does_not_rewrite_the_log(server: Any, gateway: Logging, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await begin(mechanism)
        await mechanism.admin("POST", "/backup")
        await move(mechanism, 3)
        await grown(mechanism, 10)
        before = await leaves(mechanism)
        await mechanism.admin("POST", "/restore", {"known": False})
        assert (await mechanism.books())["cancelled"] == 1
        await move(mechanism, 2)
        await grown(mechanism, 14)
        after = await leaves(mechanism)
        assert (len(after), after[:10]) == (14, before)


class Witness:
    """What the gateway's witness does: cosigns what leads on from what it knows, by proofs it computes itself."""

    def __init__(self) -> None:
        self.size = 0
        self.seen: list[tuple[int, int, list[bytes], str]] = []

    def __call__(self, body: bytes) -> Response:
        asked, _, note = body.decode().partition("\n\n")
        first, *proof = asked.split("\n")
        old, size = int(first.removeprefix("old ")), int(note.split("\n")[1])
        self.seen.append((old, size, [base64.b64decode(line) for line in proof], note))
        if old != self.size:
            return Response(f"{self.size}\n", 409, {"content-type": "text/x.tlog.size"})
        self.size = size
        return Response(f"— witness.invalid/w {playedlog.b64(b'cosigned' * 9)}\n")


async def own(mechanism: Sandbox) -> dict[str, Any]:
    return dict((await mechanism.admin("GET", "/log"))["own"])


async def cosigned(mechanism: Sandbox, size: int) -> dict[str, Any]:
    async def there() -> dict[str, Any] | None:
        shown = await own(mechanism)
        return shown if shown["cosigned"] == size else None

    return dict(await until(there))


async def test_each_checkpoint_is_cosigned_with_a_proof_from_the_last_one(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    gateway.witness = witness = Witness()
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=("--witness",)) as mechanism:
        await begin(mechanism)
        await cosigned(mechanism, 4)
        for size in (6, 14):
            await move(mechanism, (size - witness.size) // 2)
            shown = await cosigned(mechanism, size)
        assert shown["cosignature"].startswith("— witness.invalid/w ") and shown["refused"] == ""
        all_leaves, vkey = await leaves(mechanism), await key(mechanism)
        for old, size, proof, note in witness.seen:
            assert playedlog.read(note, vkey) == (size, playedlog.root(all_leaves[:size]))
            assert proof == (playedlog.proof(all_leaves[:size], old) if old else [])
        sizes = [(old, size) for old, size, _, _ in witness.seen]
        assert sizes[0][0] == 0 and all(b[0] == a[1] for a, b in pairwise(sizes))


async def test_who_is_told_another_size_proves_from_that_one(server: Any, gateway: Logging, tmp_path: Path) -> None:
    gateway.witness = lambda body: Response(status_code=503)
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=("--witness",)) as mechanism:
        await begin(mechanism)
        await grown(mechanism, 4)
        gateway.witness = witness = Witness()
        witness.size = 1  # as if it had cosigned that, and the answer was lost
        await cosigned(mechanism, 4)
        (first, *_), (told, size, proof, _) = witness.seen
        assert (first, told, size) == (0, 1, 4)
        assert proof == playedlog.proof(await leaves(mechanism), 1)
        # A witness that knows a larger tree than there is: nothing is sent, and it is shown.
        witness.size = 90
        await move(mechanism, 1)
        await until(lambda: _says(mechanism, "409 for 6 leaves from 4: 90"))
        assert (await own(mechanism))["cosigned"] == 4


async def _says(mechanism: Sandbox, what: str) -> bool:
    return what in (await own(mechanism))["refused"]


async def test_a_witness_that_answers_nonsense_is_asked_again(server: Any, gateway: Logging, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=("--witness",)) as mechanism:
        await begin(mechanism)
        for answer, shown in (
            (Response("no signature\n"), "200 for 4 leaves from 0: no signature"),
            (Response(b"\xff\x00", 200), "200 for 4 leaves from 0: "),
            (Response("many", 409), "409 for 4 leaves from 0: many"),
            (Response("not now", 500), "500 for 4 leaves from 0: not now"),
        ):
            gateway.witness = lambda body, answer=answer: answer  # type: ignore[misc]
            await until(lambda shown=shown: _says(mechanism, shown))  # type: ignore[misc]
            assert (await mechanism.send("time.query")).type == "time.answer"
        assert (await own(mechanism))["cosigned"] == 0
        gateway.witness = Witness()
        await cosigned(mechanism, 4)


async def test_a_fork_and_a_rewrite_can_be_fed_and_their_refusal_is_shown(
    server: Any, gateway: Logging, tmp_path: Path
) -> None:
    gateway.witness = witness = Witness()
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", more=("--witness",)) as mechanism:
        await mechanism.admin("POST", "/log/fork", status=409)
        await mechanism.admin("POST", "/log/elsewhere", status=404)
        await begin(mechanism)
        await cosigned(mechanism, 4)
        true, vkey = await leaves(mechanism), await key(mechanism)
        gateway.witness = lambda body: (witness(body), Response("no\n", 422))[1]
        for mode, size in (("fork", 4), ("rewrite", 5)):
            witness.size = 4
            await mechanism.admin("POST", f"/log/{mode}")
            await until(lambda size=size: _says(mechanism, f"422 for {size} leaves from 4: no"))  # type: ignore[misc]
            old, told, proof, note = witness.seen[-1]
            assert (old, told, len(proof)) == (4, size, len(playedlog.proof([b""] * size, 4)))
            lied = playedlog.read(note, vkey)
            assert lied[0] == size and lied[1] != playedlog.root(true[:size])
            assert (await own(mechanism))["mode"] == mode
        # It serves what is true all the time, and is honest again when told to.
        assert await leaves(mechanism) == true
        await mechanism.admin("POST", "/log/honest")
        gateway.witness, witness.size = witness, 4
        await move(mechanism, 1)
        await cosigned(mechanism, 6)
