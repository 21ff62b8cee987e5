"""Our own signing keys: the ``Signer`` every signature is asked of, and the key kept in a file.

An HSM or a cloud key service implements ``Signer`` with four members and nothing else changes.
``SoftwareKey`` is PEM PKCS#8, Ed25519 (RFC 8032; JOSE name by RFC 9864) or P-256 (ES256, raw r||s, RFC 7518
section 3.4). Guarantees: the key id is the RFC 7638 thumbprint; a key file others could read is refused; a
key file is written whole with mode 0600 or not at all, and never over another; neither ``repr`` nor an error
shows private material. Fails with ``GatewayError``: NOT_FOUND, UNTRUSTED (file mode), MALFORMED (not such a
key), CONFLICT (file exists).
"""

from pathlib import Path
from typing import Any, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry

from gateway.errors import GatewayError, Kind
from gateway.signing import key_files

ED25519 = "Ed25519"
ES256 = "ES256"
ALGORITHMS = (ED25519, ES256)
REGISTRY = JWSRegistry(algorithms=ALGORITHMS)  # joserfc's algorithms, cut down to ours
#: Before the PEM of a key that signs for synthetic units only; PEM readers pass over what comes before it.
DEMO_MARK = b"# Made by 'gateway demo': signs for synthetic units only.\n"


class Signer(Protocol):
    """What signs in our name. ``alg`` is a member of ``ALGORITHMS``, ``kid`` the RFC 7638 thumbprint."""

    @property
    def kid(self) -> str:
        """Key id."""
        ...

    @property
    def demo(self) -> bool:
        """Whether it signs for synthetic units only."""
        ...

    @property
    def alg(self) -> str:
        """JOSE name of the algorithm."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature of ``data`` (ES256: r||s)."""
        ...

    def public_jwk(self) -> dict[str, str]:
        """Return kty, crv, x[, y], alg, kid and use, as served under ``/keys``."""
        ...


class SoftwareKey:
    """A private key in this process's memory; ``demo`` if it signs for synthetic units only."""

    __slots__ = ("_algorithm", "_key", "alg", "demo", "kid")

    def __init__(self, key: OKPKey | ECKey, *, demo: bool = False) -> None:
        self._key = key
        self.demo = demo
        self.alg = ED25519 if isinstance(key, OKPKey) else ES256
        self._algorithm = REGISTRY.get_alg(self.alg)
        self._algorithm.check_key(key)
        self.kid = key.thumbprint()

    def __repr__(self) -> str:
        """Show what is public anyway."""
        return f"<SoftwareKey {self.alg} {self.kid}>"

    def __reduce__(self) -> Any:
        """Refuse to be pickled: a private key leaves this process by ``save`` only."""
        raise TypeError("a private key is not pickled")

    @classmethod
    def generate(cls, alg: str = ED25519, *, demo: bool = False) -> Self:
        """Return a new key for ``alg``; raises MALFORMED for an algorithm that is not allowed."""
        if alg == ED25519:
            return cls(OKPKey.generate_key("Ed25519"), demo=demo)
        if alg == ES256:
            return cls(ECKey.generate_key("P-256"), demo=demo)
        raise GatewayError(Kind.MALFORMED, f"no such algorithm: choose one of {', '.join(ALGORITHMS)}")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key from the PEM file ``path``; refuses one that its group or others may touch."""
        return cls._from_pem(key_files.read(path), f"key file {path}")

    @classmethod
    def from_environment(cls, text: str) -> Self:
        """Return the key whose PEM is ``text``, as a secret store hands it over in a variable."""
        return cls._from_pem(text.encode("utf-8"), "key from the environment")

    @classmethod
    def _from_pem(cls, pem: bytes, source: str) -> Self:
        try:
            raw = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            raise GatewayError(Kind.MALFORMED, f"{source}: not an unencrypted PEM private key") from None
        demo = pem.startswith(DEMO_MARK)
        if isinstance(raw, Ed25519PrivateKey):
            return cls(OKPKey(raw, raw), demo=demo)
        if isinstance(raw, EllipticCurvePrivateKey) and isinstance(raw.curve, SECP256R1):
            return cls(ECKey(raw, raw), demo=demo)
        raise GatewayError(Kind.MALFORMED, f"{source}: neither an Ed25519 nor a P-256 key")

    def save(self, path: Path) -> None:
        """Write PEM PKCS#8 to ``path`` with mode 0600; raises CONFLICT when anything is there already."""
        key_files.write(path, (DEMO_MARK if self.demo else b"") + self._key.as_pem(private=True))

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature of ``data``."""
        return self._algorithm.sign(data, self._key)

    def public_jwk(self) -> dict[str, str]:
        """Return the public JWK (RFC 7517) with alg, kid and use."""
        public = self._key.as_dict(private=False)
        members = ("kty", "crv", "x") if self.alg == ED25519 else ("kty", "crv", "x", "y")
        shown = {name: str(public[name]) for name in members}
        return shown | {"alg": self.alg, "kid": self.kid, "use": "sig"}
