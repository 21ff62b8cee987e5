"""What operators and machines send and get as JSON. Closed shapes; quantities are whole tonnes, times are UTC."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from gateway.domain import moments
from gateway.holdings.recording import Told

#: A time that is sent: with an offset, and within what can be stored and shown anywhere.
Moment = Annotated[AwareDatetime, Field(ge=moments.FIRST, le=moments.LAST), AfterValidator(moments.known)]


class Problem(BaseModel):
    """Why a request was refused (RFC 9457); ``code`` is one of the check table, where one applies.

    ``findings`` has everything that was found, where that may be several things: of each a code, and what it is about.
    """

    type: str
    title: str
    status: int
    detail: str
    code: int | None = None
    reason: str | None = None
    findings: list[dict[str, Any]] | None = None


class Address(BaseModel):
    """Where units are held: a registry, a Party's books in it, an account there (``TTT-N``)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    registry: str = Field(max_length=5, examples=["MEC01"])
    party: str = Field(max_length=3, examples=["MMR"])
    account: str = Field(max_length=20, examples=["100-1"])


class StatedAddress(BaseModel):
    """An address as the source registry wrote it, which for a faulty proposal may be none."""

    registry: str
    party: str
    account: str


class TransferRequest(BaseModel):
    """Ask a source registry to propose a transfer; it chooses the blocks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    transferring: Address
    acquiring: Address
    purpose: str = Field(max_length=8, examples=["NDC"])
    quantity: int = Field(ge=1, le=2**53 - 1)


class RequestState(BaseModel):
    """A request: ``sent`` until the source answers, then ``recorded`` or ``refused``; its transfer once proposed."""

    request: str
    source: str
    state: str
    findings: list[dict[str, Any]]
    transfer: str | None
    waiting: str | None


class Transfer(BaseModel):
    """A transfer as listed."""

    id: str
    source: str
    acquirer: str | None
    transferring: StatedAddress
    acquiring: StatedAddress
    purpose: str
    quantity: int
    state: str
    kyoto_status: int | None
    outcome: str | None
    findings: list[dict[str, Any]]
    deadline: datetime
    next_action: str
    next_at: datetime | None
    attempts: int
    waiting: str | None
    created_at: datetime
    changed_at: datetime


class Block(BaseModel):
    """Units a transfer claims or claimed."""

    registry: str
    series: str
    first: int
    last: int
    quantity: int
    claimed: bool


class Event(BaseModel):
    """A step the transfer took, and the log entry that records it."""

    version: int
    state: str
    event: str
    at: datetime
    entry_id: int


class Message(BaseModel):
    """A signed message about the transfer, as it was received or sent."""

    step: str
    direction: str
    peer: str
    type: str
    message: str
    seq: int | None
    at: datetime
    entry_id: int


class TransferCourse(BaseModel):
    """One transfer with its blocks, its steps and the messages behind them."""

    transfer: Transfer
    blocks: list[Block]
    events: list[Event]
    messages: list[Message]


class TransferPage(BaseModel):
    """A page of transfers, newest first; ``next`` continues after its last, ``halted`` is why the gateway is halted."""

    transfers: list[Transfer]
    next: str | None
    halted: str | None


class Ending(BaseModel):
    """End a transfer: why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str = Field(max_length=500)


class Intervention(BaseModel):
    """Where the transfer stands now."""

    transfer: str
    state: str


class Approval(BaseModel):
    """What one person has asked for and another decides on: ``canonical`` says it exactly, ``sha256`` is its hash.

    ``result`` is what came of it once it is *approved*; ``reason`` is why it is *declined* or *void*.
    """

    id: str
    kind: str
    registry: str | None
    canonical: str
    sha256: str
    initiator: str
    requested_at: datetime
    expires_at: datetime
    state: str
    decider: str | None
    decided_at: datetime | None
    reason: str | None
    result: dict[str, Any] | None


class ApprovalPage(BaseModel):
    """A page of approvals, newest first; ``next`` continues after its last."""

    approvals: list[Approval]
    next: str | None


class Consent(BaseModel):
    """Approve what has this hash, in hexadecimal, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Halt(BaseModel):
    """Whether the gateway is halted, and if it is, why, by whom and since when."""

    halted: bool
    reason: str | None
    by: str | None
    since: datetime | None


class Refusal(BaseModel):
    """Say why: something is declined, or the gateway halted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str = Field(max_length=500)


class Alarm(BaseModel):
    """What a registry said that cannot be true or shows lost data; the message is log entry ``entry_id``."""

    id: int
    at: datetime
    link: str
    transfer: str
    code: int
    detail: str
    entry_id: int


class AlarmPage(BaseModel):
    """A page of alarms, newest first; ``next`` continues after its last."""

    alarms: list[Alarm]
    next: int | None


class Record(BaseModel):
    """A completed action that is told: a record to the section of ``party``, which acted; a notification to whoever
    keeps the books of ``party``, whose units were used or cancelled in another's (null until it is said).

    ``entry_id`` is the log entry that completed the action.
    """

    id: int
    kind: Told
    action: str
    type: str
    at: datetime
    link: str | None
    section: str | None
    party: str
    quantity: int
    state: str
    findings: list[dict[str, Any]]
    message: str | None
    waiting: str | None
    entry_id: int


class RecordPage(BaseModel):
    """A page of records, newest first, with all counts by state; ``next`` continues after its last."""

    records: list[Record]
    counts: dict[str, int]
    next: int | None


class RegistryTotals(BaseModel):
    """What the gateway's book says of one registry, in tonnes."""

    registry: str
    issued: int
    held: int
    in_transit: int
    used: int
    cancelled: int
    moved_in: int
    moved_out: int


class Books(BaseModel):
    """The gateway's book, and how many transfers stand in each state.

    Issued = held + in transit + used + cancelled over all registries, or it is ``broken``; null for who sees only some.
    """

    registries: list[RegistryTotals]
    conservation: str | None
    transfers: dict[str, int]


class Stranger(BaseModel):
    """A message that no registered key vouches for; it changed nothing and is in no log."""

    at: datetime
    claimed_sender: str | None
    fault: str


class Debt(BaseModel):
    """A message of the gateway's that a link has not answered."""

    message_id: str
    peer: str
    type: str


class OwnKey(BaseModel):
    """A message key of the gateway's. ``waiting``: link → why it has not receipted the key; ``until`` once it ended."""

    kid: str
    alg: str
    not_before: datetime
    until: datetime | None
    ended: str | None
    receipted: list[str]
    waiting: dict[str, str | None]
    owes: list[Debt]


class OwnKeys(BaseModel):
    """The gateway's message keys, the oldest first; ``more`` if they owe more than the oldest that are listed."""

    keys: list[OwnKey]
    more: bool


class Trace(BaseModel):
    """A message and the key that signed it, as the log shows them; ``fault`` is why the key was not valid then."""

    message: str
    sender: str
    type: str
    at: datetime
    kid: str | None
    not_before: datetime | None
    not_after: datetime | None
    revoked: str | None
    revoked_since: datetime | None
    valid: bool
    fault: str | None


class Traces(BaseModel):
    """The messages of one id, whoever sent them."""

    messages: list[Trace]
