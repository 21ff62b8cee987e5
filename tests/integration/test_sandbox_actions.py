"""Actions on units inside sandbox processes: use, cancellation, adaptation, first transfer, reversal; and told ones.

The gateway is played here (see ``test_sandbox_play``); all that is told is held against the contract there.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_authorising import told
from tests.integration.test_sandbox_issuing import issuance
from tests.integration.test_sandbox_play import Gateway, registry

server, gateway = play.server, play.gateway


async def test_use_cancellation_and_adaptation_say_what_they_are_for(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(gross=100, sop_percent=0), 201)
        used = {"year": 2024, "ndc_period": {"first": 2021, "last": 2030}, "entity": "E-1"}
        cancelled = {"purpose": "OMGE", "entity": "E-1"}
        move = {"party": "MMR", "quantity": 10}
        await mechanism.admin("POST", "/use", move | {"to_account": "200-1"} | used, 201)
        await mechanism.admin("POST", "/cancel", move | {"to_account": "320-1"} | cancelled, 201)
        await mechanism.admin("POST", "/cancel", move | {"to_account": "330-1"}, 201)
        await mechanism.admin("POST", "/adaptation", move | {"voluntary": True}, 201)
        *_, use, first, second, adaptation = await told(gateway, 5)
        assert (use["type"], used.items() <= use.items()) == ("use", True)
        assert (first["type"], cancelled.items() <= first.items()) == ("cancellation", True)
        assert not {"purpose", "entity", "year"} & second.keys()
        assert (adaptation["type"], adaptation["voluntary"], adaptation["to_account"]) == ("adaptation", True, "410-1")
        books = await mechanism.books()
        assert (books["used"], books["cancelled"], books["held"]) == (10, 22, 68)
        accounts = {account["account"]: account["quantity"] for account in books["accounts"]}
        assert (accounts["410-1"], accounts["100-1"]) == (10, 58)
        wrong = move | {"to_account": "420-1", "voluntary": False}
        assert (await mechanism.admin("POST", "/adaptation", wrong, 409))["code"] == 5142
        await mechanism.admin("POST", "/adaptation", move, 422)


async def test_a_first_transfer_marks_and_names_units_where_they_are(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        await mechanism.admin("POST", "/issue", issuance(gross=100, sop_percent=0), 201)
        first = {"party": "MMR", "subtype": "Authorization", "quantity": 10}
        await mechanism.admin("POST", "/first_transfers", first, 201)
        item = (await told(gateway, 2))[-1]
        assert (item["type"], item["party"], item["subtype"]) == ("first_transfer", "MMR", "Authorization")
        (block,) = item["blocks"]
        assert (block["first"], block["last"]) == (89, 98)
        assert block["itmo"] == {"first": "CA0001-MMR99-MMR-1-2021", "last": "CA0001-MMR99-MMR-10-2021"}
        # Again: the gateway's to refuse. The names stay.
        units = {name: block[name] for name in ("origin", "first", "last")}
        again = {"party": "MMR", "subtype": "Issuance", "blocks": [units]}
        await mechanism.admin("POST", "/first_transfers", again, 201)
        assert (await told(gateway, 3))[-1]["blocks"] == [block]
        assert (await mechanism.books())["held"] == 98
        for wrong in (first | {"blocks": [units]}, {"party": "MMR", "subtype": "Issuance"}, first | {"subtype": "Use"}):
            await mechanism.admin("POST", "/first_transfers", wrong, 422)


async def test_a_reversal_is_told_and_moves_nothing(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        units = {"origin": {"registry": "MEC01", "series": "MMR-TEST"}, "first": 1, "last": 5}
        for resolved in (False, True):
            await mechanism.admin("POST", "/reversals", {"party": "MMR", "blocks": [units], "resolved": resolved}, 201)
        items = await told(gateway, 2)
        assert [(i["type"], i["blocks"], i["resolved"]) for i in items] == [
            ("reversal", [units], False),
            ("reversal", [units], True),
        ]


async def test_use_elsewhere_of_units_hosted_here_is_kept_once(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        block = {"origin": {"registry": "MEC01", "series": "MMR-TEST"}, "first": 1, "last": 5}
        block |= {"attributes": play.ATTRIBUTES}
        moved = {"at": play.stamp(datetime.now(UTC)), "registry": "KOR01", "party": "KOR", "account": "100-1"}
        base = {"kind": "action", **moved, "blocks": [block]}
        used = base | {"action": "A-1", "type": "use", "to_account": "200-1", "year": 2024}
        cancelled = base | {"action": "A-2", "type": "cancellation", "to_account": "310-1", "purpose": "OP"}
        texts = [play.text(used), play.text(cancelled)]
        receipt = await mechanism.send("action.notice", texts)
        assert [(item["state"], item["item"]) for item in receipt.items] == [("recorded", play.sha(t)) for t in texts]
        assert (await mechanism.send("action.notice", [texts[0]])).items[0]["state"] == "recorded"
        kept = (await mechanism.admin("GET", "/told_actions"))["actions"]
        named = {"registry": "KOR01", "party": "MMR"}
        assert kept == [{**named, "action": f"A-{n}", "item": t} for n, t in enumerate(texts, 1)]
        other = await mechanism.send("action.notice", [play.text(used | {"year": 2025})])
        assert [(i["state"], i["findings"][0]["code"]) for i in other.items] == [("refused", 2004)]
        elsewhere = await mechanism.send("action.notice", [play.text(used | {"registry": "JPN01", "party": "JPN"})])
        assert [i["state"] for i in elsewhere.items] == ["recorded"]  # an action of that id, of another registry
        kept = (await mechanism.admin("GET", "/told_actions"))["actions"]
        assert [row["registry"] for row in kept] == ["JPN01", "KOR01", "KOR01"]
        assert (await mechanism.books())["issued"] == 0
        for wrong in (used | {"purpose": "OP"}, used | {"type": "issuance"}, base | {"action": "A", "type": "use"}):
            refusal = await mechanism.send("action.notice", [play.text(wrong)])
            assert (refusal.type, refusal.payload["body"]["findings"][0]["code"]) == ("refusal", 2001)
