"""A second verifier of evidence bundles, written from openapi/evidence.schema.json and of nothing of this project.

``python tests/foreign_evidence.py FILE`` exits 0 for a valid bundle and 1, with the check that failed, for another. It
uses the standard library, joserfc (thumbprints) and cryptography (signatures). It takes the bundle's own keys, and
makes every check of the schema but the first's limits and the last, which the schema says is no evidence.
"""

import base64
import json
import re
import sys
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import import_key

Json = dict[str, Any]
ORDER = ["propose", "offer", "answer", "commit", "released", "settle", "credited", "closed"]
NEEDED = {
    "proposed": "propose", "delayed": "propose", "checked": "propose offer", "accepted": "propose offer answer",
    "committing": "propose offer answer commit", "released": "propose offer answer commit released settle",
    "ending": "propose cancel", "completed": " ".join(ORDER), "refused": "propose cancel voided closed",
    "rejected": "propose answer cancel voided closed", "cancelled": "propose voided closed", "attention": "propose",
}  # fmt: skip
ITEMS_NAMED = {
    "offer": [("proposal", "propose")],
    "answer": [("offer", "offer")],
    "commit": [("proposal", "propose"), ("answer", "answer")],
    "settle": [("proposal", "propose"), ("answer", "answer"), ("release", "released")],
}
MESSAGES_NAMED = {"released": "commit", "credited": "settle"}
CARRIED = {"offer": ["propose"], "commit": ["propose", "answer"], "settle": ["propose", "answer", "released"]}


class Invalid(Exception):
    """The bundle is no evidence; the number of the check, and the place."""


def refuse(check: int, where: str) -> NoReturn:
    raise Invalid(f"check {check}: {where}")


def need(holds: object, check: int, where: str) -> None:
    if not holds:
        refuse(check, where)


def b64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, 1, f"base64 {text[:20]}")
    return data


def b64url(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(hashed_text(data) == text, 1, f"base64url {text[:20]}")
    return data


def hashed_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def digest(data: str | bytes) -> str:
    return hashed_text(sha256(data.encode() if isinstance(data, str) else data).digest())


def strict(text: str | bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> Json:
        need(len(dict(pairs)) == len(pairs), 1, "a member is given twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def written(moment: datetime | str) -> str:
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root_of(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes | None:
    """RFC 9162 section 2.1.3.2."""
    fn, sn, found = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            found = node(sibling, found)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    return found if sn == 0 else None


def consistent(old: int, size: int, first: bytes, second: bytes, proof: list[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2, for 0 < old < size."""
    if old & (old - 1) == 0:
        proof = [first, *proof]
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    if not proof:
        return False
    fr = sr = proof[0]
    for sibling in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(sibling, fr), node(sibling, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, sibling)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (first, second, 0)


class Note:
    """A checkpoint with the times of its witnesses; every line was verified."""

    def __init__(self, text: str, log: list[str], witnesses: list[str], where: str) -> None:
        body, _, lines = text.rpartition("\n\n")
        self.text = body + "\n"
        origin, size, root, rest = self.text.split("\n")
        need(re.fullmatch("0|[1-9][0-9]*", size) and not rest and lines.endswith("\n"), 2, where)
        self.origin, self.size, self.root = origin, int(size), b64(root)
        keys = {self._name(vkey): vkey for vkey in [*log, *witnesses]}
        self.signed: set[str] = set()
        self.times: dict[bytes, int] = {}
        for line in lines.split("\n")[:-1]:
            name, _, blob = line.removeprefix("— ").partition(" ")
            raw = b64(blob)
            vkey = keys.get((name, raw[:4].hex()))
            need(line.startswith("— ") and vkey is not None and vkey not in self.signed, 2, f"{where}: line of {name}")
            assert vkey is not None
            self._verify(vkey, raw[4:], where)
            self.signed.add(vkey)
        need(self.signed & set(log), 2, f"{where}: not signed by the log")
        need(all(vkey.startswith(f"{origin}+") for vkey in log), 2, f"{where}: another log's keys")

    @staticmethod
    def _name(vkey: str) -> tuple[str, str]:
        name, key_id, key = vkey.split("+", 2)
        need(sha256(name.encode() + b"\n" + b64(key)).digest()[:4].hex() == key_id, 2, f"key {name}")
        return name, key_id

    def _verify(self, vkey: str, blob: bytes, where: str) -> None:
        name, _, key = vkey.split("+", 2)
        kind, public = b64(key)[0], b64(key)[1:]
        time, signature = (int.from_bytes(blob[:8], "big"), blob[8:]) if kind != 1 else (0, blob)
        covered = self.text.encode()
        if kind == 4:
            covered = f"cosignature/v1\ntime {time}\n".encode() + covered
            self.times[public] = min(time, self.times.get(public, time))
        elif kind == 6:
            short = [bytes([len(one.encode())]) + one.encode() for one in (name, self.origin)]
            numbers = [n.to_bytes(8, "big") for n in (time, 0, self.size)]
            covered = b"subtree/v1\n\0" + short[0] + numbers[0] + short[1] + numbers[1] + numbers[2] + self.root
        key_type = mldsa.MLDSA44PublicKey if kind == 6 else ed25519.Ed25519PublicKey
        try:
            key_type.from_public_bytes(public).verify(signature, covered)
        except InvalidSignature:
            refuse(2, f"{where}: signature of {name}")


class Verifier:
    """One bundle."""

    def __init__(self, data: bytes) -> None:
        self.bundle: Json = strict(data)
        self.entries: dict[int, Json] = {}
        self.keys: dict[tuple[str, str], Json] = {}
        self.messages: list[Json] = []
        self.said: dict[str, list[tuple[Json, Json, str]]] = {}

    def verify(self) -> None:
        notes = self.checkpoints()
        self.leaves(notes)
        self.keyed()
        self.letters()
        self.answers()
        self.course()
        self.conservation()

    def checkpoints(self) -> list[Note]:
        log = self.bundle["log"]
        texts = [log["checkpoint"], *(one["note"] for one in log["earlier"])]
        notes = [Note(text, log["keys"], log["witnesses"], f"checkpoint {nr}") for nr, text in enumerate(texts)]
        used = set().union(*(note.signed for note in notes))
        need(used == set(log["keys"]) | set(log["witnesses"]), 2, "a key has signed nothing")
        for old, one in zip(notes[1:], log["earlier"], strict=True):
            proof = [b64(text) for text in one["consistency"]]
            need(old.size < notes[0].size, 3, "sizes")
            need(consistent(old.size, notes[0].size, old.root, notes[0].root, proof), 3, f"size {old.size}")
        return notes

    def leaves(self, notes: list[Note]) -> None:
        quorum = self.bundle["log"]["quorum"]
        times = {n.size: sorted(n.times.values())[quorum - 1] for n in notes if 0 < quorum <= len(n.times)}
        indexes = [entry["index"] for entry in self.bundle["entries"]]
        need(indexes == sorted(set(indexes)), 1, "order")
        for nr, entry in enumerate(self.bundle["entries"]):
            leaf, record, salt = strict(entry["leaf"]), strict(entry["record"]), b64url(entry["salt"])
            need(leaf.keys() == {"kind", "record", "time"}, 4, f"entry {nr}")
            need(digest(salt + entry["record"].encode()) == leaf["record"], 4, f"entry {nr}")
            hashed = sha256(b"\0" + entry["leaf"].encode()).digest()
            proof = [b64(text) for text in entry["proof"]]
            need(root_of(entry["index"], notes[0].size, hashed, proof) == notes[0].root, 5, f"entry {nr}")
            witnessed = [at for size, at in times.items() if size > entry["index"]]
            told = written(datetime.fromtimestamp(min(witnessed), UTC)) if witnessed else None
            need(entry.get("witnessed_at") == told, 6, f"entry {nr}")
            made = datetime.fromisoformat(leaf["time"]).timestamp()
            need(not witnessed or made - min(witnessed) <= 300, 6, f"entry {nr}: witnessed before it was made")
            self.entries[entry["index"]] = {"leaf": leaf, "record": record, "hash": hashed}

    def keyed(self) -> None:
        for nr, key in enumerate(self.bundle["keys"]):
            jwk, where = key["jwk"], f"key {nr}"
            need(
                import_key({m: jwk[m] for m in ("kty", "crv", "x", "y") if m in jwk}).thumbprint() == jwk["kid"],
                7,
                where,
            )
            need(jwk.get("use") == "sig" and jwk["alg"] == {"OKP": "Ed25519", "EC": "ES256"}[jwk["kty"]], 7, where)
            window: Json = {}
            for index in key["entries"]:
                window = self.changed(window, self.entries[index], key, where)
            stated = {m: key[m] for m in ("not_before", "not_after", "revoked") if m in key}
            need("not_before" in window and window == stated, 7, where)
            self.keys[key["owner"], jwk["kid"]] = key
        need(len(self.keys) == len(self.bundle["keys"]), 7, "a key twice")

    def changed(self, window: Json, entry: Json, key: Json, where: str) -> Json:
        record, kind, kid = entry["record"], entry["leaf"]["kind"], key["jwk"]["kid"]
        need(kid in record.get("keys", [record.get("key")]), 7, where)
        own = key["owner"] == self.bundle["gateway"]
        need(kind.startswith("own-key.") if own else record["link"] == key["owner"], 7, where)
        match kind.removeprefix("own-"):
            case "link.registered":
                return {"not_before": entry["leaf"]["time"]}
            case "key.registered":
                end = {"not_after": written(record["not_after"])} if record.get("not_after") else {}
                return {"not_before": written(record["not_before"]), **end}
            case "key.ended" | "key.reopened" | "key.retired":
                others = {m: value for m, value in window.items() if m != "not_after"}
                end = {"not_after": written(record["not_after"])} if record["not_after"] else {}
                return {**others, **end}
            case "key.revoked":
                since = written(record["since"])
                bad = record["reason"] == "compromised"
                at = {"at": entry["leaf"]["time"], "since": since} if bad else {"at": since}
                return {**window, "revoked": {"reason": record["reason"], **at}}
        refuse(7, where)

    def letters(self) -> None:
        texts = {digest(text): strict(text) for text in self.bundle["items"]}
        need(len(texts) == len(self.bundle["items"]), 1, "an item twice")
        gateway = self.bundle["gateway"]
        for nr, message in enumerate(self.bundle["messages"]):
            entry, where = self.entries[message["entry"]], f"message {nr}"
            payload = self.signed(message["jws"], entry, where)
            out, record = payload["from"] == gateway, entry["record"]
            listed = payload.get("items", [])
            shown = entry["leaf"]["kind"] == "evidence"
            need(gateway in (payload["from"], payload["to"]), 9, where)
            need(record["peer"] == payload["to" if out else "from"] and record["message"] == payload["id"], 9, where)
            need(record["jws"] == digest(message["jws"]), 9, where)
            if not shown:
                need(entry["leaf"]["kind"] == payload["type"], 9, where)
                need(record["direction"] == ("out" if out else "in"), 9, where)
                need(out or record["sent_at"] == payload["sent_at"], 9, where)
                need(record["items"] == (listed[: len(record["items"])] if out else listed), 9, where)
            items = {name: texts[name] for name in listed if name in texts}
            self.messages.append({**message, "payload": payload, "record": record, "items": items, "in_log": entry})
            kind = payload["type"].removeprefix("transfer.")
            for name, item in items.items():
                if item["kind"] == kind and item.get("answer") != "closed-here":
                    self.said.setdefault(kind, []).append((self.messages[-1], item, name))
        need({name for m in self.messages for name in m["items"]} == set(texts), 1, "an item that nobody lists")
        behind = {m["entry"] for m in self.messages} | {i for key in self.bundle["keys"] for i in key["entries"]}
        need(behind == set(self.entries), 1, "an entry of nothing")

    def signed(self, jws: str, entry: Json, where: str) -> Json:
        parts = jws.split(".")
        header, payload = strict(b64url(parts[0])), strict(b64url(parts[1]))
        need(header.keys() == {"alg", "kid", "typ"} and len(parts) == 3, 8, where)
        key = self.keys.get((payload["from"], header["kid"])) or refuse(8, where)
        need(header["alg"] == key["jwk"]["alg"] and payload["v"] == 1, 8, where)
        signature, covered = b64url(parts[2]), f"{parts[0]}.{parts[1]}".encode()
        try:
            public = import_key(key["jwk"]).public_key  # type: ignore[union-attr]
            if isinstance(public, ed25519.Ed25519PublicKey):
                public.verify(signature, covered)
            else:
                pair = [int.from_bytes(signature[at : at + 32], "big") for at in (0, 32)]
                public.verify(encode_dss_signature(*pair), covered, ec.ECDSA(SHA256()))
        except InvalidSignature:
            refuse(8, where)
        sent, logged = payload["sent_at"], entry["leaf"]["time"]
        need(key["not_before"] <= sent < key.get("not_after", "9"), 8, where)
        if gone := key.get("revoked"):
            arrived = sent if gone["reason"] == "superseded" else logged
            need(arrived < gone.get("since", gone["at"]), 8, where)
        return dict(payload)

    def answers(self) -> None:
        asked = [item.get("request") for _, item, _ in self.said.get("propose", [])]
        known = {name for message in self.messages for name in message["items"]}
        for nr, message in enumerate(self.messages):
            for item in message["items"].values():
                other = item["kind"] == "request" and item["request"] in asked
                other = other or (item["kind"] == "receipt" and item["item"] in known)
                need(item["transfer"] == self.bundle["transfer"] if "transfer" in item else other, 10, f"message {nr}")
            payload = message["payload"]
            if "in_reply_to" not in payload:
                continue
            named = payload["in_reply_to"]
            found = [
                m for m in self.messages if m["payload"]["id"] == named["id"] and m["payload"]["from"] == payload["to"]
            ]
            if not found:
                need(payload["type"] not in ("receipt", "refusal"), 11, f"message {nr}")
                continue
            need(found[0]["record"].get("sha256", named["sha256"]) == named["sha256"], 11, f"message {nr}")
            if payload["from"] == self.bundle["gateway"] and payload["type"] in ("receipt", "refusal"):
                receipts = [item["item"] for item in message["items"].values() if item["kind"] == "receipt"]
                need(set(receipts) <= set(found[0]["items"]), 11, f"message {nr}")
                need(payload["leaf"] == hashed_text(found[0]["in_log"]["hash"]), 11, f"message {nr}")

    def course(self) -> None:
        state, last = self.bundle["state"], -1
        lost = any(m["in_log"]["leaf"]["kind"] == "evidence" for m in self.messages)
        missing = set(NEEDED[state].split()) - self.said.keys() - ({"offer", "commit"} if lost else set())
        need(not missing, 12, f"{state} without {missing}")
        source, gateway = self.bundle["transfer"][:5], self.bundle["gateway"]
        for kind, statements in self.said.items():
            for message, item, _ in statements:
                payload = message["payload"]
                if kind in ("propose", "released", "voided"):
                    need((payload["from"], payload["to"]) == (source, gateway), 12, kind)
                need(kind not in ("answer", "credited", "request", "offer") or source != payload["from"], 12, kind)
                if not lost:
                    self.founded(kind, message, item)
                need(kind != "closed" or item["state"] == state, 12, "closed as another")
        need("commit" not in self.said or self.said["answer"][0][1]["answer"] == "accepted", 12, "not accepted")
        for kind in ORDER if not lost else ():
            indexes = [message["entry"] for message, _, _ in self.said.get(kind, [])]
            need(all(index >= last for index in indexes), 12, f"order of {kind}")
            last = max([last, *indexes])

    def founded(self, kind: str, message: Json, item: Json) -> None:
        carried = message["payload"]["body"].get("evidence", [])
        for member, step in ITEMS_NAMED.get(kind, []):
            need(item[member] == self.said[step][0][2], 12, f"{kind} names {member}")
        if kind in MESSAGES_NAMED:
            hashes = [digest(jws) for jws in (self.said[MESSAGES_NAMED[kind]][0][0]["jws"], *carried)]
            need(item[MESSAGES_NAMED[kind]]["sha256"] in hashes, 12, f"{kind} names another")
        for step in CARRIED.get(kind, []):
            need(self.said[step][0][0]["jws"] in carried, 12, f"{kind} carries {step}")

    def conservation(self) -> None:
        item = self.said["propose"][0][1]
        blocks = sorted((b["origin"]["registry"], b["origin"]["series"], b["first"], b["last"]) for b in item["blocks"])
        need(sum(last - first + 1 for *_, first, last in blocks) == item["quantity"], 13, "quantity")
        need(all(a[:2] != b[:2] or a[3] < b[2] for a, b in pairwise(blocks)), 13, "a unit twice")
        for given in (one for _, said, _ in self.said.get("released", []) for one in said["itmo"]):
            origin = given["origin"]["registry"], given["origin"]["series"]
            inside = [b for b in blocks if b[:2] == origin and b[2] <= given["first"] <= given["last"] <= b[3]]
            need(inside, 13, "identifiers of other units")


def verify(data: bytes) -> str | None:
    """Why a file is no evidence; nothing where it is."""
    try:
        Verifier(data).verify()
    except Invalid as error:
        return str(error)
    except Exception as error:  # what cannot be read in the way the schema says is not of it
        return f"not a bundle: {type(error).__name__} {error}"
    return None


if __name__ == "__main__":
    why = verify(Path(sys.argv[1]).read_bytes())
    print(why or "valid")
    sys.exit(why is not None)
