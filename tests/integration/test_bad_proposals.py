"""Proposals that cannot be: refused with their message or alone; no claim is left behind, and no other one harmed."""

import asyncio
from copy import deepcopy
from typing import Any

import pytest

from tests.e2e.programs import run
from tests.integration.test_sandbox_play import AUTHORISATION, text, uuid7
from tests.played import Course, block
from tests.refusals import Verdict, counts, effects, refused, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def issued(course: Course, size: int = 100) -> str:
    """Units 1 to ``size`` of a series of its own, so that tests do not meet."""
    series = uuid7()
    assert verdicts(await course.issue(block(1, size, series=series))) == [Verdict("recorded", [])]
    return series


async def ends_alone(course: Course, item: dict[str, Any], code: int, *, at_once: bool) -> list[dict[str, Any]]:
    """The proposal is refused for this reason, at once or by the checks, and holds no units; its findings."""
    proposed = verdicts(await course.propose(item))
    assert proposed == [Verdict("ending", [code]) if at_once else Verdict("proposed", [])]
    await course.turn()
    transfer = str(item["transfer"])
    [(state, outcome, findings)] = await course.stage.rows(
        f"SELECT state, outcome, findings FROM transfer WHERE id = '{transfer}'"
    )
    assert (state, outcome, [f["code"] for f in findings]) == ("ending", "refused", [code])
    assert verdicts(await course.void([transfer])) == [Verdict("refused", [])]
    assert await course.stage.count(f"claim WHERE transfer_id = '{transfer}' AND released_by IS NULL") == 0
    return list(findings)


def changed(item: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The item with one member replaced (``...`` removes it)."""
    whole = deepcopy(item)
    at: Any = whole
    *way, last = path.split(".")
    for name in way:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return whole


@pytest.mark.parametrize("path", ["blocks.0.first", "blocks.0.last", "quantity", "blocks.0.attributes.vintage"])
async def test_a_number_that_is_none_refuses_the_message(course: Course, path: str) -> None:
    values: tuple[Any, ...] = (True, 1.0, 1.5, "1", None, [], {}, ..., 2**53, -(2**53), 1e300)
    for value in values:
        item = changed(course.proposal(block(1, 10)), path, value)
        await refused(course.source, *course.source.compose("transfer.propose", [text(item)]), 2001)


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("blocks", [], 2005), ("blocks", None, 2001), ("blocks", {}, 2001), ("blocks", [1], 2001),
        ("transfer", "MEC01-1", 2003), ("transfer", 1, 2001), ("transfer", f"mec01-{uuid7()}", 2003),
        ("transfer", f"MEC01-{uuid7()}\n", 2001), ("transfer", f"MEC01-{uuid7().upper()}", 2003),
        ("request", "x", 2001), ("request", None, 2001), ("more", 1, 2001), ("purpose", 1, 2001),
        ("purpose", ..., 2001),
        ("transferring", "MEC01", 2001), ("transferring.more", 1, 2001), ("acquiring.party", 1, 2001),
        ("acquiring.party", "KO\u0007", 2001), ("acquiring.registry", "\u202e", 2001), ("acquiring.account", "", 2001),
        ("acquiring.account", "1" * 257, 2001), ("authorisation", "x", 2001), ("authorisation.version", 0, 2001),
        ("authorisation.version", True, 2001), ("authorisation.more", 1, 2001), ("blocks.0.origin", None, 2001),
        ("blocks.0.origin.series", 1, 2001), ("blocks.0.more", 1, 2001), ("blocks.0.itmo", None, 2001),
        ("blocks.0.attributes", [], 2001), ("blocks.0.attributes.more", 1, 2001),
        ("blocks.0.attributes.sector", ..., 2001),
        ("blocks.0.attributes.activity", "a\tb", 2001), ("blocks.0.attributes.underlying", 1, 2001),
        ("kind", "offer", 2001),
    ],
    ids=range(35),
)  # fmt: skip
async def test_a_structure_that_is_none_refuses_the_message(course: Course, path: str, value: Any, code: int) -> None:
    item = changed(course.proposal(block(1, 10)), path, value)
    await refused(course.source, *course.source.compose("transfer.propose", [text(item)]), code)


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("blocks.0.first", 0, 2006), ("blocks.0.first", -1, 2006), ("blocks.0.last", 0, 2006),
        ("blocks.0.first", 11, 2007),
        ("blocks.0.origin.series", "a/b", 2006), ("blocks.0.origin.registry", "MEC1", 2011), ("purpose", "ndc", 2014),
        ("blocks.0.attributes.sector", "Cooking", 2014), ("blocks.0.itmo", {"first": "x", "last": "y"}, 2006),
        ("acquiring.party", "XXX", 2010), ("acquiring.registry", "KOR1", 2011), ("acquiring.account", "999-1", 2014),
        ("transferring.account", "100-0", 2014),
    ],
)  # fmt: skip
async def test_wrong_data_refuse_one_transfer_at_once(course: Course, path: str, value: Any, code: int) -> None:
    item = changed(course.proposal(block(1, 10)), path, value)
    await ends_alone(course, item, code, at_once=True)


async def test_units_named_twice_are_an_overlap_and_not_another_transfers_claim(course: Course) -> None:
    series = await issued(course)
    first, last = block(1, 60, series=series), block(60, 100, series=series)
    for blocks in ([first, last], [first, first], [first, block(20, 30, series=series)]):
        [finding] = await ends_alone(course, course.proposal(*blocks), 2008, at_once=True)
        assert [(b["first"], b["last"]) for b in finding["blocks"]] == [(b["first"], b["last"]) for b in blocks][
            : len(finding["blocks"])
        ]
    assert verdicts(await course.propose(course.proposal(block(1, 100, series=series)))) == [Verdict("proposed", [])]


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("quantity", 11, 2009), ("quantity", 0, 2009), ("quantity", -10, 2009), ("quantity", 2**53 - 1, 2009),
        ("blocks.0.attributes.vintage", 2020, 2013), ("blocks.0.attributes.vintage", -5, 2013),
        ("blocks.0.attributes.vintage", 2100, 2013), ("blocks.0.attributes.vintage", 2022, 4010),
        ("blocks.0.attributes.activity", "PoA 1", 4010), ("acquiring.registry", "JPN01", 4002),
        ("transferring.registry", "KOR01", 4001), ("acquiring.account", "200-1", 4015),
    ],
)  # fmt: skip
async def test_the_checks_refuse_what_the_book_does_not_bear_out(
    course: Course, path: str, value: Any, code: int
) -> None:
    series = await issued(course)
    item = changed(course.proposal(block(1, 10, series=series)), path, value)
    before = await counts(course.stage)
    if path == "transferring.registry":  # nothing is claimed in registries that are not the sender's
        [told] = verdicts(await course.propose(item))
        assert (told.state, told.codes[0]) == ("ending", code)
        await course.void([str(item["transfer"])])
    else:
        await ends_alone(course, item, code, at_once=False)
    assert effects(before, await counts(course.stage)).keys() <= {
        "transfer", "transfer_step", "transfer_event", "claim", "steps of transfers",
    }  # fmt: skip


async def test_units_that_are_not_held_there_are_not_offered(course: Course) -> None:
    series = await issued(course)
    nowhere = course.proposal(block(91, 110, series=series))
    unknown = course.proposal(block(1, 5, series=uuid7()))
    other = changed(course.proposal(block(1, 5, series=series)), "transferring.account", "110-1")
    party = changed(course.proposal(block(6, 9, series=series)), "transferring.party", "KHM")
    await course.propose(nowhere, unknown, other, party)
    await course.turn()
    rows = dict(await course.stage.rows("SELECT id, findings FROM transfer"))
    found = [{f["code"] for f in rows[i["transfer"]]} for i in (nowhere, unknown, other, party)]
    assert found == [{4003, 4018}, {4003, 4018}, {4004, 4018}, {4004, 4018}]
    [gap] = next(f for f in rows[nowhere["transfer"]] if f["code"] == 4003)["blocks"]
    assert (gap["first"], gap["last"]) == (101, 110)
    assert set(await course.stage.states([str(i["transfer"]) for i in (nowhere, unknown, other, party)])) == {"ending"}


async def test_units_of_another_transfer_are_not_claimed_twice(course: Course) -> None:
    series = await issued(course)
    first = course.proposal(block(1, 60, series=series))
    assert verdicts(await course.propose(first)) == [Verdict("proposed", [])]
    [finding] = await ends_alone(course, course.proposal(block(60, 80, series=series)), 4005, at_once=True)
    assert [(b["first"], b["last"]) for b in finding["blocks"]] == [(60, 60)]
    # Within one message the first in it has them.
    one, two = course.proposal(block(81, 90, series=series)), course.proposal(block(90, 95, series=series))
    assert verdicts(await course.propose(one, two)) == [Verdict("proposed", []), Verdict("ending", [4005])]
    # What the two that lost had asked for is free.
    assert verdicts(await course.propose(course.proposal(block(91, 100, series=series)))) == [Verdict("proposed", [])]


async def test_the_limits_of_a_message_are_judged_before_anything_is_kept(course: Course) -> None:
    blocks = [block(3 * n + 1, 3 * n + 2) for n in range(3_001)]
    compose = course.source.compose
    await refused(course.source, *compose("transfer.propose", [text(course.proposal(*blocks))]), 2005)
    halves = [text(course.proposal(*blocks[:1_500])), text(course.proposal(*blocks[1_500:]))]
    await refused(course.source, *compose("transfer.propose", halves), 2005)
    many = [text(course.proposal(b)) for b in blocks[:1_001]]
    await refused(course.source, *compose("transfer.propose", many), 2001)
    same = course.proposal(blocks[0])
    twice = [text(same), text({**same, "quantity": 1})]
    await refused(course.source, *compose("transfer.propose", twice), 2001)
    voided = text({"kind": "voided", "transfer": same["transfer"], "findings": []})
    await refused(course.source, *compose("transfer.propose", [text(same), voided]), 2001)
    with_evidence = compose("transfer.propose", [text(same), voided], body={"evidence": ["a.b.c"]})
    await refused(course.source, *with_evidence, 2001)


async def test_three_thousand_blocks_and_a_thousand_transfers_are_within_the_limits(course: Course) -> None:
    blocks = [block(3 * n + 1, 3 * n + 2, series="LIMITS") for n in range(3_000)]
    assert verdicts(await course.propose(course.proposal(*blocks))) == [Verdict("proposed", [])]


async def test_one_bad_transfer_does_not_harm_the_others_of_its_message(course: Course) -> None:
    series = await issued(course, 2_000)
    items = [course.proposal(block(2 * n + 1, 2 * n + 2, series=series)) for n in range(1_000)]
    items[500] = changed(items[500], "blocks.0.last", 1_000)  # reversed: 1001 to 1000
    assert items[500]["blocks"][0]["first"] == 1_001
    found = verdicts(await course.propose(*items))
    assert found[500] == Verdict("ending", [2007])
    assert [v for n, v in enumerate(found) if n != 500] == [Verdict("proposed", [])] * 999
    ids = [str(i["transfer"]) for i in items]
    for _ in range(10):  # a turn takes one message's worth, and other tests have left some
        if "proposed" in await course.stage.states(ids):
            await course.turn()
    states = await course.stage.states(ids)
    assert states.pop(500) == "ending"
    assert set(states) == {"checked"}
    await course.void(ids)


async def test_a_transfer_id_of_another_registry_is_not_taken(course: Course) -> None:
    series = await issued(course)
    stolen = course.proposal(block(1, 5, series=series), transfer=f"KOR01-{uuid7()}")
    good = course.proposal(block(6, 10, series=series))
    found = verdicts(await course.propose(stolen, good))
    assert found == [Verdict("not known here", [2003]), Verdict("proposed", [])]
    assert await course.stage.states([stolen["transfer"], good["transfer"]]) == ["absent", "proposed"]
    before = await counts(course.stage)
    # Nor is the id of a transfer that exists taken over by somebody else.
    heard = await course.acquirer.say("transfer.propose", [{**good, "quantity": 1}])
    assert verdicts(heard) == [Verdict("not known here", [2003])]
    assert effects(before, await counts(course.stage)) == {}


async def test_a_transfer_id_comes_with_one_content_only(course: Course) -> None:
    series = await issued(course)
    item = course.proposal(block(1, 5, series=series))
    assert verdicts(await course.propose(item)) == [Verdict("proposed", [])]
    before = await counts(course.stage)
    for other in ({**item, "purpose": "IMP"}, {**item, "blocks": [block(6, 10, series=series)]}):
        assert verdicts(await course.propose(other)) == [Verdict("proposed", [2004])]
    assert verdicts(await course.propose(item)) == [Verdict("proposed", [])]  # the same content, in another message
    assert effects(before, await counts(course.stage)) == {}


async def test_a_request_that_was_never_made_refuses_its_proposal(course: Course) -> None:
    series = await issued(course)
    request = uuid7()
    items = [course.proposal(block(n, n, series=series), request=request) for n in (1, 2)]
    assert verdicts(await course.propose(*items)) == [Verdict("ending", [3006])] * 2


async def test_two_proposals_for_one_request_are_both_answered(course: Course) -> None:
    series = await issued(course)
    wish = {
        "transferring": {"registry": "MEC01", "party": "MMR", "account": "100-1"},
        "acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
        "purpose": "NDC",
        "quantity": 1,
    }
    url, headers = "/api/v1/transfers", {"idempotency-key": uuid7()}
    request = (await course.stage.api.post(url, json=wish, headers=headers)).json()["request"]
    items = [course.proposal(block(n, n, series=series), request=request) for n in (1, 2)]
    assert verdicts(await course.propose(*items)) == [Verdict("proposed", []), Verdict("ending", [3006])]


async def test_texts_are_kept_as_they_came(course: Course) -> None:
    series = await issued(course)
    odd = {"id": "Zürich 東京 '; DROP TABLE transfer; -- \\ %s {0} $1", "version": AUTHORISATION["version"]}
    item = course.proposal(block(1, 5, series=series), authorisation=odd)
    assert verdicts(await course.propose(item)) == [Verdict("proposed", [])]
    kept = (await course.said([str(item["transfer"])], "propose"))[str(item["transfer"])]
    assert kept == text(item)


async def test_a_proposal_to_no_address_is_shown_as_it_was_written(course: Course) -> None:
    marked = {"registry": "[/KOR01]", "party": "[bold]K:smile:", "account": "[" + "9" * 200}
    item = course.proposal(block(1, 10, series=await issued(course)), acquiring=marked, purpose="[/NDC]")
    assert [v.state for v in verdicts(await course.propose(item))] == ["ending"]
    stage, transfer = course.stage, str(item["transfer"])
    assert (await stage.transfer(transfer))["transfer"]["acquiring"] == marked
    listed = await stage.api.get("/api/v1/transfers")
    assert listed.status_code == 200, listed.text
    assert transfer in [t["id"] for t in listed.json()["transfers"]]
    settings = {"GATEWAY_DATABASE_URL": stage.server.dsn(stage.database_name, "gateway_app"), "COLUMNS": "500"}
    settings["GATEWAY_KEY_FILE"] = str(stage.folder / "gateway.pem")
    for arguments in (["list"], ["show", transfer]):
        shown = await asyncio.to_thread(run, "transfers", *arguments, **settings)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert transfer in shown.stdout and marked["registry"] in shown.stdout
    assert marked["party"] in shown.stdout and marked["account"] in shown.stdout
