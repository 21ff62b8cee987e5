"""Makes the evidence bundle of a transfer: collects what is kept of it and proves each entry to be in the log.

What is shown to a caller is what the transfer's sides have signed about it and the log's entries of that; of the other
transfers in the same messages there is nothing but the hashes that were signed. Everything is read at one moment. Fails
as the sight of the caller says where the transfer is not seen (8001), with CONFLICT 3006 while an entry is not in a
published checkpoint (it will be within seconds), and with LIMIT for a bundle above ``form.MAX_BYTES``.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from gateway import db
from gateway.audit import proofs
from gateway.audit import store as tree_store
from gateway.audit.checkpoint import Checkpoint
from gateway.domain.callers import Sight
from gateway.errors import GatewayError, Kind, invariant
from gateway.evidence import bundle_store, form, said, signatures, timeline, tree
from gateway.evidence.bundle_store import EntryRow, KeyRow, Letter
from gateway.evidence.form import Bundle, Earlier, Entry, Log
from gateway.evidence.said import Case
from gateway.signing import compact, notes, strict_json
from gateway.signing.messages import parse_time
from gateway.signing.notes import COSIGNATURE, Note, Verifier

#: When to ask again for what is not published yet: checkpoints come every second while there is something new.
RETRY_AFTER_SECONDS = 1


async def collect(
    tx: db.ReadTx, gateway: str, sight: Sight, transfer: str, *, quorum: int, synthetic: bool = False
) -> Bundle:
    """The bundle of a transfer for whoever has ``sight``; ``tx`` MUST have read nothing before.

    ``gateway`` is our link code, ``quorum`` how many witnesses make a checkpoint witnessed.
    """
    await bundle_store.one_moment(tx)
    standing = await bundle_store.standing(tx, sight, transfer)
    letters = await bundle_store.letters(tx, transfer, standing.request)
    invariant(bool(letters), f"nothing is kept of {transfer}")
    hashes = [compact.digest(text) for text in bundle_store.texts(letters)]
    letters += await bundle_store.answers(tx, [letter.entry_id for letter in letters], transfer, hashes)
    signers = {_signer(letter) for letter in letters}
    keys = await bundle_store.keys(tx, gateway, sorted(signers))
    if len(keys) < len(signers):  # a process that never started (``keys.start``) has signed
        raise GatewayError(Kind.CONFLICT, f"a key that signed for {transfer} was never registered", code=1007)
    wanted = sorted({letter.entry_id for letter in letters} | {entry for key in keys for entry in key.entry_ids})
    indexes = await tree_store.indexes(tx, wanted)
    if len(indexes) < len(wanted):
        raise _unpublished()
    found = await bundle_store.entries(tx, wanted)
    rows = {indexes[entry]: found[entry] for entry in sorted(wanted, key=indexes.__getitem__)}
    log = await _log(tx, {index: _made_at(row) for index, row in rows.items()}, quorum)
    entries = await _entries(tx, log, rows)
    messages = [{"entry": indexes[letter.entry_id], "jws": letter.jws} for letter in letters]
    parts = {
        "log": log.model_dump(),
        "keys": _keys(gateway, keys, indexes, entries),
        "messages": sorted(messages, key=itemgetter("entry")),
        "items": bundle_store.texts(letters),
        "entries": [entry.model_dump() for entry in entries],
        "timeline": [],
    }
    about = {"gateway": gateway, "transfer": transfer, "state": standing.state}
    mark = {"synthetic": form.SYNTHETIC} if synthetic else {}
    return _told(form.of({"format": form.FORMAT, "notice": form.NOTICE, **mark, **about, **parts}))


def written(bundle: Bundle) -> bytes:
    """The file; raises LIMIT where it is larger than a bundle may be."""
    data = bundle.model_dump_json(exclude_none=True, indent=1).encode()
    if len(data) > form.MAX_BYTES:
        raise GatewayError(Kind.LIMIT, f"the evidence of {bundle.transfer} has more than {form.MAX_BYTES} bytes")
    return data


async def _log(tx: db.ReadTx, made: Mapping[int, datetime], quorum: int) -> Log:
    """The newest checkpoint that holds these leaves, witnessed if there is one, and the earliest that witness each.

    ``made`` are the leaves by their indexes, in order, with the times that they say.
    """
    indexes = list(made)
    logs, cosigners = ([Verifier.read(vkey) for vkey in vkeys] for vkeys in await bundle_store.log_keys(tx))
    witnesses = [key for key in cosigners if key.kind == COSIGNATURE]  # of which a bundle knows when they signed
    published = await tree_store.witnessed(tx, max(quorum, 1), indexes[-1]) or await tree_store.latest(tx)
    if published is None or published.size <= indexes[-1]:
        raise _unpublished()
    known = [*logs, *witnesses]
    notes_kept = [_lines_that_count(published.note, known, made)]
    earlier = []
    for size, note in await bundle_store.first_witnessed(tx, indexes, quorum) if quorum else ():
        note = _lines_that_count(note, known, made)
        if size < published.size and tree.witnessed([said.seen("log", note, known)], quorum):
            notes_kept.append(note)
            proof = [_base64(node) for node in await proofs.consistency(tx, size, published.size)]
            earlier.append(Earlier(note=note, consistency=proof))
    signers = {signed.by for note in notes_kept for signed in notes.read(note).signed_by(known)}
    return Log(
        checkpoint=notes_kept[0],
        keys=[key.vkey for key in logs if key in signers],
        witnesses=[key.vkey for key in witnesses if key in signers],
        quorum=quorum,
        earlier=earlier,
    )


def _lines_that_count(note: str, known: Sequence[Verifier], made: Mapping[int, datetime]) -> str:
    """A note with the lines that verify under keys we know, and no others: every line of a bundle is checked.

    Nor those of a witness that says it signed before leaves were there: its clock, or its word, spoils no evidence.
    """
    read = notes.read(note)
    size = Checkpoint.read(read.text).size
    possible = max(at for index, at in made.items() if index < size) - tree.CLOCK_TOLERANCE
    lines = {
        signed.by: signed.line
        for signed in read.signed_by(known)
        if signed.by.kind != COSIGNATURE or signed.at is None or signed.at >= possible
    }
    return Note(read.text, tuple(lines.values())).whole


async def _entries(tx: db.ReadTx, log: Log, rows: Mapping[int, EntryRow]) -> list[Entry]:
    """The entries, by leaf index, with their proofs under the log's checkpoint and when they were witnessed."""
    known = [Verifier.read(vkey) for vkey in (*log.keys, *log.witnesses)]
    seen = [said.seen("log", note, known) for note in (log.checkpoint, *(one.note for one in log.earlier))]
    times = tree.witnessed(seen, log.quorum)
    indexes = sorted(rows)
    paths = await proofs.inclusion(tx, indexes, seen[0].checkpoint.size)
    return [
        Entry(
            index=index,
            leaf=rows[index].leaf,
            record=rows[index].record,
            salt=compact.encode(rows[index].salt),
            proof=[_base64(node) for node in path],
            witnessed_at=tree.earliest(times, index),
        )
        for index, path in zip(indexes, paths, strict=True)
    ]


def _keys(
    gateway: str, keys: Sequence[KeyRow], indexes: Mapping[int, int], entries: Sequence[Entry]
) -> list[dict[str, Any]]:
    """The keys as their entries state them."""
    by_index = {entry.index: said.logged("entries", entry) for entry in entries}
    found = []
    for key in keys:
        behind = sorted(indexes[entry] for entry in key.entry_ids)
        logged = [by_index[index] for index in behind]
        window = signatures.window_of(logged, key.owner, key.jwk["kid"], ours=key.owner == gateway)
        invariant(window is not None, f"no entry registers {key.jwk['kid']} for {key.owner}")
        found.append({"owner": key.owner, "jwk": key.jwk, **(window or {}), "entries": behind})
    return found


def _told(bundle: Bundle) -> Bundle:
    """The bundle with its timeline."""
    case = Case(bundle)
    faults = [*said.read_entries(case), *said.read_messages(case)]
    invariant(not faults, f"what is kept of {bundle.transfer} cannot be read: {faults[:1]}")
    return bundle.model_copy(update={"timeline": timeline.sentences(case.said)})


def _made_at(row: EntryRow) -> datetime:
    """When an entry was made, by its leaf."""
    return parse_time(strict_json.loads(row.leaf)["time"])


def _base64(node: bytes) -> str:
    return b64encode(node).decode()


def _signer(letter: Letter) -> tuple[str, str]:
    """Who signed a message, and the key's id."""
    read = compact.read(letter.jws)
    return str(read.payload["from"]), read.kid


def _unpublished() -> GatewayError:
    detail = "its last entries are not in a published checkpoint yet: ask again in a second"
    return GatewayError(Kind.CONFLICT, detail, code=3006, context={"retry_after_seconds": RETRY_AFTER_SECONDS})
