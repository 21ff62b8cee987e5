"""Our keys in files, our peers' keys in time, and the keys nobody should accept."""

import base64
import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.errors import GatewayError, Kind
from gateway.signing.envelope import Fault
from gateway.signing.keys import ALGORITHMS, SoftwareKey
from gateway.signing.trust import _SMALL_ORDER_Y, PeerKey, Revocation, find, judge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
PRIME = 2**255 - 19


def peer(key: SoftwareKey, owner: str = "MEC01", **changes: Any) -> PeerKey:
    return PeerKey.from_jwk(owner, key.public_jwk(), **({"not_before": NOW - timedelta(days=1)} | changes))


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_saved_key_is_the_key_loaded(tmp_path: Path, alg: str) -> None:
    key, path = SoftwareKey.generate(alg), tmp_path / "key.pem"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["key.pem"]
    for again in (SoftwareKey.load(path), SoftwareKey.from_environment(path.read_text())):
        assert again.public_jwk() == key.public_jwk()
        assert peer(key).verifies(b"data", again.sign(b"data"))
        assert not peer(key).verifies(b"date", again.sign(b"data"))


def test_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("somebody's")
    with pytest.raises(GatewayError) as refusal:
        SoftwareKey.generate().save(path)
    assert refusal.value.kind is Kind.CONFLICT
    assert (path.read_text(), os.listdir(tmp_path)) == ("somebody's", ["key.pem"])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666])
def test_key_file_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    SoftwareKey.generate().save(path)
    path.chmod(mode)
    with pytest.raises(GatewayError) as refusal:
        SoftwareKey.load(path)
    assert refusal.value.kind is Kind.UNTRUSTED


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewayError) as refusal:
        SoftwareKey.load(tmp_path / "none.pem")
    assert refusal.value.kind is Kind.NOT_FOUND
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(GatewayError) as refusal:
        SoftwareKey.load(tmp_path / "fifo")
    assert refusal.value.kind is Kind.UNTRUSTED


def pem(key: Any, encryption: Any = None) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode())


@pytest.mark.parametrize("text", [
    "", "not a key", pem(ec.generate_private_key(ec.SECP384R1())), pem(rsa.generate_private_key(65537, 2048)),
    pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"x")),
], ids=("empty", "text", "P-384", "RSA", "encrypted"))  # fmt: skip
def test_other_private_keys_are_refused_without_quoting_them(text: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        SoftwareKey.from_environment(text)
    assert refusal.value.kind is Kind.MALFORMED
    assert refusal.value.__cause__ is None
    assert not any(line in refusal.value.detail for line in text.splitlines()[1:-1])


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_private_key_shows_nothing_of_itself(tmp_path: Path, alg: str) -> None:
    key = SoftwareKey.generate(alg)
    assert repr(key) == str(key) == f"<SoftwareKey {alg} {key.kid}>"
    assert set(key.public_jwk()) <= {"kty", "crv", "x", "y", "alg", "kid", "use"}
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_key_id_is_the_rfc_7638_thumbprint() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert PeerKey.from_jwk("MEC01", jwk, not_before=NOW).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_algorithm_that_is_not_ours_is_not_generated() -> None:
    with pytest.raises(GatewayError, match="no such algorithm"):
        SoftwareKey.generate("RS256")


def ed25519(y: int, sign: int = 0) -> dict[str, str]:
    point = (y | sign << 255).to_bytes(32, "little")
    return {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(point).rstrip(b"=").decode()}


ED = SoftwareKey.generate().public_jwk()
EC = SoftwareKey.generate("ES256").public_jwk()


@pytest.mark.parametrize(("jwk", "why"), [
    (ED | {"d": ED["x"]}, "private"),
    ({"kty": "oct", "k": "AAAA"}, "private"),
    (ED | {"x5u": "https://keys.example"}, "not allowed"),
    (ED | {"use": "enc"}, "not for signatures"),
    (ED | {"key_ops": ["sign"]}, "not for signatures"),
    ({"kty": "OKP", "crv": "Ed25519"}, "missing"),
    (ED | {"crv": "X25519"}, "only Ed25519"),
    (ED | {"crv": "Ed448"}, "only Ed25519"),
    (EC | {"crv": "P-384"}, "only Ed25519"),
    (EC | {"crv": "secp256k1"}, "only Ed25519"),
    (ED | {"y": EC["y"]}, "y belongs"),
    ({name: EC[name] for name in ("kty", "crv", "x")}, "y belongs"),
    (EC | {"y": EC["x"]}, "not a point"),
    (ED | {"x": ED["x"][:-1]}, "32 bytes"),
    (ED | {"x": ED["x"] + "="}, "32 bytes"),
    (ED | {"x": 1}, "missing"),
    (ED | {"alg": "EdDSA"}, "agree"),
    (ED | {"alg": "ES256"}, "agree"),
    (ED | {"kid": EC["kid"]}, "agree"),
    (ed25519(PRIME + 3), "canonically"),
    (ed25519(2), "not a point"),
], ids=range(21))  # fmt: skip
def test_unacceptable_public_key_is_refused(jwk: dict[str, Any], why: str) -> None:
    with pytest.raises(GatewayError, match=why) as refusal:
        PeerKey.from_jwk("MEC01", jwk, not_before=NOW)
    assert refusal.value.kind is Kind.MALFORMED


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Add two points of edwards25519 (RFC 8032 section 5.1.4, affine)."""
    d = -121665 * pow(121666, -1, PRIME)
    k = d * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + k, -1, PRIME)
    return x % PRIME, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, PRIME) % PRIME


@pytest.mark.parametrize("y", sorted(_SMALL_ORDER_Y))
def test_points_of_small_order_are_refused(y: int) -> None:
    square = (y * y - 1) * pow(-121665 * pow(121666, -1, PRIME) * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert (x * x - square) % PRIME == 0
    point = (x, y)
    for _ in range(3):
        point = add(point, point)
    assert point == (0, 1)
    for sign in (0, 1):
        with pytest.raises(GatewayError, match="small order"):
            PeerKey.from_jwk("MEC01", ed25519(y, sign), not_before=NOW)


def test_key_is_found_under_its_owner_only() -> None:
    key = SoftwareKey.generate()
    keys = [peer(key), peer(SoftwareKey.generate(), owner="JPN01")]
    assert find(keys, "MEC01", key.kid) == peer(key)
    assert find(keys, "JPN01", key.kid) is None


COMPROMISED_BEFORE = {"revoked_at": LATER, "revoked_reason": Revocation.COMPROMISED, "compromised_since": NOW}


@pytest.mark.parametrize(("window", "sent_at", "arrived_at", "fault"), [
    ({}, NOW, NOW, None),
    ({"not_before": NOW}, NOW, NOW, None),
    ({"not_before": NOW}, EARLIER, NOW, Fault.KEY_NOT_VALID),
    ({"not_after": NOW}, EARLIER, LATER, None),
    ({"not_after": NOW}, NOW, NOW, Fault.KEY_NOT_VALID),
    ({"revoked_at": NOW, "revoked_reason": Revocation.SUPERSEDED}, EARLIER, LATER, None),
    ({"revoked_at": NOW, "revoked_reason": Revocation.SUPERSEDED}, NOW, LATER, Fault.KEY_REVOKED),
    ({"revoked_at": NOW, "revoked_reason": Revocation.RESTORED}, EARLIER, EARLIER, None),
    ({"revoked_at": NOW, "revoked_reason": Revocation.RESTORED}, EARLIER, NOW, Fault.KEY_REVOKED),
    ({"revoked_at": NOW, "revoked_reason": Revocation.COMPROMISED}, EARLIER, NOW, Fault.KEY_REVOKED),
    ({"revoked_at": NOW, "revoked_reason": Revocation.COMPROMISED}, EARLIER, EARLIER, None),
    (COMPROMISED_BEFORE, EARLIER, NOW, Fault.KEY_REVOKED),
    (COMPROMISED_BEFORE, EARLIER, EARLIER, None),
])  # fmt: skip
def test_rotation_is_judged_at_sending_and_revocation_at_arrival(
    window: dict[str, Any], sent_at: datetime, arrived_at: datetime, fault: Fault | None
) -> None:
    assert judge(peer(SoftwareKey.generate(), **window), sent_at, arrived_at) is fault


@pytest.mark.parametrize("window", [
    {"revoked_at": NOW}, {"revoked_reason": Revocation.RESTORED}, {"compromised_since": NOW},
    {"revoked_at": NOW, "revoked_reason": Revocation.RESTORED, "compromised_since": NOW},
], ids=str)  # fmt: skip
def test_half_a_revocation_is_no_revocation(window: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refusal:
        peer(SoftwareKey.generate(), **window)
    assert refusal.value.kind is Kind.INVARIANT
