"""The keys of our peers: which are acceptable, whose they are, and when what they signed may be believed.

A key id is only a hint: a key is looked up under the owner it was registered for. ``judge`` has the three
rules of time: an ordinary rotation is judged at ``sent_at``, so that stored bytes stay sendable; a revocation
as compromised or restored is judged at arrival, because whoever has the key can write any ``sent_at``; a
superseded key counts for what was sent before. Fails with ``GatewayError`` MALFORMED for a JWK that is not
acceptable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Self

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from gateway.errors import GatewayError, Kind, invariant
from gateway.signing import compact
from gateway.signing.faults import Fault
from gateway.signing.keys import ED25519, ES256, REGISTRY

_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ALLOWED_MEMBERS = frozenset({"kty", "crv", "x", "y", "alg", "kid", "use", "key_ops"})
_CURVES = {("OKP", "Ed25519"): ED25519, ("EC", "P-256"): ES256}
_KNOWN_KEYS = 4096  # parsed keys kept; far more than one gateway has peers, bounded all the same

# edwards25519 (RFC 8032 section 5.1): the prime, d, and the y of its eight points of small order, under which
# a signature can be made that fits many messages.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_Y8 = 55188659117513257062467267217118295137698188065244968500265048394206261417927
_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


class Revocation(StrEnum):
    """Why a key was revoked."""

    COMPROMISED = "compromised"
    """Someone else may sign with it: nothing arriving since is believed, whatever time it claims."""
    RESTORED = "restored"
    """Its registry was restored and signs with another key: nothing of its earlier life is accepted."""
    SUPERSEDED = "superseded"
    """Replaced in good order: what was sent before stays good."""


@dataclass(frozen=True, slots=True)
class PeerKey:
    """A public key registered for ``owner`` (a link code); good for ``not_before <= sent_at < not_after``."""

    owner: str
    kid: str
    alg: str
    jwk: Mapping[str, str] = field(hash=False)
    not_before: datetime
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    revoked_reason: Revocation | None = None
    compromised_since: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a revocation that does not say when and why."""
        invariant((self.revoked_at is None) == (self.revoked_reason is None), "a revocation has a time and why")
        invariant(
            self.compromised_since is None or self.revoked_reason is Revocation.COMPROMISED,
            "only a compromised key has compromised_since",
        )

    @classmethod
    def from_jwk(
        cls,
        owner: str,
        jwk: Mapping[str, Any],
        *,
        not_before: datetime,
        not_after: datetime | None = None,
        revoked_at: datetime | None = None,
        revoked_reason: Revocation | None = None,
        compromised_since: datetime | None = None,
    ) -> Self:
        """Return the key of a public JWK (RFC 7517, 8037); ``alg``, ``kid`` and ``use``, if given, must
        agree.

        Raises MALFORMED for private members, other members, other curves, a point that is not on the curve,
        of small order or not canonically encoded, and for a ``kid`` that is not the RFC 7638 thumbprint.
        """
        if _PRIVATE_MEMBERS & jwk.keys():
            raise _unacceptable("it contains private members; the key must be considered compromised")
        if extra := sorted(jwk.keys() - _ALLOWED_MEMBERS):
            raise _unacceptable(f"member {extra[0][:64]!r} is not allowed")
        if jwk.get("use", "sig") != "sig" or jwk.get("key_ops", ["verify"]) != ["verify"]:
            raise _unacceptable("it is not for signatures")
        coordinates = tuple(jwk.get(name) for name in ("kty", "crv", "x", "y"))
        if not all(isinstance(value, str) for value in coordinates[:3]):
            raise _unacceptable("kty, crv or x is missing")
        if (coordinates[3] is None) != (coordinates[0] == "OKP") or not isinstance(coordinates[3] or "", str):
            raise _unacceptable("y belongs to EC keys, and to each of them")
        public = _public_key(*coordinates)
        kid = public.thumbprint()
        alg = ED25519 if isinstance(public, OKPKey) else ES256
        if jwk.get("alg", alg) != alg or jwk.get("kid", kid) != kid:
            raise _unacceptable("alg or kid does not agree with the key")
        names = ("kty", "crv", "x") if alg == ED25519 else ("kty", "crv", "x", "y")
        plain = {name: str(jwk[name]) for name in names} | {"alg": alg, "kid": kid, "use": "sig"}
        return cls(owner, kid, alg, plain, not_before, not_after, revoked_at, revoked_reason, compromised_since)

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is this key's over exactly ``data``; ``judge`` answers for the time."""
        public = _public_key(self.jwk["kty"], self.jwk["crv"], self.jwk["x"], self.jwk.get("y"))
        return REGISTRY.get_alg(self.alg).verify(data, signature, public)


def find(keys: Sequence[PeerKey], owner: str, kid: str) -> PeerKey | None:
    """Return the key ``kid`` registered for ``owner`` among ``keys``."""
    return next((key for key in keys if key.kid == kid and key.owner == owner), None)


def judge(key: PeerKey, sent_at: datetime, arrived_at: datetime) -> Fault | None:
    """Return why ``key`` counts no longer or not yet for a message, or None when it counts.

    ``arrived_at`` is now for a message in hand, and the time of storing for one shown as evidence later.
    """
    match key.revoked_reason:
        case Revocation.COMPROMISED if arrived_at >= (key.compromised_since or key.revoked_at or arrived_at):
            return Fault.KEY_REVOKED
        case Revocation.RESTORED if arrived_at >= (key.revoked_at or arrived_at):
            return Fault.KEY_REVOKED
        case Revocation.SUPERSEDED if sent_at >= (key.revoked_at or sent_at):
            return Fault.KEY_REVOKED
    if sent_at < key.not_before or (key.not_after is not None and sent_at >= key.not_after):
        return Fault.KEY_NOT_VALID
    return None


@lru_cache(maxsize=_KNOWN_KEYS)
def _public_key(kty: str, crv: str, x: str, y: str | None) -> OKPKey | ECKey:
    """Parse and check a public key; kept, because every message names one of a few."""
    alg = _CURVES.get((kty, crv))
    if alg is None:
        raise _unacceptable("only Ed25519 and P-256 are accepted")
    for coordinate in (x, y) if y is not None else (x,):
        _require_32_bytes(coordinate)
    try:
        if alg == ED25519:
            _require_good_ed25519(compact.decode(x))
            return OKPKey.import_key({"kty": kty, "crv": crv, "x": x})
        return ECKey.import_key({"kty": kty, "crv": crv, "x": x, "y": y or ""})
    except (JoseError, ValueError):
        raise _unacceptable("it is not a point of its curve") from None


def _require_32_bytes(coordinate: str) -> None:
    try:
        size = len(compact.decode(coordinate))
    except ValueError:
        size = 0
    if size != 32:
        raise _unacceptable("a coordinate is not base64url of 32 bytes")


def _require_good_ed25519(point: bytes) -> None:
    """Refuse what RFC 8032 section 5.1.3 cannot decode, and points of small order."""
    y = int.from_bytes(point, "little") & (2**255 - 1)
    if y >= _P:
        raise _unacceptable("its point is not canonically encoded")
    if y in _SMALL_ORDER_Y:
        raise _unacceptable("its point has small order")
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    if pow(u * v % _P, (_P - 1) // 2, _P) != 1:  # x^2 = u/v has no root
        raise _unacceptable("it is not a point of its curve")


def _unacceptable(why: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"the public key is not acceptable: {why}", code=1007)
