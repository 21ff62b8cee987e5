"""Many transfers in one message: each transfer has its own end, and none holds up another."""

import pytest

from tests.stage import AUTHORISATION, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

TO = {"registry": "KOR01", "party": "KOR", "account": "100-1"}
WISH = {"party": "MMR", "to": TO, "authorisation": AUTHORISATION}


async def test_a_thousand_transfers_in_one_message_complete(either: Stage) -> None:
    await either.issue(net=2_000, series="THOUSAND")
    before = await either.count("message WHERE type = 'transfer.propose'")
    transfers = await either.propose(*[2] * 1_000)
    assert set(await either.relay(transfers)) == {"completed"}
    assert await either.count("message WHERE type = 'transfer.propose'") == before + 1
    named = await either.rows(
        "SELECT count(*), sum(last - first + 1), count(DISTINCT first + itmo_offset) FROM position p"
        " JOIN unit_series s ON s.id = p.series_id WHERE s.series = 'THOUSAND' AND closed_by IS NULL"
        " AND p.registry = 'KOR01' AND first_transferred_at IS NOT NULL"
    )
    assert named == [(1_000, 2_000, 1_000)]
    for code in ("MEC01", "KOR01"):
        listed = (await either.registries[code].get("transfers?state=done"))["transfers"]
        assert set(transfers) <= {t["transfer"] for t in listed}
        assert (await either.registries[code].get("books"))["alarms"] == []
    assert (await either.books())["conservation"] == "holds"


async def test_of_one_message_some_are_rejected_some_withdrawn_and_the_rest_complete(either: Stage) -> None:
    mechanism, korea = either.registries["MEC01"], either.registries["KOR01"]
    await either.issue(net=30, series="MIX")
    wishes = [{**WISH, "quantity": 1} for _ in range(30)]
    for wish in wishes[::3]:
        wish["to"] = {**TO, "account": "100-404"}
    transfers = (await mechanism.post("transfers", transfers=wishes))["transfers"]
    await either.until(lambda: either.count(f"transfer WHERE id = '{transfers[-1]}'"))
    # Withdrawn after the proposal has arrived, before anything is decided.
    for transfer in transfers[1::3]:
        assert (await mechanism.post(f"transfers/{transfer}/withdraw"))["state"] == "void"
    assert await either.relay(transfers) == ["rejected", "cancelled", "completed"] * 10
    books = await mechanism.get("books")
    assert (books["locked"], books["alarms"]) == (0, [])
    assert (await korea.get("books"))["alarms"] == []
    assert (await either.books())["conservation"] == "holds"
    assert await either.relay(await either.propose(20)) == ["completed"]
