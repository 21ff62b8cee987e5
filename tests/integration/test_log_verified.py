"""The log that a gateway keeps in its database: verified whole where it is kept, served and exported, and spoiled.

Spoiling is done as only the superuser can, whom no trigger stops.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI

from gateway import db, embedded
from gateway.audit import exporting, log, own_keys, reading, store, walking
from gateway.audit.folder import Folder
from gateway.audit.own_keys import Identity
from gateway.audit.sequencing import Sequencer
from gateway.audit.stored import Stored
from gateway.audit.verdict import Verdict
from gateway.cli import log_source
from gateway.signing.log_keys import LogKey
from gateway.signing.notes import Verifier
from gateway.web import log as served_log
from gateway.web import problems
from gateway.web import server as web_server
from tests.e2e import programs
from tests.foreign import program
from tests.played import Course, block
from tests.stage import PATIENCE_SECONDS, Stage, fresh_database

SIZES = [1, 255, 256, 257, 65_536, 70_000]
#: Entries of one transaction.
PART = 5_000


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Kept:
    """A gateway's log and nothing else of it: its database, its leader, and where it is served."""

    database: db.Database
    sequencer: Sequencer
    keys: Sequence[Verifier]
    url: str
    dsn: str

    async def grow(self, size: int) -> None:
        """Let it publish a checkpoint of this size."""
        async with self.database.reading() as tx:
            left = size - (await store.head(tx)).size
        if left == size:
            left -= 1  # the first keys that start are an entry
        for first in range(0, left, PART):
            drafts = [log.draft("test", now(), {"nr": nr}) for nr in range(min(PART, left - first))]
            await self.database.run(lambda tx, drafts=drafts: log.append(tx, drafts), "request")  # type: ignore[misc]
        while await self.sequencer.turn():
            pass

    async def verified(self) -> Verdict:
        """As it is served."""
        async with log_source.on_server(self.url) as source:
            return await walking.verify(source, self.keys)

    def spoil(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as superuser:
            superuser.execute("SET session_replication_role = replica")
            assert superuser.execute(statement).rowcount == 1  # type: ignore[call-overload]


@asynccontextmanager
async def keeping(postgres: embedded.Server) -> AsyncIterator[Kept]:
    name = fresh_database(postgres)
    database = db.Database(postgres.dsn(name, "gateway_app"))
    origin = own_keys.origin_of("GWY01")
    own = Identity(origin, own_keys.witness_of(origin), LogKey.generate())
    await database.run(lambda tx: own_keys.start(tx, own, now()), "log-keys")
    app, socket, stop = FastAPI(), web_server.listen("127.0.0.1:0"), asyncio.Event()
    problems.install(app)
    app.include_router(served_log.published(database, own))
    serving = asyncio.create_task(web_server.run([(app, socket)], stop))
    try:
        url = f"{web_server.url(socket)}/log"
        sequencer = Sequencer(database, origin, own.key, now)
        yield Kept(database, sequencer, own.key.verifiers(origin), url, postgres.dsn(name))
    finally:
        stop.set()
        await serving
        await database.close()


@pytest.fixture
async def kept(postgres: embedded.Server) -> AsyncIterator[Kept]:
    async with keeping(postgres) as log:
        yield log


async def served(url: str, size: int) -> None:
    """Return when the checkpoint of this size is served: it may be half a second late."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    async with log_source.on_server(url) as source:
        while f"\n{size}\n".encode() not in (await source.checkpoint() or b""):
            assert asyncio.get_running_loop().time() < deadline, "waited in vain"
            await asyncio.sleep(0.05)


async def of_folder(folder: Path, keys: Sequence[Verifier]) -> Verdict:
    at = Folder(folder)
    return await walking.verify(reading.Files(at.read, widths=at.widths), keys)


@pytest.mark.foreign
@pytest.mark.skipif(bool(program.lacking()), reason=program.lacking())
async def test_programs_of_others_accept_it_at_each_boundary_over_http_and_exported(kept: Kept, tmp_path: Path) -> None:
    """Go's sumdb/note and sumdb/tlog, at sizes on both sides of the boundaries of tiles, as the log grows."""
    verifier, folder, every = program.built(tmp_path), tmp_path / "log", tmp_path / "every"
    for nr, size in enumerate(SIZES, start=1):
        await kept.grow(size)
        done = await exporting.export(Stored(kept.database), folder)
        assert done.size == size
        every.write_bytes(b"".join(path.read_bytes() for path in sorted((folder / "checkpoints").iterdir())))
        await served(kept.url, size)
        for where in (folder, kept.url):
            found = await asyncio.to_thread(program.verified, verifier, where, kept.keys[0].vkey, every)
            assert found["size"] == size and nr <= found["consistent"] == len(every.read_bytes().splitlines())
    for verdict in (await kept.verified(), await walking.verify(Stored(kept.database), kept.keys)):
        assert verdict.valid and verdict.entries == SIZES[-1] and verdict.tiles == 274 + 2 + 1, verdict.faults
    assert (await of_folder(folder, kept.keys)).valid


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE log_entry SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'test', 'text'), 'UTF8') "
         "WHERE id = (SELECT entry_id FROM log_leaf WHERE leaf_index = 300)", "tile/entries/001: entry 300 "),
        ("UPDATE log_tile SET hashes = set_byte(hashes, 32 * 7, get_byte(hashes, 32 * 7) # 1) "
         "WHERE (level, nr) = (0, 1)", "tile/0/001: hash 7 "),
        ("UPDATE log_tile SET hashes = set_byte(hashes, 33, get_byte(hashes, 33) # 1) WHERE level = 1",
         "tile/1/000.p/2: hash 1 "),
        ("UPDATE log_checkpoint SET note = replace(note, E'\\n600\\n', E'\\n601\\n') WHERE size = 600",
         "checkpoint: the signature of gwy01"),
        ("UPDATE log_checkpoint SET note = replace(note, E'\\n520\\n', E'\\n521\\n') WHERE size = 520",
         "checkpoint of size 520: the signature of gwy01"),
        ("DELETE FROM log_leaf WHERE leaf_index = 599", "tile/entries/002.p/88: "),
        ("DELETE FROM log_tile WHERE (level, nr) = (0, 0)", "tile/0/000: is not there"),
    ],
)  # fmt: skip
async def test_what_a_superuser_changes_is_named_where_it_is_kept_and_where_it_is_served(
    kept: Kept, statement: str, place: str
) -> None:
    await kept.grow(520)
    await kept.grow(600)
    kept.spoil(statement)
    await served(kept.url, 601 if "601" in statement else 600)
    for verdict in (await walking.verify(Stored(kept.database), kept.keys), await kept.verified()):
        assert str(verdict.faults[0]).startswith(place), verdict.faults
        assert not verdict.valid


async def test_a_spoiled_log_is_not_exported(kept: Kept, tmp_path: Path) -> None:
    await kept.grow(300)
    await exporting.export(Stored(kept.database), tmp_path)
    await kept.grow(600)
    kept.spoil("UPDATE log_entry SET leaf = leaf || '\\x20' WHERE id = "
               "(SELECT entry_id FROM log_leaf WHERE leaf_index = 400)")  # fmt: skip
    with pytest.raises(Exception, match="do not have the root"):
        await exporting.export(Stored(kept.database), tmp_path)
    assert (await of_folder(tmp_path, kept.keys)).entries == 300


async def test_a_past_that_earlier_keys_signed_is_verified_under_all_keys_and_not_under_the_last_alone(
    kept: Kept,
) -> None:
    origin, last = kept.keys[0].name, LogKey.generate()
    own = Identity(origin, own_keys.witness_of(origin), last)
    await kept.grow(300)
    await kept.database.run(lambda tx: own_keys.add(tx, own, now()), "log-keys")
    async with kept.database.reading() as tx:
        [first, _] = await store.keys(tx)
    await kept.database.run(lambda tx: own_keys.retire(tx, first.id, now()), "log-keys")
    kept.sequencer = Sequencer(kept.database, origin, last, now)
    await kept.grow(600)
    stored = Stored(kept.database)
    every = reading.keys(await stored.keys())
    assert len(every) == 4 and (await walking.verify(stored, every)).valid
    verdict = await walking.verify(stored, last.verifiers(origin))
    assert [str(fault) for fault in verdict.faults] == ["checkpoint of size 300: no known key has signed this note"]
    verdict = await walking.verify(stored, kept.keys)
    assert [str(fault) for fault in verdict.faults] == ["checkpoint: no known key has signed this note"]


async def command(stage: Stage, *words: str | Path) -> tuple[int, Any]:
    """What a command says that works on the stage's database."""
    where = {"GATEWAY_DATABASE_URL": stage.server.dsn(stage.database_name, "gateway_app")}
    done = await asyncio.to_thread(programs.run, "log", *words, **where)
    return done.returncode, done.stdout or done.stderr


async def test_the_log_of_real_transfers_is_verified_exported_and_its_keys_are_told_by_commands(
    stage: Stage, tmp_path: Path
) -> None:
    """Relay transfers, publish, and let an auditor do all that with the commands, incrementally."""
    course, folder = await Course.begun(stage), tmp_path / "log"
    code, said = await command(stage, "export", folder)
    assert code == 2 and "nothing is published yet" in said
    await course.issue(block(1, 100))
    for first in (1, 11):
        await course.complete(course.proposal(block(first, first + 9)))
        await stage.transparency.turn()
        code, said = await command(stage, "export", folder)
        size = await stage.count("log_leaf")
        assert code == 0 and json.loads(said)["size"] == size == await stage.count("log_entry")
    _, keys = await command(stage, "key")
    assert keys == (stage.folder / "GWY01.vkeys").read_text() + "\n" == (await command(stage, "key", "--all"))[1]
    (tmp_path / "keys").write_text(keys)
    await served(f"{stage.link_url}/log", size)
    for where in ([], [folder], [f"{stage.link_url}/log"]):
        code, said = await command(stage, "verify", *where, "--json", "--key", tmp_path / "keys")
        verdict = json.loads(said)
        assert (code, verdict["valid"], verdict["entries"], verdict["checkpoints"]) == (0, True, size, 2)
        assert [one["kind"] for one in verdict["signatures"]] == ["Ed25519", "ML-DSA-44"]
        code, said = await command(stage, "verify", *where)
        assert code == 0 and "the keys are the log's own word" in said
    shown = json.loads((await command(stage, "key", "--json"))[1])
    listed = json.loads((folder / "keys").read_bytes())
    over_http = (await stage.http.get(f"{stage.link_url}/log/keys")).json()
    assert shown == listed
    assert [row["vkey"] for row in shown["keys"]] == [row["vkey"] for row in over_http["keys"]]
    assert shown["origin"] == over_http["origin"]
