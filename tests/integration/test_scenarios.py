"""The acceptance scenarios, by number and name, over sandbox registries. All units and authorisations are synthetic.

Number 13, a block that is missing at its registry, is in ``test_reconciliation_to_its_end``.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway import embedded
from gateway.audit import exporting, walking
from gateway.audit.stored import Stored
from gateway.cli import log_source
from gateway.evidence.said import Pins
from gateway.evidence.verify import verify
from tests import handmade
from tests import stage as staging
from tests.handmade import play
from tests.reconciling import reconcile
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

_NAMES = itertools.count(1)
#: The activity of Myanmar's is exempt from the share of proceeds, Kenya's is not.
HOSTS = {"MMR": 0, "KEN": 5}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The mechanism registry, two Parties' registries, and the international registry with a section for each host."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("scenarios")) as stage:
        await stage.gateway.start()
        await asyncio.gather(
            stage.link("MEC01", "mechanism"),
            stage.link("KOR01", "party", "KOR"),
            stage.link("JPN01", "party", "JPN"),
            stage.link("INT01", "international", sections=("MMR", "KEN")),
        )
        for code in ("KOR01", "JPN01", "MMR99"):
            await stage.registries["INT01" if code == "MMR99" else code].post(
                "accounts", party=code[:3], account="100-1"
            )
        yield stage
        # MEC01's own books have what it issued with wrong deductions, which the gateway took no part of.
        assert (await stage.books())["conservation"] == "holds"
        assert await stage.doctor() == []


async def authorise(world: Stage, **members: Any) -> dict[str, Any]:
    """Let the mechanism registry tell an authorisation of Myanmar's; its reference."""
    terms: dict[str, Any] = {
        "id": f"MMR-SCENARIO-{next(_NAMES)}", "version": 1, "party": "MMR",
        "kinds": ["cooperative approach", "ITMOs", "entities"], "date": "2026-01-01",
        "cooperative_approach": "CA0001", "purposes": "NDC", "period": {"first": "2026-01-01", "last": None},
        "initial_report": "2025-12-01", "ndc_period": {"first": 2021, "last": 2030},
    }  # fmt: skip
    terms |= members
    await world.registries["MEC01"].post("authorisations", **terms)
    told = f"authorisation a JOIN authorisation_version v ON v.authorisation_id = a.id WHERE a.name = '{terms['id']}'"
    await world.until(lambda: world.count(f"{told} AND v.version = {terms['version']}"))
    return {"id": terms["id"], "version": terms["version"]}


def for_other_purposes(definition: str) -> dict[str, Any]:
    return {"purposes": "OIMP", "first_transfer_definition": definition}


async def issue(world: Stage, authorisation: dict[str, Any] | None, net: int = 1_000, **members: Any) -> str:
    """Let the mechanism registry issue to Myanmar; the series of the units."""
    series = f"SCENARIO-{next(_NAMES)}"
    wanted = {"activity": "PoA 10471", "party": "MMR", "vintage": 2022, "series": series, "net": net}
    made = await world.registries["MEC01"].post("issue", **wanted, authorisation=authorisation, **members)
    await world.until(lambda: world.count(f"action WHERE action = '{made['action']}'"))
    return series


def units(series: str, first: int, last: int, origin: str = "MEC01") -> dict[str, Any]:
    return {"origin": {"registry": origin, "series": series}, "first": first, "last": last}


async def relayed(
    world: Stage, series: str, first: int, last: int, to: str = "KOR01", **members: Any
) -> dict[str, Any]:
    """Have units proposed by whoever holds them, and relayed to whatever end; the transfer."""
    source = members.pop("source", "MEC01")
    wish = {
        "party": "MMR" if source == "MEC01" else source[:3],
        "to": {"registry": to, "party": to[:3], "account": "100-1"},
        "quantity": last - first + 1, "blocks": [units(series, first, last)], **members,
    }  # fmt: skip
    [transfer] = (await world.registries[source].post("transfers", transfers=[wish]))["transfers"]
    await world.relay([transfer])
    return dict((await world.transfer(transfer))["transfer"])


def codes(transfer: dict[str, Any]) -> list[int]:
    return [finding["code"] for finding in transfer["findings"]]


async def first_transferred(world: Stage, series: str) -> list[tuple[Any, ...]]:
    """The live positions of a series but those deducted: registry, account type, serials, whether first transferred."""
    return await world.rows(
        "SELECT p.registry, p.account_type, p.first, p.last, p.first_transferred_at IS NOT NULL, p.relied_on"
        f" FROM position p JOIN unit_series s ON s.id = p.series_id WHERE s.series = '{series}'"
        " AND p.closed_by IS NULL AND p.account_type NOT IN (320, 410) ORDER BY p.first"
    )


async def actions(world: Stage, cause: str) -> list[tuple[str, str | None, str, int]]:
    """What was done by a cause, as each Party sees it: type, subtype, Party, quantity."""
    found = (await world.api.get("/api/v1/actions", params={"limit": 500})).json()["actions"]
    mine = [a for a in found if a["cause"] == cause]
    return sorted((a["type"], a["subtype"], a["party"], a["quantity"]) for a in mine)


async def test_scenario_1_a_thousand_units_with_history(world: Stage) -> None:
    """First transferred once, an action of either Party, the history in the acquirer's books, and these as ours."""
    series = await issue(world, await authorise(world))
    transfer = await relayed(world, series, 1, 1_000)
    done = {(party, kind) for kind, _, party, _ in await actions(world, transfer["id"])}
    assert (transfer["state"], done) == ("completed", {("KOR", "Acquisition"), ("MMR", "First transfer")})
    while await world.history.turn() or await world.gateway.relay.turn():
        pass
    asked = f"history/units?origin=MEC01&series={series}&first=1&last=1000"
    there, home = [(await world.registries[code].get(asked))["records"] for code in ("MEC01", "KOR01")]
    told = [(record["type"], record["first_transfer"]) for record in map(json.loads, home)]
    assert told == [("issuance", False), ("transfer", True)] and home == [text for text in there if text in home]
    shown = (await world.api.get(f"/api/v1/history?registry=KOR01&units=MEC01/{series}/1-1000")).json()["records"]
    assert sorted(one["text"] for one in shown) == sorted(home)
    compared = await reconcile(world, "KOR01")
    assert (compared.run.status, compared.findings) == (5, [])


async def test_scenario_16_an_auditor_verifies_a_range_of_the_log_offline(world: Stage, tmp_path: Path) -> None:
    """The hash chain from the exported files, every signature of a transfer from its bundle; then one byte is other."""
    series = await issue(world, await authorise(world))
    transfer = await relayed(world, series, 1, 100)
    url = f"/api/v1/transfers/{transfer['id']}/evidence"

    async def published() -> bool:
        """The last receipts may still be on their way."""
        await world.transparency.turn()
        return (await world.api.get(url)).is_success

    await world.until(published)
    keys = world.transparency.own.key.verifiers(world.transparency.own.origin)
    await exporting.export(Stored(world.gateway.database), tmp_path / "log")
    verdict = await walking.verify(log_source.in_folder(str(tmp_path / "log")), keys)
    [(size,)] = await world.rows("SELECT max(size) FROM log_checkpoint")
    assert verdict.valid and verdict.entries == size
    report = verify((await world.api.get(url)).content, Pins(keys))
    assert report.valid and report.bundle is not None and len(report.bundle.messages) > 8
    [bundle] = (tmp_path / "log" / "tile" / "entries").glob("000*")
    file = bundle if bundle.is_file() else next(bundle.iterdir())
    file.write_bytes(file.read_bytes().replace(b'"kind":"transfer.propose"', b'"kind":"transfer.proposE"', 1))
    spoiled = await walking.verify(log_source.in_folder(str(tmp_path / "log")), keys)
    assert not spoiled.valid and "entries" in spoiled.faults[0].place


async def test_scenario_2_a_mitigation_contribution_unit_in_the_proposal_is_refused(world: Stage) -> None:
    series = await issue(world, None)
    transfer = await relayed(world, series, 1, 100, unchecked=True)
    assert (transfer["state"], codes(transfer)) == ("refused", [5101])
    assert [row[0] for row in await first_transferred(world, series)] == ["MEC01"]


async def test_scenario_3_a_bad_signature_stores_nothing_as_a_transfer(world: Stage) -> None:
    before = await world.count("transfer"), await world.count("log_entry")
    party = handmade.signer(world, "MEC01")
    item = {"kind": "propose", "transfer": f"MEC01-{play.uuid7()}"}
    _, kind, body = party.compose("GWY01", "transfer.propose", [play.text(item)])
    whole = json.loads(body)
    head, payload, signature = whole["jws"].split(".")
    whole["jws"] = f"{head}.{payload}.{'A' * 20}{signature[20:]}"
    headers = {"content-type": kind}
    answer = await world.http.post(f"{world.link_url}/messages", content=json.dumps(whole), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, 1006)
    assert (await world.count("transfer"), await world.count("log_entry")) == before


async def test_scenario_4_a_replay_gets_the_stored_answer(world: Stage) -> None:
    terms = await authorise(world)
    series = await issue(world, terms)
    await relayed(world, series, 1, 10)
    [[body, kind, answered]] = await world.rows(
        "SELECT m.body, m.content_type, a.body FROM message m JOIN replay_key k ON k.message_id = m.message_id"
        " JOIN message a ON a.entry_id = k.answer WHERE m.type = 'transfer.propose' ORDER BY m.entry_id DESC LIMIT 1"
    )
    before = await world.count("transfer_event")
    again = await world.http.post(f"{world.link_url}/messages", content=bytes(body), headers={"content-type": kind})
    assert again.content == bytes(answered)
    assert await world.count("transfer_event") == before


async def test_scenario_5_the_authorised_quantity_is_not_exceeded_by_two_transfers(world: Stage) -> None:
    terms = await authorise(world, quantity=500)
    series = await issue(world, terms)
    assert (await relayed(world, series, 1, 300))["state"] == "completed"
    beyond = await relayed(world, series, 301, 501)
    assert (beyond["state"], codes(beyond)) == ("refused", [5107])
    assert (await relayed(world, series, 301, 500))["state"] == "completed"


async def test_scenario_6_overlap_and_double_existence(world: Stage) -> None:
    terms = await authorise(world)
    series = await issue(world, terms)
    party = handmade.signer(world, "MEC01")
    held = await block_of(world, series)
    twice = {**PROPOSAL, "transfer": f"MEC01-{play.uuid7()}", "authorisation": terms, "quantity": 20}
    twice |= {"blocks": [{**held, "first": 1, "last": 10}, {**held, "first": 5, "last": 14}]}
    answer = await handmade.say(world, party, "transfer.propose", [play.text(twice)])
    assert [f["code"] for f in answer.items[0]["findings"]] == [2008]
    assert (await relayed(world, series, 1, 100))["state"] == "completed"
    gone = {**PROPOSAL, "transfer": f"MEC01-{play.uuid7()}", "authorisation": terms, "quantity": 10}
    gone |= {"blocks": [{**held, "first": 1, "last": 10}]}
    answer = await handmade.say(world, party, "transfer.propose", [play.text(gone)])
    assert 4007 in [f["code"] for f in answer.items[0]["findings"]]
    assert await world.relay([str(twice["transfer"]), str(gone["transfer"])]) == ["refused", "refused"]


async def test_scenario_7_a_silent_acquirer_is_given_up_after_a_day_and_a_late_word_changes_nothing(
    world: Stage,
) -> None:
    terms = await authorise(world)
    series = await issue(world, terms)
    await world.registries["KOR01"].change("policy", decide=False)
    wish = {"party": "MMR", "to": {"registry": "KOR01", "party": "KOR", "account": "100-1"}, "quantity": 10}
    wish |= {"blocks": [units(series, 1, 10)]}
    [transfer] = (await world.registries["MEC01"].post("transfers", transfers=[wish]))["transfers"]
    try:
        async with world.working():
            await world.until(lambda: world.count(f"transfer WHERE id = '{transfer}' AND state = 'checked'"))
            await world.rows(f"UPDATE transfer SET deadline = deadline - interval '25 hours' WHERE id = '{transfer}'")
            await world.until(lambda: world.count(f"transfer WHERE id = '{transfer}' AND state = 'cancelled'"))
    finally:
        await world.registries["KOR01"].change("policy", decide=True)
    assert await world.count(f"claim WHERE transfer_id = '{transfer}' AND released_by IS NULL") == 0
    assert (await relayed(world, series, 1, 10))["state"] == "completed"


async def test_scenario_8_use_or_cancellation_is_the_first_transfer_and_the_host_is_told(world: Stage) -> None:
    terms = await authorise(world, **for_other_purposes("Use or Cancellation"))
    series = await issue(world, terms)
    moved = await relayed(world, series, 1, 400, purpose="OP")
    assert moved["state"] == "completed"
    assert await actions(world, moved["id"]) == [("Acquisition", None, "KOR", 400), ("Transfer", None, "MMR", 400)]
    assert await first_transferred(world, series) == [
        ("KOR01", 100, 1, 400, False, 1), ("MEC01", 100, 401, 1_000, False, None),
    ]  # fmt: skip
    cancelled = await world.registries["KOR01"].post(
        "cancel", party="KOR", to_account="310-1", quantity=100, blocks=[units(series, 1, 100)], purpose="OP"
    )
    await world.until(lambda: world.count(f"action WHERE action = '{cancelled['action']}'"))
    assert (await first_transferred(world, series))[0] == ("KOR01", 310, 1, 100, True, 1)
    assert await actions(world, f"KOR01/{cancelled['action']}") == [
        ("Cancellation", "Other cancellations", "KOR", 100), ("First transfer", "Use or cancellation", "MMR", 100),
    ]  # fmt: skip
    async with world.working():
        await world.until(lambda: notified(world, cancelled["action"]))


async def test_scenario_9_a_change_does_not_affect_what_was_first_transferred(world: Stage) -> None:
    terms = await authorise(world)
    series = await issue(world, terms)
    assert (await relayed(world, series, 1, 400))["state"] == "completed"
    await authorise(world, **terms | {"version": 2, "parties": ["JPN"]})
    onward = await relayed(world, series, 1, 100, "JPN01", source="KOR01")
    assert onward["state"] == "completed"
    fresh = await relayed(world, series, 401, 500)
    assert (fresh["state"], codes(fresh)) == ("refused", [5108])
    assert [row[5] for row in await first_transferred(world, series)] == [1, 1, None]


async def test_scenario_10_post_issuance_authorisation_after_a_transfer_is_refused(world: Stage) -> None:
    series = await issue(world, None)
    used = await world.registries["MEC01"].post(
        "use", party="MMR", to_account="200-1", quantity=10, blocks=[units(series, 1, 10)]
    )
    await world.until(lambda: world.count(f"action WHERE action = '{used['action']}'"))
    name = f"MMR-SCENARIO-{next(_NAMES)}"
    gross = 1_000 + -(-1_000 * 2 // 98)
    wanted = {**TERMS, "id": name, "units": [units(series, 1, gross)], "force": True}
    await world.registries["MEC01"].post("authorisations", **wanted)
    await world.until(lambda: told(world, 5123))
    assert await world.count(f"authorisation_version v JOIN authorisation a ON a.id = v.authorisation_id"
                             f" WHERE a.name = '{name}'") == 0  # fmt: skip


async def test_scenario_10_post_issuance_authorisation_of_untouched_units_lets_them_go(world: Stage) -> None:
    series = await issue(world, None)
    refused = await relayed(world, series, 1, 10, unchecked=True)
    assert codes(refused) == [5101]
    gross = 1_000 + -(-1_000 * 2 // 98)
    await authorise(world, units=[units(series, 1, gross)])
    assert (await relayed(world, series, 1, 10))["state"] == "completed"


async def test_while_its_host_states_that_nothing_is_authorised_units_are_issued_without_authorisation(
    world: Stage,
) -> None:
    terms = await authorise(world)
    stated = {"party": "MMR", "activity": "PoA 10415", "transitioned_from": "CDM"}
    for says, recorded in (("later", 0), ("part", 1)):
        await world.registries["MEC01"].post("statements", **stated, says=says)
        await world.until(lambda says=says: world.count(f"host_statement WHERE says = '{says}'"))
        wanted = {
            "activity": "PoA 10415",
            "party": "MMR",
            "vintage": 2022,
            "series": f"STATED-{next(_NAMES)}",
            "net": 10,
        }
        made = await world.registries["MEC01"].post("issue", **wanted, authorisation=terms)
        await world.until(lambda made=made: heard(world, made["action"]))
        assert await world.count(f"action WHERE action = '{made['action']}'") == recorded
    shown = (await world.api.get("/api/v1/statements", params={"party": "MMR"})).json()["statements"]
    assert [(s["activity"], s["says"], s["transitioned_from"]) for s in shown] == [
        ("PoA 10415", "part", "CDM"), ("PoA 10415", "later", "CDM"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "percent", "code"), [("MMR", 5, 5120), ("KEN", 0, 5121), ("KEN", 4, 5120)], ids=str
)  # fmt: skip
async def test_scenario_11_a_share_of_proceeds_is_taken_where_it_is_due_and_nowhere_else(
    world: Stage, host: str, percent: int, code: int
) -> None:
    before = await world.count("action WHERE type = 'issuance'")
    await world.registries["MEC01"].post(
        "issue", activity="synthetic activity", party=host, vintage=2022, series=f"LEVY-{next(_NAMES)}",
        gross=1_000, sop_percent=percent, authorisation=None,
    )  # fmt: skip
    await world.until(lambda: told(world, code))
    assert await world.count("action WHERE type = 'issuance'") == before


async def test_scenario_12_both_parts_of_a_split_inherit_the_first_transfer(world: Stage) -> None:
    terms = await authorise(world)
    series = await issue(world, terms)
    whole = await relayed(world, series, 1, 1_000)
    assert await actions(world, whole["id"]) == [
        ("Acquisition", None, "KOR", 1_000), ("First transfer", "First transfer to another Party", "MMR", 1_000),
    ]  # fmt: skip
    part = await relayed(world, series, 1, 400, "JPN01", source="KOR01")
    assert await actions(world, part["id"]) == [("Acquisition", None, "JPN", 400), ("Transfer", None, "KOR", 400)]
    assert await first_transferred(world, series) == [
        ("JPN01", 100, 1, 400, True, 1), ("KOR01", 100, 401, 1_000, True, 1),
    ]  # fmt: skip


TERMS: dict[str, Any] = {
    "version": 1, "party": "MMR", "kinds": ["ITMOs"], "date": "2026-01-01", "cooperative_approach": "CA0001",
    "purposes": "NDC", "period": {"first": None, "last": None},
}  # fmt: skip
PROPOSAL: dict[str, Any] = {
    "kind": "propose",
    "transferring": {"registry": "MEC01", "party": "MMR", "account": "100-1"},
    "acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
    "purpose": "NDC",
}


async def block_of(world: Stage, series: str) -> dict[str, Any]:
    """The block of a series as MEC01 holds it for Myanmar."""
    listed = (await world.registries["MEC01"].get("books?blocks=1"))["blocks"]
    [found] = [b["block"] for b in listed if (b["account"], b["block"]["origin"]["series"]) == ("100-1", series)]
    return dict(found)


async def told(world: Stage, code: int) -> bool:
    """Whether MEC01's last notice was refused with this code."""
    [[items]] = await world.rows(
        "SELECT a.body FROM message m JOIN replay_key k ON k.message_id = m.message_id"
        " JOIN message a ON a.entry_id = k.answer WHERE m.type = 'action.notice' AND m.peer = 'MEC01'"
        " ORDER BY m.entry_id DESC LIMIT 1"
    )
    return f'\\"code\\":{code}'.encode() in bytes(items)


async def notified(world: Stage, action: str) -> bool:
    """Whether the host's section was told of this action."""
    return bool(
        await world.count(
            f"action_record WHERE kind = 'notification' AND cause LIKE '%{action}' AND state = 'recorded'"
        )
    )


async def heard(world: Stage, action: str) -> bool:
    """Whether the gateway has received a notice of this action, whatever it made of it."""
    return bool(await world.count(f"message WHERE type = 'action.notice' AND position('{action}'::bytea IN body) > 0"))
