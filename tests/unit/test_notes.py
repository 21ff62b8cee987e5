"""Signed notes: the example of the specification, and everything that makes a note one that nobody may believe."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.checkpoint import Checkpoint
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.notes import Verifier

#: https://github.com/C2SP/C2SP/blob/main/signed-note.md#example
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
BLOB = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
NOTE = f"This is an example message.\n\n\u2014 example.com/foo {BLOB}\n"


def test_the_example_of_the_specification_verifies() -> None:
    key = Verifier.read(VKEY)
    [signed] = notes.read(NOTE).signed_by([key])
    assert (signed.by, signed.at, key.vkey) == (key, None, VKEY)
    assert notes.read(NOTE).whole == NOTE


@pytest.mark.parametrize("at", range(len("This is an example message.")))
def test_a_changed_text_is_not_signed(at: int) -> None:
    changed = NOTE[:at] + ("x" if NOTE[at] != "x" else "y") + NOTE[at + 1 :]
    with pytest.raises(GatewayError, match="does not verify") as refused:
        notes.read(changed).signed_by([Verifier.read(VKEY)])
    assert refused.value.kind is Kind.UNTRUSTED


def test_one_false_line_of_a_known_key_refuses_the_whole_note() -> None:
    false = BLOB[:-6] + "AAAA" + "M="
    for both in (NOTE + f"\u2014 example.com/foo {false}\n",):
        with pytest.raises(GatewayError, match="does not verify"):
            notes.read(both).signed_by([Verifier.read(VKEY)])


def test_lines_of_unknown_keys_are_passed_over_and_alone_are_not_enough() -> None:
    other = Verifier("example.com/bar", notes.ED25519, bytes(32))
    strange = notes.line(other, bytes(64)).text
    assert len(notes.read(f"{NOTE}{strange}\n").signed_by([Verifier.read(VKEY)])) == 1
    with pytest.raises(GatewayError, match="no known key"):
        notes.read(f"This is an example message.\n\n{strange}\n").signed_by([Verifier.read(VKEY)])


@pytest.mark.parametrize(
    "wrong",
    ["", "text", "text\n", "text\n\n", "text\n\n\u2014 name\n", "text\n\n- name AAAAAAAA\n", "\n\n\u2014 n AAAAAAAA\n",
     "text\n\n\u2014 n AAAAAAAA", "text\n\n\u2014 n+m AAAAAAAA\n", "text\n\n\u2014 n AAAA\n",
     "te\0xt\n\n\u2014 n AAAAAAAA\n",
     "text\n\n" + "\u2014 n AAAAAAAA\n" * 65, "x" * notes.MAX_NOTE + NOTE, "text\n\n\u2014 n AAAAAAAB==\n"],
)  # fmt: skip
def test_what_is_no_note_is_refused(wrong: str) -> None:
    with pytest.raises(GatewayError) as refused:
        notes.read(wrong)
    assert refused.value.kind is Kind.MALFORMED


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    for read in (notes.read, Verifier.read, Checkpoint.read):
        try:
            read(text)
        except GatewayError as error:
            assert error.kind is Kind.MALFORMED


@pytest.mark.parametrize("wrong", ["", "a+b+c", VKEY.replace("530d", "530e"), VKEY[:-4], VKEY.replace("+Ae", "+Be")])
def test_what_is_no_verifier_key_is_refused(wrong: str) -> None:
    with pytest.raises(GatewayError) as refused:
        Verifier.read(wrong)
    assert refused.value.kind is Kind.MALFORMED


def test_a_cosignature_covers_its_time() -> None:
    private = Ed25519PrivateKey.generate()
    key = Verifier("example.com/w", notes.COSIGNATURE, private.public_key().public_bytes_raw())
    text = Checkpoint("example.com/log", 7, bytes(32)).text
    signature = private.sign(notes.covered(notes.COSIGNATURE, key.name, text, 1_679_315_147))
    good, late = (notes.line(key, time.to_bytes(8, "big") + signature) for time in (1_679_315_147, 1_679_315_148))
    [signed] = notes.Note(text, (good,)).signed_by([key])
    assert signed.at is not None and signed.at.timestamp() == 1_679_315_147
    with pytest.raises(GatewayError, match="does not verify"):
        notes.Note(text, (late,)).signed_by([key])


@pytest.mark.parametrize(
    "wrong",
    ["", "o\n1\n", "o\n01\n{root}\n", "o\n-1\n{root}\n", "o\n1\n{root}", "\n1\n{root}\n", "o\n1\nAAAA\n",
     "o\n1\n{root}\nextension\n", "o\n9999999999999999999\n{root}\n", "o\n+1\n{root}\n", "o\n\u0661\n{root}\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(wrong: str) -> None:
    root = base64.b64encode(bytes(32)).decode()
    assert Checkpoint.read(f"o\n1\n{root}\n") == Checkpoint("o", 1, bytes(32))
    with pytest.raises(GatewayError) as refused:
        Checkpoint.read(wrong.replace("{root}", root))
    assert refused.value.kind is Kind.MALFORMED
