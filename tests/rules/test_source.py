"""R12 to R17: when a source's units leave, what its ``void`` and its locks are worth, and what a restore asks of it."""

import httpx
import pytest

from gateway.transfers import interventions
from tests.rules.world import ALWAYS, UNITS, World
from tests.stage import AUTHORISATION, ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_R12_a_source_that_dies_as_it_debits_has_not_debited(world: World) -> None:
    """A source that debits, and dies before it has kept its release, finds no units when the commit comes again."""
    transfer = await died_as_it_debited(world)
    assert (await world.state_at("MEC01", transfer), await world.locked(transfer)) == ("locked", UNITS)
    await world.completes(transfer)
    assert await world.look(
        "MEC01", "SELECT count(*) FROM journal WHERE reference = %s AND entry = 'debit'", transfer
    ) == [(1,)]


async def test_R12_without_it_the_commit_is_stuck_and_units_are_nowhere(world: World) -> None:
    await world.without("R12", "MEC01")
    transfer = await died_as_it_debited(world)
    assert (await world.state_at("MEC01", transfer), await world.locked(transfer)) == ("locked", 0)
    for _ in range(2):
        await world.turn(transfer)
        assert (await world.state(transfer), await world.books()) == ("committing", {})
    # And a source that finds the units gone and refuses for good makes it final.
    await world.registry("MEC01").change("policy", refuse_release=["KOR"])
    await world.turn(transfer)
    assert (await world.state(transfer), await world.books()) == ("cancelled", {})


async def test_R13_void_is_for_ever(world: World) -> None:
    """The withdrawal reaches the gateway after the commit was stored, and the commit reaches the source after both."""
    transfer = await withdrawn_and_committed(world)
    assert (await world.deliver(transfer, "commit")).type == "transfer.voided"
    assert await world.state_at("MEC01", transfer) == "void"
    assert (await world.books(), await world.locked(transfer)) == ({"MEC01": UNITS}, 0)
    assert await world.doctor(transfer) == []


async def test_R13_without_it_units_are_nowhere(world: World) -> None:
    await world.without("R13", "MEC01")
    transfer = await withdrawn_and_committed(world)
    assert (await world.deliver(transfer, "commit")).type == "transfer.released"
    assert await world.state_at("MEC01", transfer) == "released"
    assert (await world.state(transfer), await world.books()) == ("cancelled", {})


async def test_R14_a_lock_is_a_transfers(world: World) -> None:
    """The late end of one transfer would free the units that another one has taken to its acceptance meanwhile."""
    first, second = await cancelled_after_the_units_were_locked_again(world)
    assert await world.locked(second) == UNITS
    assert await uses(world) == 409
    await world.completes(second)
    assert await world.doctor(first) == []


async def test_R14_without_it_units_on_their_way_are_free(world: World) -> None:
    await world.without("R14", "MEC01")
    _, second = await cancelled_after_the_units_were_locked_again(world)
    assert (await world.state_at("MEC01", second), await world.locked(second)) == ("locked", 0)
    assert await uses(world) == 201  # while the gateway commits them to somebody else
    for _ in range(2):
        await world.turn(second)
    assert (await world.state(second), await world.state_at("KOR01", second)) == ("committing", "accepted")


async def test_R15_a_restored_source_serves_nothing_until_it_has_asked(world: World) -> None:
    """Restored to before a transfer, a source has units that were credited elsewhere, and gives them out again."""
    transfer = await credited_and_restored(world)
    assert await uses(world) == await proposes(world) == 503
    assert await world.synchronise("MEC01", transfer) == ["done"]
    assert await world.books() == {"KOR01": UNITS}
    assert await uses(world) == 409
    assert await world.doctor(transfer) == []


async def test_R15_without_it_units_are_used_that_another_has(world: World) -> None:
    await world.without("R15", "MEC01")
    transfer = await credited_and_restored(world)
    assert await uses(world) == 201
    assert await world.books() == {"MEC01": UNITS, "KOR01": UNITS}
    held = f"series = (SELECT id FROM series WHERE name = '{world.series}')"
    [(used,)] = await world.look("MEC01", f"SELECT count(*) FROM holding WHERE account = '200-1' AND {held}")
    assert (used, await world.state(transfer)) == (1, "completed")


async def test_R16_what_was_said_before_a_restore_arrives_no_more(world: World) -> None:
    """An old withdrawal comes in after the restored source was told "committing": one is cancelled, one debited."""
    transfer, withdrawal = await committed_and_restored(world, revoked=True)
    assert (await say(world, withdrawal)).status_code == 401
    assert await world.state(transfer) == "committing"
    await world.mend("MEC01")
    await world.completes(transfer)


async def test_R16_without_it_units_are_nowhere(world: World) -> None:
    transfer, withdrawal = await committed_and_restored(world, revoked=False)
    assert (await say(world, withdrawal)).status_code == 200
    assert (await world.state(transfer), await world.state_at("MEC01", transfer)) == ("cancelled", "released")
    assert await world.books() == {}


async def test_R17_a_withdrawal_asks_first(world: World) -> None:
    """A source that fell back without noticing still has the lock of units that were credited elsewhere."""
    transfer = await credited_and_forgotten(world)
    assert (await world.registry("MEC01").post(f"transfers/{transfer}/withdraw"))["state"] == "done"
    assert await world.books() == {"KOR01": UNITS}
    assert await world.alarms(transfer) == await world.doctor(transfer) == []


async def test_R17_without_it_units_are_free_that_another_has(world: World) -> None:
    await world.without("R17", "MEC01")
    transfer = await credited_and_forgotten(world)
    assert (await world.registry("MEC01").post(f"transfers/{transfer}/withdraw"))["state"] == "void"
    assert await world.books() == {"MEC01": UNITS, "KOR01": UNITS}
    assert await uses(world) == 201
    await world.stage.until(lambda: world.alarms(transfer))
    assert await world.alarms(transfer) == ["MEC01 says voided after the opposite"]
    assert await world.state(transfer) == "completed"


async def died_as_it_debited(world: World) -> str:
    """The source dies before the transaction ends in which it stores its release; it is there again."""
    mechanism = world.registry("MEC01")
    await mechanism.post("crash", point="receive.transfer.commit.before-commit")
    transfer = await world.at("committing")
    await mechanism.process.wait()
    await world.stage.restart("MEC01")
    return transfer


async def withdrawn_and_committed(world: World) -> str:
    """Withdrawn before the commit was stored, heard of after it: cancelled, and the commit is still on its way."""
    transfer = await world.at("accepted")
    await world.fault("MEC01", "delay", "transfer.voided", direction="out", seconds=60)
    assert (await world.registry("MEC01").post(f"transfers/{transfer}/withdraw"))["state"] == "void"
    await world.lose("MEC01", "transfer.commit")
    await world.on(transfer, "committing")
    await world.mend("MEC01")
    await world.stage.until(lambda: world.stands(transfer, "cancelled"))
    return transfer


async def cancelled_after_the_units_were_locked_again(world: World) -> tuple[str, str]:
    """The cancel of a transfer arrives after its source has withdrawn it and has locked the units for a second one."""
    node, first = world.stage.gateway.node, await world.at("accepted")
    await world.stage.run(lambda tx: interventions.end(tx, node, first, caller=ROOT, reason="it takes too long"))
    await world.lose("MEC01", "transfer.cancel")
    await world.turn(first)
    assert (await world.registry("MEC01").post(f"transfers/{first}/withdraw"))["state"] == "void"
    await world.stage.until(lambda: world.stands(first, "cancelled"))
    second = await world.on(await world.propose(), "accepted")
    assert await world.locked(second) == UNITS
    assert (await world.deliver(first, "cancel")).type == "transfer.voided"
    return first, second


async def credited_and_restored(world: World) -> str:
    """Backed up before the proposal, credited at KOR01, restored by those who run it: they know that it fell back."""
    await world.issue()
    await world.registry("MEC01").post("backup")
    transfer = await world.propose()
    await world.completes(transfer)
    await world.come_back("MEC01")
    assert await world.books() == {"MEC01": UNITS, "KOR01": UNITS}
    return transfer


async def committed_and_restored(world: World, *, revoked: bool) -> tuple[str, bytes]:
    """Withdrawn, though nobody has heard of it; committed; restored to before, told so, and debited.

    Also the withdrawal, which is on its way; the release is not yet.
    """
    transfer = await world.at("accepted")
    await world.registry("MEC01").post("backup")
    for kind in ("transfer.voided", "transfer.released"):
        await world.lose("MEC01", kind, direction="out", times=ALWAYS)
    assert (await world.registry("MEC01").post(f"transfers/{transfer}/withdraw"))["state"] == "void"
    [(withdrawal,)] = await world.look("MEC01", "SELECT body FROM sent WHERE type = 'transfer.voided' AND owed")
    await world.lose("MEC01", "transfer.commit")
    await world.on(transfer, "committing")
    await world.come_back("MEC01", revoked=revoked)
    assert await world.synchronise("MEC01", transfer) == ["released"]
    return transfer, bytes(withdrawal)


async def credited_and_forgotten(world: World) -> str:
    """Backed up as it was locked, credited at KOR01, and restored without anybody noticing."""
    transfer = await world.at("accepted")
    await world.registry("MEC01").post("backup")
    await world.completes(transfer)
    await world.registry("MEC01").post("restore", known=False)
    assert (await world.state_at("MEC01", transfer), await world.locked(transfer)) == ("locked", UNITS)
    return transfer


async def uses(world: World) -> int:
    """MEC01 uses this test's units, in its own books only; the status it answers with."""
    units = {"origin": {"registry": "MEC01", "series": world.series}, "first": 1, "last": UNITS}
    return await operates(world, "use", party="MMR", to_account="200-1", quantity=UNITS, blocks=[units], announce=False)


async def proposes(world: World) -> int:
    to = {"registry": "JPN01", "party": "JPN", "account": "100-1"}
    wish = {"party": "MMR", "to": to, "quantity": UNITS, "authorisation": AUTHORISATION}
    return await operates(world, "transfers", transfers=[wish])


async def operates(world: World, path: str, **body: object) -> int:
    answer = await world.stage.http.post(f"{world.registry('MEC01').url}/admin/{path}", json=body)
    return answer.status_code


async def say(world: World, body: bytes) -> httpx.Response:
    """A message of MEC01 that was on its way arrives at the gateway."""
    kind = {"content-type": "application/a6link+json"}
    return await world.stage.http.post(f"{world.stage.link_url}/messages", content=body, headers=kind)
