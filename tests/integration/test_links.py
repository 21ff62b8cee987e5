"""How a link comes to be: activated once, by a whole balance or by parts in order; which keys vouch for a system."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gateway.errors import GatewayError, Kind
from gateway.links import commands
from gateway.links.store import Link
from gateway.signing.trust import Revocation
from tests.integration.test_bad_links import position, registered
from tests.integration.test_sandbox_play import Heard, Party, stamp, text
from tests.played import NOWHERE, Course, Played, block, join
from tests.refusals import Verdict, counts, effects, refused, unvouched, verdicts
from tests.stage import Stage

MANY = 1_500


def part(played: Played, number: int, of: int, *items: dict[str, Any]) -> tuple[str, bytes]:
    return played.compose("link.activate", [text(i) for i in items], body={"part": number, "of": of})


async def link(stage: Stage) -> tuple[str, int]:
    """The state of the only link, and the parts of its balance so far."""
    [(state, parts)] = await stage.rows("SELECT state, opening_parts FROM link")
    return str(state), int(parts)


async def test_of_activations_at_one_time_one_is_recorded(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    made = [source.compose("link.activate", [text(position(100 * n + 1, 100 * n + 50))]) for n in range(4)]
    heard = await asyncio.gather(*(source.post(*m) for m in made))
    assert sorted(h.type for h in heard) == ["receipt", "refusal", "refusal", "refusal"]
    codes = [[f["code"] for f in h.payload["body"]["findings"]] for h in heard if h.type == "refusal"]
    assert codes == [[3002]] * 3
    assert await stage.count("position") == 1
    assert await stage.count("action WHERE type = 'opening'") == 1


async def test_repetitions_at_one_time_of_what_had_no_verdict_yet_get_one(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    second = part(source, 2, 3, position(101, 200))
    await refused(source, *second, 3002)  # before its turn: kept, without a verdict
    await source.post(*part(source, 1, 3, position(1, 100)))
    heard = await asyncio.gather(*(source.post(*second) for _ in range(4)))
    assert {h.raw for h in heard} == {heard[0].raw}
    assert verdicts(heard[0]) == [Verdict("recorded", [])]


async def test_parts_of_a_balance_come_in_order_and_the_last_activates(stage: Stage) -> None:
    source = await registered(stage, "MEC01")
    second = part(source, 2, 3, position(101, 200))
    # What comes before its turn may have overtaken another: no verdict, so the same bytes are taken later.
    assert "seq" not in (await refused(source, *second, 3002)).payload
    assert verdicts(await source.post(*part(source, 1, 3, position(1, 100)))) == [Verdict("recorded", [])]
    assert "seq" in (await refused(source, *part(source, 1, 3, position(901, 950)), 3002)).payload
    await refused(source, *source.compose("link.activate", [text(position(901, 950))]), 3002)
    assert verdicts(await source.post(*second)) == [Verdict("recorded", [])]
    await refused(source, *source.compose("action.notice", []), 1002)
    before = await counts(stage)
    bad = await source.post(*part(source, 3, 3, position(200, 250), position(301, 350)))
    assert verdicts(bad) == [Verdict("refused", [4007]), Verdict("refused", [3006])]
    assert effects(before, await counts(stage)) == {}
    assert await link(stage) == ("testing", 2)
    assert verdicts(await source.post(*part(source, 3, 3, position(201, 250)))) == [Verdict("recorded", [])]
    assert await link(stage) == ("active", 3)
    await refused(source, *part(source, 4, 4), 3002)
    assert (await stage.books())["conservation"] == "holds"


@pytest.mark.parametrize(
    "body",
    [
        {"part": 1},
        {"of": 1},
        {"part": 0, "of": 1},
        {"part": 2, "of": 1},
        {"part": 1, "of": 10_001},
        {"part": "1", "of": 1},
        {"part": True, "of": 1},
        {"part": 1, "of": 1, "more": 1},
    ],
    ids=str,
)
async def test_a_part_that_is_none_is_refused(stage: Stage, body: dict[str, Any]) -> None:
    source = await registered(stage, "MEC01")
    await refused(source, *source.compose("link.activate", [], body=body), 2001)
    assert await link(stage) == ("testing", 0)


async def test_a_registry_with_more_positions_than_a_message_holds_is_linked(stage: Stage) -> None:
    mechanism = await stage.link("MEC01", "mechanism", activate=False)
    await stage.issue(2 * MANY, announce=False)
    odd = [{"origin": block(1, 1)["origin"], "first": n, "last": n} for n in range(1, MANY, 2)]
    used = {"party": "MMR", "to_account": "200-1", "quantity": len(odd), "blocks": odd}
    await mechanism.post("use", **used, announce=False)
    done = await mechanism.post("activate")
    # Two parts of the balance, and what the authorisation of the units says.
    assert (len(done["messages"]), done["receipted"]) == (3, True)
    assert done["positions"] >= MANY
    assert await link(stage) == ("active", 2)
    assert await stage.count("position") == done["positions"]
    assert await stage.count("message WHERE type = 'link.activate'") == 2


async def test_units_an_activated_registry_never_issued_are_in_no_other_balance(stage: Stage) -> None:
    issuer = await join(stage, "MEC01", "mechanism")
    await Course(stage, issuer, issuer).issue(block(1, 100))
    for state in ("active", "suspended"):
        await stage.rows(f"UPDATE link SET state = '{state}' WHERE code = 'MEC01'")
        acquirer = await registered(stage, "KOR01" if state == "active" else "JPN01")
        before = await counts(stage)
        held = await acquirer.say("link.activate", [position(1001, 2000), position(91, 110)])
        assert verdicts(held) == [Verdict("refused", [4003]), Verdict("refused", [4007])]
        assert effects(before, await counts(stage)) == {}


async def test_units_of_a_registry_that_is_not_linked_enter_by_a_balance(stage: Stage) -> None:
    acquirer = await registered(stage, "KOR01")
    assert verdicts(await acquirer.say("link.activate", [position(1, 100)])) == [Verdict("recorded", [])]
    # Its registry comes later, and cannot bring the same units a second time.
    issuer = await registered(stage, "MEC01")
    assert verdicts(await issuer.say("link.activate", [position(51, 150)])) == [Verdict("refused", [4007])]
    assert verdicts(await issuer.say("link.activate", [position(101, 150)])) == [Verdict("recorded", [])]


async def add(stage: Stage, code: str, party: Party, **window: timedelta) -> list[str]:
    now = stage.clock()
    not_before, not_after = now + window.get("begins", timedelta()), window.get("ends")
    return await stage.run(
        lambda tx: commands.add_keys(
            tx, code, party.jwks()["keys"], now=now, not_before=not_before,
            not_after=now + not_after if not_after else None,
        )
    )  # fmt: skip


async def revoke(stage: Stage, code: str, party: Party, reason: Revocation, since: timedelta | None = None) -> None:
    now, kid = stage.clock(), party.key.thumbprint()
    begins = now + since if since is not None else None
    await stage.run(lambda tx: commands.revoke_key(tx, code, kid, reason, now=now, since=begins))


async def ask(played: Played, party: Party) -> Heard:
    return await Played(played.stage, party, played.gateway_keys).say("time.query", [], body={})


async def test_two_keys_vouch_at_once_and_a_revoked_one_never_again(stage: Stage) -> None:
    source = await join(stage, "MEC01", "mechanism")
    old, new = source.party, Party("MEC01", "ES256")
    await unvouched(stage, *new.compose("GWY01", "time.query")[1:], 401, 1007)
    assert await add(stage, "MEC01", new) == [new.key.thumbprint()]
    for party in (old, new):
        assert (await ask(source, party)).type == "time.answer"
    late = old.compose("GWY01", "time.query")[1:]
    await revoke(stage, "MEC01", old, Revocation.COMPROMISED)
    await unvouched(stage, *late, 401, 1007)
    assert (await ask(source, new)).type == "time.answer"
    kinds = "SELECT kind, count(*) FROM log_entry WHERE kind LIKE 'key.%' GROUP BY kind ORDER BY kind"
    assert await stage.rows(kinds) == [("key.registered", 1), ("key.revoked", 1)]


async def test_a_superseded_key_counts_for_what_was_sent_before(stage: Stage) -> None:
    source = await join(stage, "MEC01", "mechanism")
    before = source.compose("action.notice", [])
    stage.clock.ahead = timedelta(seconds=5)
    await revoke(stage, "MEC01", source.party, Revocation.SUPERSEDED, timedelta(seconds=-1))
    assert (await source.post(*before)).type == "receipt"
    sent_at = stamp(stage.clock() + timedelta(seconds=1))
    await unvouched(stage, *source.compose("action.notice", [], sent_at=sent_at), 401, 1007)


async def test_what_cannot_be_done_with_a_key_is_refused_and_leaves_no_entry(stage: Stage) -> None:
    source = await join(stage, "MEC01", "mechanism")
    other = await join(stage, "KOR01", "party", "KOR")
    fresh, hour = Party("MEC01"), timedelta(hours=1)
    await revoke(stage, "KOR01", other.party, Revocation.RESTORED)
    before = await stage.count("log_entry")
    for kind, attempt in (
        (Kind.CONFLICT, add(stage, "MEC01", source.party)),
        (Kind.CONFLICT, add(stage, "MEC01", other.party)),
        (Kind.NOT_FOUND, add(stage, "JPN01", fresh)),
        (Kind.MALFORMED, add(stage, "MEC01", fresh, begins=2 * hour, ends=hour)),
        (Kind.MALFORMED, add(stage, "MEC01", fresh, ends=timedelta(days=366 * 200))),
        (Kind.MALFORMED, revoke(stage, "MEC01", source.party, Revocation.COMPROMISED, timedelta(days=-366 * 200))),
        (Kind.CONFLICT, revoke(stage, "KOR01", other.party, Revocation.COMPROMISED)),
        (Kind.NOT_FOUND, revoke(stage, "MEC01", other.party, Revocation.COMPROMISED)),
        (Kind.MALFORMED, revoke(stage, "MEC01", source.party, Revocation.COMPROMISED, hour)),
    ):
        with pytest.raises(GatewayError) as raised:
            await attempt
        assert raised.value.kind is kind, raised.value.detail
    with pytest.raises(GatewayError, match="is registered for KOR01") as raised:
        stolen = Party("JPN01")
        stolen.key = other.party.key
        await join_as(stage, stolen)
    assert raised.value.kind is Kind.CONFLICT
    assert await stage.count("log_entry") == before


async def join_as(stage: Stage, party: Party) -> None:
    made = Link(party.code, "party", NOWHERE, "requested", 24, (party.code,))
    await stage.run(
        lambda tx: commands.register(tx, stage.gateway.node, made, {party.code: None}, party.jwks()["keys"])
    )
