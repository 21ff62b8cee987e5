"""Keys: this registry's own, and those it trusts for the gateway and for other registries.

Key sets are files (pinned by whoever set the registry up) and read again when they change, so that a file
may appear later. A sender's key is looked up under that sender alone; ``kid`` is only a hint inside its set.
``KeysMissing`` means "cannot judge yet", which is never the same as "bad signature".
"""

import contextlib
import glob
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, KeySetSerialization, OKPKey

from . import strictjson

Key = OKPKey | ECKey


class KeysMissing(Exception):
    """No key set of this sender is at hand."""


@dataclass(frozen=True)
class OwnKey:
    """The key this registry signs with, its algorithm name and its thumbprint (RFC 7638)."""

    key: Key
    alg: str
    kid: str

    def public(self) -> dict[str, Any]:
        """Give the public JWK as it stands in the key set."""
        members = dict(self.key.as_dict(private=False))
        return {**members, "alg": self.alg, "kid": self.kid, "use": "sig"}


def make() -> OwnKey:
    """Make an Ed25519 key that nobody knows yet."""
    return _own(OKPKey.generate_key("Ed25519", private=True))


def load_or_make(path: Path) -> OwnKey:
    """Read a PKCS #8 PEM (Ed25519 or P-256), or make an Ed25519 one (0600) if there is no file."""
    if not path.exists():
        write(path, make())
    return load(path)


def load(path: Path) -> OwnKey:
    """Read a PKCS #8 PEM (Ed25519 or P-256); raises OSError or ValueError."""
    pem = path.read_bytes()
    try:
        return _own(OKPKey.import_key(pem))
    except JoseError:
        return _own(ECKey.import_key(pem))


def write(path: Path, key: OwnKey) -> None:
    """Write a private key to a new file that its owner alone can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.key.as_pem(private=True))


def _own(key: Key) -> OwnKey:
    return OwnKey(key, algorithm_of(key), key.thumbprint())


def algorithm_of(key: Key) -> str:
    """Give the one algorithm a key signs with: ``Ed25519`` (RFC 9864) or ``ES256``; raises ValueError."""
    if isinstance(key, OKPKey) and key.curve_name == "Ed25519":
        return "Ed25519"
    if isinstance(key, ECKey) and key.curve_name == "P-256":
        return "ES256"
    raise ValueError("the key is neither Ed25519 nor P-256")


@dataclass(frozen=True)
class Announced:
    """A key somebody announced, or the end of one that was known before (without ``key``)."""

    key: Key | None
    not_before: datetime | None
    not_after: datetime | None

    @classmethod
    def of(cls, jwk: str, not_before: datetime | None, not_after: datetime | None) -> "Announced":
        """Read the key, whose JSON text may be empty."""
        keys = _by_thumbprint({"keys": [strictjson.loads(jwk)]}) if jwk else {}
        return cls(next(iter(keys.values()), None), not_before, not_after)

    def good(self, sent_at: datetime) -> bool:
        """Say whether the key is good for what was sent then."""
        begun = self.not_before is None or self.not_before <= sent_at
        return begun and (self.not_after is None or sent_at < self.not_after)


@dataclass
class Trust:
    """Who may sign what: one key set per sender code.

    A new key of this registry's own replaces the file of the old one, which stays beside it, ``.<thumbprint>``
    added to its name: what it signed stays provable as evidence.
    """

    own_code: str
    own_file: Path
    files: dict[str, Path]
    pinned: dict[str, dict[str, Any]] = field(default_factory=dict)
    own: OwnKey = field(init=False)
    #: This registry's next key while its announcement is owed.
    announced: OwnKey | None = None
    #: What others announced, by sender and key id.
    told: dict[tuple[str, str], Announced] = field(default_factory=dict)
    _earlier: dict[str, Key] = field(default_factory=dict)
    _read: dict[str, tuple[tuple[int, int], dict[str, Key]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.own = load_or_make(self.own_file)
        kept = self.own_file.parent.glob(f"{glob.escape(self.own_file.name)}.*")
        self._earlier = {key.kid: key.key for path in kept if path != self._prepared for key in [load_or_make(path)]}

    @property
    def _prepared(self) -> Path:
        return self.own_file.with_name(f"{self.own_file.name}.next")

    def prepare(self) -> OwnKey:
        """Make the key that ``renew`` will put in place of the present one."""
        self._prepared.unlink(missing_ok=True)
        new = make()
        write(self._prepared, new)
        return new

    def prepared(self) -> OwnKey | None:
        """Give the key that was made and not put in place yet, if there is one."""
        return load(self._prepared) if self._prepared.exists() else None

    def published(self) -> list[dict[str, Any]]:
        """Give the public keys this registry signs with now, or will."""
        return [key.public() for key in (self.own, self.announced) if key is not None]

    def renew(self) -> None:
        """Sign with the prepared key from now on; the old one is kept for what it signed (R16)."""
        old = self.own
        with contextlib.suppress(FileExistsError):  # it died right after this line before
            os.link(self.own_file, self.own_file.with_name(f"{self.own_file.name}.{old.kid}"))
        os.replace(self._prepared, self.own_file)
        self._earlier[old.kid], self.own, self.announced = old.key, load_or_make(self.own_file), None

    def pin(self, sender: str, key_set: dict[str, Any]) -> None:
        """Trust a key set that was fetched once; a file for the same sender wins over it."""
        self.pinned[sender] = key_set
        self._read.pop(sender, None)

    def key(self, sender: str, kid: str) -> Key | None:
        """Give the key ``kid`` of ``sender``, or nothing; raises ``KeysMissing`` without any key set."""
        if sender == self.own_code:
            return self.own.key if kid == self.own.kid else self._earlier.get(kid)
        pinned = self._keys(sender).get(kid)
        announced = self.told.get((sender, kid))
        return announced.key if pinned is None and announced is not None else pinned

    def good(self, sender: str, kid: str, sent_at: datetime) -> bool:
        """Say whether a key counts for what was sent then, as far as its owner has announced it."""
        announced = self.told.get((sender, kid))
        return announced is None or announced.good(sent_at)

    def _keys(self, sender: str) -> dict[str, Key]:
        path = self.files.get(sender)
        try:
            stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path else (0, 0)
        except FileNotFoundError:
            raise KeysMissing(sender) from None
        cached = self._read.get(sender)
        if cached is None or cached[0] != stamp:
            members = strictjson.loads(path.read_bytes()) if path else self.pinned.get(sender)
            if members is None:
                raise KeysMissing(sender)
            cached = self._read[sender] = (stamp, _by_thumbprint(members))
        return cached[1]


def _by_thumbprint(members: dict[str, Any]) -> dict[str, Key]:
    keys = [
        key
        for key in KeySet.import_key_set(cast(KeySetSerialization, members)).keys
        if isinstance(key, (OKPKey, ECKey))
    ]
    return {key.thumbprint(): key for key in keys}
