"""Two workers, one authorisation, more proposals than it has tonnes for: exactly what it has moves."""

import asyncio

from gateway import wiring
from gateway import worker as relay_worker
from gateway.settings import Settings
from tests.stage import AUTHORISATION, Stage

QUANTITY, EACH, PROPOSED = 50, 5, 24


async def test_of_many_proposals_before_two_workers_the_authorised_quantity_moves_and_no_more(stage: Stage) -> None:
    await asyncio.gather(stage.link("MEC01", "mechanism"), stage.link("KOR01", "party", "KOR"))
    await stage.registries["KOR01"].post("accounts", party="KOR", account="100-1")
    terms = AUTHORISATION | {
        "party": "MMR", "kinds": ["ITMOs"], "date": "2026-01-01", "cooperative_approach": "CA0001", "purposes": "NDC",
        "period": {"first": None, "last": None}, "quantity": QUANTITY,
    }  # fmt: skip
    await stage.registries["MEC01"].post("authorisations", **terms)
    await stage.issue(net=EACH * PROPOSED)
    wish = {"party": "MMR", "to": {"registry": "KOR01", "party": "KOR", "account": "100-1"}, "quantity": EACH}
    asked = {"transfers": [wish] * PROPOSED, "one_message_each": True}
    transfers = list((await stage.registries["MEC01"].post("transfers", **asked))["transfers"])
    other = wiring.build(
        Settings(
            database_url=stage.server.dsn(stage.database_name, "gateway_app"),
            key_file=stage.folder / "gateway.pem",
            token_key_file=stage.folder / "tokens.pem",
            private_peers="127.0.0.0/8",
        )
    )
    stop = asyncio.Event()
    beside = asyncio.create_task(relay_worker.run(other.relay, other.database, stop))
    try:
        states = await stage.relay(transfers)
    finally:
        stop.set()
        await beside
        await other.close()
    assert sorted(states) == ["completed"] * (QUANTITY // EACH) + ["refused"] * (PROPOSED - QUANTITY // EACH)
    assert await stage.rows("SELECT drawn FROM authorisation") == [(QUANTITY,)]
    codes = await stage.rows("SELECT DISTINCT findings -> 0 ->> 'code' FROM transfer WHERE state = 'refused'")
    assert codes == [("5107",)]
    assert await stage.doctor() == []
