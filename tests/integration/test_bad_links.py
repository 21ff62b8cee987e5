"""What arrives over a link that is not active, or from keys that count no longer: refused, and not for ever.

The golden bad vectors, which another program made, are posted to a gateway that knows their keys.
"""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from joserfc.jwk import KeySet

from gateway.links.store import Link
from gateway.signing.faults import Fault
from tests import deciding
from tests.integration.test_sandbox_play import Party, read, stamp, text, uuid7
from tests.played import NOWHERE, Course, Played, block, levied
from tests.refusals import (
    JOSE,
    LINK_JSON,
    Verdict,
    counts,
    effects,
    is_problem,
    is_refusal,
    post,
    refused,
    unvouched,
    verdicts,
)
from tests.stage import Stage

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "bad").glob("*.json"))
NOTICE = {"kind": "action", "type": "issuance", "registry": "MEC01"}


async def gateway_keys(stage: Stage) -> KeySet:
    return KeySet.import_key_set((await stage.http.get(f"{stage.link_url}/keys")).json())


async def registered(stage: Stage, code: str) -> Played:
    """A played registry that has not activated its link."""
    played = Played(stage, Party(code), await gateway_keys(stage))
    link, keys = Link(code, "mechanism", NOWHERE, "requested", 24, (code,)), played.party.jwks()["keys"]
    await stage.run(lambda tx: deciding.establish(tx, stage.gateway.node, link, {code: None}, keys))
    return played


def issuance(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {**NOTICE, "action": uuid7(), "at": stamp(datetime.now(UTC)), "positions": levied(*blocks)}


def position(first: int, last: int, **members: Any) -> dict[str, Any]:
    return {"kind": "position", "party": "MMR", "account": "100-1", "block": block(first, last), **members}


async def set_state(stage: Stage, code: str, state: str) -> None:
    await stage.rows(f"UPDATE link SET state = '{state}' WHERE code = '{code}'")


async def everything(course: Course) -> dict[str, tuple[str, bytes]]:
    """A message of each type a registry sends on its own; its transfer is nobody's."""
    transfer, named, source = f"MEC01-{uuid7()}", {"id": uuid7(), "sha256": "A" * 43}, course.source
    about = {"transfer": transfer}
    at = stamp(datetime.now(UTC))
    words: dict[str, dict[str, Any]] = {
        "action.notice": issuance(block(1, 5, series=uuid7())),
        "transfer.propose": course.proposal(block(91, 95)),
        "transfer.answer": {"kind": "answer", **about, "offer": "A" * 43, "answer": "accepted", "findings": []},
        "transfer.released": {
            "kind": "released", **about, "commit": named, "released_at": at, "first_transfer": False, "itmo": [],
        },
        "transfer.voided": {"kind": "voided", **about, "findings": []},
        "transfer.credited": {
            "kind": "credited", **about, "settle": named, "credited_at": at, "account": "100-1", "findings": [],
        },
    }  # fmt: skip
    made = {kind: source.compose(kind, [text(item)]) for kind, item in words.items()}
    made["status.query"] = source.compose("status.query", [], body={**about, "my_state": "locked"})
    made["time.query"] = source.compose("time.query", [], body={})
    return made


async def test_nothing_passes_before_the_link_is_active_and_everything_after(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    course = Course(stage, source, source)
    made = await everything(course)
    await set_state(stage, "MEC01", "requested")
    opening = source.compose("link.activate", [text(position(1, 100))])
    for kind, body in (*made.values(), opening):
        await refused(source, kind, body, 1002)
    await set_state(stage, "MEC01", "testing")
    for name, (kind, body) in made.items():
        if name != "time.query":
            await refused(source, kind, body, 1002)
    assert (await source.say("time.query", [], body={})).type == "time.answer"
    assert (await source.say("link.activate", [position(1, 100)])).items[0]["state"] == "recorded"
    # The refusals were no verdicts: the same bytes are taken now.
    for name, (kind, body) in made.items():
        answer = await source.post(kind, body)
        assert answer.type == {"status.query": "status.answer", "time.query": "time.answer"}.get(name, "receipt")
    assert await stage.count("action WHERE type = 'issuance'") == 1
    assert await stage.count("transfer") == 1


async def test_a_link_is_activated_once(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    first = source.compose("link.activate", [text(position(1, 100))])
    answer = await source.post(*first)
    assert verdicts(answer) == [Verdict("recorded", [])]
    for again in ([], [position(201, 300)]):
        await refused(source, *source.compose("link.activate", [text(p) for p in again]), 3002)
    assert (await source.post(*first)).raw == answer.raw
    await set_state(stage, "MEC01", "suspended")
    await refused(source, *source.compose("link.activate", []), 1003)
    assert await stage.count("position") == 1


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (position(50, 150), 2008),
        (position(101, 200, account="100-01"), 2014),
        (position(101, 200, party="XXX"), 2010),
        (position(300, 200), 2007),
        (position(0, 10), 2006),
        (position(-5, 10), 2006),
        (position(101, 200, block=block(101, 200, itmo={"first": "x", "last": "y"})), 2006),
    ],
    ids=str,
)
async def test_an_opening_balance_is_taken_whole_or_not_at_all(stage: Stage, second: dict[str, Any], code: int) -> None:
    source = await registered(stage, "MEC01")
    before = await counts(stage)
    found = verdicts(await source.say("link.activate", [position(1, 100), second]))
    assert found == [Verdict("refused", [2008 if code == 2008 else 3006]), Verdict("refused", [code])]
    assert effects(before, await counts(stage)) == {}
    assert verdicts(await source.say("link.activate", [position(1, 100)])) == [Verdict("recorded", [])]


async def test_an_opening_balance_that_is_none_is_refused_whole(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    whole = position(1, 10)
    bad: list[list[dict[str, Any]]] = [
        [{**whole, "more": 1}], [{n: v for n, v in whole.items() if n != "party"}], [whole, issuance(block(11, 20))],
        [{**whole, "party": 1}], [{**whole, "party": "MM\u0007"}], [{**whole, "block": None}], [{**whole, "block": []}],
        *([position(1, 10, block={**block(1, 10), "first": wrong})] for wrong in (1.0, True, "1", None)),
        [position(10 * n + 1, 10 * n + 5) for n in range(1_001)],
    ]  # fmt: skip
    for items in bad:
        await refused(source, *source.compose("link.activate", [text(i) for i in items]), 2001)
    await refused(source, *source.compose("link.activate", [text(position(1, 2**53))]), 2001)
    await refused(source, *source.compose("link.activate", [text(whole)], body={"positions": 1}), 2001)
    assert await stage.count("link WHERE state = 'testing'") == 1


async def test_two_units_with_one_identifier_are_not_taken_from_one_balance(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    names = {"first": "CA0001-MMR99-MMR-1-2021", "last": "CA0001-MMR99-MMR-10-2021"}
    both = [position(1, 10, block=block(1, 10, series=s, itmo=names)) for s in ("MMR-A64", "MMR-B64")]
    assert verdicts(await source.say("link.activate", both)) == [Verdict("refused", [2008])] * 2
    assert await stage.count("position") == 0


async def test_units_held_elsewhere_are_not_in_a_second_balance(stage: Stage) -> None:
    first, second = await registered(stage, "MEC01"), await registered(stage, "KOR01")
    assert verdicts(await first.say("link.activate", [position(1, 100)])) == [Verdict("recorded", [])]
    before = await counts(stage)
    assert verdicts(await second.say("link.activate", [position(100, 200)])) == [Verdict("refused", [4007])]
    assert effects(before, await counts(stage)) == {}


async def test_over_a_suspended_link_what_is_committed_drains_and_nothing_begins(stage: Stage) -> None:
    course = await Course.begun(stage)
    await course.issue(block(1, 100))
    item = course.proposal(block(1, 40))
    transfer = [str(item["transfer"])]
    await course.propose(item)
    await course.turn()
    await set_state(stage, "KOR01", "suspended")
    assert verdicts(await course.accept(transfer)) == [Verdict("accepted", [])]
    await course.turn()
    await set_state(stage, "MEC01", "suspended")
    made = await everything(course)
    for name in ("action.notice", "transfer.propose"):
        await refused(course.source, *made[name], 1003)
    for name in ("transfer.answer", "transfer.released", "transfer.credited"):
        assert verdicts(await course.source.post(*made[name])) == [Verdict("not known here", [3001])]
    assert verdicts(await course.source.post(*made["transfer.voided"])) == [Verdict("cancelled", [])]  # remembered
    assert (await course.source.post(*made["status.query"])).type == "status.answer"
    assert (await course.source.post(*made["time.query"])).type == "time.answer"
    assert verdicts(await course.release(transfer)) == [Verdict("released", [])]
    assert verdicts(await course.credit(transfer)) == [Verdict("completed", [])]
    for code in ("MEC01", "KOR01"):
        await set_state(stage, code, "active")
    assert [v.codes for v in verdicts(await course.source.post(*made["action.notice"]))] == [[]]
    assert verdicts(await course.source.post(*made["transfer.propose"])) == [Verdict("proposed", [])]


@pytest.mark.parametrize("column", ["revoked", "over", "restored"])
async def test_a_key_that_counts_no_longer_vouches_for_nothing(stage: Stage, column: str) -> None:
    source = await registered(stage, "MEC01")
    change = {
        "revoked": "revoked_at = now(), revoked_reason = 'compromised', compromised_since = now() - interval '1 hour'",
        "over": "not_after = not_before + interval '1 microsecond'",
        "restored": "revoked_at = now(), revoked_reason = 'restored'",
    }[column]
    await stage.rows(f"UPDATE peer_key SET {change}")
    await unvouched(stage, *source.compose("link.activate", []), 401, 1007)


def body_of(vector: dict[str, Any]) -> bytes:
    if "body_repeat" in vector:
        made = vector["body_repeat"]
        return str(made["text"] * made["times"] + made.get("then", "") + made.get("close", "") * made["times"]).encode()
    return base64.b64decode(vector["body_base64"]) if "body_base64" in vector else str(vector["body"]).encode()


async def know(stage: Stage, keys: list[dict[str, Any]]) -> None:
    """Register exactly the keys of a vector."""
    dsn = stage.server.dsn(stage.database_name, "gateway_owner")
    columns = ("link", "jwk", "not_before", "not_after", "revoked_at", "revoked_reason", "compromised_since", "kid")
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("DELETE FROM peer_key")
        for key in [k for k in keys if k["owner"] != "GWY01"]:
            row = {**key, "link": key["owner"], "jwk": json.dumps(key["jwk"]), "kid": key["jwk"]["kid"]}
            await connection.execute(
                f"INSERT INTO peer_key ({', '.join(columns)}, registered_by) VALUES ({'%s, ' * len(columns)}1)",
                [row.get(c) for c in columns],
            )


async def test_no_bad_vector_of_another_program_is_taken(stage: Stage) -> None:
    assert len(VECTORS) > 100
    await registered(stage, "MEC01")
    await registered(stage, "KOR01")
    stage.clock.stands_at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    gateway = await gateway_keys(stage)
    before = await counts(stage)
    signed = 0
    for path in VECTORS:
        vector = json.loads(path.read_text("utf-8"))
        assert (vector["now"], vector["receiver"]) == ("2026-03-01T12:00:00.000Z", "GWY01")
        await know(stage, vector["keys"])
        body, fault = body_of(vector), Fault(vector["expect"])
        answer = await post(stage, LINK_JSON if body[:1] == b"{" else JOSE, body)
        if answer.status_code != 200:
            assert not fault.attributable, path.stem
            document = is_problem(answer, answer.status_code, fault.code)
            assert document["status"] in (400, 401, 413), path.stem
            assert document.get("reason", "oversize") == fault.value, path.stem
            continue
        signed += 1
        assert fault.attributable, path.stem
        await is_refusal(stage, read(answer.headers["content-type"], answer.content, gateway), body, fault.code)
    after = await counts(stage)
    assert effects(before, after) == {}
    assert after["log_entry"] - before["log_entry"] == 2 * signed and 0 < signed < len(VECTORS)
    # What is right about them is taken: the gateway did not refuse them for another reason.
    good = json.loads((VECTORS[0].parents[1] / "good" / "link-activate-bare.json").read_text("utf-8"))
    await know(stage, good["keys"])
    stage.clock.stands_at = datetime.fromisoformat(good["now"])
    answer = await post(stage, JOSE, good["body"].encode())
    assert answer.status_code == 200
    assert read(answer.headers["content-type"], answer.content, gateway).type == "receipt"


async def test_a_registry_with_sections_that_proposes_for_itself_is_answered(stage: Stage) -> None:
    played = Played(stage, Party("INT01"), await gateway_keys(stage))
    link, keys = Link("INT01", "party", NOWHERE, "requested", 24, ("GHA01",)), played.party.jwks()["keys"]
    await stage.run(lambda tx: deciding.establish(tx, stage.gateway.node, link, {"GHA01": "GHA"}, keys))
    assert (await played.say("link.activate", [])).type == "receipt"
    item = Course(stage, played, played).proposal(block(1, 5), transfer=f"INT01-{uuid7()}")
    assert [v.state for v in verdicts(await played.say("transfer.propose", [item]))] == ["ending"]
