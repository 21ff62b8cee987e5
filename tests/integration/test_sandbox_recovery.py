"""What a sandbox registry does after it died, was forgotten, or has itself forgotten.

The gateway and the other registry are played here (see ``test_sandbox_play``). Data is lost by starting the
same registry, with the same key, on an empty database.
"""

from pathlib import Path
from typing import Any

import psycopg
from joserfc.jwk import OKPKey

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_acquirer import Deal, accept, closed, korea_of, settles
from tests.integration.test_sandbox_play import Gateway, Party, registry
from tests.integration.test_sandbox_source import commit, issue, propose, simple

server, gateway = play.server, play.gateway

ORIGIN = {"registry": "MEC01", "series": "MMR-A64"}


async def test_a_killed_registry_sends_the_same_bytes_after_its_start(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.silent = True
    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", database="killed")
    async with run as mechanism:
        await issue(mechanism)
        before = (await propose(mechanism, [10]))[0]
        mechanism.process.kill()
        await mechanism.process.wait()
    gateway.heard.clear()
    gateway.silent = False
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database="killed") as mechanism:
        assert (await gateway.wait("transfer.propose"))[0].jws == before.jws
        await mechanism.drained()
        assert (await mechanism.books())["locked"] == 10


async def test_a_gateway_that_does_not_know_a_transfer_is_told_again(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.told = {"state": "not known here"}
    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", database="asking")
    async with run as mechanism:
        await issue(mechanism)
        proposed = (await propose(mechanism, [10]))[0]
        with psycopg.connect(server.dsn("asking", "asking")) as database:
            database.execute("UPDATE transfer SET ask_at = now()")
        query = (await gateway.wait("status.query"))[0].payload["body"]
        assert query == {"transfer": proposed.transfer, "my_state": "locked"}
        first, second = await gateway.wait("transfer.propose", 2)
        assert (first.texts, first.jws != second.jws) == (second.texts, True)


async def test_a_source_that_lost_its_release_debits_from_its_own_signature(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        (proposed,) = await propose(mechanism, [10])
        completed = simple("closed", [proposed], state="completed")
        unproven = await mechanism.send(*completed)
        assert (unproven.items[0]["state"], unproven.items[0]["findings"][0]["code"]) == ("locked", 3006)
        # The release it has forgotten, signed by its own key.
        itself = Party("MEC01")
        itself.key = OKPKey.import_key((tmp_path / "MEC01.pem").read_bytes())
        deal = Deal(1, 10, transfer=proposed.transfer)
        compact = itself.compose("GWY01", "transfer.released", [deal.release])[0]
        receipt = await mechanism.send(*completed, {"evidence": [compact]}, [deal.release])
        assert receipt.items[0]["state"] == "done"
        books = await mechanism.books()
        assert (books["moved_out"], books["locked"], len(books["alarms"])) == (10, 0, 1)
        again = await mechanism.send(*commit(korea, [proposed]))
        assert (again.type, again.texts) == ("transfer.released", [deal.release])


async def test_an_acquirer_that_lost_its_credit_credits_from_its_own_signature(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        settle = settles(source, deals, answer.jws)
        credited = await korea.send(*settle)
    async with korea_of(server, gateway, tmp_path, source) as korea:
        kind, own = closed(deals, "completed")
        assert (await korea.send(kind, own)).items[0]["findings"][0]["code"] == 3006
        body = {"evidence": [*settle[2]["evidence"], credited.jws]}
        receipt = await korea.send(kind, own, body, [*settle[3], *credited.texts])
        assert receipt.items[0]["state"] == "done"
        assert (await korea.books())["held"] == 10
        assert (await korea.send(*settle)).texts == credited.texts


async def test_a_closed_that_contradicts_the_release_changes_nothing(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        gone, withdrawn = await propose(mechanism, [10, 5])
        released = await mechanism.send(*commit(korea, [gone]))
        await mechanism.send(*simple("cancel", [withdrawn], outcome="cancelled"))
        receipt = await mechanism.send(*simple("closed", [gone], state="cancelled"))
        assert (receipt.items[0]["state"], receipt.items[0]["findings"][0]["code"]) == ("released", 3002)
        assert (await gateway.wait("transfer.released"))[0].texts == released.texts
        receipt = await mechanism.send(*simple("closed", [withdrawn], state="completed"))
        assert (receipt.items[0]["state"], receipt.items[0]["findings"][0]["code"]) == ("void", 3002)
        books = await mechanism.books()
        assert (books["moved_out"], books["locked"], len(books["alarms"])) == (10, 0, 2)


async def test_a_transfer_is_refused_that_the_books_cannot_give(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        wish = {"party": "MMR", "to": {"registry": "KOR01", "party": "KOR", "account": "100-1"}}
        cases = [
            ({"quantity": 57260}, 4018),
            ({"quantity": 1, "account": "100-9"}, 4011),
            ({"quantity": 1, "account": "320-1"}, 5122),
            ({"quantity": 2, "blocks": [{"origin": ORIGIN, "first": 1, "last": 1}]}, 2009),
            ({"quantity": 1, "blocks": [{"origin": ORIGIN, "first": 99999, "last": 99999}]}, 4003),
            ({"quantity": 1, "blocks": [{"origin": ORIGIN, "first": 57260, "last": 57260}]}, 4004),
        ]
        for members, code in cases:
            wanted = {"transfers": [{**wish, "quantity": 1}, {**wish, **members}]}
            assert (await mechanism.admin("POST", "/transfers", wanted, 409))["code"] == code
        books = await mechanism.books()
        assert (books["locked"], len(books["blocks"])) == (0, 2)
        alone = {"transfers": [{**wish, "quantity": 1}] * 3, "one_message_each": True}
        await mechanism.admin("POST", "/transfers", alone, 201)
        assert len(await gateway.wait("transfer.propose", 3)) == 3
