"""Words about transfers that are nobody's, out of turn, or name what was never said: logged, and of no effect.

A transfer that is not the sender's is answered exactly like one that does not exist.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.test_sandbox_play import sha, stamp, text, uuid7
from tests.played import Course, Played, block, join
from tests.refusals import Verdict, counts, effects, ineffective, refused, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = {"id": "01890000-0000-7000-8000-000000000000", "sha256": "A" * 43}
UNKNOWN = Verdict("not known here", [3001])
WORDS = ("answer", "released", "voided", "credited")


def word(kind: str, transfer: str, /, **members: Any) -> dict[str, Any]:
    """What a registry says of a transfer, naming nothing we said unless told otherwise."""
    at = stamp(datetime.now(UTC))
    more: dict[str, dict[str, Any]] = {
        "answer": {"offer": "A" * 43, "answer": "accepted", "findings": []},
        "released": {"commit": NOBODY, "released_at": at, "first_transfer": False, "itmo": []},
        "voided": {"findings": []},
        "credited": {"settle": NOBODY, "credited_at": at, "account": "100-1", "findings": []},
    }
    return {"kind": kind, "transfer": transfer, **more[kind], **members}


async def say(who: Played, kind: str, *items: dict[str, Any]) -> list[Verdict]:
    """Say what must have no effect."""
    return await ineffective(who, f"transfer.{kind}", list(items))


async def offered(course: Course, number: int = 1) -> list[str]:
    """Transfers that have been offered to KOR01."""
    series = uuid7()
    await course.issue(block(1, 10 * number, series=series))
    items = [course.proposal(block(10 * n + 1, 10 * n + 10, series=series)) for n in range(number)]
    await course.propose(*items)
    await course.turn()
    return [str(i["transfer"]) for i in items]


@pytest.mark.parametrize("kind", WORDS)
async def test_the_unknown_and_what_is_not_the_senders_are_answered_alike(course: Course, kind: str) -> None:
    [transfer] = await offered(course)
    speaker, outsider = course.source, course.acquirer
    if kind in ("answer", "credited"):
        speaker, outsider = outsider, speaker
    foreign, unknown = word(kind, transfer), word(kind, f"MEC01-{uuid7()}")
    # A source's withdrawal may overtake its proposal; it is remembered (test_relay_endings).
    for who in (outsider, speaker) if kind != "voided" else (outsider,):
        assert await say(who, kind, unknown) == [UNKNOWN]
    heard = [await outsider.say(f"transfer.{kind}", [i]) for i in (foreign, unknown)]
    shown = [{**h.items[0], "item": "", "transfer": ""} for h in heard]
    assert shown[0] == shown[1]
    assert await course.stage.states([transfer]) == ["checked"]


async def test_a_status_is_told_to_the_two_sides_only(course: Course) -> None:
    [transfer] = await offered(course)

    async def asked(who: Played, about: str) -> dict[str, Any]:
        kind, body = who.compose("status.query", [], body={"transfer": about, "my_state": "locked"})
        heard = await who.post(kind, body)
        assert heard.type == "status.answer"
        return dict(heard.payload["body"]) | {"transfer": ""}

    assert (await asked(course.source, transfer))["state"] == "checked"
    assert (await asked(course.acquirer, transfer))["state"] == "checked"
    unknown = await asked(course.source, f"MEC01-{uuid7()}")
    assert unknown == {"transfer": "", "state": "not known here", "evidence": []}
    japan = await join(course.stage, "JPN01", "party", "JPN")
    assert await asked(japan, transfer) == unknown


async def test_what_names_another_offer_commit_or_settle_has_no_effect(course: Course) -> None:
    [one, two] = await offered(course, 2)
    offers = await course.said([one, two], "offer")
    assert await say(course.acquirer, "answer", word("answer", one)) == [Verdict("checked", [3002])]
    wrong = word("answer", one, offer=sha(offers[two]))
    assert await say(course.acquirer, "answer", wrong) == [Verdict("checked", [3002])]
    await course.accept([one, two])
    await course.turn()
    commits = await course.named([one, two], "commit")
    for commit in (
        NOBODY,
        {**commits[one], "sha256": "A" * 43},
        {**commits[one], "id": uuid7()},
        {"id": commits[one]["id"].upper(), "sha256": commits[one]["sha256"]},
    ):
        assert await say(course.source, "released", word("released", one, commit=commit)) == [
            Verdict("committing", [3002])
        ]
    assert verdicts(await course.release([one, two])) == [Verdict("released", [])] * 2
    settles = await course.named([one, two], "settle")
    for settle in (NOBODY, commits[one], {**settles[one], "sha256": commits[one]["sha256"]}):
        assert await say(course.acquirer, "credited", word("credited", one, settle=settle)) == [
            Verdict("released", [3002])
        ]
    assert verdicts(await course.credit([one, two])) == [Verdict("completed", [])] * 2


async def test_words_out_of_turn_have_no_effect(course: Course) -> None:
    [transfer] = await offered(course)
    offer = sha((await course.said([transfer], "offer"))[transfer])
    early = (
        (course.source, "released", "checked", 3002),
        (course.acquirer, "credited", "checked", 3002),
    )
    for who, kind, state, code in early:
        assert await say(who, kind, word(kind, transfer)) == [Verdict(state, [code])]
    await course.accept([transfer])
    changed = word("answer", transfer, offer=offer, answer="rejected", findings=[{"code": 5904}])
    assert await say(course.acquirer, "answer", changed) == [Verdict("accepted", [3002])]
    await course.turn()
    assert await say(course.acquirer, "answer", changed) == [Verdict("committing", [3002])]
    assert await say(course.acquirer, "credited", word("credited", transfer)) == [Verdict("committing", [3002])]
    await course.release([transfer])
    assert await say(course.source, "voided", word("voided", transfer)) == [Verdict("released", [3002])]
    commit = (await course.named([transfer], "commit"))[transfer]
    again = word("released", transfer, commit=commit, first_transfer=True)
    assert await say(course.source, "released", again) == [Verdict("released", [3002])]
    settle = (await course.named([transfer], "settle"))[transfer]
    await course.credit([transfer])
    twice = word("credited", transfer, settle=settle, account="110-1")
    late = ((course.source, "voided", word("voided", transfer)), (course.source, "released", again))
    for who, kind, item in (*late, (course.acquirer, "credited", twice), (course.acquirer, "answer", changed)):
        assert await say(who, kind, item) == [Verdict("completed", [3003])]


async def test_what_is_no_statement_is_refused_with_its_message(course: Course) -> None:
    [transfer] = await offered(course)
    finding = {"code": 5904}
    bad: list[tuple[str, dict[str, Any], int]] = [
        ("answer", {"answer": "perhaps"}, 2001), ("answer", {"answer": None}, 2001), ("answer", {"offer": 1}, 2001),
        ("answer", {"answer": "rejected"}, 2001), ("answer", {"more": 1}, 2001), ("answer", {"findings": None}, 2001),
        ("answer", {"findings": [1]}, 2001), ("answer", {"findings": [{**finding, "code": 1}]}, 2001),
        ("answer", {"findings": [{**finding, "code": True}]}, 2001), ("answer", {"transfer": "x"}, 2003),
        ("answer", {"findings": [{**finding, "detail": "a\u0007"}]}, 2001), ("answer", {"transfer": None}, 2001),
        ("answer", {"findings": [{**finding, "detail": "a" * 2_001}]}, 2001), ("answer", {"kind": "offer"}, 2001),
        ("answer", {"findings": [{**finding, "blocks": [{"first": 1, "last": 2}]}]}, 2001),
        ("released", {"commit": "x"}, 2001), ("released", {"commit": {"id": 1, "sha256": "A"}}, 2001),
        ("released", {"first_transfer": 1}, 2001), ("released", {"released_at": "now"}, 2001),
        ("released", {"itmo": None}, 2001), ("released", {"itmo": [{}]}, 2001), ("released", {"itmo": [1]}, 2001),
        ("voided", {"findings": "x"}, 2001), ("voided", {"reason": "x"}, 2001),
        ("credited", {"settle": []}, 2001), ("credited", {"credited_at": 1}, 2001), ("credited", {"account": 1}, 2001),
    ]  # fmt: skip
    for kind, members, code in bad:
        who = course.acquirer if kind in ("answer", "credited") else course.source
        await refused(who, *who.compose(f"transfer.{kind}", [text(word(kind, transfer, **members))]), code)
    for kind in WORDS:
        who = course.acquirer if kind in ("answer", "credited") else course.source
        twice = [text(word(kind, transfer)), text(word(kind, transfer) | {"findings": [finding]})]
        if kind == "released":
            twice[1] = text(word(kind, transfer, first_transfer=True))
        await refused(who, *who.compose(f"transfer.{kind}", twice), 2001)
    many = [text(word("voided", f"MEC01-{uuid7()}")) for _ in range(1_001)]
    await refused(course.source, *course.source.compose("transfer.voided", many), 2001)
    assert await course.stage.states([transfer]) == ["checked"]


@pytest.mark.parametrize(("account", "code"), [("200-1", 5903), ("999-1", 2014), ("x", 2014)])
async def test_a_credit_to_no_account_of_units_does_not_harm_the_others(
    course: Course, account: str, code: int
) -> None:
    transfers = await offered(course, 2)
    await course.accept(transfers)
    await course.turn()
    await course.release(transfers)
    settles = await course.named(transfers, "settle")
    items = [word("credited", t, settle=settles[t]) for t in transfers]
    items[0]["account"] = account
    heard = await course.acquirer.say("transfer.credited", items)
    assert verdicts(heard) == [Verdict("released", [code]), Verdict("completed", [])]
    assert verdicts(await course.credit(transfers[:1])) == [Verdict("completed", [])]


async def test_identifiers_given_twice_are_refused_with_an_alarm_and_do_not_stop_a_credit(course: Course) -> None:
    series, before = uuid7(), await course.stage.count("alarm WHERE code = 4007")
    await course.issue(block(1, 40, series=series))
    items = [course.proposal(block(20 * n + 1, 20 * n + 20, series=series)) for n in range(2)]
    transfers = [str(i["transfer"]) for i in items]
    await course.propose(*items)
    await course.turn()
    await course.accept(transfers)
    await course.turn()

    def named(first: int, last: int, serial: int) -> dict[str, Any]:
        names = [f"CA0001-MMR99-MMR-{n}-2021" for n in (serial, serial + last - first)]
        origin = {"registry": "MEC01", "series": series}
        return {"origin": origin, "first": first, "last": last, "itmo": {"first": names[0], "last": names[1]}}

    naming = {transfers[0]: [named(1, 10, 8001), named(11, 20, 8001)], transfers[1]: [named(21, 40, 8005)]}
    assert verdicts(await course.release(transfers, naming)) == [Verdict("released", [4007])] * 2
    assert await course.stage.count("alarm WHERE code = 4007") == before + 2
    assert verdicts(await course.credit(transfers)) == [Verdict("completed", [])] * 2
    live = "position x JOIN unit_series s ON s.id = x.series_id WHERE x.closed_by IS NULL"
    assert await course.stage.count(f"{live} AND s.series = '{series}' AND x.registry = 'KOR01'") == 3
    assert await course.stage.count(f"{live} AND s.series = '{series}' AND x.itmo_series_id IS NOT NULL") == 0


async def test_a_withdrawn_transfer_hears_no_more(course: Course) -> None:
    [transfer] = await offered(course)
    offer = sha((await course.said([transfer], "offer"))[transfer])
    assert verdicts(await course.void([transfer])) == [Verdict("cancelled", [])]
    late = word("answer", transfer, offer=offer)
    assert await say(course.acquirer, "answer", late) == [Verdict("cancelled", [3003])]
    before = await counts(course.stage)
    assert verdicts(await course.void([transfer])) == [Verdict("cancelled", [])]  # its own word again
    assert effects(before, await counts(course.stage)) == {}
