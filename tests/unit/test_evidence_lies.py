"""A bundle in which something untrue is properly signed is not valid, and the check it is about says so.

Method: ``forging`` signs the kept bundle anew with one thing changed in what it says; the log's keys and everybody
else's are the liar's own, so nothing but the meaning is wrong. Whatever is said, no check crashes.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.evidence.said import Pins
from gateway.evidence.verify import Report, verify
from gateway.signing.notes import COSIGNATURE
from tests.evidence import KEPT
from tests.forging import Forgery, Letter
from tests.publishing import ORIGIN, Signer

OTHER = "MEC01-01920000-0000-7000-8000-00000000000a"
HASH = "A" * 43
#: What JSON can say that is strictly written.
SOUND_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def report(forgery: Forgery, pins: Pins = Pins()) -> Report:  # noqa: B008 - frozen
    return verify(json.dumps(forgery.made()).encode(), pins)


def on(kind: str, change: Callable[[Letter], Any]) -> Callable[[Letter], Any]:
    """Change messages of one type only."""
    return lambda letter: change(letter) if letter.type == kind else None


def says(kind: str, **members: Any) -> Callable[[Letter], Any]:
    """Let the statement of this kind say something else."""
    return on(f"transfer.{kind}", lambda letter: letter.item().update(members))


def payload(kind: str, **members: Any) -> Callable[[Letter], Any]:
    return on(kind, lambda letter: letter.payload.update(members))


def recorded(kind: str, **members: Any) -> Callable[[Letter], Any]:
    return on(kind, lambda letter: letter.record.update(members))


def receipted(**members: Any) -> Callable[[Letter], Any]:
    return on("receipt", lambda letter: letter.item("receipt").update(members))


def block(first: int, last: int, letter: Letter) -> None:
    """Let the proposal's first block be another."""
    letter.item()["blocks"][0] |= {"first": first, "last": last}


def overlap(letter: Letter) -> None:
    item = letter.item()
    item["blocks"] = item["blocks"] * 2
    item["quantity"] *= 2


LIES: dict[str, tuple[Callable[[Letter], Any], str]] = {
    "a proposal of more than its blocks hold": (says("propose", quantity=61), "conservation"),
    "blocks of more than the proposal says": (on("transfer.propose", lambda m: block(1, 61, m)), "conservation"),
    "a unit in two blocks": (on("transfer.propose", overlap), "conservation"),
    "blocks that are none": (says("propose", blocks=[{"first": 1}]), "conservation"),
    "identifiers for units that were not proposed": (
        says("released", itmo=[{"origin": {"registry": "MEC01", "series": "X"}, "first": 1, "last": 2}]),
        "conservation",
    ),
    "an offer of another proposal": (says("offer", proposal=HASH), "course"),
    "an answer to another offer": (says("answer", offer=HASH), "course"),
    "a rejected transfer that is committed": (says("answer", answer="rejected"), "course"),
    "a commit of another answer": (says("commit", answer=HASH), "course"),
    "a release under another commit": (says("released", commit={"id": "x", "sha256": HASH}), "course"),
    "a settle of another release": (says("settle", release=HASH), "course"),
    "a credit under another settle": (says("credited", settle={}), "course"),
    "a transfer that is closed as rejected": (says("closed", state="rejected"), "course"),
    "an offer that carries nothing": (payload("transfer.offer", body={}), "course"),
    "a commit that carries nothing": (payload("transfer.commit", body={"evidence": []}), "course"),
    "a settle that carries nothing": (payload("transfer.settle", body={"evidence": []}), "course"),
    "a proposal of another transfer": (says("propose", transfer=OTHER), "items"),
    "a receipt of another transfer": (receipted(transfer=OTHER), "items"),
    "a receipt for another item": (receipted(item=HASH), "answers"),
    "a receipt that promises another leaf": (payload("receipt", leaf=HASH), "answers"),
    "a receipt for other bytes": (
        on("receipt", lambda m: m.payload["in_reply_to"].update(sha256=HASH)),
        "answers",
    ),
    "a receipt for a message that is not here": (
        on("receipt", lambda m: m.payload["in_reply_to"].update(id=OTHER[6:])),
        "answers",
    ),
    "a record of another message": (recorded("transfer.commit", message=OTHER[6:]), "records"),
    "a record of another peer": (recorded("transfer.commit", peer="KOR01"), "records"),
    "a record of another direction": (recorded("transfer.answer", direction="out"), "records"),
    "a record of other items": (recorded("transfer.propose", items=[HASH]), "records"),
    "a record without items": (recorded("transfer.propose", items=None), "records"),
    "a record of another time": (recorded("transfer.propose", sent_at="2026-01-01T00:00:00.000Z"), "records"),
    "a message of another type": (payload("transfer.commit", type="transfer.settle"), "records"),
    "a message between strangers": (payload("transfer.offer", **{"to": "GHA01", "from": "CHE01"}), "signatures"),
    "an offer to another registry": (payload("transfer.offer", to="GHA01"), "records"),
    "a message sent before its key counted": (
        payload("transfer.propose", sent_at="2020-01-01T00:00:00.000Z"),
        "signatures",
    ),
    "a message that is not of the protocol": (payload("transfer.propose", v=2), "signatures"),
}


def test_a_forgery_without_a_lie_is_valid_but_for_its_keys() -> None:
    assert report(Forgery()).valid
    pinned = Pins(keys=(Signer(ORIGIN, 1).verifier,))
    assert [fault.place for fault in report(Forgery(), pinned).faults] == ["log.checkpoint"]


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_by_the_check_it_is_about(name: str) -> None:
    change, check = LIES[name]
    found = report(Forgery(change))
    assert [result.check.name for result in found.results if result.faults] == [check], found.faults


COUNT = len(json.loads(KEPT.read_text())["messages"])


@pytest.mark.parametrize("nr", range(COUNT))
def test_a_statement_that_is_left_out_is_missed_and_a_receipt_is_not(nr: int) -> None:
    found = report(Forgery(without=(nr,)))
    left = json.loads(KEPT.read_text())["timeline"][nr]["text"]
    assert found.valid == ("confirms" in left), (left, found.faults)


def key_says(**members: Any) -> Forgery:
    """One whose entries about keys say something else."""
    return Forgery(key_entry=lambda record: record.update(members))


@pytest.mark.parametrize(
    "members", [{"link": "CHE01", "key": "x"}, {"keys": [], "key": ""}, {"keys": 1, "key": 1}, {"not_before": "x"}]
)
def test_a_key_that_no_entry_registers_so_counts_for_nothing(members: dict[str, Any]) -> None:
    found = report(key_says(**members))
    assert [result.check.name for result in found.results if result.faults] == ["keys"]


def test_a_quorum_that_was_not_reached_is_said() -> None:
    witness = Signer("other.invalid/witness", COSIGNATURE)
    found = report(Forgery(), Pins(witnesses=(witness.verifier,), quorum=1))
    assert [(f.place, f.detail) for f in found.faults] == [
        ("log.checkpoint", "0 known witnesses have cosigned it, and 1 are asked for")
    ]
    forgery = Forgery()
    assert report(forgery, Pins(witnesses=(forgery.witness.verifier,), quorum=1)).valid
    assert not report(Forgery(), Pins(quorum=2)).valid


def test_without_pinned_keys_it_is_said_whose_word_they_are() -> None:
    forgery = Forgery()
    unpinned, pinned = report(forgery), report(forgery := Forgery(), Pins(keys=(forgery.log.verifier,)))
    remarks = [next(r.remark for r in one.results if r.check.name == "checkpoints") for one in (unpinned, pinned)]
    assert remarks[0].startswith("keys are the bundle's own word: pin them with --log-key")
    assert remarks[1].startswith("under keys you gave")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, COUNT - 1), st.sampled_from(["item", "payload", "body", "record", "key"]), st.data())
def test_whatever_is_signed_ends_with_a_report(nr: int, where: str, data: st.DataObject) -> None:
    """No crash, and nothing that is not of the protocol passes unseen."""
    value = data.draw(SOUND_JSON)

    def change(letter: Letter) -> None:
        if letter.nr != nr:
            return
        holders = {
            "item": letter.item(),
            "payload": letter.payload,
            "body": letter.payload["body"],
            "record": letter.record,
        }
        holder = holders.get(where, letter.record)
        name = data.draw(st.sampled_from([*holder, "extra"]))
        if name not in ("type", "from", "kind"):  # by which the forger finds its way
            holder[name] = value

    def about_key(record: dict[str, Any]) -> None:
        if where == "key":
            record[data.draw(st.sampled_from([*record]))] = value

    found = report(Forgery(change, about_key))
    assert found.valid == (not found.faults)
