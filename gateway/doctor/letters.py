"""Checks of messages: the stored bytes against their row, their signature, and the statements kept from them.

Every message is verified again, by the keys that counted when it was stored; our own by every key of ours that is
known. What was signed before anybody kept a list of them, with one that is not in it, is named in a note.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from gateway import db
from gateway.doctor import store
from gateway.doctor.report import Remark, finding, note
from gateway.doctor.scene import TOLERANCE, Scene
from gateway.messages.logged import BARE
from gateway.signing import compact, envelope, trust
from gateway.signing.envelope import CarriedMessage, EnvelopeError, Item, Unverified
from gateway.signing.messages import parse_time
from gateway.transfers.statements import SAID, STEPS

#: Step → the kind of its items, and who may say it: the source, the acquirer, or the gateway (to one of the two).
_SPOKEN_BY_US = {
    said.step: (said.type.removeprefix("transfer."), "gateway", "source" if said.to_source else "acquirer")
    for sayings in SAID.values()
    for said in sayings
}
_SPOKEN = {
    "propose": ("propose", "source", "gateway"),
    "released": ("released", "source", "gateway"),
    "voided": ("voided", "source", "gateway"),
    "credited": ("credited", "acquirer", "gateway"),
    **{step: ("answer", "acquirer", "gateway") for step in STEPS.values() if step in ("answer", "closed-here")},
    **_SPOKEN_BY_US,
}
#: Types of message in which we say something of a transfer.
_SAYING = frozenset(said.type for sayings in SAID.values() for said in sayings)


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement kept from a message; ``whole`` when its hash is that of its text."""

    transfer: str
    step: str
    sha256: str
    whole: bool
    source: str
    acquirer: str | None


@dataclass(frozen=True)
class Texts:
    """The texts of a message's items: hashed once, and read where one is looked at, because most are carried ones."""

    texts: tuple[str, ...]

    @cached_property
    def hashes(self) -> list[str]:
        """Their hashes, in order."""
        return [compact.digest(text) for text in self.texts]

    @cached_property
    def by_hash(self) -> Mapping[str, str]:
        """Each by its hash."""
        return dict(zip(self.hashes, self.texts, strict=True))

    def item(self, sha256: str) -> Item | None:
        """The item with this hash, if it is there and can be read."""
        try:
            return envelope.attach([self.by_hash[sha256]])[sha256]
        except (KeyError, EnvelopeError):
            return None


@dataclass(frozen=True)
class Letter:
    """A stored message: its row, what its bytes say, and what proves them. ``fault`` is why they prove nothing.

    ``unproven`` is set for a message of ours whose key is not at hand.
    """

    columns: Mapping[str, Any]
    kept: tuple[Kept, ...]
    unverified: Unverified | None
    texts: Texts = Texts(())
    fault: str | None = None
    unproven: bool = False
    #: The promised leaf is that of a message that was refused and not kept.
    of_refused: bool = False
    #: Own statements (transfer, kind) that are kept nowhere.
    unkept: tuple[tuple[str, str], ...] = ()

    @property
    def entry(self) -> int:
        """Its entry in the log."""
        return int(self.columns["entry_id"])

    @property
    def out(self) -> bool:
        """Whether it is ours."""
        return bool(self.columns["direction"] == "out")

    @property
    def payload(self) -> Mapping[str, Any]:
        """What it says."""
        return self.unverified.signed.payload if self.unverified else {}

    @property
    def evidence(self) -> list[str]:
        """The messages it carries."""
        body = self.payload.get("body")
        carried = body.get("evidence") if isinstance(body, dict) else None
        return [jws for jws in carried if isinstance(jws, str)] if isinstance(carried, list) else []


async def letters(tx: db.ReadTx, scene: Scene) -> AsyncIterator[Letter]:
    """Every message, read and verified."""
    async for found in store.messages(tx):
        columns = dict(found._mapping)
        kept = tuple(_kept(step) for step in columns["steps"] or ())
        try:
            unverified = envelope.read(bytes(columns["body"]))
        except EnvelopeError as error:
            yield Letter(columns, kept, None, fault=error.detail)
            continue
        if columns["direction"] == "shown":  # carried by another message: ours or a registry's, and good as of then
            columns["direction"] = "out" if unverified.claimed_sender == scene.code else "in"
        fault, unproven = _proven(unverified, columns, scene)
        letter = Letter(columns, kept, unverified, Texts(unverified.texts), fault, unproven)
        yield replace(letter, of_refused=await _of_refused(tx, letter), unkept=await _unkept(tx, letter))


def _kept(step: Sequence[Any]) -> Kept:
    transfer, name, digest, whole, source, acquirer = step
    return Kept(transfer, name, compact.encode(bytes.fromhex(digest)), whole, source, acquirer)


def _proven(unverified: Unverified, columns: Mapping[str, Any], scene: Scene) -> tuple[str | None, bool]:
    """Why a message proves nothing, if so; and whether its key is one of ours that is not at hand."""
    sender = scene.code if columns["direction"] == "out" else columns["peer"]
    at = columns["at"]
    if columns["kind"] == "evidence":
        with suppress(EnvelopeError):
            at = parse_time(unverified.signed.payload.get("sent_at"))
    keys = scene.keys_of(sender, at)
    if columns["direction"] == "out" and trust.find(keys, sender, unverified.kid) is None:
        return None, True
    try:
        envelope.verify_carried(unverified.signed.text, {}, keys, at=at)
    except EnvelopeError as error:
        return error.detail, False
    return None, False


async def _of_refused(tx: db.ReadTx, letter: Letter) -> bool:
    leaf = letter.payload.get("leaf")
    if not letter.out or not isinstance(leaf, str) or _answers(letter, leaf):
        return False
    try:
        return await store.refused_as(tx, compact.decode(leaf), letter.entry)
    except ValueError:
        return False


def _answers(letter: Letter, leaf: str) -> bool:
    """Whether the leaf is that of the stored message which this one answers, bytes and all."""
    named = letter.payload.get("in_reply_to")
    digest = named.get("sha256") if isinstance(named, dict) else None
    pairs = letter.columns["answered"] or ()
    return any(
        (digest, leaf) == (compact.encode(bytes.fromhex(sha)), compact.encode(bytes.fromhex(leaf_hash)))
        for sha, leaf_hash in pairs
    )


async def _unkept(tx: db.ReadTx, letter: Letter) -> tuple[tuple[str, str], ...]:
    """What we say in a message and keep as a step neither of it nor of another message."""
    if not letter.out or letter.columns["type"] not in _SAYING or letter.columns["kind"] == "evidence":
        return ()
    kind = letter.columns["type"].removeprefix("transfer.")
    mine = {kept.sha256 for kept in letter.kept}
    named = f'"{kind}"'  # of what is carried too, most need not be read to see that it is nothing of this kind
    others = [sha for sha, text in letter.texts.by_hash.items() if sha not in mine and named in text]
    items = [item for item in map(letter.texts.item, others) if item is not None and item.kind == kind]
    loose = [str(item.value.get("transfer")) for item in items]
    if not loose:
        return ()
    names = [step for step, (of, *_) in _SPOKEN_BY_US.items() if of == kind]
    kept = await store.kept_steps(tx, loose)
    return tuple((transfer, kind) for transfer in loose if not any((transfer, name) in kept for name in names))


def messages(letter: Letter, scene: Scene) -> Iterable[Remark]:
    """The stored bytes of every message are those stored, say what its row says, and are signed by their sender."""
    c = letter.columns
    about: dict[str, str | int] = {"entry": letter.entry, "message": c["message_id"]}
    if sha256(bytes(c["body"])).digest() != bytes(c["sha256"]):
        yield finding("its bytes are not those whose hash was stored", **about)
    if letter.unverified is None:
        yield finding(f"its bytes are no message: {letter.fault}", **about)
        return
    if letter.fault is not None:
        yield finding(f"it is not signed by {scene.code if letter.out else c['peer']}: {letter.fault}", **about)
    ends = (scene.code, c["peer"]) if letter.out else (c["peer"], scene.code)
    named = letter.payload.get("in_reply_to")
    answers = named.get("id") if isinstance(named, dict) else None
    shown = c["kind"] == "evidence"  # carried by another message: without its number, and perhaps some of its items
    row = {"id": c["message_id"], "type": c["type"], "from": ends[0], "to": ends[1]}
    row |= {} if shown else {"seq": c["seq"]}
    for name, value in row.items():
        if letter.payload.get(name) != value:
            yield finding(f"its row has {name} {value}, its bytes have {letter.payload.get(name)}", **about)
    if answers != c["in_reply_to"]:
        yield finding(f"its row answers {c['in_reply_to']}, its bytes answer {answers}", **about)
    if letter.unverified.content_type != c["content_type"]:
        yield finding(f"it is stored as {c['content_type']}", **about)
    listed = letter.payload.get("items", [])
    if c["type"] in BARE:
        return  # kept without the texts that it lists
    if not set(letter.texts.hashes) <= set(listed) if shown else listed != letter.texts.hashes:
        yield finding("its items are not those that were signed", **about)


def own_keys(letter: Letter, scene: Scene) -> Iterable[Remark]:
    """Messages of ours are signed with keys of ours that are listed; those older than the list are named."""
    if not letter.unproven or letter.unverified is None:
        return
    stored = letter.columns["at"] if letter.columns["kind"] != "evidence" else None
    if scene.listed_since is not None and stored is not None and stored > scene.listed_since + TOLERANCE:
        yield finding(f"signed with key {letter.unverified.kid}, which is none of ours", entry=letter.entry)
    else:
        yield note(
            f"signed with our key {letter.unverified.kid}, which is not at hand: not examined", entry=letter.entry
        )


def statements(letter: Letter, scene: Scene) -> Iterable[Remark]:
    """Every statement kept is, to the letter, in a message signed by who may make it, about that transfer."""
    carried: list[CarriedMessage | None] | None = None
    for kept in letter.kept:
        about: dict[str, str | int] = {"transfer": kept.transfer, "entry": letter.entry}
        if not kept.whole:
            yield finding(f"the text kept as its {kept.step!r} is not the one that was signed", **about)
        if kept.step not in _SPOKEN:
            yield finding(f"{kept.step!r} is no statement of the protocol", **about)
        elif letter.unverified is not None:
            if not _spoken_here(kept, letter, scene) and carried is None:
                carried = [_carried(jws, letter, scene) for jws in letter.evidence]
            yield from _statement(kept, letter, scene, carried or [], about)
    for transfer, kind in letter.unkept:
        yield finding(f"we signed a {kind!r} that is kept nowhere", transfer=transfer, entry=letter.entry)


def _statement(
    kept: Kept, letter: Letter, scene: Scene, carried: Sequence[CarriedMessage | None], about: Mapping[str, Any]
) -> Iterable[Remark]:
    kind, by, _ = _SPOKEN[kept.step]
    item = letter.texts.item(kept.sha256)
    if item is None:
        yield finding(f"its {kept.step!r} is not in the message it was kept from", **about)
    elif (item.kind, item.value.get("transfer")) != (kind, kept.transfer):
        other = f"the {item.kind!r} of {item.value.get('transfer')}"
        yield finding(f"what is kept as its {kept.step!r} is {other}", **about)
    elif not _spoken_here(kept, letter, scene) and not any(_shows(c, kept, scene) for c in carried):
        who = {"source": kept.source, "acquirer": kept.acquirer}.get(by, scene.code)
        yield finding(f"its {kept.step!r} is not said by {who}, who alone may say it", **about)


def _parties(kept: Kept, scene: Scene) -> dict[str, str | None]:
    return {"source": kept.source, "acquirer": kept.acquirer, "gateway": scene.code}


def _spoken_here(kept: Kept, letter: Letter, scene: Scene) -> bool:
    """Whether the message itself is the one in which this is said: by whom, to whom, and of that type."""
    kind, by, to = _SPOKEN[kept.step]
    parties, payload = _parties(kept, scene), letter.payload
    said = (payload.get("from"), payload.get("to"), payload.get("type"))
    return said == (parties[by], parties[to], f"transfer.{kind}")


def _shows(carried: CarriedMessage | None, kept: Kept, scene: Scene) -> bool:
    """Whether a message carried as evidence is one in which this was said; one of ours may need an earlier key."""
    kind, by, to = _SPOKEN[kept.step]
    if carried is None:
        return by == "gateway"
    parties = _parties(kept, scene)
    said = (carried.sender, carried.receiver, carried.type)
    return kept.sha256 in carried.listed and said == (parties[by], parties[to], f"transfer.{kind}")


def _carried(jws: str, letter: Letter, scene: Scene) -> CarriedMessage | None:
    """A message carried as evidence, judged at the time it was stored; nothing when it proves nothing."""
    try:
        sender = str(compact.read(jws).payload.get("from"))
        return envelope.verify_carried(jws, {}, scene.keys_of(sender, letter.columns["at"]), at=letter.columns["at"])
    except EnvelopeError:
        return None


def receipts(letter: Letter, _scene: Scene) -> Iterable[Remark]:
    """A receipt promises the leaf of the log entry of the message it answers, and a verdict is kept as its answer."""
    c = letter.columns
    if not letter.out or c["type"] not in ("receipt", "refusal") or letter.unverified is None:
        return
    about: dict[str, str | int] = {"entry": letter.entry, "message": c["message_id"]}
    leaf = letter.payload.get("leaf")
    if not isinstance(leaf, str):
        yield finding(f"this {c['type']} promises no entry of the log", **about)
    elif not letter.of_refused and not _answers(letter, leaf):
        yield finding(f"the entry it promises is not that of the message it answers, {c['in_reply_to']}", **about)
    if c["seq"] is not None and c["verdict"] != letter.entry:
        yield finding(f"it is not kept as the answer to {c['in_reply_to']}", **about)
