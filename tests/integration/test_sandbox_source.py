"""The source's state table, held by a mechanism registry process: what debits, what never does, what is said.

The gateway and the acquiring registry are played here (see ``test_sandbox_play``).
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, sha, text, uuid7

server, gateway = play.server, play.gateway

KOREA = {"registry": "KOR01", "party": "KOR", "account": "100-1"}


@dataclass
class Proposed:
    """One proposed transfer: its item and the message that holds it."""

    transfer: str
    text: str
    jws: str


async def issue(mechanism: Sandbox, gross: int = 58428) -> Any:
    wanted = {"activity": "PoA 10471", "party": "MMR", "gross": gross, "vintage": 2021, "series": "MMR-A64"}
    wanted |= {"sop_percent": 0, "authorisation": play.AUTHORISATION}
    return await mechanism.admin("POST", "/issue", wanted, 201)


async def propose(mechanism: Sandbox, quantities: list[int], **members: Any) -> list[Proposed]:
    wishes = [{"party": "MMR", "to": KOREA, "quantity": quantity, **members} for quantity in quantities]
    ids = (await mechanism.admin("POST", "/transfers", {"transfers": wishes}, 201))["transfers"]
    for _ in range(1000):
        heard = {
            item["transfer"]: Proposed(item["transfer"], item_text, message.jws)
            for message in mechanism.gateway.heard
            if message.type == "transfer.propose"
            for item, item_text in zip(message.items, message.texts, strict=True)
        }
        if heard.keys() >= set(ids):
            return [heard[transfer] for transfer in ids]
        await asyncio.sleep(0.01)
    raise AssertionError("the proposals have not come")


def accepted(acquirer: Party, proposed: list[Proposed], answer: str = "accepted") -> tuple[str, list[str]]:
    """Give the acquirer's answer to these transfers: its JWS and its items."""
    members = {"kind": "answer", "offer": sha("offer"), "answer": answer, "findings": []}
    items = [text({**members, "transfer": p.transfer}) for p in proposed]
    return acquirer.compose("GWY01", "transfer.answer", items)[0], items


def commit(acquirer: Party, proposed: list[Proposed], answer: str = "accepted") -> tuple[Any, ...]:
    compact, answers = accepted(acquirer, proposed, answer)
    own = [
        text({"kind": "commit", "transfer": p.transfer, "proposal": sha(p.text), "answer": sha(given)})
        for p, given in zip(proposed, answers, strict=True)
    ]
    evidence = list(dict.fromkeys([*(p.jws for p in proposed), compact]))
    return "transfer.commit", own, {"evidence": evidence}, [*(p.text for p in proposed), *answers]


def simple(kind: str, proposed: list[Proposed], **members: Any) -> tuple[str, list[str]]:
    own = [text({"kind": kind, "transfer": p.transfer, "findings": [], **members}) for p in proposed]
    return f"transfer.{kind}", own


async def state(mechanism: Sandbox, proposed: Proposed) -> str:
    return str((await mechanism.admin("GET", f"/transfers/{proposed.transfer}"))["state"])


async def test_issuance_deducts_and_is_announced(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        books = await mechanism.books()
        assert (books["issued"], books["held"], books["cancelled"]) == (58428, 57259, 1169)
        authorised, notice = (await gateway.wait("action.notice"))[0].items
        assert authorised["authorisation"].items() >= {**play.AUTHORISATION, "party": "MMR"}.items()
        assert [p["account"] for p in notice["positions"]] == ["100-1", "320-1"]
        block = notice["positions"][0]["block"]
        assert (block["first"], block["last"], block["attributes"]) == (1, 57259, play.ATTRIBUTES)
        activated = await mechanism.admin("POST", "/activate")
        assert (activated["positions"], activated["receipted"]) == (2, True)
        balance = (await gateway.wait("link.activate"))[0].items
        assert sum(p["block"]["last"] - p["block"]["first"] + 1 for p in balance) == 58428


async def test_committed_units_leave_once_and_are_named(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01", "ES256")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        proposed = await propose(mechanism, [10, 5])
        assert (await mechanism.books())["locked"] == 15
        _, kind, raw = gateway.compose("MEC01", *commit(korea, proposed))
        released = await mechanism.send_bytes(kind, raw)
        assert released.type == "transfer.released" and released.payload["seq"] > 0
        first, second = released.items
        assert first["first_transfer"] and first["commit"]["id"] == released.payload["in_reply_to"]["id"]
        # The owner keeps the first part of its block; serials of the identifiers count from 1.
        origin = {"registry": "MEC01", "series": "MMR-A64"}
        itmo = {"first": "CA0001-MMR99-MMR-1-2021", "last": "CA0001-MMR99-MMR-10-2021"}
        assert first["itmo"] == [{"origin": origin, "first": 57250, "last": 57259, "itmo": itmo}]
        assert second["itmo"][0]["itmo"]["first"] == "CA0001-MMR99-MMR-11-2021"
        # The same bytes, the same transfers under another message, and a late cancel: one effect, one word.
        assert (await mechanism.send_bytes(kind, raw)).raw == released.raw
        again = await mechanism.send(*commit(korea, proposed))
        assert again.texts == released.texts and again.raw != released.raw
        late = await mechanism.send(*simple("cancel", proposed, outcome="cancelled"))
        assert late.type == "transfer.released" and late.texts == released.texts
        receipt = await mechanism.send(*simple("closed", proposed, state="completed"))
        assert [item["state"] for item in receipt.items] == ["done", "done"]
        books = await mechanism.books()
        assert (books["moved_out"], books["locked"], books["held"]) == (15, 0, 57259 - 15)
        assert books["alarms"] == []


async def test_units_are_first_transferred_by_moving_towards_an_ndc_alone(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01", "ES256")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        for purpose in ("IMP", "OP"):
            (item,) = (await mechanism.send(*commit(korea, await propose(mechanism, [1], purpose=purpose)))).items
            assert (item["first_transfer"], item["itmo"]) == (False, [])
        # What was first transferred before keeps its names, and is not first transferred again.
        first = {"party": "MMR", "subtype": "Authorization", "quantity": 1}
        (held,) = (await mechanism.admin("POST", "/first_transfers", first, 201))["holdings"]
        units = [{name: held["block"][name] for name in ("origin", "first", "last")}]
        (proposed,) = await propose(mechanism, [1], blocks=units)
        assert json.loads(proposed.text)["blocks"] == [held["block"]]
        (item,) = (await mechanism.send(*commit(korea, [proposed]))).items
        assert (item["first_transfer"], item["itmo"]) == (False, [])


async def test_only_a_proven_acceptance_debits(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea, impostor = Party("KOR01"), Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        proposed = await propose(mechanism, [10])
        other = await propose(mechanism, [10])
        swapped = [Proposed(proposed[0].transfer, other[0].text, other[0].jws)]
        for wrong in (
            commit(impostor, proposed),
            commit(korea, proposed, "rejected"),
            commit(korea, swapped),
        ):
            receipt = await mechanism.send(*wrong)
            assert (receipt.type, receipt.items[0]["state"]) == ("receipt", "locked")
            assert receipt.items[0]["findings"]
        assert (await mechanism.books())["moved_out"] == 0
        assert (await mechanism.send(*commit(korea, proposed))).type == "transfer.released"


async def test_keys_that_come_later_are_no_verdict(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        proposed = await propose(mechanism, [10])
        (tmp_path / "KOR01.jwks").unlink()
        _, kind, raw = gateway.compose("MEC01", *commit(korea, proposed))
        assert (await mechanism.send_bytes(kind, raw)).items[0]["state"] == "later"
        korea.write_keys(tmp_path)
        assert (await mechanism.send_bytes(kind, raw)).type == "transfer.released"


async def test_a_lock_that_does_not_hold_what_was_proposed_holds_up_no_other_transfer(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,), database="poisoned")
    async with run as mechanism:
        await issue(mechanism)
        poisoned, other = await propose(mechanism, [10, 5])
        unlock(server, "poisoned", poisoned)
        for _ in range(2):
            receipt = await mechanism.send(*commit(korea, [poisoned, other]))
            assert [item["state"] for item in receipt.items] == ["later", "released"]
            assert receipt.items[0]["findings"][0]["code"] == 4003
        assert [await state(mechanism, p) for p in (poisoned, other)] == ["locked", "released"]
        books = await mechanism.books()
        assert (books["moved_out"], [a["transfer"] for a in books["alarms"]]) == (5, [poisoned.transfer])


def unlock(server: Any, database: str, proposed: Proposed) -> None:
    """Free what a transfer has locked, behind the registry's back."""
    with psycopg.connect(server.dsn(database, database)) as connection:
        freed = connection.execute("UPDATE holding SET locked_by = NULL WHERE locked_by = %s", [proposed.transfer])
        assert freed.rowcount == 1


async def test_void_is_for_ever(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        proposed = await propose(mechanism, [10])
        unknown = [Proposed(f"MEC01-{uuid7()}", proposed[0].text, proposed[0].jws)]
        both = [*proposed, *unknown]
        voided = await mechanism.send(*simple("cancel", both, outcome="refused"))
        assert voided.type == "transfer.voided"
        assert [item["transfer"] for item in voided.items] == [p.transfer for p in both]
        assert (await mechanism.books())["locked"] == 0
        # A late commit gets the same word, and the units are free for another transfer (R13, R14).
        assert (await mechanism.send(*commit(korea, proposed))).texts == voided.texts[:1]
        await propose(mechanism, [57259])
        await mechanism.send(*simple("cancel", proposed, outcome="refused"))
        books = await mechanism.books()
        assert (books["locked"], books["moved_out"]) == (57259, 0)


async def test_mixed_commit_gets_a_receipt_and_own_messages(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        proposed = await propose(mechanism, [1, 2, 3])
        await mechanism.send(*simple("cancel", proposed[:1], outcome="cancelled"))
        unknown = Proposed(f"MEC01-{uuid7()}", proposed[0].text, proposed[0].jws)
        receipt = await mechanism.send(*commit(korea, [*proposed, unknown]))
        assert receipt.type == "receipt"
        states = [item["state"] for item in receipt.items]
        assert states == ["void", "released", "released", "unknown-here"]
        released = (await gateway.wait("transfer.released"))[0]
        assert [item["transfer"] for item in released.items] == [p.transfer for p in proposed[1:]]
        voided = (await gateway.wait("transfer.voided"))[0]
        assert [item["transfer"] for item in voided.items] == [proposed[0].transfer]


async def test_lost_receipts_repeat_the_same_bytes_and_numbers_have_no_gap(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    gateway.silent = True
    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", answer="message", peers=(korea,))
    async with run as mechanism:
        await issue(mechanism)
        proposed = await propose(mechanism, [10])
        gateway.silent = False
        receipt = await mechanism.send(*commit(korea, proposed))
        assert (receipt.type, receipt.items[0]["state"]) == ("receipt", "released")
        released = (await gateway.wait("transfer.released"))[0]
        assert "in_reply_to" not in released.payload
        await mechanism.drained()
        by_id: dict[str, set[bytes]] = {}
        for message in [*gateway.heard, receipt]:
            by_id.setdefault(message.payload["id"], set()).add(message.raw)
        assert all(len(copies) == 1 for copies in by_id.values())
        assert len(gateway.heard) > len(by_id) - 1
        numbers = {message.payload["seq"] for message in [*gateway.heard, receipt]}
        assert numbers == set(range(1, len(by_id) + 1))


async def test_withdrawal_asks_first_and_yields_to_a_commit(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        first, second, third = await propose(mechanism, [1, 2, 3])
        gateway.silent = True
        await mechanism.admin("POST", f"/transfers/{first.transfer}/withdraw", status=503)
        gateway.silent = False
        assert await state(mechanism, first) == "locked"
        withdrawn = await mechanism.admin("POST", f"/transfers/{first.transfer}/withdraw", status=200)
        assert withdrawn["state"] == "void"
        assert (await gateway.wait("transfer.voided"))[0].items[0]["transfer"] == first.transfer
        # A commit is stored at the gateway: the answer shows it, and it is carried out.
        message_type, own, body, carried = commit(korea, [second])
        compact = gateway.compose("MEC01", message_type, own, body, carried)[0]
        gateway.told = {"state": "committing", "evidence": [compact]}
        gateway.told_carried = [*own, *carried]
        yielded = await mechanism.admin("POST", f"/transfers/{second.transfer}/withdraw", status=200)
        assert yielded["state"] == "released"
        released = (await gateway.wait("transfer.released"))[0].items[0]
        assert released["commit"]["sha256"] == sha(compact)
        gateway.told, gateway.told_carried = {"state": "completed"}, []
        await mechanism.admin("POST", f"/transfers/{third.transfer}/withdraw", status=409)
        assert await state(mechanism, third) == "locked"


async def test_status_answers_show_the_last_word(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        one, two = await propose(mechanism, [1, 2])
        released = await mechanism.send(*commit(korea, [one]))

        async def ask(transfer: str) -> Heard:
            body = {"transfer": transfer, "my_state": "committing"}
            return await mechanism.send("status.query", None, body)

        told = await ask(one.transfer)
        assert told.payload["body"]["state"] == "released"
        assert (told.payload["body"]["evidence"], told.texts) == ([released.jws], released.texts)
        locked = {"transfer": two.transfer, "state": "locked", "evidence": []}
        assert (await ask(two.transfer)).payload["body"] == locked
        assert (await ask(f"MEC01-{uuid7()}")).payload["body"]["state"] == "unknown-here"


async def test_a_request_is_proposed_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        source = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
        members = {"kind": "request", "transferring": source, "acquiring": KOREA, "purpose": "NDC"}
        wanted = text({**members, "request": uuid7(), "quantity": 7})
        much = text({**members, "request": uuid7(), "quantity": 10**9})
        receipt = await mechanism.send("transfer.request", [wanted, much])
        assert [item["state"] for item in receipt.items] == ["recorded", "refused"]
        assert receipt.items[1]["findings"][0]["code"] == 4018
        again = await mechanism.send("transfer.request", [wanted])
        assert again.items[0]["transfer"] == receipt.items[0]["transfer"]
        proposal = (await gateway.wait("transfer.propose"))[0].items
        assert len(proposal) == 1 and proposal[0]["quantity"] == 7
        assert (await mechanism.books())["locked"] == 7


async def test_use_and_cancellation_keep_the_sum_and_respect_locks(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await issue(mechanism)
        origin = {"registry": "MEC01", "series": "MMR-A64"}
        middle = [{"origin": origin, "first": 101, "last": 110}]
        await propose(mechanism, [10], blocks=middle)
        move = {"party": "MMR", "to_account": "330-1", "quantity": 10, "blocks": middle}
        assert (await mechanism.admin("POST", "/cancel", move, 409))["code"] == 4005
        beside = [{"origin": origin, "first": 91, "last": 100}]
        await mechanism.admin("POST", "/cancel", {**move, "blocks": beside}, 201)
        await mechanism.admin("POST", "/use", {"party": "MMR", "to_account": "200-1", "quantity": 5}, 201)
        books = await mechanism.books()
        assert (books["cancelled"], books["used"], books["locked"]) == (1179, 5, 10)
        assert len(await gateway.wait("action.notice", 3)) == 3


async def test_a_thousand_transfers_are_released_by_one_message(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        proposed = await propose(mechanism, [3] * 1000)
        assert len({p.jws for p in proposed}) == 1
        released = await mechanism.send(*commit(korea, proposed))
        assert (released.type, len(released.items)) == ("transfer.released", 1000)
        assert (await mechanism.books())["moved_out"] == 3000


async def test_proposals_at_one_instant_share_what_is_held(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", database="at_once") as mechanism:
        await issue(mechanism)
        wish = {"party": "MMR", "to": {"registry": "KOR01", "party": "KOR", "account": "100-1"}, "quantity": 1}
        calls = [mechanism.admin("POST", "/transfers", {"transfers": [wish]}, 201) for _ in range(8)]
        assert len(await asyncio.gather(*calls)) == 8
        assert (await mechanism.books())["locked"] == 8
