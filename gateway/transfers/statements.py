"""The statements of the relay: reading those of registries, writing those of the gateway.

A statement is the exact text of one item about one transfer. What the gateway says in a state, to whom, and
which earlier statements travel with it, is one table (``SAID``); the relay repeats it until it is answered.
Statements name each other by the hash of their text, or by id and hash of the message, so that each can be
shown alone. Reading raises ``GatewayError`` with 2001 for what is not of the protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gateway.domain import wire
from gateway.domain.check_codes import Finding
from gateway.domain.identifiers import Account, Standing, parse_account, parse_transfer_id
from gateway.domain.transfers import Event, State
from gateway.errors import GatewayError, Kind
from gateway.messages.receipts import MAX_NAMED, dumps
from gateway.signing import compact
from gateway.transfers import naming
from gateway.transfers.store import Row, Step

#: What the gateway says of a transfer it has no row of, or none that is the asker's.
NOT_KNOWN = "not known here"
Known = Mapping[tuple[str, str], Step]


@dataclass(frozen=True, slots=True)
class Said:
    """A statement the gateway makes in a state: in which message, to which side, and with what evidence."""

    type: str
    step: str
    column: str
    to_source: bool
    carries: tuple[str, ...]
    text: Callable[[Row, State, Known], str]

    def peer(self, row: Row) -> str | None:
        """Whom to tell: the source, or an acquirer that has been offered the transfer."""
        if self.to_source:
            return row.source
        offered = row.offer_id is not None or row.settle_id is not None
        return row.acquirer if self.step != "closed-acquirer" or offered else None


@dataclass(frozen=True, slots=True)
class Word:
    """What a registry states about one transfer, and the event that is for the row."""

    transfer: str
    event: Event
    findings: tuple[Finding, ...] = ()
    #: Hash of our item (an answer), or our message (released, credited; ``name_of``), that it names; None where none.
    names: str | None = None
    #: Why the word cannot be taken, whatever the row's state.
    faults: tuple[Finding, ...] = ()

    @property
    def step(self) -> str:
        """The step it is kept as: once per transfer. ``closed-here`` may follow an answer, and is none."""
        return STEPS[self.event]


_EVENTS = {"accepted": Event.ACCEPTED, "rejected": Event.REJECTED, "closed-here": Event.CLOSED_HERE}
_TRANSFER = frozenset({"kind", "transfer"})
#: Which step of a transfer a registry's word is.
STEPS: Mapping[Event, str] = MappingProxyType(
    {
        Event.ACCEPTED: "answer",
        Event.REJECTED: "answer",
        Event.CLOSED_HERE: "closed-here",
        Event.RELEASED: "released",
        Event.VOIDED: "voided",
        Event.CREDITED: "credited",
    }
)


def read_answer(value: dict[str, Any]) -> Word:
    """Read an acquirer's ``answer``."""
    raw = wire.members(value, "answer", _TRANSFER | {"offer", "answer", "findings"})
    event = _EVENTS.get(wire.text(raw["answer"], "answer"))
    if event is None:
        raise wire.malformed("an answer is accepted, rejected or closed-here")
    findings = _findings(raw)
    if event is Event.REJECTED and not findings:
        raise wire.malformed("who rejects says why")
    return Word(_transfer(raw), event, findings, wire.text(raw["offer"], "offer"))


def read_released(value: dict[str, Any]) -> Word:
    """Read a source's ``released``; what it says of the units is read again when they move (``naming``)."""
    raw = wire.members(value, "released", _TRANSFER | {"commit", "released_at", "first_transfer", "itmo"})
    naming.read_release(value)
    return Word(_transfer(raw), Event.RELEASED, names=_reference(raw["commit"], "commit"))


def read_voided(value: dict[str, Any]) -> Word:
    """Read a source's ``voided``: not released, and never will be."""
    raw = wire.members(value, "voided", _TRANSFER | {"findings"})
    return Word(_transfer(raw), Event.VOIDED, _findings(raw))


def read_credited(value: dict[str, Any]) -> Word:
    """Read an acquirer's ``credited``; an account that holds no units is the item's fault alone (2014, 5903)."""
    raw = wire.members(value, "credited", _TRANSFER | {"settle", "credited_at", "account", "findings"})
    wire.parse_time(raw["credited_at"])
    faults = wire.Faults()
    faults.attempt(_account_of_units, wire.text(raw["account"], "account"))
    settle = _reference(raw["settle"], "settle")
    return Word(_transfer(raw), Event.CREDITED, _findings(raw), settle, tuple(faults.findings))


def read_account_credited(value: dict[str, Any]) -> Account:
    """Read the account a ``credited`` says the units went to: one that holds units (raises 2001, 2014, 5903)."""
    return _account_of_units(wire.text(value.get("account"), "account"))


def _account_of_units(text: str) -> Account:
    account = parse_account(text)
    if account.type.standing is not Standing.HELD:
        raise GatewayError(Kind.REJECTED, f"an account of type {account.type.value} holds no units", code=5903)
    return account


def read_receipt(value: dict[str, Any]) -> tuple[str | None, str, tuple[Finding, ...]]:
    """Read a receipt's item: its transfer (if it is about one), the state it gives, and its findings."""
    raw = wire.members(value, "receipt", frozenset({"kind", "item", "state", "findings"}), frozenset({"transfer"}))
    wire.text(raw["item"], "item")
    transfer = _transfer(raw) if "transfer" in raw else None
    return transfer, wire.text(raw["state"], "state"), _findings(raw)


def _offer(row: Row, _state: State, known: Known) -> str:
    return dumps({
        "kind": "offer", "transfer": row.id, "proposal": _hash(known, row, "propose"), "verdict": "passed",
        "findings": row.findings, "answer_by": wire.time_to_wire(row.deadline),
    })  # fmt: skip


def _commit(row: Row, _state: State, known: Known) -> str:
    proposal, answer = _hash(known, row, "propose"), _hash(known, row, "answer")
    return dumps({"kind": "commit", "transfer": row.id, "proposal": proposal, "answer": answer})


def _settle(row: Row, _state: State, known: Known) -> str:
    proposal, answer, release = (_hash(known, row, step) for step in ("propose", "answer", "released"))
    return dumps({"kind": "settle", "transfer": row.id, "proposal": proposal, "answer": answer, "release": release})


def _cancel(row: Row, _state: State, _known: Known) -> str:
    assert row.outcome is not None  # an ending has one; the row is given as it will be
    return dumps({"kind": "cancel", "transfer": row.id, "outcome": row.outcome.value, "findings": row.findings})


def _closed(row: Row, state: State, _known: Known) -> str:
    return dumps({"kind": "closed", "transfer": row.id, "state": state.value, "findings": row.findings})


_CLOSED = (
    Said("transfer.closed", "closed-source", "closed_source_id", True, ("propose", "voided"), _closed),
    Said("transfer.closed", "closed-acquirer", "closed_acquirer_id", False, ("propose", "voided"), _closed),
)
_ALL = ("propose", "answer", "released", "credited")

#: What is said on entering a state, and repeated until it is answered (R9), the end of a transfer too (R8).
SAID: Mapping[State, tuple[Said, ...]] = MappingProxyType(
    {
        State.CHECKED: (Said("transfer.offer", "offer", "offer_id", False, ("propose",), _offer),),
        State.COMMITTING: (Said("transfer.commit", "commit", "commit_id", True, ("propose", "answer"), _commit),),
        State.RELEASED: (
            Said("transfer.settle", "settle", "settle_id", False, ("propose", "answer", "released"), _settle),
        ),
        State.ENDING: (Said("transfer.cancel", "cancel", "cancel_id", True, (), _cancel),),
        State.REFUSED: _CLOSED,
        State.REJECTED: _CLOSED,
        State.CANCELLED: _CLOSED,
        State.COMPLETED: (
            Said("transfer.closed", "closed-source", "closed_source_id", True, _ALL, _closed),
            Said("transfer.closed", "closed-acquirer", "closed_acquirer_id", False, _ALL, _closed),
        ),
    }
)


def _hash(known: Known, row: Row, step: str) -> str:
    return compact.encode(known[row.id, step].sha256)


def _transfer(raw: Mapping[str, Any]) -> str:
    return str(parse_transfer_id(wire.text(raw["transfer"], "transfer")))


def _findings(raw: Mapping[str, Any]) -> tuple[Finding, ...]:
    return tuple(wire.parse_finding(value) for value in wire.array(raw["findings"], "findings"))


def _reference(value: object, what: str) -> str:
    raw = wire.members(value, what, frozenset({"id", "sha256"}))
    return name_of(wire.text(raw["id"], f"{what} id"), wire.text(raw["sha256"], f"{what} sha256"))


def name_of(message_id: str, jws_sha256: str) -> str:
    """A message as another names it, in one text: its id and the hash of its JWS."""
    return f"{message_id} {jws_sha256}"


def findings_to_wire(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as they are kept on a row and sent in statements; of very many blocks the first are named."""
    return [wire.finding_to_wire(replace(f, blocks=f.blocks[:MAX_NAMED])) for f in findings]
