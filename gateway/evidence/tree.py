"""Checks of a bundle against the log's tree: signed checkpoints, their consistency, the leaves in them, and when.

Without keys that the verifier knows from elsewhere everything here is the bundle's own word, and the remarks say so.
With them a bundle has to stand under those: its own witnesses and quorum then say nothing about when.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from gateway.audit import merkle, walking
from gateway.audit.verdict import Wrong
from gateway.errors import GatewayError
from gateway.evidence.form import place
from gateway.evidence.said import Case, Fault, Seen, read_entries, read_notes
from gateway.signing import compact, notes
from gateway.signing.messages import format_time
from gateway.signing.notes import COSIGNATURE, Verifier

#: How much earlier than its leaf says an entry may have been cosigned: what clocks may differ by wherever times of two
#: machines meet (openapi/link.yaml, ``sent_at``). What was cosigned earlier than that was not there yet.
CLOCK_TOLERANCE = timedelta(seconds=300)


def checkpoints(case: Case) -> Iterator[Fault]:
    """Every checkpoint is signed by the log, and by nobody the bundle does not name."""
    faults = list(read_notes(case))
    yield from faults
    if faults:
        return
    logs, witnesses = ([Verifier.read(v) for v in vkeys] for vkeys in (case.bundle.log.keys, case.bundle.log.witnesses))
    origins = {seen.checkpoint.origin for seen in case.checkpoints}
    for nr, key in enumerate(logs):
        if key.kind == COSIGNATURE or {key.name} != origins:
            yield Fault(place("log", "keys", nr), "it is not a key of the log that the checkpoints are of")
    for nr, key in enumerate(witnesses):
        if key.kind != COSIGNATURE:
            yield Fault(place("log", "witnesses", nr), "it is not a witness's key")
    signers = {signed.by for seen in case.checkpoints for signed in seen.signed}
    for name, keys in (("keys", logs), ("witnesses", witnesses)):
        for nr, key in enumerate(keys):
            if key not in signers or keys.index(key) != nr:
                yield Fault(place("log", name, nr), "it has signed no checkpoint here, or is named twice")
    for seen, text in zip(case.checkpoints, _texts(case), strict=True):
        lines = notes.read(text).lines
        if len(lines) != len({signed.by for signed in seen.signed}):
            yield Fault(seen.place, "a signature line is of a key that the bundle does not name, or stands there twice")
        if not any(signed.by in logs for signed in seen.signed):
            yield Fault(seen.place, "the log has not signed it")
    yield from _pinned(case)


def _texts(case: Case) -> list[str]:
    return [case.bundle.log.checkpoint, *(earlier.note for earlier in case.bundle.log.earlier)]


def _pinned(case: Case) -> Iterator[Fault]:
    """The newest checkpoint under the keys that the verifier knows, or else the bundle's own."""
    where, note, pins = place("log", "checkpoint"), notes.read(case.bundle.log.checkpoint), case.pins
    logs, own = ([Verifier.read(v) for v in vkeys] for vkeys in (case.bundle.log.keys, case.bundle.log.witnesses))
    known = pins.witnesses or tuple(own)
    try:
        if pins.keys:
            walking.demand(case.checkpoints[0].checkpoint, note.signed_by(pins.keys), pins.keys, where)
        lines = [one.by for one in note.signed_by([*logs, *known]) if one.by in known and one.by.kind == COSIGNATURE]
    except GatewayError as error:
        yield Fault(where, f"under the keys you gave: {error.detail}")
        return
    except Wrong as wrong:
        yield Fault(where, f"under the keys you gave it {wrong.fault.why}")
        return
    cosigned = sorted({by.public: by.name for by in lines}.values())  # a key under two names is one witness
    if len(cosigned) < pins.quorum:
        yield Fault(where, f"{len(cosigned)} known witnesses have cosigned it, and {pins.quorum} are asked for")
    keys = "under keys you gave" if pins.keys else "keys are the bundle's own word: pin them with --log-key"
    those = "you named" if pins.witnesses else "the bundle names"
    case.remarks["checkpoints"] = f"{keys}; cosigned by {', '.join(cosigned) or 'none'} of the witnesses {those}"


def consistency(case: Case) -> Iterator[Fault]:
    """Every earlier tree begins the newest, and they are there in their order."""
    newest = case.checkpoints[0].checkpoint
    last = -1
    for nr, (seen, earlier) in enumerate(zip(case.checkpoints[1:], case.bundle.log.earlier, strict=True)):
        proof = [_hash(text) for text in earlier.consistency]
        old = seen.checkpoint
        if not last < old.size < newest.size or not merkle.consistent(
            old.size, newest.size, proof, old.root, newest.root
        ):
            yield Fault(
                place("log", "earlier", nr, "consistency"), "its tree does not begin the checkpoint's, or is not next"
            )
        last = old.size


def leaves(case: Case) -> Iterator[Fault]:
    """Every leaf commits to its record under its salt."""
    yield from read_entries(case)
    for logged in case.logged.values():
        entry = logged.entry
        salted = compact.decode(entry.salt) + entry.record.encode()
        if compact.encode(sha256(salted).digest()) != logged.commitment:
            yield Fault(logged.place, "its leaf does not stand for this record and salt")


def inclusion(case: Case) -> Iterator[Fault]:
    """Every leaf is in the newest tree."""
    newest = case.checkpoints[0].checkpoint
    for logged in case.logged.values():
        index, proof = logged.entry.index, [_hash(text) for text in logged.entry.proof]
        if not merkle.included(logged.leaf_hash, index, newest.size, proof, newest.root):
            yield Fault(f"{logged.place}.proof", f"it does not lead from the leaf to the tree of {newest.size}")


def witnesses(case: Case) -> Iterator[Fault]:
    """Every witnessed time is the earliest of a quorum's cosignatures, and none is before the entry itself."""
    if case.bundle.log.quorum == 0 and case.bundle.log.witnesses:
        yield Fault(place("log", "quorum"), "a quorum of none witnesses nothing")
    times = witnessed(case.checkpoints, case.bundle.log.quorum)
    for logged in case.logged.values():
        if logged.entry.witnessed_at != earliest(times, logged.entry.index):
            yield Fault(f"{logged.place}.witnessed_at", "it is not the earliest time that the cosignatures here give")
    for nr, seen in enumerate(case.checkpoints[1:]):
        if seen.checkpoint.size not in times:
            yield Fault(place("log", "earlier", nr, "note"), "it is not witnessed, and shows nothing")
    yield from _too_early(case, times)
    case.witnessed = {index: earliest(times, index) for index in case.logged}
    case.remarks["witnesses"] = "the times are the bundle's own word: pin witnesses, and how many, with --witness"
    if case.pins.witnessing:
        yield from _known(case)


def _known(case: Case) -> Iterator[Fault]:
    """When the witnesses that the verifier knows have seen each entry, as many as it asks for; that is the answer."""
    times = witnessed(case.checkpoints, case.pins.quorum, case.pins.witnesses)
    yield from _too_early(case, times)
    own, case.witnessed = case.witnessed, {index: earliest(times, index) for index in case.logged}
    found = sorted(filter(None, case.witnessed.values()))
    others = sum(own[index] != at for index, at in case.witnessed.items())
    differ = f"; of the bundle's own times {others} are others" if others else ""
    all_of_them = f"the first entry at {found[0]}, all of them at {found[-1]}" if found else "none"
    case.remarks["witnesses"] = f"by the witnesses you named: {all_of_them}{differ}"


def _too_early(case: Case, times: Mapping[int, datetime]) -> Iterator[Fault]:
    """What is said to be cosigned before it was there."""
    for logged in case.logged.values():
        at = _earliest(times, logged.entry.index)
        if at is not None and at < logged.at - CLOCK_TOLERANCE:
            yield Fault(
                f"{logged.place}.witnessed_at",
                f"cosigned at {format_time(at)}, before it was: {format_time(logged.at)}",
            )


def witnessed(seen: Sequence[Seen], quorum: int, among: Collection[Verifier] | None = None) -> dict[int, datetime]:
    """When each checkpoint had ``quorum`` cosignatures (``among`` these keys), by its size; none for those with fewer.

    What counts is the key: one that has signed under two names is one witness.
    """
    found = {}
    for one in seen:
        first: dict[bytes, datetime] = {}
        for signed in one.signed:
            by = signed.by
            if by.kind == COSIGNATURE and signed.at is not None and (among is None or by in among):
                first[by.public] = min(signed.at, first.get(by.public, signed.at))
        times = sorted(first.values())
        if 0 < quorum <= len(times):
            found[one.checkpoint.size] = times[quorum - 1]
    return found


def earliest(times: Mapping[int, datetime], index: int) -> str | None:
    """The earliest time at which a tree that holds the leaf ``index`` was witnessed, as a bundle writes it."""
    found = _earliest(times, index)
    return format_time(found) if found else None


def _earliest(times: Mapping[int, datetime], index: int) -> datetime | None:
    return min((at for size, at in times.items() if size > index), default=None)


def _hash(text: str) -> bytes:
    return notes.unbase64(text) or b""
