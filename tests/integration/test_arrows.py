"""Every arrow of the map, over the wire: units go the way, both registries' books and the gateway's say so.

The network is that of the demo, with fewer sections. Each test moves units of a series of its own, which were issued
where the arrow begins, or have come there first. All units, accounts, authorisations and identifiers are synthetic.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from gateway import embedded
from tests import contract
from tests import stage as staging
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECTIONS = ("GHA", "KOR", "MMR", "SWE", "THA")
#: What units of Thailand's and Ghana's are named under; A6.4ERs are named under CA0001.
APPROACH = {"THA": "CA9001", "GHA": "CA9002"}
_SERIES = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["link", "des"])
async def world(
    request: pytest.FixtureRequest, postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """Every kind of registry, linked over the same wire; over the link protocol one answers by messages of its own."""
    wire = request.param
    async with staging.opened(postgres, tmp_path_factory.mktemp("world")) as stage:
        await asyncio.gather(
            stage.link("MEC01", "mechanism", wire=wire),
            stage.link("INT01", "international", sections=SECTIONS, wire=wire),
            stage.link("KOR01", "party", "KOR", answer="message", wire=wire),
            stage.link("CHE01", "party", "CHE", wire=wire),
            stage.link("JPN01", "party", "JPN", wire=wire),
            stage.link("SRV01", "services", wire=wire),
        )
        for code in ("KOR01", "CHE01", "JPN01", "SWE99", "GHA99", "MMR99"):
            await stage.registries[link_of(code)].post("accounts", party=code[:3], account="100-1")
        yield stage
        await agree(stage)
        assert await stage.doctor() == []
        await contract.sent_as_agreed(stage)


@dataclass(frozen=True)
class Units:
    """Units of one series, as they were issued."""

    origin: str
    series: str
    first: int
    last: int

    def part(self, first: int, last: int) -> "Units":
        return Units(self.origin, self.series, first, last)

    @property
    def quantity(self) -> int:
        return self.last - self.first + 1

    @property
    def block(self) -> dict[str, Any]:
        return {"origin": {"registry": self.origin, "series": self.series}, "first": self.first, "last": self.last}


def link_of(code: str) -> str:
    """Who speaks for a registry."""
    return "INT01" if code.endswith("99") else code


async def issued(world: Stage, code: str, quantity: int = 100, *, authorised: bool = True, party: str = "") -> Units:
    """Let a registry issue units to its Party (the mechanism registry: Myanmar's) and announce them."""
    party = party or {"MEC01": "MMR", "SRV01": "GHA"}.get(code, code[:3])
    series = f"{party}-{next(_SERIES)}"
    form: dict[str, Any] = {
        "activity": "synthetic activity", "party": party, "net": quantity, "vintage": 2022, "series": series,
        "authorisation": {"id": f"{party}-SYNTHETIC-1", "version": 1} if authorised else None,
    }  # fmt: skip
    if code != "MEC01":
        form["attributes"] = {"cooperative_approach": APPROACH[party]}
    made = await world.registries[link_of(code)].post("issue", **form)
    await world.until(lambda: world.count(f"action WHERE action = '{made['action']}'"))
    [block] = [h["block"] for h in made["holdings"] if h["account"] == "100-1"]
    units = Units(code, series, block["first"], block["last"])
    assert units.quantity == quantity
    return units


async def move(
    world: Stage, units: Units, source: str, to: str, *, party: str = "", purpose: str = "NDC", host: str = ""
) -> dict[str, Any]:
    """Let units be proposed and relayed, to whatever end; the transfer as operators see it."""
    party = party or {"MEC01": "MMR", "SRV01": "GHA"}.get(source, source[:3])
    wish = {
        "party": party, "to": {"registry": to, "party": host or to[:3], "account": "100-1"},
        "quantity": units.quantity, "blocks": [units.block], "purpose": purpose,
        "authorisation": {"id": f"{units.series[:3]}-SYNTHETIC-1", "version": 1},
    }  # fmt: skip
    [transfer] = (await world.registries[link_of(source)].post("transfers", transfers=[wish]))["transfers"]
    assert transfer.startswith(f"{link_of(source)}-")
    await world.relay([transfer])
    return dict((await world.transfer(transfer))["transfer"])


async def book(world: Stage, units: Units) -> list[tuple[Any, ...]]:
    """Where the gateway's book has these units: (registry, Party, first, last, stem, ITMO offset)."""
    return await world.rows(
        "SELECT p.registry, p.party, p.first, p.last, i.stem, p.itmo_offset FROM position p"
        " JOIN unit_series s ON s.id = p.series_id LEFT JOIN itmo_series i ON i.id = p.itmo_series_id"
        f" WHERE (s.registry, s.series) = ('{units.origin}', '{units.series}') AND p.closed_by IS NULL"
        f" AND p.first <= {units.last} AND p.last >= {units.first} ORDER BY p.first"
    )


async def held(world: Stage, units: Units) -> list[tuple[Any, ...]]:
    """Where the registries' own books have them, wherever they are: the same, without what they do not know."""
    found = []
    for code, registry in world.registries.items():
        for entry in (await registry.get("books?blocks=1"))["blocks"]:
            block, itmo = entry["block"], entry["block"].get("itmo")
            there = (block["origin"]["registry"], block["origin"]["series"]) == (units.origin, units.series)
            if there and block["first"] <= units.last and block["last"] >= units.first:
                place = f"{entry['party']}99" if code == "INT01" else code
                found.append((place, entry["party"], block["first"], block["last"], *named(block, itmo)))
    return sorted(found, key=lambda entry: entry[2])


def named(block: dict[str, Any], itmo: dict[str, str] | None) -> tuple[str | None, int | None]:
    """The stem and offset of a block's identifiers, first and last being of one stem and as many as its units."""
    if itmo is None:
        return None, None
    first, last = (identifier.split("-") for identifier in (itmo["first"], itmo["last"]))
    assert first[:3] + first[4:] == last[:3] + last[4:]
    assert int(last[3]) - int(first[3]) == block["last"] - block["first"]
    return "-".join(first[:3] + first[4:]), int(first[3]) - block["first"]


async def went(world: Stage, units: Units, to: str, stem: str) -> int:
    """The units are at ``to`` and nowhere else, by every book, under identifiers of this stem; their offset."""
    [(place, party, first, last, name, offset)] = await book(world, units)
    assert (place, party, first, last, name) == (to, to[:3], units.first, units.last, stem)
    assert await held(world, units) == [(place, party, first, last, name, offset)]
    return int(offset)


async def said(world: Stage, transfer: dict[str, Any], step: str) -> dict[str, Any]:
    """A statement kept of a transfer."""
    [[item]] = await world.rows(
        f"SELECT CAST(item AS jsonb) FROM transfer_step WHERE (transfer_id, step) = ('{transfer['id']}', '{step}')"
    )
    return dict(item)


async def recorded(world: Stage) -> dict[str, tuple[Any, ...]]:
    """What the international registry has recorded: (type, section, Party, quantity) by action."""
    found = (await world.registries["INT01"].get("records?limit=1000"))["records"]
    return {row["action"]: (row["type"], row["section"], row["party"], row["quantity"]) for row in found}


async def all_recorded(world: Stage) -> bool:
    """Whether the gateway has an answer for every record."""
    return await world.count("action_record WHERE state IN ('waiting', 'sent')") == 0


async def agree(world: Stage) -> None:
    """Every registry's own books have the totals that the gateway's book has of what is behind its link."""
    rows = (await world.books())["registries"]
    assert (await world.books())["conservation"] == "holds"
    for code, registry in world.registries.items():
        own = await registry.get("books")
        for name in ("issued", "held", "used", "cancelled", "moved_in", "moved_out"):
            assert own[name] == sum(row[name] for row in rows if link_of(row["registry"]) == code), (code, name)
        assert own["alarms"] == []


async def stayed(world: Stage, units: Units, transfer: dict[str, Any], code: int) -> None:
    """The transfer was refused with this code, and the units are free where they were."""
    assert (transfer["state"], [finding["code"] for finding in transfer["findings"]]) == ("refused", [code])
    assert [(place, first, last) for place, _, first, last, *_ in await held(world, units)] == [
        (place, first, last) for place, _, first, last, *_ in await book(world, units)
    ]
    assert await world.count(f"claim WHERE transfer_id = '{transfer['id']}' AND released_by IS NULL") == 0


async def test_mechanism_to_party_registry(world: Stage) -> None:
    units = await issued(world, "MEC01")
    transfer = await move(world, units, "MEC01", "KOR01")
    assert transfer["state"] == "completed"
    assert (await said(world, transfer, "released"))["first_transfer"] is True
    await went(world, units, "KOR01", "CA0001-MMR99-MMR-2022")


async def test_mechanism_to_section(world: Stage) -> None:
    units = await issued(world, "MEC01")
    transfer = await move(world, units, "MEC01", "SWE99")
    assert (transfer["state"], transfer["acquirer"]) == ("completed", "INT01")
    await went(world, units, "SWE99", "CA0001-MMR99-MMR-2022")


async def test_section_to_party_registry(world: Stage) -> None:
    units = await issued(world, "THA99")
    transfer = await move(world, units, "THA99", "CHE01")
    assert (transfer["state"], transfer["source"]) == ("completed", "INT01")
    released = await said(world, transfer, "released")
    assert released["first_transfer"] is True and len(released["itmo"]) == 1
    await went(world, units, "CHE01", "CA9001-THA99-THA-2022")


async def test_party_registry_to_section(world: Stage) -> None:
    units = await issued(world, "THA99")
    await move(world, units, "THA99", "CHE01")
    offset = await went(world, units, "CHE01", "CA9001-THA99-THA-2022")
    transfer = await move(world, units, "CHE01", "SWE99")
    assert transfer["state"] == "completed"
    assert (await said(world, transfer, "released"))["first_transfer"] is False
    assert await went(world, units, "SWE99", "CA9001-THA99-THA-2022") == offset


async def test_party_registry_to_party_registry(world: Stage) -> None:
    units = await issued(world, "MEC01")
    await move(world, units, "MEC01", "KOR01")
    offset = await went(world, units, "KOR01", "CA0001-MMR99-MMR-2022")
    assert (await move(world, units, "KOR01", "JPN01"))["state"] == "completed"
    assert await went(world, units, "JPN01", "CA0001-MMR99-MMR-2022") == offset


async def test_services_to_section(world: Stage) -> None:
    units = await issued(world, "SRV01")
    transfer = await move(world, units, "SRV01", "GHA99", purpose="IMP")
    assert transfer["state"] == "completed"
    # By leaving they have become ITMOs, whatever the purpose.
    assert (await said(world, transfer, "released"))["first_transfer"] is True
    offset = await went(world, units, "GHA99", "CA9002-GHA99-GHA-2022")
    onward = await move(world, units, "GHA99", "CHE01")
    assert (await said(world, onward, "released"))["first_transfer"] is False
    assert await went(world, units, "CHE01", "CA9002-GHA99-GHA-2022") == offset


async def test_recording_of_both_sides_whose_parties_have_sections_though_replies_are_lost(world: Stage) -> None:
    international = world.registries["INT01"]
    await international.post("faults", fault="lose-reply", type="action.record", times=2)
    before = await international.get("books")
    units, other = await issued(world, "MEC01"), await issued(world, "THA99")
    # Korea records though it has a registry of its own; Switzerland has no section.
    to_korea = await move(world, units, "MEC01", "KOR01")
    onward = await move(world, units.part(units.first, units.first + 9), "KOR01", "CHE01")
    to_switzerland = await move(world, other, "THA99", "CHE01")
    async with world.working():
        await world.until(lambda: all_recorded(world))
    expected = {
        f"{to_korea['id']}/transfer": ("First transfer", "MMR99", "MMR", 100),
        f"{to_korea['id']}/acquisition": ("Acquisition", "KOR99", "KOR", 100),
        f"{onward['id']}/transfer": ("Transfer", "KOR99", "KOR", 10),
        f"{to_switzerland['id']}/transfer": ("First transfer", "THA99", "THA", 100),
    }
    transfers = {transfer["id"] for transfer in (to_korea, onward, to_switzerland)}
    assert {a: r for a, r in (await recorded(world)).items() if a.split("/")[0] in transfers} == expected
    # A record is no unit: what the sections hold has changed by the units that were issued and have left, and no more.
    after = await international.get("books")
    changes = {name: after[name] - before[name] for name in ("issued", "held", "moved_in", "moved_out")}
    assert changes == {"issued": 100, "held": 0, "moved_in": 0, "moved_out": 100}


async def test_recording_holds_every_action_the_gateway_knows_and_no_other(world: Stage) -> None:
    await move(world, await issued(world, "MEC01", 7), "MEC01", "SWE99")
    async with world.working():
        await world.until(lambda: all_recorded(world))
    said = (await world.api.get("/api/v1/records", params={"limit": 500})).json()["records"]
    assert {row["state"] for row in said} == {"recorded"}
    assert await recorded(world) == {
        row["action"]: (row["type"], row["section"], row["party"], row["quantity"]) for row in said
    }
    completed = await world.rows(
        "SELECT id, transferring_party, acquiring_party, quantity FROM transfer WHERE state = 'completed'"
    )
    sides = [(f"{i}/transfer", source, q) for i, source, _, q in completed]
    sides += [(f"{i}/acquisition", acquirer, q) for i, _, acquirer, q in completed]
    assert {(row["action"], row["party"], row["quantity"]) for row in said} == {
        (action, party, quantity) for action, party, quantity in sides if party in SECTIONS
    }


async def test_back_into_the_mechanism_registry_is_refused_5150(world: Stage) -> None:
    units = await issued(world, "MEC01")
    await move(world, units, "MEC01", "KOR01")
    await stayed(world, units, await move(world, units, "KOR01", "MEC01", host="MMR"), 5150)
    # Neither can a section, nor another mechanism account, be the way back.
    ours = await issued(world, "THA99")
    await stayed(world, ours, await move(world, ours, "THA99", "MEC01", host="THA"), 5150)


async def test_section_to_section_is_refused_4017(world: Stage) -> None:
    units = await issued(world, "THA99")
    await stayed(world, units, await move(world, units, "THA99", "GHA99"), 4017)


async def test_units_of_the_services_before_authorisation_are_refused_5133(world: Stage) -> None:
    units = await issued(world, "SRV01", authorised=False)
    await stayed(world, units, await move(world, units, "SRV01", "GHA99", purpose="IMP"), 5133)
    assert [entry[4:] for entry in await book(world, units)] == [(None, None)]


async def test_an_identifier_stays_the_same_over_three_moves_and_splits(world: Stage) -> None:
    units = await issued(world, "MEC01", 100)
    stem = "CA0001-MMR99-MMR-2022"
    await move(world, units, "MEC01", "KOR01")
    offset = await went(world, units, "KOR01", stem)
    await move(world, units.part(21, 80), "KOR01", "JPN01")
    await move(world, units.part(31, 50), "JPN01", "SWE99")
    where = [
        ("KOR01", "KOR", 1, 20), ("JPN01", "JPN", 21, 30), ("SWE99", "SWE", 31, 50), ("JPN01", "JPN", 51, 80),
        ("KOR01", "KOR", 81, 100),
    ]  # fmt: skip
    assert await book(world, units) == [(*place, stem, offset) for place in where]
    assert await held(world, units) == [(*place, stem, offset) for place in where]
