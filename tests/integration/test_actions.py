"""What units are accounted for: both Parties' actions from one row, and the adjustments that follow. Synthetic data.

The registries are played: MEC01 issues to Myanmar, KOR01 acquires, JPN01 has part in nothing unless it is said.
"""

import importlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway import db
from gateway.domain import notices
from gateway.domain.actions import Disposal
from gateway.domain.callers import Caller, Scope, Sight
from gateway.domain.identifiers import parse_party, parse_registry_code
from gateway.holdings import movements
from gateway.holdings.movements import Disposed
from tests.integration.test_sandbox_play import ATTRIBUTES, AUTHORISATION, uuid7
from tests.played import Course, Played, block, join, naming
from tests.stage import Stage

THIS_YEAR = datetime.now(UTC).year


@pytest.fixture
async def course(stage: Stage) -> AsyncIterator[Course]:
    course = await Course.begun(stage)
    await course.issue(block(1, 100))
    yield course
    assert await stage.doctor() == []


@pytest.fixture
async def japan(course: Course) -> Played:
    return await join(course.stage, "JPN01", "party", "JPN")


def vintage(year: int) -> dict[str, Any]:
    return {"attributes": {**ATTRIBUTES, "vintage": year}}


def named(first: int, last: int) -> dict[str, Any]:
    """Units with the identifiers that their first transfer gives them."""
    return block(first, last, itmo=naming(block(first, last))["itmo"])


async def transferred(
    course: Course, *units: dict[str, Any], first: bool = True, names: bool = True, **members: Any
) -> str:
    """A completed transfer, to KOR01 unless it is said otherwise; if ``first``, the first transfer of ``units``."""
    item = course.proposal(*units, **members)
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.turn()
    await course.accept([transfer])
    await course.turn()
    given = {transfer: [naming(u) for u in units if names and "itmo" not in u]}
    await course.release([transfer], given if first else None)
    await course.credit([transfer])
    assert await course.stage.states([transfer]) == ["completed"]
    return transfer


async def used(
    course: Course, units: list[dict[str, Any]], *, kind: str = "use", by: Played | None = None, **members: Any
) -> str:
    """A use or cancellation of units by who holds them, Korea unless it is said otherwise; its cause."""
    place = {"registry": "KOR01", "party": "KOR", "account": "100-1", "to_account": "200-1"}
    item = course.action(kind, blocks=units, **(place | members))
    heard = await (by or course.acquirer).say("action.notice", [item])
    assert [i["state"] for i in heard.items] == ["recorded"], heard.items
    return f"{item['registry']}/{item['action']}"


async def listed(stage: Stage, query: str = "") -> list[dict[str, Any]]:
    answer = await stage.api.get(f"/api/v1/actions?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["actions"])


async def account(stage: Stage, query: str) -> dict[str, Any]:
    """The one account there is."""
    answer = await stage.api.get(f"/api/v1/adjustments?{query}")
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["accounts"]
    return dict(found)


def few(action: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(action[name] for name in names)


async def test_both_sides_of_a_first_transfer_are_read_from_one_row(course: Course) -> None:
    transfer = await transferred(course, block(1, 4), block(11, 20))
    assert await course.stage.count(f"unit_movement WHERE cause = '{transfer}'") == 1
    out, into = await listed(course.stage)
    view = ("type", "subtype", "party", "registry", "counterparty", "counterparty_registry")
    assert few(out, *view) == ("First transfer", "First transfer to another Party", "MMR", "MEC01", "KOR", "KOR01")
    assert few(into, *view) == ("Acquisition", None, "KOR", "KOR01", "MMR", "MEC01")
    signed = dict(
        await course.stage.rows(
            "SELECT step, coalesce(item::jsonb ->> 'released_at', item::jsonb ->> 'credited_at') FROM transfer_step"
        )
    )
    for action, step in ((out, "released"), (into, "credited")):
        assert datetime.fromisoformat(action["at"]) == datetime.fromisoformat(signed[step])
    shared = set(out) - {*view, "at"}
    assert {name: out[name] for name in shared} == {name: into[name] for name in shared}
    assert few(out, "cause", "quantity", "purpose", "vintage", "metric") == (transfer, 14, "NDC", 2021, "GHG")
    assert few(out, "authorisation", "authorisation_version") == (AUTHORISATION["id"], AUTHORISATION["version"])


async def test_units_that_differ_in_what_is_asked_for_are_rows_of_their_own(course: Course) -> None:
    await course.issue(block(201, 210, **vintage(2022)), block(211, 220, **vintage(2022)))
    mixed = course.proposal(
        block(201, 204, **vintage(2022)), block(5, 9), block(211, 213, **vintage(2022)), purpose="OP"
    )
    [transfer] = await course.complete(mixed)
    found = await course.stage.rows(
        "SELECT part, type, subtype, vintage, first_transfer, first_transferred, quantity FROM unit_movement "
        f"WHERE cause = '{transfer}' ORDER BY part"
    )
    assert found == [
        (1, "Transfer", None, 2022, False, False, 7), (2, "Transfer", None, 2021, False, False, 5)
    ]  # fmt: skip


async def onward(course: Course, japan: Played, *units: dict[str, Any], first: bool) -> str:
    """A transfer from Korea to Japan, completed; ``first``: of units without identifiers it is the first transfer."""
    beyond = Course(course.stage, course.acquirer, japan)
    places = {
        "transfer": f"KOR01-{uuid7()}",
        "transferring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
        "acquiring": {"registry": "JPN01", "party": "JPN", "account": "100-1"},
    }
    return await transferred(beyond, *units, first=first, **places)


async def test_units_first_transferred_before_are_transferred_and_the_others_first_transferred(
    course: Course, japan: Played
) -> None:
    await transferred(course, block(1, 4))
    await course.complete(course.proposal(block(5, 9), purpose="OP"))
    transfer = await onward(course, japan, named(1, 4), block(5, 9), first=True)
    found = await course.stage.rows(
        f"SELECT type, first_transferred, quantity FROM unit_movement WHERE cause = '{transfer}' ORDER BY part"
    )
    assert found == [("Transfer", True, 4), ("First transfer", True, 5)]


async def test_units_first_transferred_without_an_identifier_are_itmos_by_the_book(
    course: Course, japan: Played
) -> None:
    await transferred(course, block(1, 4), names=False)
    transfer = await onward(course, japan, block(1, 4), first=False)
    cause = await used(course, kind="cancellation", party="JPN", registry="JPN01", by=japan, units=[block(1, 4)],
                       to_account="320-1")  # fmt: skip
    found = dict(await course.stage.rows("SELECT cause, first_transferred FROM unit_movement"))
    assert (found[transfer], found[cause]) == (True, True)


async def test_use_and_cancellation_are_actions_of_who_used_or_cancelled(course: Course) -> None:
    await transferred(course, block(1, 20))
    causes = [
        await used(course, units=[named(1, 4)], year=2024, entity="KOR-1"),
        await used(course, units=[named(5, 5)]),
        await used(course, units=[named(6, 7)], to_account="210-1"),
        await used(course, units=[named(8, 10)], kind="cancellation", to_account="320-1", purpose="OMGE"),
        await used(course, units=[named(11, 11)], kind="cancellation", to_account="310-1"),
    ]
    found = [few(a, "cause", "type", "subtype", "purpose", "year", "entity", "quantity")
             for a in await listed(course.stage, "party=KOR") if a["type"] in ("Use", "Cancellation")]  # fmt: skip
    assert found[::-1] == [
        (causes[0], "Use", None, "NDC", 2024, "KOR-1", 4),
        (causes[1], "Use", None, "NDC", THIS_YEAR, None, 1),
        (causes[2], "Use", None, "IMP", None, None, 2),
        (causes[3], "Cancellation", "Voluntary cancellation to deliver OMGE", "OMGE", None, None, 3),
        (causes[4], "Cancellation", "Other cancellations", "OP", None, None, 1),
    ]


async def test_a_use_that_is_refused_is_no_action(course: Course) -> None:
    await transferred(course, block(1, 20))
    before = await course.stage.rows("SELECT * FROM unit_movement")
    wrong = {"registry": "KOR01", "party": "KOR", "account": "100-1", "blocks": [named(1, 4)]}
    items = [
        course.action("use", to_account="200-1", year=2031, ndc_period={"first": 2021, "last": 2030}, **wrong),
        course.action("cancellation", to_account="320-1", purpose="OP", **wrong),
    ]
    heard = await course.acquirer.say("action.notice", items)
    assert [[f["code"] for f in i["findings"]] for i in heard.items] == [[5140], [5141]]
    assert await course.stage.rows("SELECT * FROM unit_movement") == before


async def test_a_cancellation_that_is_the_first_transfer_is_an_action_of_its_host_too(course: Course) -> None:
    """Whether it is one is for the authorisation to say; here the test says so, of units that Korea holds as none."""
    await course.complete(course.proposal(block(1, 4), purpose="OP"))
    place = {"registry": "KOR01", "party": "KOR", "account": "100-1", "to_account": "300-1", "blocks": [block(1, 4)]}
    item = course.action("cancellation", **place)
    said = notices.parse_action(item, {parse_registry_code("KOR01"): parse_party("KOR")})
    assert isinstance(said, Disposal)
    one = [Disposed(said, first_transfer=True)]

    async def note(tx: db.Tx) -> None:
        await movements.disposed(tx, one, await movements.before(tx, one), 1)

    await course.stage.run(note)
    found = [few(a, "party", "type", "subtype", "counterparty", "quantity") for a in await listed(course.stage)][:2]
    assert found == [
        ("KOR", "Cancellation", "Other cancellations", None, 4),
        ("MMR", "First transfer", "Use or cancellation", "KOR", 4),
    ]
    assert (await account(course.stage, "party=MMR&last=2021"))["years"][0]["annual"] == 4
    assert len(await course.stage.doctor()) == 1  # for no notice has moved them
    await course.stage.rows(
        "ALTER TABLE unit_movement DISABLE TRIGGER USER; DELETE FROM unit_movement WHERE first_transfer"
    )


async def test_what_was_completed_before_is_accounted_for_as_it_would_have_been(course: Course, japan: Played) -> None:
    await course.issue(
        block(201, 210, **vintage(2022)), block(211, 220, attributes=ATTRIBUTES | {"authorisation": None})
    )
    await transferred(course, block(1, 20), block(201, 204, **vintage(2022)))
    await course.complete(course.proposal(block(21, 30), purpose="OP"))
    await onward(course, japan, named(1, 4), block(21, 24), first=True)
    await used(course, units=[named(5, 6)])
    await used(course, units=[named(7, 9)], kind="cancellation", to_account="320-1")
    await used(course, units=[named(10, 10)], to_account="210-1")
    await used(course, units=[named(11, 11), block(25, 26)], kind="cancellation", to_account="330-1")
    columns = (
        "cause, type, subtype, at, party, registry, acquiring_party, acquiring_registry, acquired_at, purpose, entity,"
        " year, first_transferring_party, vintage, metric, cooperative_approach, authorisation,"
        " authorisation_version, first_transfer, first_transferred, quantity, entry_id"
    )
    read = f"SELECT {columns} FROM unit_movement ORDER BY entry_id, cause, type, vintage, first_transferred"
    written = await course.stage.rows(read)
    migration = importlib.import_module("gateway.migrations.versions.0010_actions")
    await course.stage.rows("ALTER TABLE unit_movement DISABLE TRIGGER USER; DELETE FROM unit_movement")
    for statement in (migration.TRANSFERS, migration.DISPOSALS):
        await course.stage.rows(statement)
    assert await course.stage.rows(read) == written
    assert len(written) == 10


async def test_actions_are_those_of_a_party_or_of_a_year_page_by_page(course: Course) -> None:
    await transferred(course, block(1, 20))
    for first in range(1, 6):
        await used(course, units=[named(first, first)])
    everything = await listed(course.stage)
    turned: list[dict[str, Any]] = []
    following: int | None = 2**62
    while following is not None:
        page = (await course.stage.api.get(f"/api/v1/actions?limit=2&before={following}")).json()
        turned += page["actions"]
        following = page["next"]
    assert turned == everything and len(turned) == 7
    assert {a["party"] for a in await listed(course.stage, "party=MMR")} == {"MMR"}
    assert await listed(course.stage, "party=MMR") == [a for a in everything if a["party"] == "MMR"]
    assert await listed(course.stage, f"year={THIS_YEAR}") == everything
    assert await listed(course.stage, f"year={THIS_YEAR - 1}") == []
    assert (await course.stage.api.get("/api/v1/actions?party=XX")).status_code == 400
    assert (await course.stage.api.get("/api/v1/actions?year=10000")).status_code == 422


async def test_adjustments_add_for_the_host_and_subtract_for_the_user_and_say_why(course: Course) -> None:
    await course.issue(block(201, 220, **vintage(2023)))
    transfers = [await transferred(course, block(1, 20)),
                 await transferred(course, block(201, 210, **vintage(2023)), names=False)]  # fmt: skip
    cause = await used(course, units=[named(1, 4)], year=2024)
    await used(course, units=[named(5, 6)], to_account="210-1")
    host = await account(course.stage, "party=MMR&last=2025&explain=true")
    assert [y["annual"] for y in host["years"]] == [20, 0, 10, 0, 0]
    behind = {y["year"]: y["behind"] for y in host["years"]}
    assert behind[2021] == [{"cause": transfers[0], "effect": "first transferred", "quantity": 20}]
    assert behind[2023] == [{"cause": transfers[1], "effect": "first transferred", "quantity": 10}]
    user = await account(course.stage, "party=KOR&last=2025&explain=true")
    assert [y["annual"] for y in user["years"]] == [0, 0, 0, -4, 0]
    assert user["years"][3]["behind"] == [{"cause": cause, "effect": "used", "quantity": 4}]
    averaged = await account(course.stage, "party=MMR&method=averaging&last=2024")
    assert [y["applied"]["text"] for y in averaged["years"]] == ["20", "10", "10", "7.500"]
    assert averaged["years"][0]["behind"] is None
    both = (await course.stage.api.get("/api/v1/adjustments?last=2025")).json()["accounts"]
    assert [a["party"] for a in both] == ["KOR", "MMR"]
    assert (await course.stage.api.get("/api/v1/adjustments?first=2025&last=2024")).status_code == 400


#: Who calls: at which code they are bound, and which Party's registry that is.
PEOPLE = {"MEC01": Sight("MEC01"), "KOR01": Sight("KOR01", "KOR"), "JPN01": Sight("JPN01", "JPN"),
          "MMR01": Sight("MMR01", "MMR")}  # fmt: skip


async def people(stage: Stage) -> dict[str, Any]:
    await join(stage, "MMR01", "party", "MMR")
    return {
        name: await stage.calling(Caller(f"p-{name}", person=True, sight=sight, scopes=frozenset(Scope)))
        for name, sight in PEOPLE.items()
    }


async def test_an_action_is_its_sides_and_from_first_transfer_on_its_hosts(course: Course, japan: Played) -> None:
    callers = await people(course.stage)

    async def who_sees(cause: str) -> set[str]:
        shown = {name: (await http.get("/api/v1/actions")).json()["actions"] for name, http in callers.items()}
        return {name for name, found in shown.items() if cause in {a["cause"] for a in found}}

    [plain] = await course.complete(course.proposal(block(1, 4), purpose="OP"))
    assert await who_sees(plain) == {"MEC01", "KOR01"}
    first = await transferred(course, block(11, 14))
    assert await who_sees(first) == {"MEC01", "KOR01", "MMR01"}
    assert await who_sees(await used(course, units=[named(11, 11)])) == {"KOR01", "MMR01"}
    further = await onward(course, japan, named(12, 14), first=False)
    assert await who_sees(further) == {"KOR01", "JPN01", "MMR01"}
    mine = (await callers["JPN01"].get("/api/v1/actions")).json()["actions"]
    assert [few(a, "party", "type") for a in mine] == [("KOR", "Transfer"), ("JPN", "Acquisition")]


async def test_an_account_is_its_own_partys(course: Course) -> None:
    await transferred(course, block(11, 14))
    callers = await people(course.stage)
    shown = {name: (await http.get("/api/v1/adjustments")).json()["accounts"] for name, http in callers.items()}
    assert {name: [a["party"] for a in found] for name, found in shown.items()} == {
        "MEC01": [], "KOR01": [], "JPN01": [], "MMR01": ["MMR"]
    }  # fmt: skip
    for name, http in callers.items():
        answer = await http.get("/api/v1/adjustments?party=MMR")
        assert answer.status_code == (200 if name == "MMR01" else 403)
