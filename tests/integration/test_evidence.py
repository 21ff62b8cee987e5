"""The evidence of transfers that were really relayed: what it proves, what it discloses, and to whom it is shown."""

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.audit import cosigning, witness_store
from gateway.audit.witness_store import Witness
from gateway.domain.callers import ROLES, Caller, Role, Scope, Sight
from gateway.evidence import bundle_store
from gateway.evidence.form import SYNTHETIC
from gateway.evidence.said import Pins
from gateway.evidence.verify import Report, verify
from gateway.links import commands
from gateway.signing import notes
from gateway.signing.messages import format_time
from gateway.signing.notes import COSIGNATURE
from gateway.signing.trust import Revocation
from tests import evidence, foreign_evidence, handmade
from tests.e2e import programs
from tests.integration.test_sandbox_play import uuid7
from tests.played import NOWHERE
from tests.publishing import Press, Signer
from tests.stage import AUTHORISATION, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
#: Transfers that travel in one message with the one whose evidence is asked for.
OTHERS = 999


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def press(shared: Stage) -> Press:
    made = Press(shared)
    await made.publish()
    return made


async def proven(stage: Stage, transfer: str, pins: Pins = Pins()) -> Report:  # noqa: B008 - frozen
    """The report on the evidence of a transfer, which both verifiers accept."""
    made = await evidence.bundle(stage, transfer)
    report = verify(made, pins)
    assert report.valid, report.faults
    assert foreign_evidence.verify(made) is None
    return report


async def arrived(stage: Stage, quantity: int) -> str:
    """A transfer whose proposal has arrived, and that nobody works on."""
    [transfer] = await stage.propose(quantity)
    await stage.until(lambda: stage.count(f"transfer WHERE id = '{transfer}'"))
    return transfer


async def test_a_completed_transfer_is_proven_under_pinned_keys_and_witnessed(shared: Stage, press: Press) -> None:
    [transfer] = await evidence.relayed(press, 100)
    pins = Pins(shared.transparency.own.key.verifiers(shared.transparency.own.origin), (press.witness.verifier,), 1)
    report = await proven(shared, transfer, pins)
    assert report.bundle is not None and report.bundle.synthetic is None
    assert all(entry.witnessed_at for entry in report.bundle.entries)
    assert report.bundle.log.earlier  # it was published on the way, too
    told = [line.text for line in report.bundle.timeline]
    assert told[0] == "MEC01 proposes to transfer 100 t in 1 block from MEC01/MMR/100-1 to KOR01/KOR/100-1 for NDC."
    assert {
        "GWY01 tells KOR01 that the transfer is completed.",
        "GWY01 tells MEC01 that the transfer is completed.",
    } <= {*told}


async def test_what_a_demonstration_has_made_says_so(
    shared: Stage, press: Press, monkeypatch: pytest.MonkeyPatch
) -> None:
    [transfer] = await evidence.relayed(press, 9)
    monkeypatch.setattr(shared.gateway.node.signer, "demo", True)
    report = await proven(shared, transfer)
    assert report.bundle is not None and report.bundle.synthetic == SYNTHETIC


async def test_a_registry_that_answers_without_end_does_not_make_evidence_too_large(
    shared: Stage, press: Press
) -> None:
    [transfer] = await evidence.relayed(press, 11)
    [(message, sha256, item)] = await shared.rows(
        "SELECT m.message_id::text, m.sha256, s.item FROM transfer_step s JOIN message m USING (entry_id) "
        f"WHERE s.transfer_id = '{transfer}' AND s.step = 'closed-source'"
    )
    party = handmade.signer(shared, "MEC01")
    answer = {"kind": "receipt", "item": handmade.play.sha(item), "transfer": transfer, "state": "done", "findings": []}
    named = {"id": message, "sha256": base64.urlsafe_b64encode(bytes(sha256)).decode().rstrip("=")}
    for _ in range(8):
        await handmade.say(shared, party, "receipt", [handmade.play.text(answer)], in_reply_to=named)
    await press.publish()
    report = await proven(shared, transfer)
    assert report.bundle is not None
    told = [line.text for line in report.bundle.timeline if line.text.startswith("MEC01 confirms")]
    assert len(told) == bundle_store.MAX_ANSWERS


async def test_a_witness_whose_clock_is_wrong_does_not_spoil_evidence(shared: Stage, press: Press) -> None:
    slow, now = Signer("slow.invalid/witness", COSIGNATURE), shared.clock()
    added = Witness(slow.name, slow.verifier.vkey, url=NOWHERE)
    await shared.run(lambda tx: cosigning.add(tx, added, now))
    [transfer] = await evidence.relayed(press, 13)
    line = slow.line(notes.read(await newest(shared)).text, now - timedelta(days=1))
    [(size,)] = await shared.rows("SELECT max(size) FROM log_checkpoint")
    await shared.run(lambda tx: witness_store.cosigned(tx, size, slow.name, now, line))
    report = await proven(shared, transfer, Pins(witnesses=(press.witness.verifier,), quorum=1))
    assert report.bundle is not None and slow.verifier.vkey not in report.bundle.log.witnesses
    assert min(filter(None, report.witnessed.values())) > format_time(now - timedelta(hours=1))


async def newest(stage: Stage) -> str:
    """The newest checkpoint, as the log has signed it."""
    [(note,)] = await stage.rows("SELECT note FROM log_checkpoint ORDER BY size DESC LIMIT 1")
    return str(note)


async def test_a_rejected_and_a_withdrawn_transfer_are_proven(shared: Stage, press: Press) -> None:
    await shared.issue(net=30, series=uuid7())
    mechanism, korea = shared.registries["MEC01"], shared.registries["KOR01"]
    await korea.change("policy", refuse_parties=["MMR"])
    [rejected] = await shared.propose(10)
    assert await shared.relay([rejected]) == ["rejected"]
    await korea.change("policy", refuse_parties=[], decide=False)
    [withdrawn] = await shared.propose(20)
    assert (await mechanism.post(f"transfers/{withdrawn}/withdraw"))["state"] == "void"
    assert await shared.relay([withdrawn]) == ["cancelled"]
    await korea.change("policy", decide=True)
    await press.publish()
    for transfer, state in ((rejected, "rejected"), (withdrawn, "cancelled")):
        report = await proven(shared, transfer)
        assert report.bundle is not None and report.bundle.state == state


async def test_a_transfer_under_way_is_proven_as_far_as_it_is(shared: Stage, press: Press) -> None:
    await shared.issue(net=5, series=uuid7())
    transfer = await arrived(shared, 5)
    await press.publish()
    report = await proven(shared, transfer)
    assert report.bundle is not None and report.bundle.state == "proposed"
    assert await shared.relay([transfer]) == ["completed"]


async def test_a_requested_transfer_shows_the_request_it_answers(shared: Stage, press: Press) -> None:
    await shared.issue(net=12, series=uuid7())
    place = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
    wish = {"transferring": place, "acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"}}
    asked = await shared.api.post(
        "/api/v1/transfers", json={**wish, "purpose": "NDC", "quantity": 12}, headers={"idempotency-key": uuid7()}
    )
    assert asked.status_code == 202, asked.text
    found = f"SELECT id FROM transfer WHERE request_id = '{asked.json()['request']}'"
    async with shared.working():
        await shared.until(lambda: shared.rows(found))
    [(transfer,)] = await shared.rows(found)
    await shared.relay([transfer])
    await press.publish()
    report = await proven(shared, transfer)
    assert report.bundle is not None
    assert report.bundle.timeline[0].text == "GWY01 asks MEC01 to propose a transfer of 12 t."


async def test_what_is_not_published_yet_is_said_and_is_there_a_moment_later(shared: Stage, press: Press) -> None:
    await shared.issue(net=7, series=uuid7())
    transfer = await arrived(shared, 7)
    early = await shared.api.get(f"/api/v1/transfers/{transfer}/evidence")
    assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (409, 3006, "1")
    await press.publish(witnessed=False)
    report = await proven(shared, transfer)
    assert report.bundle is not None
    last = report.bundle.entries[-1]
    assert last.witnessed_at is None  # published, and no witness has cosigned it
    assert await shared.relay([transfer]) == ["completed"]


def disclosed(value: Any) -> Iterator[str]:
    """Every text that can be read in a bundle: its strings, and what is written in those in base64 or as JSON."""
    if isinstance(value, dict | list):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from disclosed(part)
    elif isinstance(value, str):
        yield value
        for part in value.split("."):
            try:
                read = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
                yield from disclosed(json.loads(read))
            except ValueError:
                pass
        if value[:1] in ("{", "["):
            yield from disclosed(json.loads(value))


async def test_one_of_many_transfers_of_a_message_discloses_nothing_of_the_others(shared: Stage, press: Press) -> None:
    series, account = f"S{uuid7()}", "100-77"
    await shared.issue(net=3 * (OTHERS + 1), series=series)
    japan = shared.registries["JPN01"]
    await japan.post("accounts", party="JPN", account=account)
    wish = {"party": "MMR", "authorisation": AUTHORISATION, "quantity": 3}
    to_korea = {"registry": "KOR01", "party": "KOR", "account": "100-1"}
    to_japan = {"registry": "JPN01", "party": "JPN", "account": account}
    wishes = [{**wish, "to": to_japan if nr % 2 else to_korea} for nr in range(OTHERS + 1)]
    transfers = list((await shared.registries["MEC01"].post("transfers", transfers=wishes))["transfers"])
    own = transfers[150]
    assert set(await shared.relay(transfers)) == {"completed"}
    await press.publish()
    [(together,)] = await shared.rows(
        f"SELECT count(*) FROM transfer_step WHERE entry_id = "
        f"(SELECT entry_id FROM transfer_step WHERE transfer_id = '{own}' AND step = 'propose')"
    )
    assert together == OTHERS + 1
    report = await proven(shared, own)
    assert report.bundle is not None
    texts = set(disclosed(report.bundle.model_dump(mode="json")))
    shown = "\n".join(texts)
    assert own in shown and series in shown
    assert [t for t in transfers if t != own and t in shown] == []
    assert account not in shown and "JPN/" not in shown
    others = await shared.rows(
        f"SELECT item FROM transfer_step WHERE transfer_id = ANY(ARRAY{transfers}) AND transfer_id <> '{own}'"
    )
    assert len(others) > OTHERS and [item for (item,) in others if item in texts] == []
    [(first, last)] = await shared.rows(f"SELECT first, last FROM claim WHERE transfer_id = '{own}'")
    numbers = {b["first"] for text in texts if text.startswith('{"kind":"propose"') for b in json.loads(text)["blocks"]}
    assert numbers == {first} and last == first + 2


async def test_evidence_is_shown_to_its_own_people_and_to_auditors(shared: Stage, press: Press) -> None:
    [transfer] = await evidence.relayed(press, 4)
    path = f"/api/v1/transfers/{transfer}/evidence"
    read, audit = frozenset({Scope.TRANSFERS_READ}), frozenset({Scope.AUDIT_READ})
    for name, sight, scopes, status in (
        ("ev-source", Sight("MEC01"), read, 200),
        ("ev-acquirer", Sight("KOR01", "KOR"), ROLES[Role.VIEWER], 200),
        ("ev-auditor", Sight(None), audit, 200),
        ("ev-foreign", Sight("JPN01", "JPN"), read | audit, 403),
        ("ev-all", Sight(None), read, 403),
        ("ev-nothing", Sight("KOR01", "KOR"), frozenset({Scope.BOOKS_READ}), 403),
    ):
        answer = await (await shared.calling(Caller(name, False, sight, scopes))).get(path)
        assert answer.status_code == status, (name, answer.text)
        assert status == 200 or answer.json()["code"] == 8001
    unknown = await shared.api.get(f"/api/v1/transfers/MEC01-{uuid7()}/evidence")
    assert (unknown.status_code, unknown.json()["code"]) == (404, 3001)
    assert (await shared.api.get("/api/v1/transfers/x/evidence")).status_code in (400, 422)


async def test_a_command_gets_the_evidence_and_waits_for_it(shared: Stage, press: Press, tmp_path: Path) -> None:
    await shared.issue(net=8, series=uuid7())
    transfer, file = await arrived(shared, 8), tmp_path / "evidence.json"
    settings = {
        "GATEWAY_DATABASE_URL": shared.server.dsn(shared.database_name, "gateway_app"),
        "GATEWAY_KEY_FILE": shared.folder / "gateway.pem",
        "GATEWAY_TOKEN_KEY_FILE": shared.folder / "tokens.pem",
        "GATEWAY_PRIVATE_PEERS": "127.0.0.0/8",
    }
    early = await asyncio.to_thread(programs.run, "evidence", "get", transfer, **settings)
    assert early.returncode == 2
    assert "not in a published checkpoint yet: ask again in a second [3006]" in programs.only_line(early.stderr)
    getting = asyncio.to_thread(programs.run, "evidence", "get", transfer, "-o", file, "--wait", **settings)
    got, _ = await asyncio.gather(getting, press.publish())
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")
    assert verify(file.read_bytes()).valid
    assert file.read_text() == (await asyncio.to_thread(programs.run, "evidence", "get", transfer, **settings)).stdout
    bad = await asyncio.to_thread(programs.run, "evidence", "get", transfer, "-o", tmp_path / "no" / "x", **settings)
    assert bad.returncode == 3 and programs.only_line(bad.stderr).endswith("No such file or directory")
    assert await shared.relay([transfer]) == ["completed"]


@pytest.mark.asyncio(loop_scope="function")
async def test_what_was_signed_with_a_key_that_was_stolen_before_is_not_believed(linked: Stage) -> None:
    press = Press(linked)  # a stage of its own: nobody believes KOR01 there any more
    [transfer] = await evidence.relayed(press, 6)
    made = await evidence.bundle(linked, transfer)
    [(kid,)] = await linked.rows("SELECT kid FROM peer_key WHERE link = 'KOR01'")
    since = json.loads(made)["entries"][0]["leaf"].split('"time":"')[1][:24]
    await stolen(linked, kid, since)
    await press.publish()
    assert verify(made).valid  # a bundle cannot know what came after it
    report = verify(await evidence.bundle(linked, transfer))
    assert {fault.detail for fault in report.faults} == {"the signing key is revoked"}
    [revoked] = [key.revoked for key in report.bundle.keys if key.owner == "KOR01"] if report.bundle else [None]
    assert revoked is not None and revoked.reason == "compromised"


async def stolen(stage: Stage, kid: str, since: str) -> None:
    """Revoke the key of KOR01 as stolen."""
    await stage.run(
        lambda tx: commands.revoke_key(
            tx, "KOR01", kid, Revocation.COMPROMISED, now=stage.clock(), since=datetime.fromisoformat(since)
        )
    )
