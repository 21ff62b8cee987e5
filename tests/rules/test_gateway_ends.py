"""R7 to R11: how the gateway ends a transfer, what it repeats, whose first word counts, and what its book holds."""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import pytest

from gateway import db
from gateway.domain.transfers import CANCELLABLE, Cell, Event, State
from gateway.holdings import claims
from gateway.holdings.claims import Claim
from gateway.messages import store as messages
from gateway.transfers import hearing, interventions, store
from gateway.transfers.store import Step
from tests import handmade
from tests.integration.test_sandbox_play import Heard, sha, stamp, text
from tests.played import Course, block
from tests.rules.world import ALWAYS, UNITS, World, said_once, table
from tests.stage import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_R07_an_end_is_fenced_by_the_source(world: World) -> None:
    """A gateway that has lost its own commit ends alone what the source has debited: the units are nowhere."""
    transfer = await debited_and_fallen_back(world)
    await world.a_day_later(transfer)
    await world.turn(transfer)  # decides to end it, asks the source, and hears of its release
    assert await world.state(transfer) == "released"
    assert await world.alarms(transfer) == ["MEC01 shows that this gateway has lost data: released in state ending"]
    await world.completes(transfer)


async def test_R07_without_it_units_are_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alone: dict[tuple[State, Event], Cell] = {(state, Event.TIME_OVER): State.CANCELLED for state in CANCELLABLE}
    table(monkeypatch, alone)
    transfer = await debited_and_fallen_back(world)
    await world.a_day_later(transfer)
    await world.turn(transfer)
    assert await world.state(transfer) == "cancelled"
    assert [await world.state_at(code, transfer) for code in ("MEC01", "KOR01")] == ["released", "void"]
    assert await world.books() == {}


async def test_R08_an_end_is_said_until_it_is_receipted(world: World) -> None:
    """An offer may arrive after the one message that said that all is over: then the acquirer waits for ever."""
    transfer = await ended_while_the_offer_was_on_its_way(world)
    assert await world.turn(transfer)
    assert await world.state_at("KOR01", transfer) == "void"
    assert await world.stage.count(f"transfer WHERE id = '{transfer}' AND told_acquirer_at IS NOT NULL") == 1


async def test_R08_without_it_an_acquirer_waits_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said_once(monkeypatch)
    transfer = await ended_while_the_offer_was_on_its_way(world)
    await is_silent(world, transfer)
    assert (await world.state(transfer), await world.state_at("KOR01", transfer)) == ("cancelled", "accepted")
    assert await world.doctor(transfer) == ["due: its end is owed to the acquirer, and nobody will say it"]


async def test_R09_a_lost_message_is_sent_again(world: World) -> None:
    """Whoever waits and has said it once waits for ever when that was lost."""
    transfer = await ending_with_its_cancel_lost(world)
    await world.turn(transfer)
    assert (await world.state(transfer), await world.locked(transfer)) == ("cancelled", 0)
    assert await world.stage.count(f"transfer_step WHERE transfer_id = '{transfer}' AND step = 'cancel'") == 1


async def test_R09_without_it_a_transfer_ends_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said_once(monkeypatch)
    transfer = await ending_with_its_cancel_lost(world)
    await is_silent(world, transfer)
    assert (await world.state(transfer), await world.locked(transfer)) == ("ending", UNITS)
    assert await world.doctor(transfer) == ["due: it is ending, and nobody will look at it again"]


async def test_R10_the_first_answer_counts(world: World) -> None:
    """An acquirer that fell back decides again, and otherwise: a gateway that follows cancels what it has committed."""
    transfer = await committed_and_rejected(world)
    await world.stage.until(lambda: world.alarms(transfer))
    assert await world.alarms(transfer) == ["KOR01 says another answer than before"]
    assert await world.state(transfer) == "committing"
    assert "cancel" not in await world.said(transfer)
    await world.completes(transfer)
    assert await world.alarms_at("KOR01", transfer) == ["settled without an acceptance on record here"]


async def test_R10_without_it_both_are_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    table(monkeypatch, {(State.COMMITTING, Event.REJECTED): State.ENDING})
    hearing_every_answer(monkeypatch)
    transfer = await committed_and_rejected(world)
    await world.stage.until(lambda: world.stands(transfer, "ending"))
    assert {"commit", "cancel"} <= await world.said(transfer)
    assert "commit and cancel: it has both a commit and a cancel" in await world.doctor(transfer)


async def test_R11_units_that_are_claimed_are_not_proposed_again(world: World) -> None:
    """A source that has fallen back is told of two commits for the same units, and releases them to two acquirers."""
    first = await committed_though_withdrawn(world)
    second = await world.propose(to="JPN01")
    assert await world.state(second) == "ending"
    shown = (await world.stage.transfer(second))["transfer"]
    assert [finding["code"] for finding in shown["findings"]] == [4005]
    await world.come_back("MEC01")
    assert await world.synchronise("MEC01", first, second) == ["released", "void"]
    await world.completes(first)
    assert (await world.state(second), await world.state_at("JPN01", second)) == ("refused", "unknown")


async def test_R11_without_it_units_are_credited_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    the_last_claim_counts(monkeypatch)
    first = await committed_though_withdrawn(world)
    second = await world.propose(to="JPN01")
    assert await world.state(second) == "proposed"
    assert await world.doctor(first) == ["claims: 10 of its units are not claimed any more in state committing"]
    await world.lose("MEC01", "transfer.commit")
    await world.on(second, "committing")
    await world.come_back("MEC01")
    # It is told "committing" twice. The sandbox has holdings beside its rows, so it takes up the first one only; a
    # source whose rows are its books (by hand, with its key) releases both.
    assert await world.synchronise("MEC01", first, second) == ["released", "unknown-here"]
    await world.on(first, "completed")
    assert (await says_released(world, second)).items[0]["state"] == "released"
    await world.turn(second)  # JPN01 credits, too; the gateway's book does not take units out of KOR01 for that
    assert (await world.state(second), await world.state_at("JPN01", second)) == ("released", "credited")
    assert await world.books() == {"KOR01": UNITS, "JPN01": UNITS}
    held = await world.stage.rows(
        "SELECT registry, (sum(last - first + 1))::int FROM position WHERE closed_by IS NULL AND account_type <> 320"
        " AND series_id ="
        f" (SELECT id FROM unit_series WHERE series = '{world.series}') GROUP BY registry"
    )
    assert held == [("KOR01", UNITS)]  # of what two registries have credited, the gateway's book has one half


@pytest.mark.parametrize("constrained", [True, False], ids=["with", "without_it"])
async def test_R11_of_two_claims_at_once_one_is_refused(course: Course, constrained: bool) -> None:
    """Without the constraint both are taken, each stands in the other's way, and neither transfer can go on."""
    stage = course.stage
    await course.issue(block(1, 10))
    if not constrained:
        await stage.rows("ALTER TABLE claim DROP CONSTRAINT one_claim_per_unit")
    items = [course.proposal(block(1, 10)), course.proposal(block(5, 10))]
    states = [item["state"] for item in (await course.propose(*items)).items]
    found = await stage.doctor()
    await course.turn()
    after = await stage.states([item["transfer"] for item in items])
    if constrained:
        assert (sorted(states), sorted(after), found) == (["ending", "proposed"], ["checked", "ending"], [])
    else:
        assert (states, after) == (["proposed"] * 2, ["ending"] * 2)
        assert found == ["series: units MEC01 MMR-A64: unit 5 is claimed twice"]


async def debited_and_fallen_back(world: World) -> str:
    """The source has debited; the gateway's database is what it was before the commit."""
    transfer = await world.at("accepted")
    await world.stage.back_up()
    await world.on(transfer, "released")
    assert await world.state_at("MEC01", transfer) == "released"
    await world.stage.fall_back()
    assert await world.state(transfer) == "accepted"
    return transfer


async def ended_while_the_offer_was_on_its_way(world: World) -> str:
    """Withdrawn, and said to be over once, which was lost; now the offer arrives and is accepted."""
    await world.lose("KOR01", "transfer.offer")
    transfer = await world.at("checked")
    await world.lose("KOR01", "transfer.closed")
    assert (await world.registry("MEC01").post(f"transfers/{transfer}/withdraw"))["state"] == "void"
    await world.stage.until(lambda: world.stands(transfer, "cancelled"))
    await world.turn(transfer)
    assert await world.stage.count(f"transfer WHERE id = '{transfer}' AND told_source_at IS NOT NULL") == 1
    assert (await world.deliver(transfer, "offer")).items[0]["answer"] == "accepted"
    return transfer


async def ending_with_its_cancel_lost(world: World) -> str:
    node, transfer = world.stage.gateway.node, await world.at("accepted")
    await world.stage.run(lambda tx: interventions.end(tx, node, transfer, caller=ROOT, reason="it takes too long"))
    await world.lose("MEC01", "transfer.cancel")
    await world.turn(transfer)
    assert (await world.state(transfer), await world.locked(transfer)) == ("ending", UNITS)
    return transfer


async def is_silent(world: World, *transfers: str) -> None:
    """Whatever time passes, nobody at the gateway says anything."""
    for _ in range(3):
        assert not await world.turn(*transfers)


def hearing_every_answer(off: pytest.MonkeyPatch) -> None:
    """Give the gateway another hearing: it does not look for an earlier answer."""

    async def steps_but_answers(tx: db.Tx, ids: Iterable[str], names: Sequence[str]) -> dict[tuple[str, str], Step]:
        return {key: kept for key, kept in (await store.steps(tx, ids, names)).items() if key[1] != "answer"}

    off.setattr(hearing, "store", SimpleNamespace(**{**vars(store), "steps": steps_but_answers}))


def the_last_claim_counts(off: pytest.MonkeyPatch) -> None:
    """Give the gateway another book: a new claim takes the units from whoever has claimed them before."""
    take = claims.take

    async def instead(tx: db.Tx, wanted: Sequence[Claim], registry: str) -> set[int]:
        for claim in wanted:
            units = claim.block
            await db.execute(
                tx,
                "UPDATE claim SET released_by = (SELECT max(id) FROM log_entry) WHERE released_by IS NULL"
                " AND series_id = (SELECT id FROM unit_series WHERE registry = :registry AND series = :series)"
                " AND first <= :last AND last >= :first",
                {
                    "registry": units.origin.registry,
                    "series": units.origin.series,
                    "first": units.first,
                    "last": units.last,
                },
            )
        return await take(tx, wanted, registry)

    off.setattr(claims, "take", instead)


async def committed_and_rejected(world: World) -> str:
    """The acquirer fell back to before its decision, unnoticed, and decides otherwise: its answer is on its way."""
    korea = world.registry("KOR01")
    await korea.change("policy", decide=False)
    transfer = await world.at("checked")
    await world.turn(transfer)
    assert await world.state_at("KOR01", transfer) == "offered"
    await korea.post("backup")
    await korea.change("policy", decide=True)
    await world.stage.until(lambda: world.stands(transfer, "accepted"))
    await world.lose("MEC01", "transfer.commit")
    await world.on(transfer, "committing")
    await korea.post("restore", known=False)
    await korea.change("policy", decide=True, refuse_parties=["MMR"])
    await world.stage.until(lambda: world.stands_at("KOR01", transfer, "rejected"))
    return transfer


async def committed_though_withdrawn(world: World) -> str:
    """Committed, and withdrawn before that: the withdrawal is still in flight, the commit is lost. Backed up before."""
    transfer = await world.at("accepted")
    await world.registry("MEC01").post("backup")
    await world.lose("MEC01", "transfer.voided", direction="out", times=ALWAYS)
    assert (await world.registry("MEC01").post(f"transfers/{transfer}/withdraw"))["state"] == "void"
    await world.lose("MEC01", "transfer.commit")
    return await world.on(transfer, "committing")


async def says_released(world: World, transfer: str) -> Heard:
    """MEC01 releases on what it was told, whatever it holds."""
    commit = await world.stored(transfer, "commit")
    named = {"id": commit.message_id, "sha256": sha(messages.jws_of(commit.body))}
    members = {"released_at": stamp(world.stage.clock()), "first_transfer": False, "itmo": []}
    item = {"kind": "released", "transfer": transfer, "commit": named, **members}
    return await handmade.say(world.stage, handmade.signer(world.stage, "MEC01"), "transfer.released", [text(item)])
