"""R18 to R21: what an acceptance binds to, what an acquirer must remember, and what it can credit all the same."""

from dataclasses import replace

import pytest

from gateway.domain.transfers import State
from gateway.messages.receipts import dumps
from gateway.transfers import statements
from gateway.transfers.statements import Known
from gateway.transfers.store import Row
from tests.integration.test_sandbox_play import sha
from tests.rules.world import UNITS, World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_R18_an_acceptance_binds(world: World) -> None:
    """An acquirer that takes its acceptance back does so after it was counted on: debited there, not credited here."""
    transfer = await accepted_and_regretted(world)
    assert await world.state(transfer) == "completed"
    credited = await world.look("KOR01", "SELECT account, quantity FROM crediting WHERE transfer = %s", transfer)
    assert credited == [("110-1", UNITS)]
    await world.completes(transfer)
    assert await world.alarms(transfer) == []


async def test_R18_without_it_units_are_nowhere_though_nobody_lost_data(world: World) -> None:
    await world.without("R18", "KOR01")
    transfer = await accepted_and_regretted(world)
    assert await world.state(transfer) == "attention"
    assert await world.books() == {}
    assert await world.state_at("MEC01", transfer) == "released"
    assert await world.alarms(transfer) == ["KOR01 has closed what it is to credit"]
    assert not await world.turn(transfer)


async def test_R19_a_closing_is_remembered_before_its_offer(world: World) -> None:
    """An offer that is overtaken by the end of its transfer would open it again, and nobody would close it any more."""
    transfer = await closed_before_its_offer(world)
    assert await world.state_at("KOR01", transfer) == "void"
    late = await world.deliver(transfer, "offer")
    assert late.items[0]["answer"] == "closed-here"
    assert await world.state_at("KOR01", transfer) == "void"


async def test_R19_without_it_a_closed_transfer_is_opened(world: World) -> None:
    await world.without("R19", "KOR01")
    transfer = await closed_before_its_offer(world)
    assert await world.state_at("KOR01", transfer) == "unknown"  # though it has receipted the closing
    assert (await world.deliver(transfer, "offer")).items[0]["answer"] == "accepted"
    assert not await world.turn(transfer)  # everybody has been told
    assert (await world.state(transfer), await world.state_at("KOR01", transfer)) == ("cancelled", "accepted")


async def test_R20_a_settle_is_enough_by_itself(world: World) -> None:
    """An acquirer that has lost its acceptance could not credit what has left the source on the strength of it."""
    transfer = await released_and_forgotten(world)
    await world.completes(transfer)
    assert await world.alarms_at("KOR01", transfer) == ["settled without an acceptance on record here"]


@pytest.mark.parametrize("off", ["gateway", "registry"])
async def test_R20_without_it_units_are_stuck(world: World, monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    """The settle does not carry the acceptance; or it does, and the acquirer wants one on record."""
    if off == "registry":
        await world.without("R20", "KOR01")
    transfer = await released_and_forgotten(world, monkeypatch if off == "gateway" else None)
    await world.on(transfer, "attention")
    assert (await world.books(), await world.state_at("KOR01", transfer)) == ({}, "unknown")
    assert await world.alarms(transfer) == ["KOR01 refuses to credit what was released"]
    events = await world.stage.rows(
        f"SELECT event FROM transfer_event WHERE transfer_id = '{transfer}' ORDER BY version"
    )
    assert events[-1] == ("settle-refused",)


async def test_R21_what_was_credited_is_remembered_for_ever(world: World) -> None:
    """An acquirer that deletes closed transfers credits a late settle again, when the units have long moved on."""
    transfer, status = await settled_late(world)
    assert (status, await world.state_at("KOR01", transfer)) == (200, "done")
    assert await world.books() == {"JPN01": UNITS}


async def test_R21_the_key_in_the_books_holds_where_the_protocols_tables_have_forgotten(world: World) -> None:
    await world.without("R21-rows", "KOR01")
    transfer, status = await settled_late(world)
    assert (status, await world.state_at("KOR01", transfer)) == (503, "unknown")
    assert await world.books() == {"JPN01": UNITS}


async def test_R21_without_it_units_are_credited_twice(world: World) -> None:
    await world.without("R21", "KOR01")
    transfer, status = await settled_late(world)
    assert (status, await world.state_at("KOR01", transfer)) == (200, "credited")
    assert await world.books() == {"KOR01": UNITS, "JPN01": UNITS}


async def accepted_and_regretted(world: World) -> str:
    """Accepted; then the acquirer changes its mind and closes the account; and the transfer goes on."""
    transfer = await world.at("accepted")
    korea = world.registry("KOR01")
    await korea.change("policy", refuse_parties=["MMR"])
    await korea.change("accounts", party="KOR", account="100-1", open=False)
    assert (await world.deliver(transfer, "offer")).items[0]["answer"] == "accepted"
    while await world.state(transfer) in ("accepted", "committing", "released"):
        assert await world.turn(transfer)
    await korea.change("accounts", party="KOR", account="100-1", open=True)
    return transfer


async def closed_before_its_offer(world: World) -> str:
    """Withdrawn and closed on both sides, while the offer was still on its way."""
    await world.lose("KOR01", "transfer.offer")
    transfer = await world.at("checked")
    await world.registry("MEC01").post(f"transfers/{transfer}/withdraw")
    await world.stage.until(lambda: world.stands(transfer, "cancelled"))
    await world.turn(transfer)
    assert await world.stage.count(f"transfer WHERE id = '{transfer}' AND next_at IS NULL") == 1
    return transfer


async def released_and_forgotten(world: World, off: pytest.MonkeyPatch | None = None) -> str:
    """Released, and the acquirer has fallen back to before the offer; ``off``: the settle lacks what it accepted."""
    await world.registry("KOR01").post("backup")
    transfer = await world.at("accepted")
    if off is not None:
        await without_its_acceptance(world, off, transfer)
    await world.on(transfer, "released")
    await world.registry("KOR01").post("restore", known=False)
    assert await world.state_at("KOR01", transfer) == "unknown"
    return transfer


async def without_its_acceptance(world: World, off: pytest.MonkeyPatch, transfer: str) -> None:
    """A settle names the acceptance and does not carry it: whoever gave it has to remember it."""
    kept = await world.stage.rows(
        f"SELECT step, item FROM transfer_step WHERE transfer_id = '{transfer}' AND step IN ('propose', 'answer')"
    )
    named = {step: sha(item) for step, item in kept}
    [settle] = statements.SAID[State.RELEASED]

    def text(row: Row, _state: State, known: Known) -> str:
        chain = {
            "proposal": named["propose"],
            "answer": named["answer"],
            "release": sha(known[row.id, "released"].item),
        }
        return dumps({"kind": "settle", "transfer": row.id, **chain})

    bare = replace(settle, carries=("propose", "released"), text=text)
    off.setattr(statements, "SAID", {**statements.SAID, State.RELEASED: (bare,)})


async def settled_late(world: World) -> tuple[str, int]:
    """Completed, told everywhere, the units moved on to JPN01; then a copy of the settle comes: how it is answered."""
    transfer = await world.at("completed")
    while await world.turn(transfer):
        pass
    await world.completes(await world.propose(to="JPN01", source="KOR01"), to="JPN01")
    settle = await world.stored(transfer, "settle")
    answer = await world.stage.http.post(
        f"{world.registry('KOR01').url}/messages", content=settle.body, headers={"content-type": settle.content_type}
    )
    return transfer, answer.status_code
