"""Every kind of registry's books are compared: sections, another wire, a listing, services; each book for itself.

Units go over every kind of arrow first, so that each book has some that came from elsewhere. All is synthetic.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway import embedded
from tests import contract
from tests import stage as staging
from tests.integration.test_arrows import Units, issued, link_of, move
from tests.reconciling import reconcile
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECTIONS = ("GHA", "SWE", "THA")
#: The books behind each link, and whether its registry tells their roots.
BOOKS = {
    "MEC01": (["MEC01"], True),
    "INT01": (["GHA99", "SWE99", "THA99"], True),
    "SRV01": (["SRV01"], True),
    "CHE01": (["CHE01"], True),
    "JPN01": (["JPN01"], False),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """CHE01 behind another wire, JPN01 without range queries; units have gone every way that there is."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("everywhere")) as stage:
        await asyncio.gather(
            stage.link("MEC01", "mechanism"),
            stage.link("INT01", "international", sections=SECTIONS, answer="message"),
            stage.link("SRV01", "services"),
            stage.link("CHE01", "party", "CHE", wire="des"),
            stage.link("JPN01", "party", "JPN", more=["--no-ranges"]),
        )
        for code in ("CHE01", "JPN01", "GHA99", "SWE99", "THA99"):
            await stage.registries[link_of(code)].post("accounts", party=code[:3], account="100-1")
        await everywhere(stage)
        yield stage
        assert await stage.doctor() == []
        await contract.sent_as_agreed(stage)


async def everywhere(stage: Stage) -> None:
    """Relay units on every kind of arrow, part of a block each time."""
    ours, ghana, thai = await issued(stage, "MEC01"), await issued(stage, "SRV01"), await issued(stage, "THA99")
    courses: list[tuple[Units, str, str]] = [
        (ours.part(1, 40), "MEC01", "CHE01"),
        (ours.part(41, 70), "MEC01", "JPN01"),
        (ours.part(71, 90), "MEC01", "SWE99"),
        (ours.part(1, 15), "CHE01", "JPN01"),
        (ours.part(71, 77), "SWE99", "CHE01"),
        (ghana.part(1, 30), "SRV01", "GHA99"),
        (ghana.part(31, 50), "SRV01", "SWE99"),
        (thai.part(1, 25), "THA99", "CHE01"),
    ]
    for units, source, to in courses:
        assert (await move(stage, units, source, to))["state"] == "completed", (source, to)


@pytest.mark.parametrize("link", BOOKS)
async def test_every_kind_of_registry_agrees_after_relays(world: Stage, link: str) -> None:
    report = await reconcile(world, link)
    assert (report.run.status, report.found, report.explained, report.run.remarks) == (5, 0, 0, [])
    books, told = BOOKS[link]
    assert [one.registry for one in report.books] == books
    for one in report.books:
        assert one.codes == [] and one.theirs == (one.root if told else None)
        assert one.totals and one.totals == one.totals_there


@pytest.mark.parametrize("link", BOOKS)
async def test_every_kind_of_registry_agrees_unit_by_unit(world: Stage, link: str) -> None:
    report = await reconcile(world, link, whole=True)
    assert (report.run.status, report.found, report.run.whole) == (5, 0, True)


async def test_a_difference_in_one_section_is_found_in_that_book_alone(world: Stage) -> None:
    international = world.registries["INT01"]
    blocks = (await international.get("books?blocks=true"))["blocks"]
    [block] = [b["block"] for b in blocks if b["party"] == "SWE" and b["block"]["origin"]["registry"] == "SRV01"]
    units = {"origin": block["origin"], "first": block["first"] + 3, "last": block["first"] + 8}
    await international.post("books/lose", units=units)
    report = await reconcile(world, "INT01")
    assert (report.run.status, report.found) == (99, 1)
    [finding] = report.findings
    assert (finding.registry, finding.code, finding.there) == ("SWE99", 6302, None)
    assert (finding.first, finding.last) == (units["first"], units["last"])
    assert {one.registry: one.codes for one in report.books} == {"GHA99": [], "SWE99": [6201], "THA99": []}
    assert [one.registry for one in report.books if one.root != one.theirs] == ["SWE99"]
    for link in ("SRV01", "MEC01", "CHE01"):
        assert (await reconcile(world, link)).run.status == 5
    who, why = ["registrar", "second registrar"], "a fault of ours (synthetic)"
    await international.post("books/correct", units=units, state=finding.here, case=finding.case, who=who, why=why)
    clean = await reconcile(world, "INT01")
    assert (clean.run.status, clean.found) == (6, 0)
