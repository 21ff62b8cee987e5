"""``link.keys``: a registry's next key under its present one, with overlap; what is no such announcement is refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from gateway.links import commands, rotation
from gateway.signing.trust import Revocation
from tests.integration.test_sandbox_play import Party, stamp
from tests.played import Played, join
from tests.refusals import refused, unvouched
from tests.stage import Stage


def announcement(*keys: Party, ends: dict[str, datetime] | None = None, **changes: Any) -> dict[str, Any]:
    """The body of a ``link.keys``; a change to None takes a member away."""
    retire = {kid: stamp(end) for kid, end in (ends or {}).items()} or None
    said = {"keys": [k.jwks()["keys"][0] for k in keys], "not_before": stamp(datetime.now(UTC)), "retire": retire}
    return {name: value for name, value in (said | changes).items() if value is not None}


def kid(party: Party) -> str:
    return str(party.key.thumbprint())


def signing(played: Played, other: Party) -> Played:
    """The same registry, which signs with another key."""
    renewed = Played(played.stage, Party(played.code), played.gateway_keys)
    renewed.party.key, renewed.party.seq = other.key, played.party.seq + 1_000
    return renewed


async def windows(stage: Stage) -> list[tuple[Any, ...]]:
    return await stage.rows("SELECT link, kid, not_after FROM peer_key ORDER BY link, kid")


async def test_a_new_key_announced_under_the_old_signs_and_both_count(stage: Stage) -> None:
    source, new = await join(stage, "MEC01", "mechanism"), Party("MEC01")
    renewed = signing(source, new)
    await unvouched(stage, *renewed.compose("time.query", [], body={}), 401, 1007)
    end = datetime.now(UTC) + timedelta(hours=1)
    body = announcement(new, ends={kid(source.party): end})
    kind, made = source.compose("link.keys", [], body=body)
    answer = await source.post(kind, made)
    assert (answer.type, answer.items, "seq" in answer.payload) == ("receipt", [], True)
    assert (await source.post(kind, made)).raw == answer.raw  # said again, it is the same word
    for played in (renewed, source):
        assert (await played.say("time.query", [], body={})).type == "time.answer"
    logged = await stage.rows("SELECT kind FROM log_entry WHERE kind LIKE 'key.%' ORDER BY id")
    assert logged == [("key.registered",), ("key.ended",)]
    stage.clock.ahead = timedelta(hours=2)  # what was sent before the end still counts, whenever it arrives
    assert (await source.say("action.notice", [])).type == "receipt"
    await unvouched(stage, *source.compose("action.notice", [], sent_at=stamp(end)), 401, 1007)
    assert await stage.doctor() == []


async def test_a_key_may_be_given_an_end_alone_but_not_the_last_one(stage: Stage) -> None:
    source, new = await join(stage, "MEC01", "mechanism"), Party("MEC01")
    soon = datetime.now(UTC) + timedelta(minutes=1)
    await refused(source, *source.compose("link.keys", [], body=announcement(ends={kid(source.party): soon})), 1007)
    assert (await source.say("link.keys", [], body=announcement(new))).type == "receipt"
    ends = announcement(ends={kid(source.party): soon})
    assert (await source.say("link.keys", [], body=ends)).type == "receipt"
    later = announcement(ends={kid(source.party): soon + timedelta(days=1)})
    await refused(source, *source.compose("link.keys", [], body=later), 1007)
    assert dict((k, end is not None) for _, k, end in await windows(stage)) == {
        kid(source.party): True,
        kid(new): False,
    }


def with_private_members(_: Played) -> dict[str, Any]:
    return announcement(keys=[OKPKey.generate_key("Ed25519").as_dict(private=True)])


def without_id(party: Party) -> dict[str, Any]:
    [key] = party.jwks()["keys"]
    return {name: member for name, member in key.items() if name != "kid"}


def of_the_gateway(played: Played) -> dict[str, Any]:
    [key] = played.gateway_keys.keys
    jwk = {**key.as_dict(private=False), "alg": "Ed25519", "kid": key.thumbprint(), "use": "sig"}
    return announcement(keys=[jwk])


def at(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


BAD: dict[str, tuple[int, Callable[[Played], dict[str, Any]]]] = {
    "its own present key": (1007, lambda p: announcement(p.party)),
    "private members": (1007, with_private_members),
    "another curve": (1007, lambda p: announcement(keys=[{"kty": "EC", "crv": "P-384", "x": "A", "y": "A"}])),
    "one key twice": (1007, lambda p: (lambda new: announcement(new, new))(Party("MEC01"))),
    "a stranger's end": (1007, lambda p: announcement(Party("MEC01"), ends={"A" * 43: at(1)})),
    "an end that is over": (2001, lambda p: announcement(Party("MEC01"), ends={kid(p.party): at(-1)})),
    "a beginning long ago": (2001, lambda p: announcement(Party("MEC01"), not_before=stamp(at(-1)))),
    "a beginning in two years": (2001, lambda p: announcement(Party("MEC01"), not_before=stamp(at(730)))),
    "a beginning that is no time": (2001, lambda p: announcement(Party("MEC01"), not_before="tomorrow")),
    "no beginning": (2001, lambda p: announcement(Party("MEC01"), not_before=None)),
    "nothing": (2001, lambda p: announcement()),
    "ends of nothing": (2001, lambda p: announcement(Party("MEC01"), retire={})),
    "ends that are a list": (2001, lambda p: announcement(Party("MEC01"), retire=[])),
    "five keys": (2001, lambda p: announcement(*(Party("MEC01") for _ in range(5)))),
    "a key that is text": (2001, lambda p: announcement(keys=["key"])),
    "keys that are an object": (2001, lambda p: announcement(keys={})),
    "a key without an id": (2001, lambda p: announcement(keys=[without_id(Party("MEC01"))])),
    "another member": (2001, lambda p: announcement(Party("MEC01"), hurry=True)),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
async def test_what_is_no_announcement_is_refused_whole_and_for_ever(stage: Stage, bad: str) -> None:
    source = await join(stage, "MEC01", "mechanism")
    code, body = BAD[bad]
    kind, made = source.compose("link.keys", [], body=body(source))
    before = await windows(stage)
    heard = await refused(source, kind, made, code)
    assert "seq" in heard.payload
    assert (await source.post(kind, made)).raw == heard.raw
    assert await windows(stage) == before


async def test_a_key_of_another_link_or_of_the_gateway_cannot_be_announced(stage: Stage) -> None:
    source, other = await join(stage, "MEC01", "mechanism"), await join(stage, "KOR01", "party", "KOR")
    await stage.gateway.start()
    for body in (announcement(other.party), of_the_gateway(source)):
        await refused(source, *source.compose("link.keys", [], body=body), 1007)
    new = Party("MEC01")
    assert (await source.say("link.keys", [], body=announcement(new))).type == "receipt"
    await refused(other, *other.compose("link.keys", [], body=announcement(new)), 1007)
    # What MEC01's key signs in KOR01's name is nobody's.
    forged = signing(other, new)
    await unvouched(stage, *forged.compose("link.keys", [], body=announcement(Party("KOR01"))), 401, 1007)


@pytest.mark.parametrize("reason", [Revocation.COMPROMISED, Revocation.SUPERSEDED])
async def test_a_revoked_key_announces_nothing_and_is_not_announced_again(stage: Stage, reason: Revocation) -> None:
    source, new = await join(stage, "MEC01", "mechanism"), Party("MEC01")
    assert (await source.say("link.keys", [], body=announcement(new))).type == "receipt"
    made = source.compose("link.keys", [], body=announcement(Party("MEC01")))
    old = kid(source.party)
    now = datetime.fromisoformat(stamp(datetime.now(UTC)))  # what is sent from now on says no earlier time
    await stage.run(lambda tx: commands.revoke_key(tx, "MEC01", old, reason, now=now, since=None))
    made = source.compose("link.keys", [], body=announcement(Party("MEC01")))
    await unvouched(stage, *made, 401, 1007)
    renewed = signing(source, new)
    await refused(renewed, *renewed.compose("link.keys", [], body=announcement(source.party)), 1007)
    end = announcement(ends={old: at(1)})
    await refused(renewed, *renewed.compose("link.keys", [], body=end), 1007)


async def test_a_link_has_so_many_keys_that_can_sign_and_no_more(stage: Stage) -> None:
    source = await join(stage, "MEC01", "mechanism")
    for number in (4, 4, 4, 3):
        new = [Party("MEC01") for _ in range(number)]
        assert (await source.say("link.keys", [], body=announcement(*new))).type == "receipt"
    assert await stage.count("peer_key") == rotation.MAX_KEYS
    await refused(source, *source.compose("link.keys", [], body=announcement(Party("MEC01"))), 1007)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert (await source.say("link.keys", [], body=announcement(ends={kid(new[0]): soon}))).type == "receipt"
    later = announcement(Party("MEC01"), not_before=stamp(soon))
    assert (await source.say("link.keys", [], body=later)).type == "receipt"


@pytest.mark.parametrize(("state", "code"), [("requested", 1002), ("suspended", 1003), ("closed", 1003)])
async def test_over_a_link_that_is_not_active_no_key_is_announced(stage: Stage, state: str, code: int) -> None:
    source, new = await join(stage, "MEC01", "mechanism"), Party("MEC01")
    await stage.rows(f"UPDATE link SET state = '{state}'")
    kind, made = source.compose("link.keys", [], body=announcement(new))
    assert "seq" not in (await refused(source, kind, made, code)).payload
    await stage.rows("UPDATE link SET state = 'active'")
    assert (await source.post(kind, made)).type == "receipt"


async def test_a_sandbox_registry_rotates_its_key_and_goes_on(linked: Stage) -> None:
    source = linked.registries["MEC01"]
    await linked.issue()
    before = await linked.published("MEC01")
    said = await source.post("keys/rotate")
    assert said["signs"] == before[0]["kid"] != said["announced"]

    async def changed() -> bool:
        return bool(await source.get("keys") == {"signs": said["announced"], "announced": None})

    await linked.until(changed)
    after = await linked.published("MEC01")
    assert [key["kid"] for key in after] == [said["announced"]]
    (linked.folder / "MEC01.jwks").write_text(json.dumps({"keys": [*before, *after]}))
    assert set(await linked.relay(await linked.propose(1, 2, 3))) == {"completed"}
    assert await linked.count("message WHERE type = 'link.keys' AND direction = 'in'") == 1
    await source.stop()
    await linked.restart("MEC01")
    assert (await source.get("keys"))["signs"] == said["announced"]
    assert set(await linked.relay(await linked.propose(4))) == {"completed"}
    assert await linked.doctor() == []
