"""What auditors are shown: entries of the log, and the provenance of a unit. Hashes are base64url, times UTC."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class Checkpoint(BaseModel):
    """The newest published checkpoint: tree size, root (RFC 6962, base64), signed note (C2SP tlog-checkpoint)."""

    size: int
    root: str
    note: str


class EntryMessage(BaseModel):
    """The message of an entry; ``sha256`` is of its bytes as received (``in``), sent (``out``), quoted (``shown``)."""

    id: str
    type: str
    direction: str
    peer: str
    seq: int | None
    in_reply_to: str | None
    sha256: str


class Entry(BaseModel):
    """An entry: its public leaf (exact text) and, to who may see it, the record that the leaf commits to.

    The leaf's member ``record`` is the SHA-256 of the salt's bytes followed by the record's text; ``leaf_hash`` that of
    a zero byte followed by the leaf (RFC 6962). ``leaf_index`` is null until the entry is in the tree.
    """

    entry: int
    leaf_index: int | None
    at: datetime
    kind: str
    leaf: str
    leaf_hash: str
    message: EntryMessage | None
    record: str | None
    salt: str | None


class EntryPage(BaseModel):
    """Entries, newest first. While ``next`` is not null more may follow, even after an empty page."""

    entries: list[Entry]
    next: str | None
    checkpoint: Checkpoint | None


class Place(BaseModel):
    """Where a unit is: a registry, a Party's books in it, and the type of the account there."""

    registry: str
    party: str
    account_type: int


class Step(BaseModel):
    """Something done with a unit or said of it; ``first`` and ``last`` are the block that it was part of then.

    ``what`` is the type of a registry's action, ``transfer`` (with the state it came to), ``first transfer``,
    ``authorisation``, ``revocation``, ``record`` or ``notification``; ``subject`` is the name of that.
    """

    what: str
    subject: str
    at: datetime
    state: str | None
    first: int | None
    last: int | None
    details: dict[str, Any]
    entry: int
    leaf_index: int | None
    message: EntryMessage | None


class Provenance(BaseModel):
    """A unit and its history as far as it is seen, in the order of the log."""

    registry: str
    series: str
    serial: int
    itmo: str | None
    place: Place | None
    steps: list[Step]
    checkpoint: Checkpoint | None
