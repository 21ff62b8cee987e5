"""Signed messages that the link's contract allows, and almost allows, without end, from a seed.

Each begins as a sample of ``openapi/link.yaml`` in which places, units, times and ids are those of a running gateway,
so that many are about what is there; then up to three places of it are changed: to another value of the same form, or
to one that is missing, too much, of another type, too large, or of another alphabet. Most are signed with the sender's
own key, some with another's, and some are torn after the signature.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.test_sandbox_play import Party, sha, stamp, text, uuid7
from tests.played import block
from tests.refusals import JOSE, LINK_JSON, sign
from tests.unit.test_link_contract import NUMBERED, OWN_ITEM, sample_payload, samples_of_items

#: What a gateway receives from registries; the other types are what it sends, or answers to what it sent.
RECEIVED = (
    *("link.activate", "action.notice", "status.query", "time.query", "transfer.propose", "transfer.propose"),
    *("transfer.answer", "transfer.released", "transfer.voided", "transfer.credited"),
)
#: What no field of the contract takes, or hardly any.
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, -(2**63), 10**400, 1.5, 1e300, [], {}, [[[]]], [None],
    {"a": {"b": {"c": {}}}}, "", " ", "\x00", "\ud800", "a" * 3_000, "\u202e", "0" * 43, "NaN", "é", "\U0001f600",
    "'; DROP TABLE transfer; --", "../../etc/passwd", "%s%n", "2026-02-30T00:00:00.000Z", "MEC01-", "100-1", "ZZZ99",
)  # fmt: skip


@dataclass
class Generator:
    """Makes bodies; ``transfers`` are ids that the gateway knows."""

    seed: int
    parties: list[Party]
    stranger: Party
    transfers: list[str] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - a test that can be repeated
        self._samples = samples_of_items()

    def one(self) -> tuple[str, bytes]:
        """The content type and the body of the next message."""
        self.made += 1
        party = self._random.choice(self.parties)
        types = RECEIVED if self._random.random() < 0.8 else sorted(OWN_ITEM)
        message_type = self._random.choice(types)
        payload, texts = self._sample(party, message_type)
        for _ in range(self._random.choice((0, 0, 0, 0, 0, 1, 2, 3))):
            self._spoil(payload)
        signer = party if self._random.random() < 0.95 else self._random.choice([*self.parties, self.stranger])
        jws = sign(signer, _spelt(payload))
        if texts or self._random.random() < 0.01:
            kind, body = LINK_JSON, _spelt({"jws": jws, "items": texts}).encode("utf-8", "surrogatepass")
        else:
            kind, body = JOSE, jws.encode()
        return kind, self._torn(body)

    def _sample(self, party: Party, message_type: str) -> tuple[dict[str, Any], list[str]]:
        payload = copy.deepcopy(sample_payload(message_type))
        now = datetime.now(UTC)
        payload |= {"id": uuid7(), "from": party.code, "to": "GWY01", "sent_at": stamp(now)}
        payload.pop("in_reply_to", None)
        if message_type in NUMBERED:
            party.seq += 1
            payload["seq"] = party.seq
        if "expires_at" in payload:
            payload["expires_at"] = stamp(now + timedelta(seconds=self._random.choice((250, 250, 250, -5))))
        kind = OWN_ITEM[message_type]
        items = [self._item(kind, now) for _ in range(self._random.choice((1, 1, 1, 2, 3)))] if kind else []
        texts = [_spelt(item) for item in items]
        payload.pop("items", None)
        if texts:
            payload["items"] = [sha(t.encode("utf-8", "surrogatepass")) for t in texts]
        return payload, texts

    def _item(self, kind: str, now: datetime) -> dict[str, Any]:
        item = copy.deepcopy(self._samples[kind])
        first = self._random.randrange(1, 5_000)
        units = block(first, first + self._random.randrange(50))
        for holder, name in list(_places(item)):
            if name in ("registry", "party") and holder.get("registry") == "JPN01":
                holder |= {"registry": "KOR01", "party": "KOR"}
            elif name == "transfer":
                holder[name] = self._transfer()
            elif name == "action":
                holder[name] = uuid7()
            elif name == "blocks" and holder is item:
                holder[name] = [copy.deepcopy(units)]
            elif name == "block":
                holder[name] = copy.deepcopy(units)
            elif name in ("at", "released_at", "credited_at"):
                holder[name] = stamp(now)
        if "quantity" in item:
            item["quantity"] = units["last"] - units["first"] + 1
        for _ in range(self._random.choice((0, 0, 0, 1, 2))):
            self._spoil(item)
        return item

    def _transfer(self) -> str:
        known = self.transfers and self._random.random() < 0.7
        return self._random.choice(self.transfers) if known else f"MEC01-{uuid7()}"

    def _spoil(self, value: dict[str, Any]) -> None:
        """Change one place of it."""
        holder, name = self._random.choice(list(_places(value)))
        strange = copy.deepcopy(self._random.choice(STRANGE))
        changes: tuple[Callable[[], Any], ...] = (
            lambda: holder.pop(name) if isinstance(holder, dict) else holder.clear(),
            lambda: holder.__setitem__(name, strange),
            lambda: holder.__setitem__(name, [holder[name]]),
            lambda: holder.__setitem__(name, str(holder[name])),
            lambda: holder.update({"note": strange}) if isinstance(holder, dict) else holder.append(strange),
            lambda: holder.__setitem__(name, _neighbour(holder[name])),
        )
        self._random.choice(changes)()

    def _torn(self, body: bytes) -> bytes:
        if self._random.random() < 0.95:
            return body
        at = self._random.randrange(len(body))
        return self._random.choice((body[:at], body[:at] + b"\xff" + body[at + 1 :], body + b" ", b" " + body))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value, as its holder and its name or number there."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for name, part in inside:
        yield value, name
        if isinstance(part, dict | list):
            yield from _places(part)


def _neighbour(value: Any) -> Any:
    """A value of the same form that is close to this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str) and value:
        return value[:-1] + chr(ord(value[-1]) + 1)
    return value


def _spelt(value: Any) -> str:
    """As JSON, whatever is in it."""
    try:
        return text(value)
    except ValueError:
        return json.dumps(value)
