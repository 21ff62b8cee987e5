"""R1 to R6: what the gateway stores before it speaks, and what alone may end a transfer whose commit is stored."""

from dataclasses import replace

import pytest

from gateway import db
from gateway.audit import log
from gateway.domain.check_codes import Finding
from gateway.domain.registry import OutgoingMessage
from gateway.domain.transfers import CANCELLABLE, Event, State, advance
from gateway.errors import GatewayError, Kind
from gateway.messages import store as messages
from gateway.transfers import decisions, interventions, steps, store
from gateway.transfers.steps import Taken
from tests.rules.world import ALWAYS, UNITS, World, ending, table
from tests.stage import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOTH = "commit and cancel: it has both a commit and a cancel"
#: The machine fails as the transaction that stores a commit is about to end.
FAILS = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the machine fails'; END $$;
CREATE CONSTRAINT TRIGGER machine_fails AFTER INSERT ON transfer_event DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.state = 'committing') EXECUTE FUNCTION fail()
"""


class MachineFails(Exception):
    """The transaction in which this is raised never was."""


async def test_R01_a_commit_that_could_not_be_stored_was_not_sent(world: World) -> None:
    """What is sent first and stored afterwards may be sent and never stored: then the timer ends what is committed."""
    transfer = await world.at("accepted")
    await world.stage.rows(FAILS)
    await world.turn(transfer)
    await world.stage.rows("DROP FUNCTION fail CASCADE")
    assert await world.state(transfer) == "accepted"
    assert await world.look("MEC01", "SELECT FROM step WHERE transfer = %s AND step = 'commit'", transfer) == []
    assert await world.locked(transfer) == UNITS
    await world.a_day_later(transfer)
    await world.turn(transfer)
    assert await world.state(transfer) == "cancelled"
    assert {"commit", "cancel"} & await world.said(transfer) == {"cancel"}
    assert (await world.books(), await world.locked(transfer)) == ({"MEC01": UNITS}, 0)
    assert await world.doctor(transfer) == []


async def test_R01_without_it_a_commit_and_a_cancel_are_signed(world: World) -> None:
    transfer = await world.at("accepted")

    async def send_then_store(tx: db.Tx, row: store.Row) -> None:
        gateway, after = world.stage.gateway, advance(row.progress, Event.COMMIT_STORED)
        assert after is not None
        taken = [Taken(row, Event.COMMIT_STORED, after)]
        await steps.take(tx, gateway.node, taken, gateway.node.clock(), cause_entry=None)
        committed = await store.find(tx, transfer)
        assert committed is not None and committed.commit_id is not None
        [commit] = await messages.outgoing(tx, [committed.commit_id])
        registry = await gateway.registries.of(tx, "MEC01")
        assert registry is not None
        await registry.send(OutgoingMessage(commit.message_id, commit.type, commit.body, commit.content_type))
        raise MachineFails

    with pytest.raises(MachineFails):
        await world.step(send_then_store, transfer)
    await world.lose("MEC01", "transfer.cancel")
    await world.a_day_later(transfer)
    await world.turn(transfer)
    # Both exist: the cancel here, the commit with our signature there. The units are debited, the row is ending.
    assert {"commit", "cancel"} & await world.said(transfer) == {"cancel"}
    assert len(await world.look("MEC01", "SELECT FROM step WHERE transfer = %s AND step = 'commit'", transfer)) == 1
    assert (await world.state(transfer), await world.books()) == ("ending", {})
    await world.turn(transfer)  # only that S is asked (R7) saves the units, and a person is told of lost data
    assert await world.alarms(transfer) == ["MEC01 shows that this gateway has lost data: released in state ending"]


async def test_R02_a_stored_commit_stops_the_timer_and_the_operator(world: World) -> None:
    """If the commit were not a state of its own, the timer or an operator would cancel what was committed before."""
    await world.lose("MEC01", "transfer.commit", times=2)
    transfer = await world.at("committing")
    await world.a_day_later(transfer)
    await world.turn(transfer)
    with pytest.raises(GatewayError) as refused:
        await operator_ends(world, transfer)
    assert refused.value.kind is Kind.CONFLICT
    assert await world.state(transfer) == "committing"
    assert {"commit", "cancel"} & await world.said(transfer) == {"commit"}
    await world.completes(transfer)


@pytest.mark.parametrize(("event", "by"), [(Event.TIME_OVER, "timer"), (Event.OPERATOR_ENDED, "operator")])
async def test_R02_without_it_both_are_stored(world: World, event: Event, by: str) -> None:
    transfer = await world.committing()
    await world.lose("MEC01", "transfer.cancel")
    with pytest.MonkeyPatch.context() as off:
        stoppable(off, event, State.ENDING)
        await ends_by(world, transfer, by)
    assert await world.state(transfer) == "ending"
    assert {"commit", "cancel"} <= await world.said(transfer)
    assert await world.doctor(transfer) == [f"course: event 5, {event}, is not possible in state committing", BOTH]


async def test_R03_what_was_decided_on_another_state_is_not_written(world: World) -> None:
    """A worker that was paused would write its old verdict over what has been committed and released meanwhile."""
    transfer, read = await debited_while_paused(world)
    with pytest.raises(GatewayError, match="has changed all the same"):
        await late_verdict(world, read, Event.CHECKS_FAILED)
    assert await world.state(transfer) == "committing"
    assert "cancel" not in await world.said(transfer)
    await world.completes(transfer)


async def test_R03_without_it_units_are_nowhere_and_both_are_stored(world: World) -> None:
    transfer, read = await debited_while_paused(world)
    now = await found(world, transfer)
    # Guarded by what is there now, which is no guard at all.
    await late_verdict(world, read, Event.CHECKS_FAILED, replace(read, state=now.state, version=now.version))
    assert (await world.state(transfer), await world.state_at("MEC01", transfer)) == ("ending", "released")
    assert await world.books() == {}
    assert BOTH in await world.doctor(transfer)


async def test_R04_what_was_decided_on_an_older_version_is_not_written(world: World) -> None:
    """``delayed`` leads back to ``proposed``: by the state alone, checks from before it would pass what they missed."""
    transfer, read = await delayed_while_paused(world)
    with pytest.raises(GatewayError, match="has changed all the same"):
        await late_verdict(world, read, Event.CHECKS_PASSED)
    assert await world.state(transfer) == "proposed"
    await world.turn(transfer)
    assert await world.state(transfer) == "refused"
    shown = (await world.stage.transfer(transfer))["transfer"]
    assert [finding["code"] for finding in shown["findings"]] == [4003, 4018]


async def test_R04_without_it_a_transfer_passes_on_stale_checks(world: World) -> None:
    transfer, read = await delayed_while_paused(world)
    now = await found(world, transfer)
    assert now.state == read.state  # the state is what it was: only the version tells
    await late_verdict(world, read, Event.CHECKS_PASSED, replace(read, version=now.version))
    await world.on(transfer, "accepted")
    events = await world.stage.rows(
        f"SELECT array_agg(event ORDER BY version) FROM transfer_event WHERE transfer_id = '{transfer}'"
    )
    held = ["held-by-reconciliation", "reconciliation-over"]
    assert events == [(["proposed", *held, "checks-passed", "accepted"],)]
    assert (await found(world, transfer)).findings == []  # accepted, though reconciliation found nothing there
    assert "units held: its source holds 0 of the 10 units it claims in state accepted" in await world.doctor(transfer)


async def test_R05_not_released_is_no_voided(world: World) -> None:
    """What is "not released" now may be released yet: the commit may be on its way all the same."""
    transfer = await world.committing()
    told = await world.ask("MEC01", transfer, "commit")
    assert told.body["state"] == "locked"
    assert await world.state(transfer) == "committing"
    assert (await world.deliver(transfer, "commit")).type == "transfer.released"
    await world.completes(transfer)
    assert await world.alarms(transfer) == []


async def test_R05_without_it_units_are_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer = await world.committing()
    ending(monkeypatch, "status.answer", transfer, lambda told: told.body["state"] == "locked")
    await world.ask("MEC01", transfer, "commit")
    await is_nowhere_once_the_commit_arrives(world, transfer)


async def test_R06_nothing_but_the_sources_word_ends_it(world: World) -> None:
    """Silence, an error, a refusal for now, "not known here" and an operator here say nothing about a commit's fate."""
    transfer = await world.committing()
    for fault, members in (
        ("lose-request", {}),
        ("refuse-unsigned", {}),
        ("refuse", {"code": 9003}),
        ("refuse", {"code": 1009}),
    ):
        await world.fault("MEC01", fault, "transfer.commit", **members)
        assert await world.turn(transfer)
        shown = (await world.stage.transfer(transfer))["transfer"]
        assert (shown["state"], bool(shown["waiting"])) == ("committing", True), fault
    assert (await world.ask("MEC01", transfer, "commit")).body["message"] == "not known"
    with pytest.raises(GatewayError):
        await operator_ends(world, transfer)
    assert await world.state(transfer) == "committing"
    await world.completes(transfer)
    assert await world.alarms(transfer) == []


@pytest.mark.parametrize("said", ["silence", "refused for now", "not known here", "operator"])
async def test_R06_without_it_units_are_nowhere(world: World, said: str) -> None:
    transfer = await world.committing()
    await world.lose("MEC01", "transfer.closed", times=ALWAYS)
    with pytest.MonkeyPatch.context() as off:
        match said:
            case "silence":
                stoppable(off, Event.TIME_OVER, State.CANCELLED)
                await ends_by(world, transfer, "timer")
            case "operator":
                stoppable(off, Event.OPERATOR_ENDED, State.CANCELLED)
                await ends_by(world, transfer, "operator")
            case "refused for now":
                ending(off, "refusal", transfer, lambda _: True)
                await world.fault("MEC01", "refuse", "transfer.commit")
                await world.turn(transfer)
            case "not known here":
                ending(off, "status.answer", transfer, lambda told: told.body["message"] == "not known")
                await world.ask("MEC01", transfer, "commit")
    await is_nowhere_once_the_commit_arrives(world, transfer)


async def is_nowhere_once_the_commit_arrives(world: World, transfer: str) -> None:
    """The gateway has cancelled by itself and tells the acquirer; the commit was still in flight."""
    assert await world.state(transfer) == "cancelled"
    assert (await world.deliver(transfer, "commit")).type == "transfer.released"
    await world.mend("MEC01")
    await world.turn(transfer)
    assert await world.state_at("KOR01", transfer) == "void"
    assert await world.books() == {}
    said = {"MEC01 says released to an end that is cancelled", "MEC01 says released after the opposite"}

    async def all_said() -> bool:
        return set(await world.alarms(transfer)) == said

    await world.stage.until(all_said)
    assert await world.alarms_at("MEC01", transfer) == ["closed as not completed, but released here"]


def stoppable(off: pytest.MonkeyPatch, event: Event, leads_to: State) -> None:
    """The timer and the operator no longer stop before a stored commit."""
    table(off, {(State.COMMITTING, event): leads_to})
    for module in (decisions, interventions):
        off.setattr(module, "CANCELLABLE", CANCELLABLE | {State.COMMITTING})


async def ends_by(world: World, transfer: str, by: str) -> None:
    if by == "operator":
        await operator_ends(world, transfer)
    else:
        await world.a_day_later(transfer)
    await world.turn(transfer)


async def operator_ends(world: World, transfer: str) -> None:
    node = world.stage.gateway.node
    await world.stage.run(lambda tx: interventions.end(tx, node, transfer, caller=ROOT, reason="it takes too long"))


async def found(world: World, transfer: str) -> store.Row:
    row = await world.stage.run(lambda tx: store.find(tx, transfer))
    assert row is not None
    return row


async def debited_while_paused(world: World) -> tuple[str, store.Row]:
    """A transfer that was debited, though its release has not arrived, and its row as a worker read it long before."""
    await world.issue()
    transfer = await world.propose()
    read = await found(world, transfer)
    await world.fault("MEC01", "lose-reply", "transfer.commit")
    await world.on(transfer, "committing")
    assert await world.state_at("MEC01", transfer) == "released"
    return transfer, read


async def delayed_while_paused(world: World) -> tuple[str, store.Row]:
    """A transfer that reconciliation has held, and its row as a worker read it before: its units are not there."""
    await world.issue()
    transfer = await world.propose()
    read = await found(world, transfer)
    gone = f"closed_by IS NULL AND series_id = (SELECT id FROM unit_series WHERE series = '{world.series}')"
    await world.stage.rows(f"UPDATE position SET closed_by = opened_by WHERE {gone}")
    for event in (Event.HELD_BY_RECONCILIATION, Event.RECONCILIATION_OVER):

        async def taken(tx: db.Tx, row: store.Row, event: Event = event) -> None:
            node, after = world.stage.gateway.node, advance(row.progress, event)
            assert after is not None
            [entry] = await log.append(tx, [log.draft("reconciliation", node.clock(), {"transfer": transfer})])
            await steps.take(tx, node, [Taken(row, event, after)], node.clock(), cause_entry=entry)

        await world.step(taken, transfer)
    return transfer, read


async def late_verdict(world: World, read: store.Row, event: Event, guard: store.Row | None = None) -> None:
    """A worker goes on with what it has read: its write is guarded by that, or by ``guard``."""
    node, after = world.stage.gateway.node, advance(read.progress, event)
    assert after is not None
    findings = (Finding(4003),) if event is Event.CHECKS_FAILED else ()
    taken = [Taken(guard or read, event, after, findings)]
    await world.stage.run(lambda tx: steps.take(tx, node, taken, node.clock(), cause_entry=None))
