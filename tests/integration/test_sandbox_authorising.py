"""Authorisations as sandbox processes make, tell, change and revoke them.

The gateway is played here (see ``test_sandbox_play``); all that is told is held against the contract there.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, Sandbox, registry

server, gateway = play.server, play.gateway


async def told(gateway: Gateway, messages: int) -> list[dict[str, Any]]:
    """The actions of so many notices, in the order of their numbers."""
    heard = sorted(await gateway.wait("action.notice", messages), key=lambda m: int(m.payload["seq"]))
    return [item for message in heard for item in message.items]


def versions(items: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    terms = [item["authorisation"] for item in items if item["type"] == "authorisation"]
    return [(one["party"], one["id"], one["version"]) for one in terms]


TERMS = {
    **{"id": "AUTH-SYNTHETIC-9", "version": 1, "party": "THA", "kinds": ["ITMOs"], "date": "2026-01-31"},
    **{"cooperative_approach": "CA0001", "purposes": "NDC", "period": {"first": "2026-01-31", "last": None}},
}
RANGE = {"origin": {"registry": "MEC01", "series": "THA-TEST"}, "first": 11, "last": 20}


async def known(registry_: Sandbox) -> list[dict[str, Any]]:
    return list((await registry_.admin("GET", "/authorisations"))["authorisations"])


async def test_units_under_an_unknown_authorisation_bring_a_wide_open_one_with_them(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        third = {"id": "AUTH-SYNTHETIC-2", "version": 3}
        await mechanism.admin("POST", "/issue", issuance(gross=100, authorisation=third), 201)
        items = await told(gateway, 1)
        assert [item["type"] for item in items] == ["authorisation"] * 3 + ["issuance"]
        assert versions(items) == [("MMR", "AUTH-SYNTHETIC-2", n) for n in (1, 2, 3)]
        today = datetime.now(UTC).date().isoformat()
        assert items[2]["authorisation"] == {
            **{"id": "AUTH-SYNTHETIC-2", "version": 3, "party": "MMR", "date": today, "initial_report": today},
            **{"kinds": ["cooperative approach", "ITMOs", "entities"], "cooperative_approach": "CA0001"},
            **{"purposes": "NDC and OIMP", "first_transfer_definition": "Use or Cancellation", "metric": "GHG"},
            **{"period": {"first": None, "last": None}, "ndc_period": {"first": 2021, "last": 2030}},
        }
        assert items[2]["registry"] == "MEC01" and items[2]["synthetic"]
        # Known and told: nothing more of it.
        await mechanism.admin("POST", "/issue", issuance(gross=100, authorisation=third), 201)
        await mechanism.admin("POST", "/issue", issuance(gross=100, authorisation={**third, "version": 2}), 201)
        assert versions(await told(gateway, 3)) == versions(items)
        assert len(await known(mechanism)) == 3
        far = issuance(gross=100, authorisation={"id": "AUTH-SYNTHETIC-3", "version": 101})
        assert (await mechanism.admin("POST", "/issue", far, 409))["code"] == 3006


async def test_what_was_not_announced_is_told_after_the_opening_balance(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for party in ("THA", "MMR"):
            await mechanism.admin("POST", "/issue", issuance(party, gross=100, announce=False), 201)
        assert [(one["party"], one["told"]) for one in await known(mechanism)] == [("MMR", False), ("THA", False)]
        activated = await mechanism.admin("POST", "/activate")
        assert activated["receipted"] and len(activated["messages"]) == 2
        assert [m.type for m in gateway.heard] == ["link.activate", "action.notice"]
        assert [item["type"] for item in gateway.heard[1].items] == ["authorisation"] * 2
        assert all(one["told"] for one in await known(mechanism))
        # A second activation has nothing more to tell.
        assert len((await mechanism.admin("POST", "/activate"))["messages"]) == 1


async def test_an_authorisation_told_late_goes_before_the_issuance_that_is_announced(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(gross=100, announce=False), 201)
        await mechanism.admin("POST", "/issue", issuance("THA", gross=100), 201)
        assert versions(await told(gateway, 1)) == [("THA", "AUTH-SYNTHETIC-1", 1)]
        await mechanism.admin("POST", "/issue", issuance(gross=100), 201)
        assert versions(await told(gateway, 2)) == [(p, "AUTH-SYNTHETIC-1", 1) for p in ("THA", "MMR")]


async def test_notices_wait_for_the_authorisation_they_may_rest_on(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        gateway.silent = True
        await mechanism.admin("POST", "/issue", issuance(gross=100), 201)
        await mechanism.admin("POST", "/issue", issuance(gross=100), 201)
        # An opening balance does not wait: a link that is not active yet takes nothing else.
        activating = asyncio.create_task(mechanism.admin("POST", "/activate"))
        await gateway.wait("link.activate")
        assert {m.payload["seq"] for m in gateway.heard} == {1, 3}
        gateway.silent = False
        assert (await activating)["receipted"]
        await mechanism.drained()
        assert {m.payload["seq"] for m in gateway.heard} == {1, 2, 3}


async def test_versions_are_told_as_they_are_entered_whatever_they_say(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        every = TERMS | {
            **{"purposes": "NDC and IMP", "first_transfer_definition": "Authorisation", "oimp": "CORSIA"},
            **{"use_period": {"first": None, "last": None}, "vintages": {"first": 2021, "last": 2025}, "quantity": 7},
            **{"metric": "GHG", "gwp": "AR5", "sectors": [], "activity_types": ["Solar"], "parties": ["KOR"]},
            **{"entities": ["E-1"], "affects_first_transferred": True, "terms": "synthetic", "documentation": "none"},
            **{"initial_report": "2025-12-31", "ndc_period": {"first": 2021, "last": 2030}},
        }
        await mechanism.admin("POST", "/authorisations", every, 201)
        # A skipped version is sent, and the same version with another content only when it is forced.
        await mechanism.admin("POST", "/authorisations", TERMS | {"version": 3}, 201)
        other = TERMS | {"version": 3, "purposes": "OP"}
        assert (await mechanism.admin("POST", "/authorisations", other, 409))["code"] == 2004
        await mechanism.admin("POST", "/authorisations", other | {"force": True}, 201)
        items = await told(gateway, 3)
        assert [item["authorisation"] for item in items] == [every, TERMS | {"version": 3}, other]
        assert len({item["action"] for item in items}) == 3 and all(item["synthetic"] for item in items)
        assert [(one["version"], one["told"]) for one in await known(mechanism)] == [(1, True), (3, True)]
        for wrong in (TERMS | {"note": 1}, {"id": "A", "version": 1}, other | {"force": True, "announce": False}):
            await mechanism.admin("POST", "/authorisations", wrong, 422)


async def test_units_issued_without_an_authorisation_get_one_afterwards(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        raw = issuance("THA", gross=100, sop_percent=5, authorisation=None)
        await mechanism.admin("POST", "/issue", raw, 201)
        # Of the net units and of those deducted: all are the host's to authorise.
        named = [RANGE, {**RANGE, "first": 90, "last": 100}]
        await mechanism.admin("POST", "/authorisations", TERMS | {"units": named}, 201)
        (item,) = [item for item in await told(gateway, 2) if item["type"] == "authorisation"]
        assert (item["units"], item["authorisation"]) == (named, TERMS)
        shown = {
            (b["block"]["first"], b["block"]["last"]): b["block"]["attributes"]["authorisation"]
            for b in (await mechanism.books())["blocks"]
        }
        under = {"id": "AUTH-SYNTHETIC-9", "version": 1}
        assert shown == {
            **{(1, 10): None, (11, 20): under, (21, 89): None},
            **{(90, 93): under, (94, 98): under, (99, 100): under},
        }
        absent = TERMS | {"version": 2, "units": [{**RANGE, "last": 101}]}
        assert (await mechanism.admin("POST", "/authorisations", absent, 409))["code"] == 4003
        await mechanism.admin("POST", "/authorisations", absent | {"force": True}, 201)


async def test_units_authorised_before_the_opening_balance_are_shown_by_the_balance_alone(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        raw = issuance("THA", gross=100, authorisation=None, announce=False)
        await mechanism.admin("POST", "/issue", raw, 201)
        await mechanism.admin("POST", "/authorisations", TERMS | {"units": [RANGE], "announce": False}, 201)
        await mechanism.admin("POST", "/activate")
        balance, notice = gateway.heard
        assert {"id": "AUTH-SYNTHETIC-9", "version": 1} in [
            p["block"]["attributes"]["authorisation"] for p in balance.items
        ]
        assert "units" not in notice.items[0] and notice.items[0]["authorisation"] == TERMS


async def test_revocations_and_statements_are_told(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/authorisations", TERMS | {"announce": False}, 201)
        ended = {"party": "THA", "id": "AUTH-SYNTHETIC-9", "version": 1, "reason": "synthetic"}
        made = await mechanism.admin("POST", "/authorisations/revoke", ended, 201)
        # What is revoked was told of before.
        first, second = await told(gateway, 1)
        assert first["authorisation"] == TERMS
        assert second == {
            **{"kind": "action", "type": "revocation", "action": made["action"], "at": second["at"]},
            **{"registry": "MEC01", "party": "THA", "reason": "synthetic"},
            "authorisation": {"id": "AUTH-SYNTHETIC-9", "version": 1},
        }
        assert [one["revoked"] for one in await known(mechanism)] == [True]
        said = {"party": "MMR", "activity": "PoA 10471", "says": "later"}
        await mechanism.admin("POST", "/statements", said, 201)
        assert (await told(gateway, 2))[-1].items() >= {"type": "statement", **said}.items()
        await mechanism.admin("POST", "/statements", said | {"says": "perhaps"}, 422)


@pytest.mark.parametrize("definition", ["Authorisation", "Issuance", "Use or Cancellation"])
@pytest.mark.parametrize("purposes", ["OIMP", "IMP", "OP", "NDC and OP"])
async def test_units_for_other_purposes_alone_are_issued_as_itmos_where_it_is_so_defined(
    server: Any, gateway: Gateway, tmp_path: Path, definition: str, purposes: str
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        terms = TERMS | {"purposes": purposes, "first_transfer_definition": definition}
        await mechanism.admin("POST", "/authorisations", terms, 201)
        under = {"id": TERMS["id"], "version": 1}
        await mechanism.admin("POST", "/issue", issuance("THA", gross=100, authorisation=under), 201)
        positions = (await told(gateway, 2))[-1]["positions"]
        names = [position["block"].get("itmo") for position in positions]
        if purposes == "NDC and OP" or definition == "Use or Cancellation":
            assert names == [None] * 3
        else:
            stem = "CA0001-THA99-THA-{}-2021"
            parts = ((1, 93), (94, 98), (99, 100))
            assert names == [{"first": stem.format(a), "last": stem.format(b)} for a, b in parts]


async def test_proposals_name_the_latest_version_until_units_are_first_transferred(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        terms = TERMS | {"purposes": "OP", "first_transfer_definition": "Issuance"}
        await mechanism.admin("POST", "/authorisations", terms, 201)
        first = {"id": TERMS["id"], "version": 1}
        await mechanism.admin("POST", "/issue", issuance("THA", gross=100, authorisation=first), 201)
        await mechanism.admin("POST", "/issue", issuance("MMR", gross=100), 201)
        for party, name in (("THA", TERMS["id"]), ("MMR", "AUTH-SYNTHETIC-1")):
            changed = TERMS | {"party": party, "id": name, "version": 2}
            await mechanism.admin("POST", "/authorisations", changed, 201)
        named = {party: await proposed_under(mechanism, {"party": party}) for party in ("THA", "MMR")}
        assert named == {"THA": first, "MMR": {"id": "AUTH-SYNTHETIC-1", "version": 2}}
        stated = {"party": "MMR", "authorisation": {"id": "ANOTHER", "version": 7}}
        assert await proposed_under(mechanism, stated) == stated["authorisation"]


async def test_unchecked_proposals_take_whatever_is_there(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        raw = issuance("THA", gross=100, buffer_percent=10, authorisation=None)
        await mechanism.admin("POST", "/issue", raw, 201)
        for account, code in (("100-1", 5101), ("410-1", 5122), ("420-1", 5122)):
            wish = {"party": "THA", "account": account, "to": KOREA, "quantity": 1}
            refused = await mechanism.admin("POST", "/transfers", {"transfers": [wish]}, 409)
            assert refused["code"] == code
            assert await proposed_under(mechanism, wish | {"unchecked": True}) is None


KOREA = {"registry": "KOR01", "party": "KOR", "account": "100-1"}


async def proposed_under(registry_: Sandbox, wish: dict[str, Any]) -> Any:
    wished = {"transfers": [{"to": KOREA, "quantity": 1, **wish}]}
    (transfer,) = (await registry_.admin("POST", "/transfers", wished, 201))["transfers"]
    return (await registry_.admin("GET", f"/transfers/{transfer}"))["terms"]["authorisation"]
