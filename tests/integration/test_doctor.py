"""The doctor finds nothing in any state a gateway can be in, and finds whatever is made wrong in the database.

Each fault is made in a copy of one database, by statements that no rule of the schema stops, and the checks named
beside it are all that may find something: what the fault implies, and nothing else.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from gateway import db, embedded
from gateway.doctor.examination import WALKS, examine
from gateway.doctor.report import MOST_KEPT, Report, Result, finding
from gateway.doctor.scene import Own
from gateway.links import commands
from gateway.signing.keys import SoftwareKey
from gateway.signing.trust import Revocation
from tests import spoiled
from tests.planted import FAULTS, named, overtaken, rebuilt
from tests.played import Course, block
from tests.spoiled import STANDING, Copy, Original
from tests.stage import Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def original(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Original]:
    """A database with a transfer in every state."""
    yield await spoiled.made(postgres, tmp_path_factory.mktemp("spoiled"))


async def examined(stage: Stage) -> Report:
    return await examine(stage.gateway.database, Own.of(stage.gateway.node), stage.clock())


def found(report: Report) -> list[str]:
    return [f"{name}: {remark}" for name, remark in report.findings]


def notes(report: Report) -> list[str]:
    return [f"{name}: {remark}" for name, remark in report.notes]


async def heard(copy: Copy) -> int:
    """How many messages are others'."""
    async with copy.database.reading() as tx:
        row = await db.one(tx, "SELECT count(*) AS number FROM message WHERE direction = 'in'")
    assert row is not None
    return int(row.number)


def counted(report: Report) -> dict[str, int]:
    return {result.name: result.examined for result in report.results}


async def test_everything_fits_at_every_step_of_a_course(stage: Stage) -> None:
    assert found(await examined(stage)) == []
    course = await Course.begun(stage)
    await course.issue(block(1, 100))
    item = course.proposal(block(3, 4), block(20, 29))
    transfer = [str(item["transfer"])]
    for step in (
        lambda: course.propose(item),
        course.turn,
        lambda: course.accept(transfer),
        course.turn,
        lambda: course.release(transfer),
        course.turn,
        lambda: course.credit(transfer),
        lambda: course.use(block(30, 40)),
        lambda: course.void(transfer),
        course.turn,
    ):
        await step()
        assert found(await examined(stage)) == []
    assert await stage.states(transfer) == ["completed"]
    report = await examined(stage)
    assert report.fits
    assert [text.rpartition(": ")[2] for text in notes(report)] == ["MEC01 says voided after the opposite (3002)"]
    assert counted(report)["course"] == 1 and counted(report)["messages"] == await stage.count("message")


async def test_everything_fits_between_real_registries_while_the_relay_runs(linked: Stage) -> None:
    await linked.issue(net=1_000)
    korea = linked.registries["KOR01"]
    completed = await linked.propose(10, 20, 30)
    async with linked.working():
        while set(await linked.states(completed)) != {"completed"}:
            assert found(await examined(linked)) == []
        await korea.change("policy", refuse_parties=["MMR"])
        rejected = await linked.propose(40)
        await linked.until(lambda: linked.count(f"transfer WHERE id = '{rejected[0]}' AND state = 'rejected'"))
        await korea.change("policy", refuse_parties=[], decide=False)
        [withdrawn, waiting] = await linked.propose(50, 60)
        await linked.until(lambda: linked.count(f"transfer WHERE id = '{withdrawn}' AND state = 'checked'"))
        assert found(await examined(linked)) == []
        await linked.registries["MEC01"].post(f"transfers/{withdrawn}/withdraw")
        await linked.until(lambda: linked.count(f"transfer WHERE id = '{withdrawn}' AND state = 'cancelled'"))
        refused = await linked.propose(70, to="JPN01")
        await linked.until(lambda: linked.count(f"transfer WHERE id = '{refused[0]}' AND state = 'refused'"))
        assert found(await examined(linked)) == []
    assert await linked.states([*completed, *rejected, withdrawn, waiting, *refused]) == [
        *(["completed"] * 3), "rejected", "cancelled", "checked", "refused"
    ]  # fmt: skip
    assert found(await examined(linked)) == []


async def test_a_transfer_in_every_state_fits_and_what_waits_for_a_person_is_noted(original: Original) -> None:
    async with original.copied() as copy:
        report = await copy.examined()
    assert found(report) == []
    assert counted(report)["course"] == len(STANDING)
    assert counted(report)["requests"] == 2
    assert all(result.examined for result in report.results)
    why = "MEC01 does not know the transfer it proposed (3001)"
    waiting, alarm, _, refused, *differing = notes(report)
    assert waiting == f"attention: transfer {original.transfers['attention']}: waits for a person: {why}"
    assert alarm.startswith(f"alarms: transfer {original.transfers['attention']}, entry ") and alarm.endswith(why)
    assert " INT01 refuses to record " in refused and refused.endswith(": it gives no reason (4010)")
    assert [text.partition(", entry")[0] for text in differing] == [
        f"alarms: transfer {case}" for case in ("MEC01-1", "MEC01-2", "MMR-1")
    ]


async def test_messages_of_a_peer_that_have_not_arrived_are_noted(original: Original) -> None:
    async with original.copied() as copy:
        copy.spoil(
            "DELETE FROM message WHERE direction = 'in' AND type = 'action.notice' AND peer = 'MEC01'",
            "DELETE FROM replay_key k WHERE NOT EXISTS (SELECT FROM message m WHERE m.message_id = k.message_id)",
            "DELETE FROM log_entry e WHERE kind = 'action.notice'",
        )
        said = [text for text in notes(await copy.examined()) if text.startswith("streams")]
    assert said == ["streams: peer MEC01: messages 2-12 of MEC01 have not arrived (3007)"]


async def test_our_messages_under_a_key_that_is_not_at_hand_are_noted_and_not_found_wrong(original: Original) -> None:
    async with original.copied() as copy:
        for own in (Own("GWY01"), Own("GWY01", SoftwareKey.generate().public_jwk())):
            report = await copy.examined(own)
            assert found(report) == []
            unexamined = next(result for result in report.results if result.name == "own keys")
            assert unexamined.noted == counted(report)["messages"] - await heard(copy)
            assert "not at hand: not examined" in str(unexamined.notes[0])


async def test_a_revocation_that_reaches_back_does_not_make_wrong_what_was_stored_before(original: Original) -> None:
    now = datetime.now(UTC)
    yesterday = now - timedelta(days=1)
    async with original.copied() as copy:
        async with copy.database.reading() as tx:
            [key] = await commands.keys(tx, "MEC01")
        await copy.database.run(
            lambda tx: commands.revoke_key(tx, "MEC01", key.kid, Revocation.COMPROMISED, now=now, since=yesterday),
            "approvals.approve",
        )
        assert found(await copy.examined()) == []
        # As if it had been entered before those messages came.
        copy.spoil("UPDATE log_entry SET at = at - interval '1 hour' WHERE kind = 'key.revoked'")
        late = await copy.examined()
    assert {name for name, _ in late.findings} == {"messages", "history"}
    assert "the signing key is revoked" in found(late)[0]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_found_and_nothing_beside_what_it_implies(original: Original, fault: str) -> None:
    statements, checks, words = FAULTS[fault]
    async with original.copied() as copy:
        copy.spoil(*statements)
        report = await copy.examined()
    assert {name for name, _ in report.findings} == checks, found(report)
    assert any(words in text for text in found(report)), found(report)
    assert not report.fits


async def test_rows_that_were_lost_and_taken_up_fit(original: Original) -> None:
    for course in (rebuilt, overtaken):
        async with original.copied() as copy:
            copy.spoil(*course("released"))
            assert found(await copy.examined()) == []


async def test_a_commit_from_before_data_were_lost_may_name_another_answer(original: Original) -> None:
    async with original.copied() as copy:
        copy.spoil(*overtaken("released"), named("answer", "commit", "released"))
        report = await copy.examined()
    assert {name for name, _ in report.findings} == {"statements"}
    what = "its 'commit' names another answer than the 'answer' that is kept"
    assert any(text.startswith("chain: ") and text.endswith(what) for text in notes(report))


async def test_a_finding_names_the_transfer_it_is_about_and_machines_can_read_it(original: Original) -> None:
    async with original.copied() as copy:
        copy.spoil("UPDATE transfer SET version = version + 1 WHERE id = {checked}")
        told = (await copy.examined()).as_dict()
    checks = {check["name"]: check for check in told["checks"]}
    what = "the row has version 3 after 2 events"
    assert checks["course"]["findings"] == [{"transfer": original.transfers["checked"], "what": what}]
    assert (told["fits"], checks["course"]["found"], checks["due"]["found"]) == (False, 1, 0)


def test_every_check_has_a_fault_that_it_finds() -> None:
    names = {check.__name__.replace("_", " ") for walk in WALKS for check in walk.checks}
    only_note = {"attention", "own keys", "alarms"}
    assert names - only_note == set().union(*(checks for _, checks, _ in FAULTS.values()))


def test_of_very_many_findings_the_first_are_kept_and_all_are_counted() -> None:
    result = Result("course", "a rule")
    for nr in range(MOST_KEPT + 5):
        result.add([finding("wrong", entry=nr)])
    assert (result.examined, result.found, len(result.findings)) == (MOST_KEPT + 5, MOST_KEPT + 5, MOST_KEPT)
