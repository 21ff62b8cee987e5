"""What is kept of history is proven from its texts and signatures alone, while others write; any fault is found.

What each fault of the rows looks like is in ``planted_history``; here are the whole, its parts, revoked keys, and the
log of the source's own. All units are synthetic.
"""

import base64
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from gateway import embedded
from gateway.audit import merkle, witness
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.witness_store import Watched
from gateway.errors import GatewayError
from gateway.history import verify
from gateway.history.verify import Verdict
from gateway.links import commands
from gateway.signing.log_keys import LogKey
from gateway.signing.trust import Revocation
from tests import pulled
from tests import stage as staging
from tests.played import Played, join
from tests.pulled import Chain, chain
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "mec01.example/log"
FEED = [text for first in range(1, 61, 10) for text in chain(first, first + 9)]


@dataclass
class Scene:
    """MEC01 with the key of its log, which is watched."""

    stage: Stage
    mechanism: Played
    log_key: LogKey

    def log(
        self, size: int, leaves: list[int], *, root: bytes = bytes(32), key: LogKey | None = None
    ) -> dict[str, Any]:
        """What a page says of the log: a signed checkpoint, and where its records are."""
        text = Checkpoint(ORIGIN, size, root).text
        lines = (key or self.log_key).sign(ORIGIN, text, self.stage.clock())
        note = text + "\n" + "".join(line.text + "\n" for line in lines)
        salts = base64.urlsafe_b64encode(os.urandom(32 * len(leaves))).rstrip(b"=").decode()
        return {"checkpoint": note, "leaves": leaves, "salts": salts}

    async def proven(self, *named: str) -> Verdict:
        return await verify.verify(self.stage.gateway.database, *named)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("verified")) as stage:
        mechanism = await join(stage, "MEC01", "mechanism")
        for code in ("KOR01", "JPN01", "CHE01"):
            await join(stage, code, "party", code[:3])
        key = LogKey.generate()
        watched = Watched(ORIGIN, "MEC01", tuple(one.vkey for one in key.verifiers(ORIGIN)))
        await stage.run(lambda tx: witness.watch(tx, watched, stage.clock()))
        yield Scene(stage, mechanism, key)


def faults(verdict: Verdict) -> list[str]:
    return [str(fault) for fault in verdict.faults]


async def test_every_feed_is_proven_from_its_first_record_on(scene: Scene) -> None:
    assert {one.records for one in (await scene.proven()).feeds} == {0}
    await pulled.pull(scene.mechanism, "KOR01", "KOR", FEED, at_once=2)  # more pages than are read at once
    await pulled.pull(scene.mechanism, "JPN01", "JPN", FEED[:1])
    told = list[tuple[int, int]]()
    verdict = await verify.verify(scene.stage.gateway.database, tell=lambda done, size: told.append((done, size)))
    assert verdict.valid and verdict.faults == []
    read = [one for one in verdict.feeds if one.records]
    digests = {one.registry: one.digest for one in read}
    assert digests == {
        "JPN01": Chain().beyond(FEED[:1]).written["digest"], "KOR01": Chain().beyond(FEED).written["digest"]
    }  # fmt: skip
    assert [(one.registry, one.records, one.pages, one.faults) for one in read] == [
        ("JPN01", 1, 1, 0), ("KOR01", 12, 6, 0)
    ]  # fmt: skip
    assert told[-1] == (13, 13) and told == sorted(told)


async def test_only_what_is_named_is_proven(scene: Scene) -> None:
    assert [one.registry for one in (await scene.proven("MEC01", "JPN01")).feeds] == ["JPN01"]
    assert [one.registry for one in (await scene.proven("MEC01")).feeds] == ["CHE01", "JPN01", "KOR01"]
    with pytest.raises(GatewayError, match="no such history"):
        await scene.proven("INT01")


async def test_what_is_pulled_meanwhile_does_not_disturb_a_proof(scene: Scene) -> None:
    database = scene.stage.gateway.database
    async with database.reading() as tx:
        [feed] = await verify.verify_store.feeds(tx, "MEC01", "JPN01")
        keys = await verify.link_keys(tx, {"MEC01"})
    await pulled.pull(scene.mechanism, "JPN01", "JPN", FEED[1:5], at_once=1)
    proof = verify.Proof(feed, lambda link, _: keys[link])
    found = list[verify.Fault]()
    while not proof.done:
        async with database.reading() as tx:
            found += await proof.read(tx)
    assert [*found, *proof.ends()] == [] and proof.at.number == 1
    assert (await scene.proven()).valid


async def test_pages_that_name_the_sources_log_are_held_against_its_keys_and_each_other(scene: Scene) -> None:
    root = merkle.leaf_hash(b"any")
    for size, leaves in ((9, [3]), (12, [11]), (12, [10])):
        texts = [FEED[4 + leaves[0] % 7]]
        await pulled.pull(scene.mechanism, "CHE01", "CHE", texts, log=scene.log(size, leaves, root=root))
    [proven] = (await scene.proven("MEC01", "CHE01")).feeds
    assert (proven.logged, proven.faults) == (3, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda scene: scene.log(12, [2], root=bytes(31) + b"x"), "another tree than an earlier page's"),
        (lambda scene: scene.log(20, [20]), "leaves that the tree does not have, or one twice"),
        (lambda scene: scene.log(20, [1, 2]), "does not name a leaf and a salt for each record"),
        (lambda scene: scene.log(20, [1], key=LogKey.generate()), "proves nothing: no known key has signed this note"),
        (lambda scene: {**scene.log(20, [1]), "checkpoint": "x"}, "proves nothing: not a signed note"),
        (lambda scene: {"leaves": [1]}, "proves nothing: log lacks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_a_page_that_misplaces_its_log_is_found(scene: Scene, wrong: Any, said: str) -> None:
    feed = await pulled.pull(scene.mechanism, "CHE01", "CHE", chain(901, 910)[:1], log=wrong(scene))
    verdict = await scene.proven("MEC01", "CHE01")
    await forget_last(scene, feed)
    assert not verdict.valid and len(verdict.faults) == 1
    assert said in faults(verdict)[0]
    assert (await scene.proven("MEC01", "CHE01")).valid


async def forget_last(scene: Scene, feed: int) -> None:
    """Take the last page out again, as only the database's superuser can."""
    with staging.psycopg.connect(scene.stage.server.dsn(scene.stage.database_name), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in (
            f"DELETE FROM history_page WHERE feed_id = {feed} AND last = (SELECT number FROM history_feed f"
            f" WHERE f.id = {feed})",
            f"DELETE FROM history_entry WHERE feed_id = {feed} AND number > 3",
            "UPDATE history_feed SET number = 3, digest = (SELECT digest FROM history_page"
            f" WHERE feed_id = {feed} AND last = 3) WHERE id = {feed}",
        ):
            connection.execute(statement.encode())


async def test_what_a_key_signed_that_counts_no_more_is_not_proven(scene: Scene) -> None:
    stage, now = scene.stage, scene.stage.clock()
    async with stage.gateway.database.reading() as tx:
        [key] = await commands.keys(tx, "MEC01")
    revoked, since = Revocation.COMPROMISED, now - timedelta(days=1)
    await stage.run(lambda tx: commands.revoke_key(tx, "MEC01", key.kid, revoked, now=now, since=since))
    verdict = await scene.proven("MEC01", "KOR01")
    assert {fault.what for fault in verdict.faults} == {"its page proves nothing: the signing key is revoked"}
    assert verdict.found == 6
