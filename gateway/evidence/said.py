"""What the parts of a bundle say, read and not yet believed: leaves, records, messages, the transfer's items.

``Case`` is a bundle with what was found in it so far; each check of ``verify`` reads one thing more. ``read_entries``
and ``read_messages`` give what they cannot read as faults with their places.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.audit import merkle
from gateway.audit.checkpoint import Checkpoint
from gateway.errors import GatewayError
from gateway.evidence.form import Bundle, Entry, place
from gateway.signing import compact, envelope, messages, notes, strict_json
from gateway.signing.envelope import Item
from gateway.signing.faults import EnvelopeError
from gateway.signing.messages import Statement
from gateway.signing.notes import Signed, Verifier
from gateway.signing.trust import PeerKey

#: The kind of an entry for a message that came only inside another one.
SHOWN = "evidence"
_LEAF_MEMBERS = {"kind", "record", "time"}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it must be, and its place in the bundle."""

    place: str
    detail: str


@dataclass(frozen=True, slots=True)
class Pins:
    """What the verifier knows from elsewhere. Without keys of the log, or of witnesses, the bundle's own are taken."""

    keys: tuple[Verifier, ...] = ()
    witnesses: tuple[Verifier, ...] = ()
    #: How many known witnesses must have cosigned the checkpoint.
    quorum: int = 0

    @property
    def witnessing(self) -> bool:
        """Whether it is known from elsewhere who must have seen an entry, and how many of them."""
        return bool(self.witnesses) and self.quorum > 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint with its verified signatures, and its place."""

    place: str
    checkpoint: Checkpoint
    signed: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry: what its leaf and its record say, and the leaf's hash."""

    place: str
    entry: Entry
    kind: str
    at: datetime
    commitment: str
    record: Mapping[str, Any]
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """A message, the entry that records it, and its items that are shown, in the order it lists them."""

    place: str
    jws: str
    kid: str
    statement: Statement
    logged: Logged
    items: tuple[Item, ...]

    @property
    def type(self) -> str:
        """Its type, as it says itself."""
        return self.statement.type

    @property
    def digest(self) -> str:
        """The hash of its JWS, base64url."""
        return compact.digest(self.jws)

    @property
    def was_shown(self) -> bool:
        """Whether the gateway has it from another message only."""
        return self.logged.kind == SHOWN


@dataclass
class Case:
    """A bundle, what its verifier knows, and what was found in it."""

    bundle: Bundle
    pins: Pins = Pins()
    checkpoints: list[Seen] = field(default_factory=list)
    logged: dict[int, Logged] = field(default_factory=dict)
    keys: list[PeerKey] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    #: Entry → the earliest time at which it was witnessed: by witnesses that the verifier knows, or the bundle's word.
    witnessed: dict[int, str | None] = field(default_factory=dict)
    #: The checks' remarks on what they rested on, by name of the check.
    remarks: dict[str, str] = field(default_factory=dict)

    def of_type(self, kind: str) -> list[Said]:
        """The messages of one type, in the log's order."""
        return [said for said in self.said if said.type == kind]


def read_entries(case: Case) -> Iterator[Fault]:
    """Read every leaf and record; what is not of the log's form is a fault."""
    for nr, entry in enumerate(case.bundle.entries):
        where = place("entries", nr)
        try:
            case.logged[entry.index] = logged(where, entry)
        except (GatewayError, ValueError) as error:
            yield Fault(where, f"not an entry of the log: {_why(error)}")


def logged(where: str, entry: Entry) -> Logged:
    """What an entry says; raises ``ValueError`` or MALFORMED where it is not of the log's form."""
    leaf, record = strict_json.loads(entry.leaf), strict_json.loads(entry.record)
    if type(leaf) is not dict or leaf.keys() != _LEAF_MEMBERS or not all(type(v) is str for v in leaf.values()):
        raise ValueError("a leaf is an object of kind, record and time")
    if type(record) is not dict:
        raise ValueError("a record is an object")
    at = messages.parse_time(leaf["time"])
    return Logged(where, entry, leaf["kind"], at, leaf["record"], record, merkle.leaf_hash(entry.leaf.encode()))


def read_messages(case: Case) -> Iterator[Fault]:
    """Read every message and which of the items it shows; the entries were read before."""
    items: dict[str, Item] = {}
    for nr, text in enumerate(case.bundle.items):
        try:
            items |= envelope.attach([text])
        except EnvelopeError as error:
            yield Fault(place("items", nr), error.detail)
    for nr, message in enumerate(case.bundle.messages):
        try:
            read = compact.read(message.jws)
            statement = messages.parse(read.payload)
        except EnvelopeError as error:
            yield Fault(place("messages", nr, "jws"), error.detail)
            continue
        if message.entry not in case.logged:
            yield Fault(place("messages", nr, "entry"), "there is no such entry here")
            continue
        shown = tuple(items[name] for name in statement.listed if name in items)
        behind = case.logged[message.entry]
        case.said.append(Said(place("messages", nr), message.jws, read.kid, statement, behind, shown))


def read_notes(case: Case) -> Iterator[Fault]:
    """Read the checkpoints, the newest first, with the lines of the bundle's own keys verified."""
    log = case.bundle.log
    known: list[Verifier] = []
    for name, vkeys in (("keys", log.keys), ("witnesses", log.witnesses)):
        for nr, vkey in enumerate(vkeys):
            try:
                known.append(Verifier.read(vkey))
            except GatewayError as error:
                yield Fault(place("log", name, nr), error.detail)
    notes_given = [(place("log", "checkpoint"), log.checkpoint)]
    notes_given += [(place("log", "earlier", nr, "note"), earlier.note) for nr, earlier in enumerate(log.earlier)]
    for where, text in notes_given:
        try:
            case.checkpoints.append(seen(where, text, known))
        except (GatewayError, ValueError) as error:
            yield Fault(where, _why(error))


def seen(where: str, text: str, known: Sequence[Verifier]) -> Seen:
    """The checkpoint that a note is, with the lines of known keys; raises MALFORMED or UNTRUSTED."""
    note = notes.read(text)
    return Seen(where, Checkpoint.read(note.text), tuple(note.signed_by(known)))


def _why(error: Exception) -> str:
    return error.detail if isinstance(error, GatewayError) else str(error)
