"""Bundles as a liar with keys of their own would make them: what is said is changed, and everything is signed anew.

From the bundle that is kept each message is signed by a new key in its sender's name, with what a test changes in it;
hashes of what was before follow, down to leaves, proofs and checkpoint. What is wrong with such a bundle is only what
it says, so it comes to the checks behind the signatures.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.audit import merkle
from gateway.audit.checkpoint import Checkpoint
from gateway.evidence import form, said, timeline
from gateway.signing import compact, strict_json
from gateway.signing.keys import SoftwareKey
from gateway.signing.messages import format_time
from gateway.signing.notes import COSIGNATURE, ED25519
from tests.evidence import KEPT
from tests.publishing import ORIGIN, Signer, b64

WITNESS = "mec01.sandbox.invalid/witness"
#: When the forger's witness cosigns, unless a test says otherwise.
COSIGNED_AT = datetime.fromisoformat("2027-01-01T00:00:00Z")


@dataclass
class Letter:
    """A message about to be signed: its payload, and the values of its items that are shown, by their hashes before."""

    nr: int
    payload: dict[str, Any]
    items: dict[str, dict[str, Any]]
    record: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.payload["type"])

    def item(self, kind: str | None = None) -> dict[str, Any]:
        """Its own statement."""
        wanted = kind or self.type.removeprefix("transfer.")
        return next(value for value in self.items.values() if value["kind"] == wanted)


Change = Callable[[Letter], Any]


@dataclass
class Forgery:
    """One bundle under way. ``without`` are numbers of messages that are left out."""

    change: Change = lambda letter: None
    key_entry: Change = lambda record: None
    without: tuple[int, ...] = ()
    bundle: dict[str, Any] = field(default_factory=lambda: json.loads(KEPT.read_text()))
    log: Signer = field(default_factory=lambda: Signer(ORIGIN, ED25519))
    witness: Signer = field(default_factory=lambda: Signer(WITNESS, COSIGNATURE))
    cosigned_at: datetime = COSIGNED_AT
    #: Who else has cosigned, and when; and how many the bundle says it takes.
    others: tuple[tuple[Signer, datetime], ...] = ()
    quorum: int = 1
    #: What stood for something before → what stands for it now: hashes, key ids, whole messages.
    now: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def made(self) -> dict[str, Any]:
        """The bundle."""
        keys = {key["owner"]: SoftwareKey.generate() for key in self.bundle["keys"]}
        for key in self.bundle["keys"]:
            self.now[key["jwk"]["kid"]] = keys[key["owner"]].kid
            key["jwk"] = keys[key["owner"]].public_jwk()
        self.bundle["messages"] = [m for nr, m in enumerate(self.bundle["messages"]) if nr not in self.without]
        self.texts = {compact.digest(text): text for text in self.bundle["items"]}
        by_entry = {message["entry"]: (nr, message) for nr, message in enumerate(self.bundle["messages"])}
        about_keys = {index for key in self.bundle["keys"] for index in key["entries"]}
        entries = [e for e in self.bundle["entries"] if e["index"] in by_entry or e["index"] in about_keys]
        shown: dict[str, str] = {}
        for entry in entries:
            record = json.loads(self._after(entry["record"]))
            if entry["index"] in by_entry:
                nr, message = by_entry[entry["index"]]
                shown |= self._signed(keys, nr, message, record)
            else:
                self.key_entry(record)
            self._logged(entry, record)
        self.bundle["items"] = list(shown.values())
        self._published(entries)
        return self._told()

    def _signed(
        self, keys: dict[str, SoftwareKey], nr: int, message: dict[str, Any], record: dict[str, Any]
    ) -> dict[str, str]:
        """Sign a message anew; the texts of its items by their hashes now."""
        _, payload, _ = message["jws"].split(".")
        said_before = json.loads(compact.decode(payload))
        values = {h: json.loads(self._after(self.texts[h])) for h in said_before.get("items", []) if h in self.texts}
        letter = Letter(nr, json.loads(self._after(json.dumps(said_before))), values, record)
        earlier = dict(self.now)
        self.change(letter)
        texts = {before: strict_json.dumps(value) for before, value in letter.items.items()}
        after = {before: earlier.get(before, compact.digest(text)) for before, text in texts.items()}
        self.now |= after
        for holder in (letter.payload, record):
            if isinstance(holder.get("items"), list):
                holder["items"] = [after.get(h, h) if isinstance(h, str) else h for h in holder["items"]]
        key = keys.get(letter.payload["from"]) or SoftwareKey.generate()
        signing_input = compact.header_and_payload(key.alg, key.kid, strict_json.dumps(letter.payload))
        jws = f"{signing_input}.{compact.encode(key.sign(signing_input.encode()))}"
        self.now |= {message["jws"]: jws, compact.digest(message["jws"]): compact.digest(jws)}
        record |= {"jws": compact.digest(jws), "key": key.kid}
        message["jws"] = jws
        return {compact.digest(text): text for before, text in texts.items() if after[before] == compact.digest(text)}

    def _logged(self, entry: dict[str, Any], record: dict[str, Any]) -> None:
        """Commit to a record anew."""
        before = merkle.leaf_hash(entry["leaf"].encode())
        entry["record"] = strict_json.dumps(record)
        leaf = json.loads(entry["leaf"])
        leaf["record"] = compact.digest(compact.decode(entry["salt"]) + entry["record"].encode())
        entry["leaf"] = strict_json.dumps(leaf)
        self.now[compact.encode(before)] = compact.encode(merkle.leaf_hash(entry["leaf"].encode()))

    def _published(self, entries: list[dict[str, Any]]) -> None:
        """Put the entries into a tree of their own, signed and cosigned."""
        numbers = {entry["index"]: nr for nr, entry in enumerate(entries)}
        leaves = [merkle.leaf_hash(entry["leaf"].encode()) for entry in entries]
        stated = Checkpoint(ORIGIN, len(leaves), merkle.subtree(leaves))
        cosigners = ((self.witness, self.cosigned_at), *self.others)
        lines = [s.line(stated.text, at) + "\n" for s, at in ((self.log, self.cosigned_at), *cosigners)]
        told = format_time(sorted(at for _, at in cosigners)[self.quorum - 1])
        for nr, entry in enumerate(entries):
            spans = merkle.inclusion(nr, len(leaves))
            proof = [b64(merkle.subtree(leaves[s.start : s.end])) for s in spans]
            entry |= {"index": nr, "proof": proof, "witnessed_at": told}
        for message in self.bundle["messages"]:
            message["entry"] = numbers[message["entry"]]
        for key in self.bundle["keys"]:
            key["entries"] = [numbers[index] for index in key["entries"]]
        self.bundle["entries"] = entries
        vkeys = {"keys": [self.log.verifier.vkey], "witnesses": [s.verifier.vkey for s, _ in cosigners]}
        note = stated.text + "\n" + "".join(lines)
        self.bundle["log"] = {"checkpoint": note, **vkeys, "quorum": self.quorum, "earlier": []}

    def _told(self) -> dict[str, Any]:
        """The bundle with the timeline of what it says, as far as that can be read."""
        case = said.Case(form.of({**self.bundle, "timeline": []}))
        list(said.read_entries(case)), list(said.read_messages(case))
        told = [sentence.model_dump() for sentence in timeline.sentences(case.said)]
        return {**self.bundle, "timeline": told}

    def _after(self, text: str) -> str:
        for before, after in self.now.items():
            text = text.replace(before, after)
        return text
