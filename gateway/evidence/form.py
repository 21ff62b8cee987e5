"""The evidence bundle of a transfer as a file: its members, their syntax and its limits.

``openapi/evidence.schema.json`` is made of these models and of ``rules``, so that a third party can verify a bundle
from that file alone. ``read`` takes a file of any origin: the work is bounded by its size, which has a limit, and what
is not of this form is named by its place. It says nothing about what is true. Fails with ``GatewayError``: LIMIT for
what is too large, MALFORMED with 2001 for what is no bundle.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.domain.transfers import State
from gateway.errors import GatewayError, Kind
from gateway.evidence import rules
from gateway.signing import strict_json

#: A transfer has some twenty messages; the largest (3,000 blocks, a thousand proposals signed alone) stay below this.
MAX_BYTES = 32 * 1024 * 1024
#: Strings of a file, and what of it stands outside them: more than any bundle has, little enough to be read at once.
MAX_STRINGS, MAX_STRUCTURE = 200_000, 4 * 1024 * 1024
#: Messages and entries of a transfer, keys behind them, checkpoints; hashes of a proof (a size has 63 bits).
MAX_MESSAGES, MAX_ENTRIES, MAX_KEYS, MAX_EARLIER, MAX_PROOF = 200, 1_000, 100, 300, 63
FORMAT = "article6-evidence-1"
NOTICE = (
    "Evidence of one transfer. It verifies without a network and without trusting who keeps it: with 'gateway evidence "
    "verify', and with any program written from openapi/evidence.schema.json."
)
SYNTHETIC = "Synthetic: made by a demonstration. No unit, account or transfer in it exists."
TIMELINE = "Sentences made from the messages, for reading. They are no evidence: the messages are."

Hash = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
Salt = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]
Moment = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")
]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}[0-9]{2}$")]
Index = Annotated[int, Field(ge=0, le=2**53 - 1)]
VerifierKey = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Strict(BaseModel):
    """A part of a bundle: exactly these members, each of exactly this type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Earlier(Strict):
    """A checkpoint that was cosigned earlier than ``checkpoint``, and the proof that its tree begins that one's."""

    note: str = Field(description="The signed note, as ``log.checkpoint``.")
    consistency: list[Hash] = Field(
        max_length=MAX_PROOF,
        description="The consistency proof from its size to that of ``log.checkpoint`` (RFC 6962 section 2.1.2).",
    )


class Log(Strict):
    """The log's tree, as those said who signed it."""

    checkpoint: str = Field(
        description="A signed note (c2sp.org/signed-note) whose text is a checkpoint (c2sp.org/tlog-checkpoint): "
        "origin, size, root. Every inclusion proof of the bundle is one in this tree. Each signature line is of a key "
        "in ``keys`` or ``witnesses``."
    )
    keys: list[VerifierKey] = Field(
        min_length=1,
        max_length=MAX_KEYS,
        description="The log's keys, as C2SP verifier keys: name + '+' + the id in hex + '+' + base64 of a byte for "
        "the type and the key; the id is the first 4 bytes of SHA-256(name || LF || type || key). Type 01 (Ed25519 "
        "over the text) and type 06 (ML-DSA-44 cosignature). Their name is the log's origin. Compare them with what "
        "you know from elsewhere: until then they are the bundle's own word.",
    )
    witnesses: list[VerifierKey] = Field(
        max_length=MAX_KEYS,
        description="The keys of those who have cosigned: type 04, c2sp.org/tlog-cosignature. Compare them, "
        "as ``keys``.",
    )
    quorum: int = Field(
        ge=0,
        le=MAX_KEYS,
        description="How many witnesses must have cosigned a checkpoint for it to count as witnessed.",
    )
    earlier: list[Earlier] = Field(
        max_length=MAX_EARLIER, description="Witnessed checkpoints that show how early an entry was in the log."
    )


class Revoked(Strict):
    """That a key was revoked."""

    reason: str = Field(pattern="^(compromised|restored|superseded)$")
    at: Moment = Field(description="From when on it counts for nothing (restored, superseded), or when it was entered.")
    since: Moment | None = Field(default=None, description="Since when somebody else may have signed with it.")


class Key(Strict):
    """A public key that signed messages of the bundle, and when it counted, as the log says it."""

    owner: Code = Field(description="Whose it is: the link code in ``from`` of what it signs.")
    jwk: dict[str, str] = Field(
        max_length=8, description="The public key (RFC 7517, 8037). ``kid`` is its thumbprint (RFC 7638)."
    )
    not_before: Moment = Field(description="It counts for what is ``sent_at`` from here on.")
    not_after: Moment | None = Field(default=None, description="And before this.")
    revoked: Revoked | None = None
    entries: list[Index] = Field(
        min_length=1,
        max_length=MAX_ENTRIES,
        description="The entries (by ``index``) that registered the key, gave it an end, or revoked it, in the log's "
        "order; the members above follow from them.",
    )


class Message(Strict):
    """A signed message. Which of its items are shown is told by their hashes: those whose texts are in ``items``."""

    entry: Index = Field(description="The entry (by ``index``) that records it.")
    jws: str = Field(
        description="The compact JWS (RFC 7515) as it was received or sent. Its payload is a JSON object: ``id``, "
        "``type``, ``from``, ``to``, ``sent_at``, ``in_reply_to`` (``id`` and ``sha256`` of what it answers), "
        "``leaf`` (the promise of a receipt), ``items`` (base64url of the SHA-256 of each item's text), ``body`` with "
        "``evidence`` (the JWS of earlier messages), as in openapi/link.yaml."
    )


class Entry(Strict):
    """An entry of the log."""

    index: Index = Field(description="Its leaf's place in the tree.")
    leaf: str = Field(max_length=200, description="The public leaf, exactly: JSON with ``kind``, ``record``, ``time``.")
    record: str = Field(
        description="What the leaf commits to, exactly: JSON. Of a message: ``direction`` (seen from the gateway), "
        "``peer``, ``message`` (its id), ``key`` (the kid), ``jws`` (base64url of the SHA-256 of the JWS), ``sha256`` "
        "(of the whole body as it was sent), ``items`` (the hashes in the JWS; of what the gateway sends, the "
        "message's own only)."
    )
    salt: Salt = Field(description="32 bytes, base64url. The leaf's ``record`` is base64url(SHA-256(salt || record)).")
    proof: list[Hash] = Field(
        max_length=MAX_PROOF,
        description="The inclusion proof of the leaf under ``log.checkpoint`` (RFC 6962 section 2.1.1), from the "
        "leaf's sibling upwards. With ``index`` and the checkpoint it makes a c2sp.org/tlog-proof.",
    )
    witnessed_at: Moment | None = Field(
        default=None,
        description="The earliest time at which ``log.quorum`` witnesses had cosigned a checkpoint of the bundle that "
        "is larger than ``index``; absent where none is. The bundle's own word, as its witnesses and quorum are: see "
        "the check of witnesses.",
    )


class Sentence(Strict):
    """One line of the timeline."""

    at: Moment
    text: str = Field(max_length=1_000)


class Bundle(Strict):
    """The evidence of one transfer."""

    format: str = Field(pattern=f"^{FORMAT}$")
    notice: str = Field(max_length=400, description="What this file is; always the same text.")
    synthetic: str | None = Field(default=None, max_length=400, description="Present in what a demonstration has made.")
    gateway: Code = Field(description="The link code of the gateway whose log this is.")
    transfer: str = Field(max_length=64, description="The transfer's id.")
    state: State = Field(
        strict=False,
        description="Where the transfer stood; a final state (completed, refused, rejected, cancelled) is that of "
        "``transfer.closed``. Any other says that it came at least this far: later statements and revocations may have "
        "been left out.",
    )
    log: Log
    keys: list[Key] = Field(min_length=1, max_length=MAX_KEYS)
    messages: list[Message] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="The transfer's messages, in the order of their entries."
    )
    items: list[str] = Field(
        min_length=1,
        max_length=MAX_ENTRIES,
        description="The exact texts of the items that are about this transfer. The SHA-256 (base64url) of each "
        "stands in ``items`` of at least one payload. The other hashes there are of other transfers, which are nobody "
        "else's business.",
    )
    entries: list[Entry] = Field(
        min_length=1, max_length=MAX_ENTRIES, description="The entries behind messages and keys, by ``index``."
    )
    timeline: list[Sentence] = Field(max_length=MAX_ENTRIES, description=TIMELINE)


def read(data: bytes) -> Bundle:
    """The bundle that a file holds; raises LIMIT above ``MAX_BYTES``, MALFORMED with 2001 and the place otherwise."""
    if len(data) > MAX_BYTES:
        raise GatewayError(Kind.LIMIT, f"a bundle has at most {MAX_BYTES} bytes")
    text = strict_json.decode(data)
    _refuse_structure(text)
    return of(strict_json.loads(text))


def of(value: Any) -> Bundle:
    """The bundle that a JSON value is; raises MALFORMED with 2001 and the place."""
    try:
        return Bundle.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise GatewayError(
            Kind.MALFORMED, str(first["msg"]), code=2001, context={"place": place(*first["loc"])}
        ) from None


def place(*steps: str | int) -> str:
    """How a place in a bundle is written: ``entries[3].leaf``; "the file" for the whole."""
    written = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:64]}" for step in steps)
    return written.removeprefix(".") or "the file"


def _refuse_structure(text: str) -> None:
    """Refuse what has far more parts than a bundle before it is taken apart: each would take memory of its own."""
    plain = text.replace("\\\\", "").replace('\\"', "") if "\\" in text else text
    if plain.count('"') > 2 * MAX_STRINGS:
        raise GatewayError(Kind.LIMIT, f"a bundle has at most {MAX_STRINGS} strings")
    if sum(map(len, plain.split('"')[::2])) > MAX_STRUCTURE:
        raise GatewayError(Kind.LIMIT, "a bundle has few parts beside its texts")


def schema() -> dict[str, Any]:
    """The JSON Schema of a bundle, with how to verify one."""
    made = Bundle.model_json_schema()
    steps = "\n".join(f"{check.number}. {check.title} {check.how} ({check.source})" for check in rules.CHECKS)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:article6-gateway:evidence:1",
        "title": "The evidence bundle of a transfer",
        "description": f"{rules.PREFACE}\n\n{steps}",
    }
    return {**head, **{name: value for name, value in made.items() if name not in head}}
