"""Property: whatever the network or a registry's front does to messages, every transfer ends as it would have without.

Method: a fault of the sandbox registries is set wherever it bites, on every message that goes that way, while at
least twenty transfers are under way on every course; afterwards each must have struck. Nobody waits for the gateway's
back-off: what is due later is made due now. And lies, really signed: the evidence is kept, an alarm names who spoke
about what, and nothing else happens, to that transfer or to another.
"""

from typing import Any

import pytest

from connectors.sandbox import arrivals, lies
from tests.faults import courses, load
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.campaign import BOTH_WAYS, RECEIVER, hurried, meet
from tests.faults.members import REGISTRIES
from tests.faults.network import Network
from tests.handmade import play

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Who says which lie about a transfer in what state at MEC01. Japan has no part in any.
LIES = {
    "release-without-commit": ("MEC01", "locked"),
    "release-again": ("MEC01", "done"),
    "void-after-release": ("MEC01", "done"),
    "change-answer": ("KOR01", "done"),
    "credit-again": ("KOR01", "done"),
    "credit-without-settle": ("KOR01", "done"),
    "closed-after-credit": ("KOR01", "done"),
    "answer-foreign": ("JPN01", "locked"),
    "credit-foreign": ("JPN01", "locked"),
    "void-foreign": ("JPN01", "locked"),
}


@pytest.mark.parametrize("fault", [*BOTH_WAYS, *RECEIVER])
async def test_messages_that_meet_a_fault_from_the_gateway(network: Network, fault: str) -> None:
    await suffered(network, fault, "in")


@pytest.mark.parametrize("fault", BOTH_WAYS)
async def test_messages_that_meet_a_fault_from_the_registries(network: Network, fault: str) -> None:
    await suffered(network, fault, "out")


async def test_a_settle_that_is_refused_waits_for_persons_and_they_resume_it(network: Network) -> None:
    await network.admin("KOR01", "POST", "faults", fault="refuse-settle", type="transfer.settle")
    async with hurried(network):
        await load.begin(network)
        await load.end(network)
        await network.settle()
    waiting = await network.rows("SELECT id, findings FROM transfer WHERE state = 'attention'")
    assert waiting and all(findings[0]["detail"] for _, findings in waiting)
    assert {(a["link"], a["transfer"]) for a in await alarms(network)} >= {("KOR01", t) for t, _ in waiting}
    await courses.resume_all(network)
    await network.settle()
    assert set(await network.states([t for t, _ in waiting])) == {"completed"}
    await agree(network, doctor=True)


async def test_a_registry_that_is_down_for_a_while_finds_everything_as_it_was(network: Network) -> None:
    async with hurried(network):
        await load.begin(network)
        await network.until(lambda: _enough(network), "the load is under way")
        for code in REGISTRIES:
            await network.admin(code, "POST", "faults", fault="down", seconds=2.0)
        await load.end(network)
        await network.settle()
    for code in REGISTRIES:
        assert all(f["fired"] for f in (await network.admin(code, "GET", "faults"))["faults"])
    await agree(network, doctor=True)


async def test_answers_that_another_registry_has_signed_count_for_nothing(network: Network) -> None:
    others = {"MEC01": "KOR01", "KOR01": "MEC01", "CHE01": "KOR01", "SRV01": "MEC01", "INT01": "KOR01"}
    for code, other in others.items():
        key = {"key_file": str(network.folder / f"{other}.pem")}
        await network.admin(code, "POST", "faults", fault="anothers-signature", times=3, **key)
    async with hurried(network):
        await load.begin(network)
        await load.end(network)
        await network.settle()
    assert await network.count("transfer WHERE state = 'attention'") == 0
    await agree(network, doctor=True)


async def test_of_two_answers_to_one_settle_the_first_counts(network: Network) -> None:
    await network.admin("KOR01", "POST", "faults", fault="answer-twice", type="transfer.settle", times=1)
    async with hurried(network):
        await load.begin(network)
        await load.end(network)
        await network.settle()
    assert {a["link"] for a in await alarms(network)} >= {"KOR01"}
    await agree(network, doctor=True)


@pytest.mark.parametrize("liar", ["INT01", "KOR01"])
async def test_who_denies_a_record_that_was_answered_changes_nothing(network: Network, liar: str) -> None:
    """INT01 itself, in another answer to the same message, or somebody else who was never asked."""
    await load.move(network, "MEC01", "MMR", "use", "200-1")
    await network.settle()
    newest = "SELECT m.message_id::text, m.body, r.item FROM action_record r JOIN message m USING (message_id)"
    [[said, body, item]] = await network.rows(f"{newest} WHERE m.direction = 'out' ORDER BY r.id DESC LIMIT 1")
    before = await network.rows("SELECT * FROM action_record ORDER BY id")
    denied = {"kind": "receipt", "item": play.sha(item), "state": "refused", "findings": [{"code": 4002}]}
    named = {"id": said, "sha256": play.sha(bytes(body))}
    signer = courses.signer(network, liar, liar)
    _, kind, denial = signer.compose("GWY01", "receipt", [play.text(denied)], in_reply_to=named)
    answer = await network.http.post(f"{network.link_url}/messages", content=denial, headers={"content-type": kind})
    assert answer.status_code == 200
    assert await network.count(f"message WHERE direction = 'in' AND peer = '{liar}' AND in_reply_to = '{said}'") == (
        2 if liar == "INT01" else 1
    )
    assert await network.rows("SELECT * FROM action_record ORDER BY id") == before
    await agree(network, doctor=True)


async def test_while_nobody_records_everything_else_goes_on_and_is_recorded_afterwards(network: Network) -> None:
    """INT01 is dead: what does not lead to a section completes, and its records wait together."""
    recorded = await network.count("action_record")
    network["INT01"].kill()
    await load.decide(network, True, "KOR01", "CHE01")
    await load.propose(network, [load.wish(1)] * load.UNDER_WAY)
    await load.propose(network, [load.ARROWS["party to party"].wish(1)] * load.ONWARD, "KOR01")
    actions = 2 * load.UNDER_WAY + load.ONWARD  # of CHE, which has no section, none is recorded
    waiting = f"SELECT 1 FROM action_record WHERE answered_by IS NULL OFFSET {actions - 1}"
    await network.until(lambda: network.rows(waiting), "all has completed")

    async def over() -> bool:
        return not await network.under_way()

    await network.until(over, "everybody has been told")
    assert await network.count("action_record") == recorded + actions
    await network.start("INT01")
    async with hurried(network):
        await network.settle()
    await agree(network, doctor=True)


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_kept_and_named_and_delays_nothing(network: Network, lie: str) -> None:
    code, state = LIES[lie]
    if "JPN01" not in network.parts:
        await networks.join(network, "JPN01")
    await network.propose(1)
    await network.settle()
    await load.begin(network)
    to_korea = 'terms -> \'acquiring\' @> \'{"registry": "KOR01", "account": "100-1"}\''
    newest = f"SELECT transfer FROM transfer WHERE state = '{state}' AND {to_korea} ORDER BY transfer DESC LIMIT 1"
    [[transfer]] = await network.rows(newest, "MEC01")
    await network.until(lambda: network.count(f"transfer WHERE id = '{transfer}' AND offer_id IS NOT NULL"), "offered")
    before = await network.rows(f"SELECT state, version FROM transfer WHERE id = '{transfer}'")
    told = (await network.admin(code, "POST", "lies", lie=lie, transfer=transfer))["message"]
    kept = f"message WHERE direction = 'in' AND peer = '{code}' AND message_id = '{told}'"
    await network.until(lambda: network.count(kept), "the lie has been heard")
    assert (code, transfer) in {(a["link"], a["transfer"]) for a in await alarms(network)}
    assert await network.rows(f"SELECT state, version FROM transfer WHERE id = '{transfer}'") == before
    assert len(await network.under_way()) >= load.UNDER_WAY
    await load.end(network)
    await network.settle()
    assert await network.count("transfer WHERE state = 'attention'") == 0
    await agree(network, doctor=True)


async def test_every_fault_and_every_lie_there_is_is_tried() -> None:
    assert set(arrivals.FAULTS) == {
        *BOTH_WAYS,
        *RECEIVER,
        "refuse-settle",
        "down",
        "anothers-signature",
        "answer-twice",
    }
    assert set(lies.LIES) == set(LIES)


async def suffered(network: Network, fault: str, direction: str) -> None:
    """Let every type of message meet the fault, each once, under load; each has struck, and everything ended well."""
    await meet(network, fault, direction)
    async with hurried(network):
        await load.begin(network)
        await network.until(lambda: _enough(network), "the load is under way")
        await load.end(network)
        await network.settle()
    for code in REGISTRIES:
        struck = (await network.admin(code, "GET", "faults"))["faults"]
        assert all(f["fired"] == 1 for f in struck), struck
        await network.admin(code, "DELETE", "faults")
    assert await network.count("transfer WHERE state = 'attention'") == 0
    await agree(network, doctor=True)


async def _enough(network: Network) -> bool:
    return len(await network.under_way()) >= load.UNDER_WAY


async def alarms(network: Network) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await network.operator("GET", "/api/v1/alarms?limit=500")).json()["alarms"]
    return found
