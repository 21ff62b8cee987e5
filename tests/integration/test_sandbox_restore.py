"""A sandbox registry that falls back to a backup: unnoticed, and known.

The property (R15, R16): after a known restore nothing is served, sent or changed until the gateway was asked about
everything; then each transfer is where the gateway's answer puts it, and never behind. The gateway and the other
registry are played here (see ``test_sandbox_play``).
"""

from pathlib import Path
from typing import Any

from joserfc.jwk import KeySet

from tests.integration import test_sandbox_play as play
from tests.integration.test_sandbox_acquirer import Deal, accept, closed, korea_of, offers, settles
from tests.integration.test_sandbox_play import Gateway, Heard, Party, Sandbox, registry, uuid7
from tests.integration.test_sandbox_source import Proposed, commit, issue, propose, simple, state, unlock

server, gateway = play.server, play.gateway

Message = tuple[Any, ...]


#: What a registry remembers at the backup, and what it forgets with it: where each comes to rest.
SOURCE_KEPT = {
    "open": "locked",
    "committing": "released",
    "released": "released",
    "completed": "done",
    "ending": "void",
    "forgotten": "locked",
    "attention": "locked",
    "stays-released": "released",
    "stays-void": "void",
}
SOURCE_LOST = {
    "lost-open": "locked",
    "lost-committing": "released",
    "lost-released": "released",
    "lost-completed": "done",
    "lost-cancelled": "void",
    "lost-forgotten": "unknown-here",
}
ISSUE = {"activity": "PoA 1", "party": "MMR", "gross": 100, "vintage": 2021, "series": "MMR-A64"}
ACQUIRER_STATES = {
    "released": "credited",
    "completed": "done",
    "accepted": "accepted",
    "cancelled": "void",
    "forgotten": "accepted",
    "stays-credited": "credited",
    "lost-released": "credited",
    "lost-completed": "done",
    "lost-committing": "accepted",
    "lost-cancelled": "void",
    "lost-forgotten": "not known here",
}


def shows(gateway: Gateway, transfer: str, said: str, *messages: Message | Heard) -> None:
    """Have the gateway say where a transfer stands, with these messages of its own, or those it once heard."""
    evidence: list[str] = []
    items: list[str] = []
    for message in messages:
        if isinstance(message, Heard):
            evidence.append(message.jws)
            items += message.texts
        else:
            message_type, own, *more = message
            body, carried = more or ({}, [])
            evidence += [gateway.compose(transfer[:5], message_type, own, body, carried)[0], *body.get("evidence", [])]
            items += [*own, *carried]
    gateway.told_of[transfer] = ({"state": said, "evidence": evidence}, items)


async def restore(sandbox: Sandbox, *, known: bool) -> dict[str, Any]:
    key: dict[str, Any] = (await sandbox.admin("POST", "/restore", {"known": known}, 200))["key"]
    served = (await sandbox.client.get(f"{sandbox.url}/keys")).json()
    assert served == {"keys": [key]}
    sandbox.key_set = sandbox.gateway.keys[sandbox.code] = KeySet.import_key_set({"keys": [key]})
    return key


async def synchronise(sandbox: Sandbox, *transfers: str) -> dict[str, str]:
    told = await sandbox.admin("POST", "/synchronise", {"transfers": transfers}, 200)
    assert told["asked"] == len(told["states"])
    states: dict[str, str] = told["states"]
    return states


def last_words(gateway: Gateway, message_type: str, transfer: str) -> list[Heard]:
    found = [m for m in gateway.heard if m.type == message_type and transfer in [i["transfer"] for i in m.items]]
    return list({m.payload["id"]: m for m in found}.values())


async def test_an_unnoticed_restore_goes_on_as_if_nothing_had_happened(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        (proposed,) = await propose(mechanism, [10])
        await mechanism.drained()
        await mechanism.admin("POST", "/backup", status=200)
        _, kind, raw = gateway.compose("MEC01", *commit(korea, [proposed]))
        released = await mechanism.send_bytes(kind, raw)
        later = (await propose(mechanism, [5]))[0]
        await mechanism.drained()
        before = (await mechanism.client.get(f"{mechanism.url}/keys")).json()["keys"]
        assert [await restore(mechanism, known=False)] == before
        books = await mechanism.books()
        assert (books["locked"], books["moved_out"]) == (10, 0)
        assert await state(mechanism, proposed) == "locked"
        await mechanism.admin("GET", f"/transfers/{later.transfer}", status=404)
        again = await mechanism.send_bytes(kind, raw)
        assert again.items[0]["itmo"] == released.items[0]["itmo"]
        assert (await mechanism.books())["moved_out"] == 10


async def test_an_unnoticed_restore_of_an_acquirer_credits_again_only_what_it_forgot(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, deals = Party("MEC01"), [Deal(1, 10), Deal(11, 15)]
    async with korea_of(server, gateway, tmp_path, source) as korea:
        answer = await accept(korea, source, deals)
        await korea.send(*settles(source, deals[:1], answer.jws))
        await korea.admin("POST", "/backup", status=200)
        await korea.send(*settles(source, deals[1:], answer.jws))
        await restore(korea, known=False)
        assert (await korea.books())["held"] == 10
        assert (await korea.send(*settles(source, deals, answer.jws))).type == "transfer.credited"
        assert (await korea.books())["held"] == 15


async def test_a_restored_registry_serves_nothing_until_it_has_asked(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,), database="restored")
    async with run as mechanism:
        await issue(mechanism)
        (proposed,) = await propose(mechanism, [10])
        await mechanism.drained()
        await mechanism.admin("POST", "/backup", status=200)
        gateway.silent = True
        await mechanism.admin("POST", "/issue", {**ISSUE, "activity": "PoA 2"}, 201)
        await mechanism.admin("POST", "/backup", status=200)
        old = mechanism.key_set.keys[0].thumbprint()
        new = await restore(mechanism, known=True)
        assert new["kid"] != old
        assert (tmp_path / f"MEC01.pem.{old}").stat().st_mode & 0o777 == 0o600
        mechanism.process.kill()
        await mechanism.process.wait()
    gateway.silent = False
    gateway.heard.clear()
    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,), database="restored")
    async with run as mechanism:
        # Killed and started again: still restored, still under the new key.
        assert [key.thumbprint() for key in mechanism.key_set.keys] == [new["kid"]]
        query = {"transfer": proposed.transfer, "my_state": "committing"}
        wrong = ("transfer.cancel", ["{}"])
        for message in (commit(korea, [proposed]), ("time.query",), ("status.query", None, query), wrong):
            _, kind, raw = gateway.compose("MEC01", *message)
            response = await mechanism.post(kind, raw)
            assert (response.status_code, response.headers["retry-after"]) == (503, "1"), message
            assert response.json()["code"] == 9002
        wish = {"party": "MMR", "to": {"registry": "KOR01", "party": "KOR", "account": "100-1"}, "quantity": 1}
        for path, body in (("/transfers", {"transfers": [wish]}), ("/backup", None), ("/ask", None)):
            await mechanism.admin("POST", path, body, 503)
        await mechanism.admin("POST", "/restore", {"known": False}, 409)
        gateway.silent = True
        await mechanism.admin("POST", "/synchronise", {"transfers": []}, 503)
        assert {m.type for m in gateway.heard} == {"status.query"}
        gateway.silent = False
        assert await synchronise(mechanism) == {proposed.transfer: "locked"}
        # Now it serves, and what it owed is sent.
        await mechanism.drained()
        assert len(await gateway.wait("action.notice")) == 1
        assert (await mechanism.send(*commit(korea, [proposed]))).type == "transfer.released"


async def test_a_restored_source_goes_where_the_gateway_is(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    korea = Party("KOR01")
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,)) as mechanism:
        await issue(mechanism)
        kept = dict(zip(SOURCE_KEPT, await propose(mechanism, [1] * len(SOURCE_KEPT)), strict=True))
        await mechanism.send(*commit(korea, [kept["stays-released"]]))
        await mechanism.send(*simple("cancel", [kept["stays-void"]], outcome="cancelled"))
        await mechanism.drained()
        await mechanism.admin("POST", "/backup", status=200)
        lost = dict(zip(SOURCE_LOST, await propose(mechanism, [1] * len(SOURCE_LOST)), strict=True))
        heard = {name: Heard(p.jws, {}, [p.text], b"") for name, p in lost.items()}
        released = {
            name: await mechanism.send(*commit(korea, [p]))
            for name, p in (kept | lost).items()
            if name in ("released", "completed", "lost-released", "lost-completed")
        }
        voided = await mechanism.send(*simple("cancel", [lost["lost-cancelled"]], outcome="cancelled"))
        await mechanism.drained()
        gateway.heard.clear()
        await restore(mechanism, known=True)
        both = kept | lost

        def tell(name: str, said: str, *messages: Message | Heard) -> None:
            shows(gateway, both[name].transfer, said, *messages)

        for name in ("committing", "lost-committing"):
            tell(name, "committing", commit(korea, [both[name]]))
        tell("released", "released", released["released"])
        tell("lost-released", "released", heard["lost-released"], released["lost-released"])
        for name in ("completed", "lost-completed"):
            closing = simple("closed", [both[name]], state="completed")
            own = [heard[name]] if name in heard else []
            tell(name, "completed", closing, *own, released[name])
        for name in ("open", "stays-released", "stays-void"):
            tell(name, "accepted")
        tell("lost-open", "checked", heard["lost-open"])
        tell("ending", "ending", simple("cancel", [kept["ending"]], outcome="cancelled"))
        tell("lost-cancelled", "cancelled", simple("closed", [lost["lost-cancelled"]], state="cancelled"), voided)
        for name in ("forgotten", "lost-forgotten"):
            tell(name, "not known here")
        tell("attention", "attention", commit(korea, [kept["attention"]]))

        states = await synchronise(mechanism, *(p.transfer for p in both.values()))
        assert {name: states[p.transfer] for name, p in both.items()} == SOURCE_KEPT | SOURCE_LOST
        await mechanism.drained()
        books = await mechanism.books()
        gone = [name for name, state in (SOURCE_KEPT | SOURCE_LOST).items() if state in ("released", "done")]
        locked = [name for name, state in (SOURCE_KEPT | SOURCE_LOST).items() if state == "locked"]
        assert (books["moved_out"], books["locked"]) == (len(gone), len(locked))
        # What the gateway waits for is said, under the new key; what it has is not said otherwise.
        for name in ("committing", "lost-committing"):
            assert len(last_words(gateway, "transfer.released", both[name].transfer)) == 1
        assert len(last_words(gateway, "transfer.voided", kept["ending"].transfer)) == 1
        assert last_words(gateway, "transfer.voided", lost["lost-cancelled"].transfer) == []
        assert len(last_words(gateway, "transfer.propose", kept["forgotten"].transfer)) == 1
        # The words of before are still its words, and identifiers given before are not given again.
        repeated = await mechanism.send(*commit(korea, [lost["lost-released"]]))
        assert repeated.texts == released["lost-released"].texts
        made = [
            last_words(gateway, "transfer.released", both[n].transfer)[0] for n in ("committing", "lost-committing")
        ]
        made += [await mechanism.send(*commit(korea, [both[name]])) for name in ("open", "lost-open")]
        named = [r.items[0]["itmo"][0]["itmo"]["first"] for r in (*made, *released.values())]
        assert len(set(named)) == len(named)


async def test_a_lock_that_does_not_hold_what_was_proposed_does_not_keep_a_restored_source_from_serving(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    korea = Party("KOR01")
    run = registry(server, gateway, tmp_path, "mechanism", "MEC01", peers=(korea,), database="poisoned_backup")
    async with run as mechanism:
        await issue(mechanism)
        poisoned, other = await propose(mechanism, [10, 5])
        await mechanism.drained()
        unlock(server, "poisoned_backup", poisoned)
        await mechanism.admin("POST", "/backup", status=200)
        await restore(mechanism, known=True)
        for proposed in (poisoned, other):
            shows(gateway, proposed.transfer, "committing", commit(korea, [proposed]))
        assert await synchronise(mechanism) == {poisoned.transfer: "locked", other.transfer: "released"}
        assert [a["transfer"] for a in (await mechanism.books())["alarms"]] == [poisoned.transfer]


async def test_a_restored_acquirer_goes_where_the_gateway_is(server: Any, gateway: Gateway, tmp_path: Path) -> None:
    source = Party("MEC01")
    deals = {name: Deal(10 * n + 1, 10 * n + 10) for n, name in enumerate(ACQUIRER_STATES)}
    async with korea_of(server, gateway, tmp_path, source) as korea:
        first = [deals[name] for name in ACQUIRER_STATES if not name.startswith("lost-")]
        answer = await accept(korea, source, first)
        await korea.send(*settles(source, [deals["stays-credited"]], answer.jws))
        await korea.admin("POST", "/backup", status=200)
        late = [deals[name] for name in ACQUIRER_STATES if name.startswith("lost-")]
        later = await accept(korea, source, late)
        said = {name: later if name.startswith("lost-") else answer for name in deals}
        credited = {
            name: await korea.send(*settles(source, [deals[name]], said[name].jws))
            for name in ("completed", "lost-completed")
        }
        await korea.drained()
        gateway.heard.clear()
        await restore(korea, known=True)

        def tell(name: str, state: str, *messages: Message | Heard) -> None:
            shows(gateway, deals[name].transfer, state, *messages)

        for name in ("released", "lost-released"):
            tell(name, "released", settles(source, [deals[name]], said[name].jws))
        for name in ("completed", "lost-completed"):
            *_, body, carried = settles(source, [deals[name]], said[name].jws)
            tell(name, "completed", (*closed([deals[name]], "completed"), body, carried), credited[name])
        for name, state in (("accepted", "accepted"), ("lost-committing", "committing")):
            kept = Heard(said[name].jws, {}, [deals[name].answer], b"")
            tell(name, state, offers(source, [deals[name]]), kept)
        for name in ("cancelled", "lost-cancelled"):
            tell(name, "cancelled", closed([deals[name]], "cancelled"))
        for name in ("forgotten", "lost-forgotten"):
            tell(name, "not known here")
        tell("stays-credited", "ending")

        states = await synchronise(korea, *(deal.transfer for deal in deals.values()))
        assert {name: states[deal.transfer] for name, deal in deals.items()} == ACQUIRER_STATES
        await korea.drained()
        books = await korea.books()
        assert books["held"] == 10 * sum(state in ("credited", "done") for state in ACQUIRER_STATES.values())
        for name in ("released", "lost-released"):
            assert len(last_words(gateway, "transfer.credited", deals[name].transfer)) == 1
        (again,) = last_words(gateway, "transfer.answer", deals["forgotten"].transfer)
        assert (again.texts, len(again.evidence)) == ([deals["forgotten"].answer], 2)
        # It stands by what it had accepted, and credits it.
        promised = [deals["lost-committing"]]
        assert (await korea.send(*settles(source, promised, later.jws))).type == "transfer.credited"


async def test_units_credited_and_offered_on_since_the_backup_come_back_in_that_order(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    source, japan, freed, moved = Party("MEC01"), Party("JPN01"), Deal(1, 10), Deal(11, 20)
    onward = {"party": "KOR", "to": {"registry": "JPN01", "party": "JPN", "account": "100-1"}}

    async def pass_on(quantity: int) -> Proposed:
        known = {m.payload["id"] for m in gateway.heard if m.type == "transfer.propose"}
        await korea.admin("POST", "/transfers", {"transfers": [{**onward, "quantity": quantity}]}, 201)
        (new,) = [m for m in await gateway.wait("transfer.propose", len(known) + 1) if m.payload["id"] not in known]
        return Proposed(new.items[0]["transfer"], new.texts[0], new.jws)

    async with registry(server, gateway, tmp_path, "party", "KOR01", peers=(source, japan)) as korea:
        answer = await accept(korea, source, [freed, moved])
        await korea.send(*settles(source, [freed], answer.jws))
        withdrawn = await pass_on(10)
        await korea.admin("POST", "/backup", status=200)
        # Since then: ten units free again, ten units more, and all twenty proposed in one transfer.
        await korea.send(*simple("cancel", [withdrawn], outcome="cancelled"))
        settle = settles(source, [moved], answer.jws)
        await korea.send(*settle)
        both = await pass_on(20)
        await korea.drained()
        await restore(korea, known=True)
        shows(gateway, both.transfer, "checked", Heard(both.jws, {}, [both.text], b""))
        shows(gateway, freed.transfer, "released")
        shows(gateway, moved.transfer, "released", settle)
        shows(gateway, withdrawn.transfer, "cancelled", simple("closed", [withdrawn], state="cancelled"))
        states = await synchronise(korea, both.transfer)
        locked, credited, void = [both], [freed, moved], [withdrawn]
        named = {"locked": locked, "credited": credited, "void": void}
        assert states == {deal.transfer: state for state, deals in named.items() for deal in deals}
        assert (await korea.books())["locked"] == 20


async def test_what_cannot_be_restored_or_synchronised_is_refused(
    server: Any, gateway: Gateway, tmp_path: Path
) -> None:
    async with registry(server, gateway, tmp_path, "mechanism", "MEC01") as mechanism:
        for known in (True, False):
            assert (await mechanism.admin("POST", "/restore", {"known": known}, 409))["code"] == 3001
        assert (await mechanism.admin("POST", "/synchronise", {"transfers": []}, 409))["code"] == 3002
        await mechanism.admin("POST", "/restore", {}, 422)
        await mechanism.admin("POST", "/restore", {"known": "yes"}, 422)
        await mechanism.admin("POST", "/synchronise", {"transfers": [uuid7()]}, 422)
        # It still serves, under the key it had.
        assert (await mechanism.send("time.query")).type == "time.answer"
        await mechanism.admin("POST", "/backup", status=200)
        await restore(mechanism, known=True)
        assert await synchronise(mechanism) == {}
        assert (await mechanism.admin("POST", "/synchronise", {"transfers": []}, 409))["code"] == 3002
