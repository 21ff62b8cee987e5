"""Thailand hears what Korea did with its units, over the wire, whatever happens to the message on its way.

THA99 is a section of INT01; its units went to KOR01 by a relay. All units and authorisations are synthetic.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests import contract
from tests.stage import Stage

AUTHORISATION = {"id": "THA-SYNTHETIC-1", "version": 1}
TERMS = AUTHORISATION | {
    "party": "THA", "kinds": ["ITMOs"], "date": "2022-01-01", "cooperative_approach": "CA9001", "purposes": "NDC",
    "period": {"first": "2022-01-01", "last": None},
}  # fmt: skip


@pytest.fixture
async def network(stage: Stage) -> AsyncIterator[Stage]:
    """KOR01 holds a hundred units of Thailand's, as many are left in THA99; all ends as agreed."""
    await asyncio.gather(
        stage.link("INT01", "international", sections=("THA", "GHA")),
        stage.link("KOR01", "party", "KOR", answer="message"),
    )
    await stage.registries["KOR01"].post("accounts", party="KOR", account="100-1")
    international = stage.registries["INT01"]
    await international.post("authorisations", **TERMS)
    form = {"activity": "synthetic activity", "party": "THA", "net": 200, "vintage": 2022, "series": "THA-MO"}
    form |= {"authorisation": AUTHORISATION, "attributes": {"cooperative_approach": "CA9001"}}
    made = await international.post("issue", **form)
    await stage.until(lambda: stage.count(f"action WHERE action = '{made['action']}'"))
    transfers = await stage.propose(100, source="INT01", party="THA", authorisation=AUTHORISATION)
    assert await stage.relay(transfers) == ["completed"]
    yield stage
    books = (await stage.books())["registries"]
    for code, speaker in (("THA99", "INT01"), ("KOR01", "KOR01")):
        own = await stage.registries[speaker].get("books")
        [row] = [r for r in books if r["registry"] == code]
        assert {name: own[name] for name in ("held", "used", "cancelled")} == {
            name: row[name] for name in ("held", "used", "cancelled")
        }
    assert await stage.doctor() == []
    await contract.sent_as_agreed(stage)


async def announced(stage: Stage, code: str, what: str, **form: Any) -> dict[str, Any]:
    """Let a registry use or cancel, and give the notice as the gateway has applied it."""
    before = await stage.count("action")
    await stage.registries[code].post(what, **form)

    async def applied() -> bool:
        return await stage.count("action") > before

    await stage.until(applied)
    [(item,)] = await stage.rows("SELECT CAST(item AS jsonb) FROM action ORDER BY id DESC LIMIT 1")
    return dict(item)


async def told(stage: Stage) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What INT01 has kept of what it was told."""
    kept = (await stage.registries["INT01"].get("told_actions"))["actions"]
    return [(row["registry"], row["action"], row["party"], json.loads(row["item"])) for row in kept]


async def answered(stage: Stage) -> bool:
    """Whether everything is answered; what was put off is due at once."""
    await stage.rows("UPDATE owed SET next_at = now() WHERE next_at > now()")
    await stage.gateway.relay.turn()
    return not await stage.count("action_record WHERE answered_by IS NULL") + await stage.count("owed")


@pytest.mark.parametrize("fault", [None, "lose-reply", "lose-request", "repeat", "refuse-unsigned"])
async def test_use_by_another_party_is_told_to_the_section_of_the_host_exactly_once(
    network: Stage, fault: str | None
) -> None:
    if fault:
        meets = {"fault": fault, "direction": "in", "type": "action.notice", "times": 2}
        await network.registries["INT01"].post("faults", **meets)
    used = await announced(network, "KOR01", "use", party="KOR", to_account="200-1", quantity=7, year=2026)
    cancelled = await announced(network, "KOR01", "cancel", party="KOR", to_account="330-1", quantity=3)
    await network.until(lambda: answered(network))
    expected = [("KOR01", item["action"], "THA", item) for item in (used, cancelled)]
    assert await told(network) == sorted(expected, key=lambda row: row[1])
    states = "SELECT state, link, section FROM action_record WHERE kind = 'notification'"
    assert await network.rows(states) == [("recorded", "INT01", "THA99")] * 2
    if fault:
        [listed] = (await network.registries["INT01"].get("faults"))["faults"]
        assert listed["fired"] == 2


async def test_use_by_the_host_itself_is_told_to_nobody(network: Stage) -> None:
    await announced(network, "INT01", "use", party="THA", to_account="200-1", quantity=7)
    await network.until(lambda: answered(network))
    assert await told(network) == []
    assert await network.count("action_record WHERE kind = 'notification'") == 0
