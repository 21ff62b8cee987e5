"""Requests of operators: made once however often they are repeated, and what comes of them; how transfers are listed.

The operator API over HTTP in front, a real source registry behind: it alone can propose.
"""

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from tests import handmade
from tests.handmade import play
from tests.stage import AUTHORISATION, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


#: Of an account there is not: the source refuses it, so that no later test finds units missing.
NO_UNITS = {"transferring": {"registry": "MEC01", "party": "MMR", "account": "100-77"}, "quantity": 1}


async def test_a_request_is_proposed_once_and_completes(shared: Stage) -> None:
    await shared.issue(net=100, series="ASKED")
    key = new_key()
    first = await ask(shared, key, quantity=60)
    assert (first.status_code, first.json()["state"], first.json()["transfer"]) == (202, "sent", None)
    async with shared.working():
        await shared.until(lambda: proposed(shared, key, quantity=60))
    transfer = (await ask(shared, key, quantity=60)).json()["transfer"]
    assert await shared.relay([transfer]) == ["completed"]
    repeated = await ask(shared, key, quantity=60)
    assert repeated.status_code == 202
    assert repeated.json() == {**first.json(), "state": "recorded", "transfer": transfer}
    assert (await shared.transfer(transfer))["transfer"]["quantity"] == 60
    request = first.json()["request"]
    listed = (await shared.registries["MEC01"].get("transfers"))["transfers"]
    assert [t["transfer"] for t in listed if t["request"] == request] == [transfer]
    assert await shared.count(f"owed JOIN transfer_request USING (message_id) WHERE id = '{request}'") == 0


async def test_a_key_with_other_content_is_a_conflict(shared: Stage) -> None:
    key = new_key()
    made = await ask(shared, key, **NO_UNITS)
    for change in ({"quantity": 2}, {"purpose": "IMP"}, {"acquiring": address("JPN01", "JPN")}):
        other = await ask(shared, key, **NO_UNITS | change)
        assert problem(other) == (409, 2004)
    assert (await ask(shared, key, **NO_UNITS)).json() == made.json()


async def test_equal_calls_at_one_instant_make_one_request(shared: Stage) -> None:
    before = await shared.count("transfer_request")
    key = new_key()
    answers = await asyncio.gather(*(ask(shared, key, **NO_UNITS) for _ in range(12)))
    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["request"] for a in answers}) == 1
    assert await shared.count("transfer_request") == before + 1
    messages = await shared.count(
        "message m JOIN transfer_request q USING (message_id) WHERE m.type = 'transfer.request'"
    )
    assert messages == before + 1


async def test_a_request_the_source_cannot_follow_is_shown_refused_with_its_reasons(shared: Stage) -> None:
    for change, code in (
        ({"quantity": 10**12}, 4018),
        (NO_UNITS, 4011),
    ):
        key = new_key()
        request = (await ask(shared, key, **change)).json()["request"]
        async with shared.working():
            await shared.until(lambda r=request: shared.count(f"transfer_request WHERE id = '{r}' AND state <> 'sent'"))
        shown = (await ask(shared, key, **change)).json()
        assert (shown["state"], shown["transfer"]) == ("refused", None)
        assert [f["code"] for f in shown["findings"]] == [code]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"transferring": {"registry": "DEU01", "party": "DEU", "account": "100-1"}}, (404, 4001)),
        ({"quantity": 0}, (422, 2001)),
        ({"quantity": -5}, (422, 2001)),
        ({"quantity": 2**53}, (422, 2001)),
        ({"quantity": "10"}, (422, 2001)),
        ({"quantity": 1.5}, (422, 2001)),
        ({"quantity": True}, (422, 2001)),
        ({"blocks": []}, (422, 2001)),
        ({"purpose": "FUN"}, (400, 2014)),
        ({"acquiring": {"registry": "KOR01", "party": "KOR", "account": "101-1"}}, (400, 2014)),
        ({"acquiring": {"registry": "KOR01", "party": "KOR", "account": "100"}}, (400, 2014)),
        ({"acquiring": {"registry": "KOR01", "party": "XXX", "account": "100-1"}}, (400, 2010)),
        ({"acquiring": {"registry": "K", "party": "KOR", "account": "100-1"}}, (400, 2011)),
        ({"acquiring": {"registry": "KOR01", "party": "KOR"}}, (422, 2001)),
        ({"acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1\u0000"}}, (400, 2014)),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_asked_is_answered_with_a_problem_and_its_code(
    shared: Stage, change: dict[str, Any], expected: tuple[int, int]
) -> None:
    before = await shared.count("transfer_request")
    assert problem(await ask(shared, new_key(), **{"quantity": 1, **change})) == expected
    assert await shared.count("transfer_request") == before


async def test_a_request_needs_a_key(shared: Stage) -> None:
    before = await shared.count("transfer_request")
    for key in (None, "", "x" * 129):
        assert problem(await ask(shared, key, quantity=1)) == (422, 2001)
    for body in (b"", b"{", b"[]", b'{"quantity": NaN}', b'{"purpose": "\\ud800"}', b"\xff"):
        answer = await shared.api.post("/api/v1/transfers", content=body, headers={"idempotency-key": new_key()})
        assert problem(answer) == (422, 2001)
    assert await shared.count("transfer_request") == before


async def test_a_second_proposal_under_one_request_is_refused(shared: Stage) -> None:
    await shared.issue(net=10, series="AGAIN")
    key = new_key()
    request = (await ask(shared, key, quantity=10)).json()["request"]
    async with shared.working():
        await shared.until(lambda: proposed(shared, key, quantity=10))
    transfer = (await ask(shared, key, quantity=10)).json()["transfer"]
    assert await shared.relay([transfer]) == ["completed"]
    await shared.issue(net=10, series="OTHER")
    listed = (await shared.registries["MEC01"].get("books?blocks=1"))["blocks"]
    [held] = [b["block"] for b in listed if (b["account"], b["block"]["origin"]["series"]) == ("100-1", "OTHER")]
    mechanism = handmade.signer(shared, "MEC01")
    for named in (request, play.uuid7()):
        value = proposal(held, named)
        answer = await handmade.say(shared, mechanism, "transfer.propose", [play.text(value)])
        assert [(i["state"], i["findings"][0]["code"]) for i in answer.items] == [("ending", 3006)]
        assert await shared.relay([value["transfer"]]) == ["refused"]
    assert (await ask(shared, key, quantity=10)).json()["transfer"] == transfer
    assert await shared.relay(await shared.propose(10)) == ["completed"]


async def test_of_two_proposals_under_one_request_in_one_message_one_counts(shared: Stage) -> None:
    await shared.issue(net=10, series="TOGETHER")
    request = (await ask(shared, new_key(), **NO_UNITS)).json()["request"]
    listed = (await shared.registries["MEC01"].get("books?blocks=1"))["blocks"]
    [held] = [b["block"] for b in listed if (b["account"], b["block"]["origin"]["series"]) == ("100-1", "TOGETHER")]
    values = [proposal({**held, "first": first, "last": first + 4}, request) for first in (1, 6)]
    mechanism = handmade.signer(shared, "MEC01")
    answer = await handmade.say(shared, mechanism, "transfer.propose", [play.text(v) for v in values])
    assert [i["state"] for i in answer.items] == ["proposed", "ending"]
    word = play.text({"kind": "voided", "transfer": values[0]["transfer"], "findings": []})
    await handmade.say(shared, mechanism, "transfer.voided", [word])
    assert await shared.relay([v["transfer"] for v in values]) == ["cancelled", "refused"]
    assert await shared.relay(await shared.propose(10)) == ["completed"]


async def test_a_listing_gives_every_transfer_once_newest_first(shared: Stage) -> None:
    await shared.issue(net=12, series="LISTED")
    made = [*await shared.propose(1, 2, 3), *await shared.propose(4), *await shared.propose(1, 1)]
    assert set(await shared.relay(made)) == {"completed"}
    everything = await page(shared, limit=500)
    assert everything["next"] is None
    ids = [t["id"] for t in everything["transfers"]]
    assert set(made) <= set(ids) and len(ids) == len(set(ids)) == await shared.count("transfer")
    assert [t["created_at"] for t in everything["transfers"]] == sorted(
        (t["created_at"] for t in everything["transfers"]), reverse=True
    )
    turned, before = [], None
    for _ in range(len(ids)):
        found = await page(shared, limit=2, **({"before": before} if before else {}))
        turned += [t["id"] for t in found["transfers"]]
        before = found["next"]
        if before is None:
            break
    assert turned == ids


async def test_a_listing_can_be_limited_to_a_state(shared: Stage) -> None:
    await shared.issue(net=5, series="STATED")
    [waiting] = await shared.propose(5)
    await shared.until(lambda: shared.count(f"transfer WHERE id = '{waiting}'"))
    found = (await page(shared, state="proposed"))["transfers"]
    assert waiting in [t["id"] for t in found] and {t["state"] for t in found} == {"proposed"}
    assert await shared.relay([waiting]) == ["completed"]
    assert waiting not in [t["id"] for t in (await page(shared, state="proposed"))["transfers"]]
    tally = (await shared.books())["transfers"]
    counted = await shared.rows("SELECT state, count(*) FROM transfer GROUP BY state")
    assert tally == dict(counted)


async def test_what_cannot_be_shown_is_answered_with_a_problem(shared: Stage) -> None:
    url = "/api/v1/transfers"
    unknown = f"MEC01-{play.uuid7()}"
    assert problem(await shared.api.get(f"{url}/{unknown}")) == (404, 3001)
    assert problem(await shared.api.get(url, params={"before": unknown})) == (404, 3001)
    for no_id in ("%00", "%ED%A0%80", "MEC01-", unknown.upper(), "x" * 2_000):
        assert problem(await shared.api.get(f"{url}/{no_id}")) == (400, 2003)
    assert problem(await shared.api.get(f"{url}?before=%00")) == (400, 2003)
    for wrong in ({"state": "lost"}, {"limit": 0}, {"limit": 501}, {"limit": "many"}, {"before": "x" * 65}):
        assert problem(await shared.api.get(url, params=wrong)) == (422, 2001)
    missing = await shared.api.get("/api/v1/nothing")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


async def ask(stage: Stage, key: str | None, **changes: Any) -> httpx.Response:
    wish = {"transferring": address("MEC01", "MMR"), "acquiring": address("KOR01", "KOR"), "purpose": "NDC"}
    headers = {} if key is None else {"idempotency-key": key}
    return await stage.api.post("/api/v1/transfers", json=wish | changes, headers=headers)


async def proposed(stage: Stage, key: str, **changes: Any) -> bool:
    return (await ask(stage, key, **changes)).json()["transfer"] is not None


async def page(stage: Stage, **query: Any) -> dict[str, Any]:
    answer = await stage.api.get("/api/v1/transfers", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def problem(answer: httpx.Response) -> tuple[int, int]:
    """Status and code of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert (document["status"], document["type"]) == (answer.status_code, "about:blank")
    assert document["title"] and document["detail"]
    return answer.status_code, document["code"]


def address(registry: str, party: str) -> dict[str, str]:
    return {"registry": registry, "party": party, "account": "100-1"}


def proposal(block: dict[str, Any], request: str) -> dict[str, Any]:
    return {
        "kind": "propose",
        "transfer": f"MEC01-{play.uuid7()}",
        "request": request,
        "transferring": address("MEC01", "MMR"),
        "acquiring": address("KOR01", "KOR"),
        "purpose": "NDC",
        "authorisation": AUTHORISATION,
        "quantity": block["last"] - block["first"] + 1,
        "blocks": [block],
    }


def new_key() -> str:
    return str(uuid.uuid4())
