"""What goes with a statement that is said again: the messages it rests on, as they were first signed (R24, R26).

Who hears a release, an answer or a credit again may have lost what it answers. So the gateway's own message that
the statement names travels with it, and what that message carried itself, item by item: enough for the gateway
to find its own signature and go on. Nothing is added where the message named is the very one being answered.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import strictjson
from .database import Row, Tx
from .signature import MAX_BODY_BYTES, digest, segment

#: How much evidence one message carries; JSON writes the item texts longer, and hashes come on top.
MAX_SHOWN_BYTES = MAX_BODY_BYTES // 3

#: What a statement rests on: the step of the gateway it names, and the steps that one carried.
_GROUNDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "answer": ("offer", ("propose",)),
    "released": ("commit", ("propose", "answer")),
    "credited": ("settle", ("propose", "answer", "released")),
    "closed-here": ("closed", ()),
}


@dataclass
class Shown:
    """Messages and item texts to carry, each once."""

    messages: dict[str, None] = field(default_factory=dict)
    items: dict[str, None] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The body of a message that carries this."""
        return {"evidence": list(self.messages)} if self.messages else {}

    @property
    def fits(self) -> bool:
        """Whether one message can carry it."""
        return sum(map(len, (*self.messages, *self.items))) <= MAX_SHOWN_BYTES


@dataclass(frozen=True)
class _Signed:
    """A stored message, and those it carried."""

    jws: str
    type: str
    hashes: frozenset[str]
    carried: tuple["_Signed", ...]

    def holding(self, step: str, sha256: str) -> str | None:
        """Give the message, this one or one carried, in which the item of a step was first signed."""
        if self.type == f"transfer.{step}" and sha256 in self.hashes:
            return self.jws
        return next((found for inner in self.carried if (found := inner.holding(step, sha256))), None)


async def shown(tx: Tx, role: str, said: Sequence[tuple[str, str, str]], answering: str | None = None) -> Shown:
    """Give what goes with statements (transfer, step, text) said again; ``answering`` is the message answered."""
    grounds = {transfer: _GROUNDS[_ground(step, text)] for transfer, step, text in said}
    names = {name for main, carries in grounds.values() for name in (main, *carries)}
    steps = await _steps(tx, role, grounds, names)
    named = {row["message"] for (_, step), row in steps.items() if step in ("offer", "commit", "settle", "closed")}
    signed = await _messages(tx, named - {answering})
    found = Shown()
    for transfer, (main, carries) in grounds.items():
        message = signed.get(steps[transfer, main]["message"]) if (transfer, main) in steps else None
        texts = [(name, steps[transfer, name]["item"]) for name in (main, *carries) if (transfer, name) in steps]
        for name, text in texts if message else ():
            holder = message.holding(name, digest(text)) if message else None
            if holder is not None:
                found.messages[holder] = found.items[text] = None
    return found


async def statement(tx: Tx, role: str, transfer: str, step: str) -> Shown:
    """Give the statement of one step and the message in which it was first signed."""
    found = Shown()
    for row in (await _steps(tx, role, [transfer], [step])).values():
        for message in (await _messages(tx, {row["message"]})).values():
            holder = message.holding(step, digest(row["item"]))
            if holder is not None:
                found.messages[holder] = found.items[row["item"]] = None
    return found


def _ground(step: str, text: str) -> str:
    if step == "answer" and strictjson.loads(text)["answer"] == "closed-here":
        return "closed-here"
    return step


async def _steps(tx: Tx, role: str, transfers: Collection[str], names: Collection[str]) -> dict[tuple[str, str], Row]:
    found = await tx.rows(
        "SELECT transfer, step, item, message::text AS message FROM step"
        " WHERE role = %s AND transfer = ANY(%s) AND step = ANY(%s)",
        role,
        list(transfers),
        list(names),
    )
    return {(row["transfer"], row["step"]): row for row in found}


async def _messages(tx: Tx, ids: Collection[str | None]) -> dict[str, _Signed]:
    found = await tx.rows(
        "SELECT id::text AS id, jws FROM sent WHERE id = ANY(%s::uuid[])"
        " UNION ALL SELECT id::text, jws FROM received WHERE id = ANY(%s::uuid[])",
        list(ids),
        list(ids),
    )
    return {row["id"]: _read(row["jws"]) for row in found}


def _read(jws: str) -> _Signed:
    payload = segment(jws.split(".")[1])
    carried = payload["body"].get("evidence", [])
    return _Signed(jws, payload["type"], frozenset(payload.get("items", ())), tuple(map(_read, carried)))
