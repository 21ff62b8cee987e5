"""A unit is followed from its issuance on, however its blocks were split, through every transfer, to where it is.

Method: played registries; one unit's history is held against what was said of it, word by word, and every other unit's
against the blocks it lay in. Blocks of every length are found, at both ends and nowhere else.
"""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from gateway import embedded
from gateway.evidence.unit_store import COVERING
from tests import recorded
from tests import stage as staging
from tests.integration.test_sandbox_play import uuid7
from tests.played import Course, block, naming
from tests.recorded import International

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def begun(
    postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Course, International]]:
    async with staging.opened(postgres, tmp_path_factory.mktemp("provenance")) as stage:
        yield await recorded.begun(stage)


async def told(course: Course, unit: str) -> dict[str, Any]:
    answer = await course.stage.api.get("/api/v1/audit/provenance", params={"unit": unit})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def course_of(found: dict[str, Any]) -> list[str]:
    """What was done, with the state it came to."""
    return [f"{step['what']} {step['state'] or ''}".strip() for step in found["steps"]]


async def test_a_unit_is_followed_from_issuance_through_splits_and_transfers_to_its_use(
    begun: tuple[Course, International],
) -> None:
    course, international = begun
    series = uuid7()
    await course.issue(block(1, 1000, series=series))
    item = course.proposal(block(101, 300, series=series))
    transfer = str(item["transfer"])
    withdrawn = course.proposal(block(200, 260, series=series))
    await course.propose(withdrawn)
    await course.void([str(withdrawn["transfer"])])
    await course.propose(item)
    await course.turn()
    await course.accept([transfer])
    await course.turn()
    await course.release([transfer], {transfer: [naming(item["blocks"][0], 5000)]})
    await course.credit([transfer])
    held = naming(block(250, 250, series=series), 5000)["itmo"]
    used = course.action("use", registry="KOR01", party="KOR", account="100-1", to_account="200-1")
    answer = await course.acquirer.say(
        "action.notice", [used | {"blocks": [block(250, 250, series=series, itmo=held)]}]
    )
    assert answer.items[0]["state"] == "recorded", answer.items
    await course.turn()
    for sent in await international.told():
        await international.receipt(sent, "recorded")
    found = await told(course, f"MEC01/{series}/250")
    assert found["itmo"] == "CA0001-MMR99-MMR-5250-2021"
    assert found["place"] == {"registry": "KOR01", "party": "KOR", "account_type": 200}
    assert await told(course, found["itmo"]) == found
    entries = [step["entry"] for step in found["steps"]]
    assert entries == sorted(entries)
    steps = course_of(found)
    order = ["issuance", "transfer cancelled", "transfer accepted", "transfer released"]
    places = [steps.index(step) for step in (*order, "first transfer", "transfer completed", "use")]
    assert places == sorted(places) and steps.count("first transfer") == 1
    assert {"record sent", "record recorded", "authorisation"} <= set(steps)
    of = {f"{s['what']} {s['state']}": s for s in found["steps"]}
    names = ("issuance None", "transfer cancelled", "transfer completed", "use None")
    assert [(of[n]["first"], of[n]["last"]) for n in names] == [(1, 1000), (200, 260), (101, 300), (250, 250)]
    said = json.loads((await course.said([transfer], "credited"))[transfer])["credited_at"]
    assert datetime.fromisoformat(of["transfer completed"]["at"]) == datetime.fromisoformat(said)
    for step in found["steps"]:
        [(message, digest)] = await course.stage.rows(
            "SELECT m.message_id::text, rtrim(translate(encode(m.sha256, 'base64'), '+/', '-_'), '=') FROM log_entry e"
            f" LEFT JOIN message m ON m.entry_id = e.id WHERE e.id = {step['entry']}"
        )
        shown = step["message"]
        assert (message, digest) == ((shown["id"], shown["sha256"]) if shown else (None, None))
    assert course_of(await told(course, f"MEC01/{series}/999")) == ["issuance"]
    assert "use" not in course_of(await told(course, f"MEC01/{series}/251"))


async def test_what_is_levied_of_an_issuance_is_told_of_its_units(begun: tuple[Course, International]) -> None:
    course, _ = begun
    await course.issue(block(1, 98, series=uuid7()))
    [(series,)] = await course.stage.rows(
        "SELECT s.series FROM action_block b JOIN unit_series s ON s.id = b.series_id WHERE b.account_type = 320"
        " ORDER BY b.action_id DESC LIMIT 1"
    )
    [step] = (await told(course, f"MEC01/{series}/1"))["steps"]
    assert step["details"]["levy"] == "overall mitigation"


async def test_blocks_of_every_length_are_found_at_both_ends_and_nowhere_else(
    begun: tuple[Course, International],
) -> None:
    course, _ = begun
    series, first, positions = uuid7(), 1, []
    for power in range(0, 50, 3):
        for length in (2**power, 2**power + 1):
            positions.append(block(first, first + length - 1, series=series))
            first += length + 1
    for each in positions:
        [item] = (await course.issue(each)).items
        assert item["state"] == "recorded", item
    for each in positions:
        for serial in (each["first"], each["last"]):
            [step] = (await told(course, f"MEC01/{series}/{serial}"))["steps"]
            assert (step["first"], step["last"]) == (each["first"], each["last"])
        answer = await course.stage.api.get(f"/api/v1/audit/provenance?unit=MEC01/{series}/{each['last'] + 1}")
        assert (answer.status_code, answer.json()["code"]) == (404, 4003)


@pytest.mark.parametrize(
    ("unit", "status", "code"),
    [("", 400, 2006), ("MEC01/A", 400, 2006), ("MEC01/A/0", 400, 2006), ("MEC01/unknown/1", 404, 4003),
     ("CA0001-MMR99-MMR-1-2999", 404, 4003), ("x" * 97, 422, 2001), ("CA0001-XXX99-MMR-1-2021", 400, 2011)],
)  # fmt: skip
async def test_what_is_no_known_unit_is_refused(
    begun: tuple[Course, International], unit: str, status: int, code: int
) -> None:
    answer = await begun[0].stage.api.get("/api/v1/audit/provenance", params={"unit": unit})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("table", "where", "index"),
    [("claim", "b.released_by IS NOT NULL", "claim_covering"), ("action_block", "true", "action_block_covering")],
)
async def test_what_covers_a_unit_is_asked_in_the_words_of_its_index(
    begun: tuple[Course, International], table: str, where: str, index: str
) -> None:
    asked = COVERING.format(table=table, where=where)
    for name, value in (("series", "1"), ("serial", "5"), ("most", "10")):
        asked = asked.replace(f":{name}", value)
    stage = begun[0].stage
    async with await psycopg.AsyncConnection.connect(stage.server.dsn(stage.database_name, "gateway_owner")) as there:
        await there.execute("SET enable_seqscan = off")
        plan = await (await there.execute(f"EXPLAIN {asked}".encode())).fetchall()
    told_plan = "\n".join(line for (line,) in plan)
    assert f"on {table} b" in told_plan and f"{index} on" in told_plan, told_plan
    assert "length(to_hex((last - first))) = length.digits" in told_plan, told_plan
