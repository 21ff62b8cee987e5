"""The log: what its public leaves tell and do not tell, and that nothing happens without an entry."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.audit import log
from gateway.signing.messages import TYPES
from tests.integration.test_sandbox_play import stamp
from tests.played import Course, block, sha
from tests.stage import Stage

PAST = "2026-01-01T00:00:00.000Z"
#: Entries of what no message says: links are registered, callers and token keys made known.
UNSAID = {
    *("link.registered", "link.testing", "approval.requested", "approval.approved"),
    *("access.client-added", "access.token-key-registered", "log-key.registered"),
}


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    """A course on which whoever writes an entry, an event or a state is noted with its transaction."""
    await stage.rows("CREATE TABLE seen (at xid8 NOT NULL, what text NOT NULL, id text NOT NULL, number bigint)")
    for table, when, row in (
        ("log_entry", "INSERT", "NEW.id, NULL"),
        ("transfer_event", "INSERT", "NEW.transfer_id, NEW.version"),
        ("transfer", "INSERT OR UPDATE OF state, version", "NEW.id, NEW.version"),
        ("position", "INSERT OR UPDATE", "coalesce(NEW.closed_by, NEW.opened_by), NULL"),
        ("claim", "UPDATE", "NEW.released_by, NULL"),
    ):
        await stage.rows(
            f"CREATE FUNCTION watch_{table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
            f"INSERT INTO public.seen VALUES (pg_current_xact_id(), '{table}', {row}); RETURN NEW; END $$"
        )
        await stage.rows(f"CREATE TRIGGER watch AFTER {when} ON {table} FOR EACH ROW EXECUTE FUNCTION watch_{table}()")
    yield await Course.begun(stage)


async def entries(stage: Stage) -> list[dict[str, Any]]:
    """Every entry with its record and, if it is of a message, that message."""
    found = await stage.rows(
        "SELECT e.id, e.at, e.kind, e.leaf, e.leaf_hash, r.salt, r.record, m.direction, m.peer, m.message_id::text, "
        "m.type, m.body FROM log_entry e LEFT JOIN log_record r ON r.entry_id = e.id "
        "LEFT JOIN message m ON m.entry_id = e.id ORDER BY e.id"
    )
    names = "id at kind leaf leaf_hash salt record direction peer message type body".split()
    return [dict(zip(names, row, strict=True)) for row in found]


async def test_leaf_is_small_public_and_commits_to_the_record(course: Course) -> None:
    await course.issue(block(1, 10))
    await course.complete(course.proposal(block(1, 4)))
    found = await entries(course.stage)
    assert len(found) > 10
    for entry in found:
        assert len(entry["leaf"]) <= 200
        leaf = json.loads(entry["leaf"])
        assert leaf.keys() == {"kind", "record", "time"}
        assert leaf["kind"] == entry["kind"]
        assert entry["kind"] == entry["type"] or (entry["type"] is None and entry["kind"] in UNSAID)
        assert leaf["time"] == stamp(_floored(entry["at"]))
        assert leaf["record"] == sha(entry["salt"] + entry["record"])
        assert entry["leaf_hash"] == hashlib.sha256(b"\x00" + entry["leaf"]).digest()
    assert len({entry["salt"] for entry in found}) == len(found)


def _floored(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


@pytest.mark.parametrize("kind", sorted(TYPES | {*UNSAID, "link.changed", "transfers.delayed", "refused"}))
def test_leaf_of_every_kind_is_small(kind: str) -> None:
    assert len(log.draft(kind, datetime.now(UTC), {"much": "x" * 10_000}).leaf) <= 200


async def test_record_tells_the_exact_bytes_of_its_message(course: Course) -> None:
    await course.issue(block(1, 10))
    await course.complete(course.proposal(block(1, 2)), course.proposal(block(3, 4)))
    for entry in await entries(course.stage):
        if entry["direction"] is None:
            continue
        record = json.loads(entry["record"])
        assert record["sha256"] == sha(bytes(entry["body"]))
        named = {name: record[name] for name in ("direction", "peer", "message")}
        assert named == {name: entry[name] for name in ("direction", "peer", "message")}
        own = _own_items(bytes(entry["body"]), entry["type"])
        assert record["items"] == [sha(text) for text in own]


def _own_items(body: bytes, message_type: str) -> list[str]:
    if not body.startswith(b"{"):
        return []
    kind = {"receipt": "receipt", "action.notice": "action"}.get(message_type, message_type.removeprefix("transfer."))
    return [text for text in json.loads(body)["items"] if json.loads(text)["kind"] == kind]


async def test_answer_promises_the_leaf_of_the_message_it_answers(course: Course) -> None:
    await course.issue(block(1, 10))
    heard = [
        await course.propose(course.proposal(block(1, 4))),
        await course.source.say("transfer.propose", [{"kind": "propose", "nonsense": 1}]),  # a verdict: refused
        await course.source.say("transfer.propose", [course.proposal(block(5, 6))], expires_at=PAST),  # no verdict
    ]
    assert [h.type for h in heard] == ["receipt", "refusal", "refusal"]
    assert ["seq" in h.payload for h in heard] == [True, True, False]
    leaves = {sha_of(e["leaf_hash"]): e for e in await entries(course.stage)}
    promised = [leaves[h.payload["leaf"]] for h in heard]
    assert [e["kind"] for e in promised] == ["transfer.propose", "transfer.propose", "refused"]
    assert [json.loads(e["record"])["message"] for e in promised] == [h.payload["in_reply_to"]["id"] for h in heard]


def sha_of(digest: bytes) -> str:
    """A digest as messages write it."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def test_entry_is_per_message_and_names_no_transfer(course: Course) -> None:
    await course.issue(*(block(10 * n + 1, 10 * n + 4) for n in range(7)))
    before = len(await entries(course.stage))
    transfers = await course.complete(*(course.proposal(block(10 * n + 1, 10 * n + 4)) for n in range(7)))
    found = await entries(course.stage)
    # Of seven transfers: propose, offer, answer, commit, released, settle, credited, two closed, four receipts.
    assert [e["type"] for e in found[before:]] == [
        *("transfer.propose", "receipt", "transfer.offer", "transfer.answer", "receipt", "transfer.commit"),
        *("transfer.released", "transfer.settle", "receipt", "transfer.credited"),
        *("transfer.closed", "transfer.closed", "receipt"),
    ]
    told = b" ".join(bytes(e["record"]) + bytes(e["leaf"]) for e in found).decode()
    assert [t for t in transfers if t in told or t.partition("-")[2] in told] == []
    assert json.loads(found[before]["record"])["items"] != []


async def test_every_change_has_its_event_and_its_entry_in_one_transaction(course: Course) -> None:
    stage = course.stage
    await course.issue(block(1, 10))
    [done] = await course.complete(course.proposal(block(1, 4)))
    vain = course.proposal(block(4, 5))
    await course.propose(vain)
    late = course.proposal(block(6, 6))
    await course.propose(late)
    await stage.rows(f"UPDATE transfer SET deadline = now() WHERE id = '{late['transfer']}'")
    await course.turn()
    await course.void([str(vain["transfer"]), str(late["transfer"])])
    assert await stage.states([done, vain["transfer"], late["transfer"]]) == ["completed", "refused", "cancelled"]
    # Every version of every transfer has one event, and the last says the state.
    uneven = await stage.rows(
        "SELECT count(*) FROM transfer t LEFT JOIN transfer_event e ON e.transfer_id = t.id GROUP BY t.id "
        "HAVING count(*) <> t.version OR max(e.version) <> t.version OR min(e.version) <> 1"
    )
    untold = await stage.rows(
        "SELECT t.id FROM transfer t JOIN transfer_event e ON (e.transfer_id, e.version) = (t.id, t.version) "
        "WHERE e.state <> t.state"
    )
    assert uneven == untold == []
    events = await stage.rows(
        "SELECT e.at = c.at, e.at = l.at FROM transfer_event v "
        "JOIN seen e ON (e.what, e.id, e.number) = ('transfer_event', v.transfer_id, v.version) "
        "LEFT JOIN seen c ON (c.what, c.id, c.number) = ('transfer', v.transfer_id, v.version) "
        "LEFT JOIN seen l ON (l.what, l.id) = ('log_entry', v.entry_id::text)"
    )
    assert len(events) >= 6 + 3 + 3 and set(events) == {(True, True)}
    book = await stage.rows(
        "SELECT b.what, b.at = l.at FROM seen b LEFT JOIN seen l ON (l.what, l.id) = ('log_entry', b.id) "
        "WHERE b.what IN ('position', 'claim')"
    )
    assert set(book) == {("position", True), ("claim", True)}
