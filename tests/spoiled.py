"""A gateway's database with a transfer in every state, and copies of it in which something is made wrong.

The registries are played, so nobody answers what the gateway sends: everything that can wait does. A test spoils
a copy of the database as only the superuser can: triggers and foreign keys do not hold for a replica's writes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from gateway import db, embedded
from gateway.doctor.examination import examine
from gateway.doctor.report import Report
from gateway.doctor.scene import Own
from gateway.links import commands
from gateway.links.store import Link
from gateway.messages import store as messages
from gateway.reconciliation.findings import Found
from gateway.signing.keys import SoftwareKey
from tests import differing, pulled
from tests import stage as staging
from tests.authorised import issued, terms, told, under
from tests.deciding import decided
from tests.integration.test_sandbox_play import sha, text
from tests.played import NOWHERE, Course, Played, block
from tests.recorded import International
from tests.stage import Stage

#: The serials of a transfer are ten from ten times its place here on.
STANDING = (
    "told", "completed", "cancelled", "rejected", "twice", "unheld", "attention", "released", "committing", "checked",
    "accepted", "proposed", "resumed",
)  # fmt: skip


def units(name: str) -> tuple[int, int]:
    """The serials of the transfer of this name; of *twice*, those of *checked* as well."""
    first = STANDING.index("checked" if name == "twice" else name) * 10 + 1
    return (first + 1_000 if name == "unheld" else first), (first + 1_009 if name == "unheld" else first + 9)


@dataclass
class Original:
    """The database, who its gateway is, and the ids of its transfers by name."""

    server: embedded.Server
    database: str
    own: Own
    transfers: dict[str, str]

    @asynccontextmanager
    async def copied(self) -> AsyncIterator["Copy"]:
        """A copy to be spoiled; dropped afterwards."""
        name = staging.fresh_database(self.server, self.database)
        database = db.Database(self.server.dsn(name, "gateway_app"))
        try:
            yield Copy(self, name, database)
        finally:
            await database.close()
            with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass
class Copy:
    """A copy of the database."""

    original: Original
    name: str
    database: db.Database

    def spoil(self, *statements: str) -> None:
        """Run statements that no rule of the schema stops; ``{name}`` is the id of a transfer, quoted."""
        ids = {name: f"'{transfer}'" for name, transfer in self.original.transfers.items()}
        with psycopg.connect(self.original.server.dsn(self.name), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                done = connection.execute(statement.format(**ids).encode())
                assert done.rowcount != 0, f"nothing was spoiled by {statement}"

    async def examined(self, own: Own | None = None) -> Report:
        return await examine(self.database, own or self.original.own)


async def made(server: embedded.Server, folder: Path) -> Original:
    """Play transfers to every state, with a request, a link that is not active and one that is suspended."""
    async with staging.opened(server, folder) as stage:
        course = await Course.begun(stage)
        international = await International.joined(stage)
        await _authorised(course)
        transfers = await _played(course)
        await _recorded(course, international)
        texts = [text for first in (1, 11, 21) for text in pulled.chain(first, first + 9)]
        await pulled.pull(course.source, "KOR01", "KOR", texts, at_once=2)
        await _cased(stage)
        await _surroundings(stage)
        await stage.transparency.turn()
        own = Own.of(stage.gateway.node)
    return Original(server, stage.database_name, own, transfers)


async def _played(course: Course) -> dict[str, str]:
    await issued(course, *(block(*units(name)) for name in STANDING if name not in ("twice", "unheld")))
    await issued(course, block(501, 550))
    await course.use(block(511, 520))
    items = {name: course.proposal(block(*units(name))) for name in STANDING}
    ids = {name: str(item["transfer"]) for name, item in items.items()}
    await course.complete(items["told"], items["completed"])
    for side, column in ((course.source, "closed_source_id"), (course.acquirer, "closed_acquirer_id")):
        await receipted(course.stage, side, ids["told"], column, "done")
    early = [name for name in STANDING[2:] if name not in ("accepted", "proposed")]
    await course.propose(*(items[name] for name in early if name != "twice"))
    await course.propose(items["twice"])
    await course.turn()
    await _rejected(course, ids["rejected"])
    await course.accept([ids[name] for name in ("attention", "released", "committing", "resumed")])
    await course.turn()
    await course.void([ids[name] for name in ("cancelled", "rejected", "twice")])
    await course.release([ids["released"]])
    for name in ("attention", "resumed"):
        await receipted(course.stage, course.source, ids[name], "commit_id", "unknown-here")
    await _resumed(course.stage, ids["resumed"])
    await course.propose(items["accepted"])
    await course.turn()
    await course.accept([ids["accepted"]])
    await course.propose(items["proposed"])
    return ids


async def _rejected(course: Course, transfer: str) -> None:
    offers = await course.said([transfer], "offer")
    said = {"kind": "answer", "transfer": transfer, "offer": sha(offers[transfer]), "answer": "rejected"}
    await course.acquirer.say("transfer.answer", [{**said, "findings": [{"code": 5904}]}])


async def _resumed(stage: Stage, transfer: str) -> None:
    await decided(stage, f"transfers/{transfer}/resume")


async def receipted(stage: Stage, side: Played, transfer: str, column: str, state: str) -> None:
    """Let a registry answer, in its HTTP response, what the row names in ``column``."""
    [(message_id,)] = await stage.rows(f"SELECT {column}::text FROM transfer WHERE id = '{transfer}'")
    async with stage.gateway.database.reading() as tx:
        [sent] = await messages.outgoing(tx, [message_id])
    item = {"kind": "receipt", "item": sha("-"), "transfer": transfer, "state": state, "findings": []}
    named = {"id": sent.message_id, "sha256": sha(sent.body)}
    _, answer = side.compose("receipt", [text(item)], in_reply_to=named)
    await stage.gateway.inbox.absorb(answer, sent)


async def _authorised(course: Course) -> None:
    """What draws on an authorisation outside a relay, and what marks units where they are.

    Units are used for another purpose under *DRAWN*, of two versions, get *GRANTED* after their issuance in a message
    that goes on to use some, and are first transferred under *MARKED*. Operators tell *OPERATED*, and revoke it.
    """
    await told(course.source, *(terms(id="DRAWN", version=n, quantity=100 // n, purposes="OIMP") for n in (1, 2)))
    await told(course.source, terms(id="MARKED", first_transfer_definition="Authorisation"))
    drawn, marked = (under(block(3001, 3020, name), {"id": name, "version": 1}) for name in ("DRAWN", "MARKED"))
    plain, taken = (under(block(*serials, "GRANTED"), None) for serials in ((3001, 3019), (3020, 3020)))
    await issued(course, drawn, marked)
    places = [("100-1", plain), ("320-1", taken)]
    positions = [{"party": "MMR", "account": account, "block": units} for account, units in places]
    given = [{name: units[name] for name in ("origin", "first", "last")} for units in (plain, taken)]
    place = {"party": "MMR", "account": "100-1"}
    used = under(block(3001, 3002, "GRANTED"), {"id": "GRANTED", "version": 1})
    for items in (
        [course.action("issuance", positions=positions, synthetic=True)],
        [course.action("use", **place, to_account="210-1", blocks=[{**drawn, "last": 3008}])],
        [course.action("authorisation", authorisation=terms(id="GRANTED"), units=given),
         course.action("use", **place, to_account="200-1", blocks=[used])],
        [course.action("first_transfer", party="MMR", subtype="Authorization", blocks=[{**marked, "first": 3011}])],
    ):  # fmt: skip
        heard = await course.source.say("action.notice", items)
        assert {item["state"] for item in heard.items} == {"recorded"}, heard.items
    await decided(course.stage, "authorisations", terms=terms(id="OPERATED"))
    await decided(course.stage, "authorisations/MMR/OPERATED/revoke", version=1, reason="synthetic")


async def _recorded(course: Course, international: International) -> None:
    """A record in every state: three of the last message are still unanswered, and one waits to be said.

    Myanmar has been told that Korea cancelled two of its units, and has not answered.
    """
    [first, *_] = await international.told()
    await international.receipt(first, "recorded")
    gone = {"party": "KOR", "account": "100-1", "to_account": "300-1", "blocks": [block(1, 2)]}
    cancelled = course.action("cancellation", **gone) | {"registry": "KOR01"}
    heard = await course.acquirer.say("action.notice", [cancelled])
    assert [item["state"] for item in heard.items] == ["recorded"]

    async def said() -> bool:
        await course.stage.gateway.relay.decisions.record()
        return await course.stage.count("action_record WHERE state = 'waiting'") == 0

    await course.stage.until(said)  # what is due waits for company, the longer the more is owed
    await international.receipt((await international.told())[-1], "refused", "recorded", "later", code=4010)
    own = {**block(1, 10, "KOR-OWN"), "origin": {"registry": "KOR01", "series": "KOR-OWN"}}
    own["attributes"] = own["attributes"] | {"first_transferring_party": "KOR"}
    notice = {"kind": "action", "at": "2026-03-02T10:00:00.000Z", "registry": "KOR01"}
    issued = {"positions": [{"party": "KOR", "account": "100-1", "block": own}], "synthetic": True}
    used = {"party": "KOR", "account": "100-1", "to_account": "200-1", "blocks": [{**own, "last": 2}]}
    for kind, members in (("issuance", issued), ("use", used)):
        heard = await course.acquirer.say("action.notice", [{**notice, "action": kind, "type": kind, **members}])
        assert [item["state"] for item in heard.items] == ["recorded"]


async def _cased(stage: Stage) -> None:
    """A case whose units are flagged, one that a correction of the book has ended, and one of the secretariat's."""
    kept = differing.units("MARKED", 3001, 3005)
    mended = differing.units("GRANTED", 3010, 3012)
    for where in (kept, mended):
        here, there = await differing.state(stage, where), await differing.state(stage, where, account_type=420)
        await differing.opened(stage, Found("MEC01", 6304, where, here, there), link="MEC01")
    await decided(stage, "cases/MEC01-2/correct", version=1, reason="synthetic", evidence="synthetic")
    assert await differing.settled(stage, "MEC01", kept) == ["MEC01-2"]
    found = {"source": "secretariat", "check_id": "II03", "party": "MMR", "effect": True, "detail": "synthetic"}
    units = [{"origin": {"registry": "MEC01", "series": "DRAWN"}, "first": 3009, "last": 3010}]
    made = await stage.api.post("/api/v1/cases", json={**found, "units": units})
    assert made.status_code == 201, made.text


async def _surroundings(stage: Stage) -> None:
    ends = {f"{side}ing": {"registry": r, "party": p, "account": "100-1"} for side, r, p in
            (("transferr", "MEC01", "MMR"), ("acquir", "KOR01", "KOR"))}  # fmt: skip
    for key in ("open", "answered"):
        wish = {**ends, "purpose": "NDC", "quantity": 3}
        asked = await stage.api.post("/api/v1/transfers", json=wish, headers={"Idempotency-Key": key})
        assert asked.status_code == 202, asked.text
    await stage.rows("UPDATE transfer_request SET state = 'refused' WHERE idempotency_key = 'answered'")
    await stage.rows(
        "DELETE FROM owed USING transfer_request q WHERE q.message_id = owed.message_id AND state <> 'sent'"
    )
    for code in ("JPN01", "CHE01"):
        link = Link(code, "party", NOWHERE, "requested", 24, (code,))
        jwk = SoftwareKey.generate().public_jwk()
        await stage.run(lambda tx, link=link, jwk=jwk: commands.register(tx, stage.gateway.node, link, {}, [jwk]))
    await stage.rows("UPDATE link SET state = 'suspended' WHERE code IN ('CHE01', 'KOR01')")
