"""The gateway's own keys: announced under the one before, receipted, used, retired when nothing is owed; or revoked."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from gateway import wiring
from gateway.domain.addresses import LOOPBACK
from gateway.domain.callers import Caller, Scope, Sight
from gateway.errors import GatewayError, Kind
from gateway.keys import commands, store, tracing, view
from gateway.links import commands as links
from gateway.messages import store as messages
from gateway.settings import Settings
from gateway.signing import compact
from gateway.signing.keys import SoftwareKey
from gateway.signing.trust import Revocation
from gateway.transfers import owing
from gateway.wiring import Gateway
from tests import handmade
from tests.integration.test_sandbox_play import Party, sha
from tests.played import Course, block, join
from tests.refusals import is_problem, payload_of, post
from tests.stage import Stage


@asynccontextmanager
async def started_with(stage: Stage, key: SoftwareKey) -> AsyncIterator[Gateway]:
    """Another process of the gateway, which signs with this key; raises when it may not start."""
    file = stage.folder / f"{key.kid}.pem"
    if not file.exists():
        key.save(file)
    dsn = stage.server.dsn(stage.database_name, "gateway_app")
    gateway = wiring.build(Settings(private_peers=LOOPBACK, database_url=dsn, key_file=file), clock=stage.clock)
    try:
        await gateway.start()
        yield gateway
    finally:
        await gateway.close()


async def announce(stage: Stage, gateway: Gateway | None = None) -> SoftwareKey:
    """A new key, announced to every link under the present one."""
    new, under = SoftwareKey.generate(), (gateway or stage.gateway).node
    await stage.run(lambda tx: commands.announce(tx, under, new.public_jwk()))
    return new


async def receipted(stage: Stage) -> None:
    async with stage.working():
        await stage.until(lambda: everybody_told(stage))


async def everybody_told(stage: Stage) -> bool:
    return not await stage.count("own_key_told WHERE receipted_by IS NULL")


async def listed(stage: Stage) -> dict[str, view.KeyRow]:
    async with stage.gateway.database.reading() as tx:
        return {row.kid: row for row in (await view.listing(tx, owing.unanswered)).keys}


async def trace(stage: Stage, message_id: str) -> list[tracing.Trace]:
    async with stage.gateway.database.reading() as tx:
        return await tracing.which(tx, "GWY01", message_id)


async def shows(stage: Stage, *kids: str) -> None:
    """Wait until these keys are shown, and no others: what everybody may ask for is read once a second."""

    async def shown() -> bool:
        keys = (await stage.http.get(f"{stage.link_url}/keys")).json()["keys"]
        return {key["kid"] for key in keys} == set(kids)

    await stage.until(shown)


async def refused(stage: Stage, work: Any, kind: Kind = Kind.CONFLICT) -> str:
    """Why a change is refused; nothing of it is left."""
    entries = await stage.count("log_entry")
    with pytest.raises(GatewayError) as raised:
        await stage.run(work)
    assert raised.value.kind is kind
    assert await stage.count("log_entry") == entries
    return raised.value.detail


async def cannot_start(stage: Stage, key: SoftwareKey) -> str:
    with pytest.raises(GatewayError) as raised:
        async with started_with(stage, key):
            raise AssertionError("it started")
    assert raised.value.kind is Kind.CONFLICT
    return raised.value.detail


async def test_the_first_key_is_registered_once_and_no_other_starts_unannounced(stage: Stage) -> None:
    first = stage.gateway.node.signer
    await shows(stage, first.kid)
    for _ in range(2):
        await stage.gateway.start()
    assert await stage.rows("SELECT kind FROM log_entry WHERE kind LIKE 'own-key%'") == [("own-key.registered",)]
    other = SoftwareKey.generate()
    assert f"{other.kid} was never announced" in await cannot_start(stage, other)
    await shows(stage, first.kid)


async def test_what_an_unannounced_key_would_sign_is_not_stored(stage: Stage) -> None:
    course = await Course.begun(stage)
    await stage.gateway.start()
    dsn = stage.server.dsn(stage.database_name, "gateway_app")
    SoftwareKey.generate().save(stage.folder / "other.pem")
    other = wiring.build(Settings(private_peers=LOOPBACK, database_url=dsn, key_file=stage.folder / "other.pem"))
    await course.issue(block(1, 10))
    await course.propose(course.proposal(block(1, 4)))
    messages = await stage.count("message WHERE direction = 'out'")
    with pytest.raises(GatewayError, match="signs no more"):
        await other.relay.turn()
    assert await stage.count("message WHERE direction = 'out'") == messages
    await other.close()


async def test_a_key_is_used_once_every_active_link_has_receipted_it(linked: Stage) -> None:
    first = linked.gateway.node.signer
    await linked.issue()
    new = await announce(linked)
    await shows(linked, first.kid, new.kid)
    assert "not yet receipted by KOR01, MEC01" in await cannot_start(linked, new)
    assert {d.type for d in (await listed(linked))[first.kid].owes} == {"link.keys"}
    await receipted(linked)
    row = (await listed(linked))[new.kid]
    assert (row.receipted, row.waiting, row.owes) == (["KOR01", "MEC01"], {}, [])
    async with started_with(linked, new) as second:
        # One process signs with the old key, another with the new one, and every registry takes both.
        transfers = await linked.propose(1, 2, 3)
        linked.gateway, first_process = second, linked.gateway
        assert set(await linked.relay(transfers)) == {"completed"}
        linked.gateway = first_process
    signed = await linked.rows(
        "SELECT message_id::text FROM message WHERE type = 'transfer.commit' AND direction = 'out'"
    )
    [found] = await trace(linked, signed[0][0])
    assert (found.kid, found.sender, found.fault) == (new.kid, "GWY01", None)
    assert await linked.doctor() == []


async def test_a_key_is_retired_when_it_owes_nothing_and_signs_no_more(linked: Stage) -> None:
    first = linked.gateway.node.signer
    await linked.issue()
    new = await announce(linked)
    await receipted(linked)
    await linked.registries["KOR01"].post("faults", fault="down")
    transfers = await linked.propose(1)
    async with linked.working():
        await linked.until(lambda: linked.count("transfer WHERE offer_id IS NOT NULL"))
    async with started_with(linked, new) as second:

        def retire(tx: Any) -> Any:
            return commands.retire(tx, second.node, first.kid, owing.unanswered)

        assert "still owes 1 messages: transfer.offer to KOR01" in await refused(linked, retire)
        await linked.http.delete(f"{linked.registries['KOR01'].url}/admin/faults")
        linked.gateway, first_process = second, linked.gateway
        assert await linked.relay(transfers) == ["completed"]
        assert await linked.run(retire) == ["KOR01", "MEC01"]
        await shows(linked, new.kid)
        assert "is retired" in await refused(linked, retire)
        await receipted(linked)
        linked.gateway = first_process
        # The process that still has the old key stores nothing, and says so; the bytes are taken by another.
        _, kind, body = handmade.signer(linked, "MEC01").compose("GWY01", "action.notice", [])
        is_problem(await post(linked, kind, body), 503, 9002)
        assert (await second.inbox.receive(body, kind)).content_type == kind
    assert "is retired" in await cannot_start(linked, loaded(linked))
    assert await linked.doctor() == []


def loaded(stage: Stage) -> SoftwareKey:
    return SoftwareKey.load(stage.folder / "gateway.pem")


async def test_links_are_told_until_when_a_retired_key_counts(stage: Stage) -> None:
    course = await Course.begun(stage)
    new = await announce(stage)
    assert await stage.count("owed") == 2
    await answer_all(course)
    async with started_with(stage, new) as second:
        first = stage.gateway.node.signer.kid
        await stage.run(lambda tx: commands.retire(tx, second.node, first, owing.unanswered))
        [body] = {json.dumps(payload["body"]) for payload in await said(stage, new.kid)}
        assert json.loads(body)["keys"] == []
        [(kid, end)] = json.loads(body)["retire"].items()
        assert (kid, datetime.fromisoformat(end) - stage.clock() < commands.LAST) == (first, True)
        row = (await listed(stage))[first]
        assert (row.ended, row.owes) == ("retired", [])
        assert {debt.type for debt in (await listed(stage))[new.kid].owes} == {"link.keys"}


async def test_who_has_not_heard_of_a_key_is_told_of_it_no_more_when_it_ends(stage: Stage) -> None:
    course = await Course.begun(stage)
    never = await announce(stage)
    await stage.rows("UPDATE own_key_told SET receipted_by = 1 WHERE link = 'MEC01'")
    await stage.rows("DELETE FROM owed WHERE peer = 'MEC01'")
    told = await stage.run(lambda tx: commands.retire(tx, stage.gateway.node, never.kid, owing.unanswered))
    assert told == ["MEC01"]
    [(peer, body)] = await stage.rows("SELECT o.peer, m.body FROM owed o JOIN message m USING (message_id)")
    assert (peer, list(payload_of(bytes(body))["body"]["retire"])) == ("MEC01", [never.kid])
    row = (await listed(stage))[never.kid]
    assert (row.receipted, row.waiting, row.ended) == (["MEC01"], {}, "retired")
    await course.turn()
    assert await stage.doctor() == []


async def answer_all(course: Course) -> None:
    """Both registries receipt what they are owed of keys."""
    for played in (course.source, course.acquirer):
        for (body,) in await course.stage.rows(
            f"SELECT body FROM message WHERE type = 'link.keys' AND peer = '{played.code}'"
        ):
            message = payload_of(bytes(body))
            named = {"id": message["id"], "sha256": sha(bytes(body))}
            _, kind, receipt = played.party.compose("GWY01", "receipt", [], body={}, in_reply_to=named)
            [sent] = await outgoing(course.stage, message["id"])
            await course.stage.gateway.inbox.absorb(receipt, sent)
            assert kind == "application/jose"


async def outgoing(stage: Stage, message_id: str) -> list[messages.Message]:
    async with stage.gateway.database.reading() as tx:
        return await messages.outgoing(tx, [message_id])


async def said(stage: Stage, kid: str) -> list[dict[str, Any]]:
    """The ``link.keys`` that a key signed."""
    found = await stage.rows("SELECT body FROM message WHERE type = 'link.keys' AND direction = 'out'")
    return [payload_of(bytes(body)) for (body,) in found if compact.kid(bytes(body).decode()) == kid]


async def test_what_may_not_be_announced_retired_or_revoked_is_refused(stage: Stage) -> None:
    source = await join(stage, "MEC01", "mechanism")
    await stage.gateway.start()
    node = stage.gateway.node
    own, theirs = node.signer.kid, str(source.party.key.thumbprint())

    def announcing(jwk: dict[str, Any]) -> Any:
        return lambda tx: commands.announce(tx, node, jwk)

    def retiring(kid: str) -> Any:
        return lambda tx: commands.retire(tx, node, kid, owing.unanswered)

    def revoking(kid: str, reason: Revocation, since: datetime | None = None) -> Any:
        return lambda tx: commands.revoke(tx, node, kid, reason, since=since)

    superseded, tomorrow = Revocation.SUPERSEDED, datetime.now(UTC) + timedelta(days=1)
    assert "for this gateway already" in await refused(stage, announcing(dict(node.signer.public_jwk())))
    assert "for MEC01 already" in await refused(stage, announcing(source.party.jwks()["keys"][0]))
    private = dict(Party("GWY01").key.as_dict(private=True))
    assert "private members" in await refused(stage, announcing(private), Kind.MALFORMED)
    assert "in use here" in await refused(stage, retiring(own))
    assert "no key" in await refused(stage, retiring(theirs), Kind.NOT_FOUND)
    assert "no key" in await refused(stage, revoking(theirs, superseded), Kind.NOT_FOUND)
    assert "superseded" in await refused(stage, revoking(own, Revocation.RESTORED), Kind.MALFORMED)
    assert "earlier time" in await refused(stage, revoking(own, superseded, tomorrow), Kind.MALFORMED)
    await stage.run(revoking(own, superseded))
    assert "before" in await refused(stage, revoking(own, superseded))
    assert "is revoked" in await refused(stage, announcing(dict(SoftwareKey.generate().public_jwk())))
    # A key that a link would register later is ours.
    jwks = [dict(node.signer.public_jwk())]
    now = datetime.now(UTC)
    await refused(stage, lambda tx: links.add_keys(tx, "MEC01", jwks, now=now, not_before=now, not_after=None))


async def test_so_many_keys_may_be_announced_and_no_more(stage: Stage) -> None:
    for _ in range(15):
        await announce(stage)
    jwk = SoftwareKey.generate().public_jwk()
    assert "retire one first" in await refused(stage, lambda tx: commands.announce(tx, stage.gateway.node, jwk))


async def test_a_compromised_key_stops_at_once_and_the_next_may_start_untold(linked: Stage) -> None:
    first = linked.gateway.node.signer
    new = await announce(linked)
    await cannot_start(linked, new)  # nobody has receipted it
    since = linked.clock() - timedelta(minutes=1)
    told = await linked.run(
        lambda tx: commands.revoke(tx, linked.gateway.node, first.kid, Revocation.COMPROMISED, since=since)
    )
    assert told == []  # under the revoked key nothing is said
    await shows(linked, new.kid)
    _, kind, body = handmade.signer(linked, "MEC01").compose("GWY01", "action.notice", [])
    is_problem(await post(linked, kind, body), 503, 9002)
    await cannot_start(linked, loaded(linked))
    async with started_with(linked, new):
        row = (await listed(linked))[first.kid]
        assert (row.ended, {debt.type for debt in row.owes}) == ("compromised", {"link.keys"})
    assert await linked.doctor() == []


async def test_the_log_alone_says_which_key_signed_and_whether_it_was_valid_then(stage: Stage) -> None:
    source = await join(stage, "MEC01", "mechanism")
    await stage.gateway.start()
    heard = await source.say("action.notice", [])
    for message_id, sender in ((payload_of(heard.raw)["in_reply_to"]["id"], "MEC01"), (heard.payload["id"], "GWY01")):
        [found] = await trace(stage, message_id)
        assert (found.sender, found.fault, found.revoked) == (sender, None, None), found
    kid = str(source.party.key.thumbprint())
    now = datetime.now(UTC)
    since = now - timedelta(days=1)
    await stage.run(lambda tx: links.revoke_key(tx, "MEC01", kid, Revocation.COMPROMISED, now=now, since=since))
    [found] = await trace(stage, heard.payload["in_reply_to"]["id"])
    assert (found.kid, found.fault, found.revoked, found.revoked_since) == (
        *(kid, "key-revoked", Revocation.COMPROMISED, since),
    )
    with pytest.raises(GatewayError) as raised:
        await trace(stage, "0195515b-9c00-7000-8000-00000000000a")
    assert raised.value.kind is Kind.NOT_FOUND


async def test_a_caller_of_one_link_sees_what_concerns_it_alone(linked: Stage) -> None:
    await announce(linked)
    ids = dict(await linked.rows("SELECT peer, message_id::text FROM message WHERE type = 'link.keys'"))
    korea = await linked.calling(Caller("k", True, Sight("KOR01"), frozenset({Scope.LINKS_READ, Scope.AUDIT_READ})))
    for api, links_seen in ((linked.api, {"KOR01", "MEC01"}), (korea, {"KOR01"})):
        first, new = (await api.get("/api/v1/keys")).json()["keys"]
        assert ({d["peer"] for d in first["owes"]}, set(new["waiting"])) == (links_seen, links_seen)
    [traced] = (await korea.get(f"/api/v1/messages/{ids['KOR01']}/key")).json()["messages"]
    assert (traced["sender"], traced["valid"], traced["kid"]) == ("GWY01", True, first["kid"])
    # Another's message is refused like one that never was, to the letter.
    foreign = await korea.get(f"/api/v1/messages/{ids['MEC01']}/key")
    absent = await korea.get("/api/v1/messages/0195515b-9c00-7000-8000-00000000000a/key")
    assert (foreign.status_code, foreign.content) == (absent.status_code, absent.content)
    is_problem(foreign, 403, 8001)
    is_problem(await linked.api.get("/api/v1/messages/0195515b-9c00-7000-8000-00000000000a/key"), 404, 3001)
    is_problem(await linked.api.get("/api/v1/messages/message/key"), 400, 2001)
    reader = await linked.calling(Caller("r", True, Sight("KOR01"), frozenset({Scope.TRANSFERS_READ})))
    for path in ("keys", f"messages/{ids['KOR01']}/key"):
        is_problem(await reader.get(f"/api/v1/{path}"), 403, 8001)


async def test_the_message_of_a_key_that_was_planted_is_found_by_the_doctor(linked: Stage) -> None:
    await linked.gateway.start()
    assert await linked.doctor() == []
    first = linked.gateway.node.signer.kid
    await linked.rows(
        "ALTER TABLE own_key DISABLE TRIGGER USER;"
        f"UPDATE own_key SET retired_at = now() - interval '1 day', retired_by = registered_by WHERE kid = '{first}'"
    )
    found = await linked.doctor()
    assert any("the signing key was not valid at sent_at" in remark for remark in found)
    assert any(remark.startswith(f"keys as logged: key {first}") for remark in found)
    jwk = SoftwareKey.generate().public_jwk()
    await linked.rows(
        f"UPDATE own_key SET kid = '{jwk['kid']}', jwk = '{json.dumps(jwk)}', not_before = now() - interval '1 day',"
        " retired_at = NULL, retired_by = NULL"
    )
    found = await linked.doctor()
    assert any(f"signed with key {first}, which is none of ours" in remark for remark in found)
    assert any("no entry of the log registers it" in remark for remark in found)


async def test_own_keys_are_ended_once_and_never_changed_back(stage: Stage) -> None:
    await stage.gateway.start()
    node = stage.gateway.node
    await stage.run(lambda tx: commands.revoke(tx, node, node.signer.kid, Revocation.SUPERSEDED, since=None))
    for change in ("revoked_at = NULL, revoked_by = NULL, revoked_reason = NULL", "retired_at = now(), retired_by = 1"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            await stage.rows(f"UPDATE own_key SET {change}")
    async with stage.gateway.database.reading() as tx:
        assert [key.signs for key in await store.keys(tx)] == [False]
