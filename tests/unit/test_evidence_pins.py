"""What a verifier knows from elsewhere decides: whose signatures are asked for, and since when an entry was witnessed.

Method: the kept bundle, and forgeries whose maker has a log, a witness and more cosigners of their own.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.evidence import tree
from gateway.evidence.said import Pins
from gateway.evidence.verify import Report, verify
from gateway.signing import notes
from gateway.signing.notes import COSIGNATURE, ED25519, ML_DSA_44, Verifier
from tests import foreign_evidence
from tests.evidence import KEPT
from tests.forging import COSIGNED_AT, Forgery
from tests.publishing import Signer

KEEPS: dict[str, Any] = json.loads(KEPT.read_text())
LOG_KEYS = tuple(Verifier.read(vkey) for vkey in KEEPS["log"]["keys"])
WITNESSES = tuple(Verifier.read(vkey) for vkey in KEEPS["log"]["witnesses"])
#: When the last entry of the kept bundle was made, by its leaf.
LAST = datetime.fromisoformat(json.loads(KEEPS["entries"][-1]["leaf"])["time"])
A_DAY = timedelta(days=1)


def report(bundle: dict[str, Any], pins: Pins = Pins()) -> Report:  # noqa: B008 - frozen
    return verify(json.dumps(bundle).encode(), pins)


def found(judged: Report) -> list[tuple[str, str]]:
    """Which check has failed at which places."""
    return [(result.check.name, fault.place) for result in judged.results for fault in result.faults]


def remark(judged: Report, check: str) -> str:
    return next(result.remark for result in judged.results if result.check.name == check)


def backdated() -> tuple[Forgery, Signer]:
    """A bundle cosigned by an honest witness, and a day earlier by one that its maker has invented."""
    early = Signer("invented.invalid/witness", COSIGNATURE)
    return Forgery(others=((early, COSIGNED_AT - A_DAY),)), early


def test_a_witness_of_the_bundles_own_does_not_make_an_entry_earlier_for_who_knows_better() -> None:
    forgery, _ = backdated()
    judged = report(forgery.made(), Pins(witnesses=(forgery.witness.verifier,), quorum=1))
    assert judged.valid and judged.bundle is not None
    told = {entry.index: entry.witnessed_at for entry in judged.bundle.entries}
    assert set(told.values()) == {"2026-12-31T00:00:00.000Z"}
    assert judged.witnessed == dict.fromkeys(told, "2027-01-01T00:00:00.000Z")
    assert remark(judged, "witnesses") == (
        "by the witnesses you named: the first entry at 2027-01-01T00:00:00.000Z, all of them at "
        f"2027-01-01T00:00:00.000Z; of the bundle's own times {len(told)} are others"
    )
    said = judged.as_dict()["witnessed"]
    assert said["pinned"] and {entry["at"] for entry in said["entries"]} == {"2027-01-01T00:00:00.000Z"}


def test_a_quorum_of_the_bundles_own_does_not_count_for_who_asks_for_another() -> None:
    witnesses = [Signer(f"w{nr}.invalid/witness", COSIGNATURE) for nr in range(2)]
    forgery = Forgery(others=tuple((w, COSIGNED_AT + (nr + 1) * A_DAY) for nr, w in enumerate(witnesses)))
    known = (forgery.witness.verifier, *(w.verifier for w in witnesses))
    made = forgery.made()
    times = [set(report(made, Pins(witnesses=known, quorum=quorum)).witnessed.values()) for quorum in (1, 2, 3)]
    assert times == [{f"2027-01-0{day}T00:00:00.000Z"} for day in (1, 2, 3)]


def test_without_witnesses_that_one_knows_the_times_are_the_bundles_own_word() -> None:
    forgery, _ = backdated()
    made = forgery.made()
    for pins in (Pins(), Pins(quorum=1), Pins(witnesses=(forgery.witness.verifier,), quorum=0)):
        judged = report(made, pins)
        assert judged.valid and not judged.as_dict()["witnessed"]["pinned"]
        assert remark(judged, "witnesses").startswith("the times are the bundle's own word: pin witnesses")
        assert set(judged.witnessed.values()) == {"2026-12-31T00:00:00.000Z"}


def test_under_its_own_witness_the_kept_bundle_was_witnessed_when_it_says() -> None:
    judged = report(KEEPS, Pins(LOG_KEYS, WITNESSES, 1))
    assert judged.valid
    assert judged.witnessed == {entry["index"]: entry["witnessed_at"] for entry in KEEPS["entries"]}
    assert "others" not in remark(judged, "witnesses")


def test_the_bundles_own_numbers_are_still_those_of_its_own_lines() -> None:
    forgery, _ = backdated()
    made = forgery.made()
    made["entries"][3]["witnessed_at"] = "2027-01-01T00:00:00.000Z"
    assert found(report(made, Pins(witnesses=(forgery.witness.verifier,), quorum=1))) == [
        ("witnesses", "entries[3].witnessed_at")
    ]


def test_nothing_was_witnessed_before_it_was() -> None:
    """A clock may be wrong by five minutes; what is further from the leaf's own time is refused."""
    assert tree.CLOCK_TOLERANCE == timedelta(seconds=300)
    within = LAST.replace(microsecond=0) - tree.CLOCK_TOLERANCE + timedelta(seconds=1)
    good = Forgery(cosigned_at=within).made()
    assert report(good).valid
    assert foreign_evidence.verify(json.dumps(good).encode()) is None
    bad = Forgery(cosigned_at=within - timedelta(seconds=2)).made()
    faults = found(report(bad))
    assert ("witnesses", f"entries[{len(bad['entries']) - 1}].witnessed_at") in faults
    assert {check for check, _ in faults} == {"witnesses"}
    assert str(foreign_evidence.verify(json.dumps(bad).encode())).startswith("check 6: ")


def test_a_known_witness_that_says_it_saw_what_was_not_there_yet_is_not_believed() -> None:
    liar = Signer("liar.invalid/witness", COSIGNATURE)
    forgery = Forgery(others=((liar, LAST - A_DAY),), quorum=2)
    made = forgery.made()
    assert report(made).valid  # by its own quorum the second counts
    assert report(made, Pins(witnesses=(forgery.witness.verifier,), quorum=1)).valid
    faults = found(report(made, Pins(witnesses=(liar.verifier,), quorum=1)))
    assert {check for check, _ in faults} == {"witnesses"}


def twin(signer: Signer) -> Signer:
    """The same key under another name."""
    made = Signer("second.invalid/witness", signer.kind)
    made.private = signer.private
    return made


def test_one_key_under_two_names_is_one_witness() -> None:
    forgery = Forgery(quorum=2)
    second = twin(forgery.witness)
    forgery = replace(forgery, others=((second, COSIGNED_AT),))
    made = forgery.made()
    assert {check for check, _ in found(report(made))} == {"witnesses"}
    assert str(foreign_evidence.verify(json.dumps(made).encode())).startswith("check 6: ")
    known = (forgery.witness.verifier, second.verifier)
    assert found(report(made, Pins(witnesses=known, quorum=2))) == [("checkpoints", "log.checkpoint")]
    assert found(report(made, Pins(quorum=2))) == [("checkpoints", "log.checkpoint")]


def test_a_key_of_the_log_is_no_witness() -> None:
    """Its line says that the log has signed, whoever names it a witness."""
    forgery = Forgery()
    made = forgery.made()
    assert found(report(made, Pins(witnesses=(forgery.log.verifier,), quorum=1))) == [("checkpoints", "log.checkpoint")]


def stripped(kind: int) -> dict[str, Any]:
    """The kept bundle without the lines of one kind of signature, and without their key."""

    def without(note: str) -> str:
        gone = {(key.name, key.id) for key in LOG_KEYS if key.kind == kind}
        read = notes.read(note)
        return notes.Note(read.text, tuple(one for one in read.lines if (one.name, one.key_id) not in gone)).whole

    log = dict(KEEPS["log"])
    log["keys"] = [key.vkey for key in LOG_KEYS if key.kind != kind]
    log["checkpoint"] = without(log["checkpoint"])
    log["earlier"] = [{**one, "note": without(one["note"])} for one in log["earlier"]]
    return {**KEEPS, "log": log}


@pytest.mark.parametrize(("kind", "name"), [(ML_DSA_44, "ML-DSA-44"), (ED25519, "Ed25519")])
def test_a_kind_of_signature_that_is_taken_away_is_missed(kind: int, name: str) -> None:
    made = stripped(kind)
    assert report(made).valid  # by its own word
    judged = report(made, Pins(LOG_KEYS))
    assert found(judged) == [("checkpoints", "log.checkpoint")]
    assert judged.faults[0].detail == f"under the keys you gave it has no {name} signature of {LOG_KEYS[0].name}"
    assert report(made, Pins(tuple(key for key in LOG_KEYS if key.kind != kind))).valid
    assert report(KEEPS, Pins(LOG_KEYS)).valid


def test_of_several_keys_of_one_kind_one_has_signed() -> None:
    """Keys that followed each other may all be known."""
    former = Signer(LOG_KEYS[0].name, ED25519).verifier
    assert report(KEEPS, Pins((former, *LOG_KEYS))).valid
    other = Signer("other.invalid/log", ED25519).verifier
    assert found(report(KEEPS, Pins((other, *LOG_KEYS)))) == [("checkpoints", "log.checkpoint")]


def test_what_a_transfer_under_way_was_last_is_said_to_be_the_least_it_came_to() -> None:
    """A bundle that is cut to its beginning is still true; it cannot say what came next."""
    cut = Forgery(without=tuple(range(2, len(KEEPS["messages"]))))
    cut.bundle["state"] = "proposed"
    cut.bundle["keys"] = [key for key in cut.bundle["keys"] if key["owner"] != "KOR01"]  # who has not spoken yet
    judged = report(cut.made())
    assert judged.valid
    least = "at least this far: later statements and revocations may have been left out"
    assert least in remark(judged, "course")
    assert judged.as_dict()["state"] == "proposed" and judged.as_dict()["final"] is False
    whole = report(KEEPS)
    assert least not in remark(whole, "course") and whole.as_dict()["final"] is True
