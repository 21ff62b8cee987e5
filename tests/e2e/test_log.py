"""``gateway log verify`` from a folder and from web servers: the plain, the helpful and the hostile.

A server that lies can make a log invalid, never the verifier ask for anything but the parts of a log.
"""

import asyncio
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.audit import exporting, reading
from tests.e2e import programs
from tests.madelog import ORIGIN, MadeLog
from tests.serving import Answer, served

#: All that a server is ever asked for.
ASKED = re.compile(
    r"/(checkpoint|keys|checkpoints\?above=[0-9]+&limit=200|checkpoints/(x[0-9]{3}/)*[0-9]{3}"
    r"|tile/([0-9]|entries)/(x[0-9]{3}/)*[0-9]{3}(\.p/[0-9]{1,3})?)"
)


@pytest.fixture(scope="module")
def log() -> MadeLog:
    """More checkpoints than are asked for at once."""
    return MadeLog([*range(1, 451), 600])


@pytest.fixture(scope="module")
def folder(log: MadeLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("log") / "log"
    asyncio.run(exporting.export(log, to))
    return to


def verify(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """How the command ends and what it prints for machines."""
    done = programs.run("log", "verify", "--json", *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def test_a_log_in_a_folder_is_verified_for_people(folder: Path, log: MadeLog) -> None:
    done = programs.run("log", "verify", folder)
    root = log.rows[-1].note.split("\n")[2]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith(f"log {ORIGIN}: 600 entries, root ")
    assert f"signed by {ORIGIN} (Ed25519)" in done.stdout and f"signed by {ORIGIN} (ML-DSA-44, 2026-01" in done.stdout
    assert "600 entries hashed again, 4 tiles rebuilt, 451 checkpoints held against the tree" in done.stdout
    assert "the keys are the log's own word" in done.stdout
    assert done.stdout.endswith("the log is what it says\n")
    assert verify(folder)[1]["root"] == root


def test_a_folder_a_plain_server_and_one_that_lists_checkpoints_give_the_same(folder: Path, log: MadeLog) -> None:
    pages: list[int] = []

    def listed(path: str) -> Answer | None:
        query = parse_qs(urlsplit(path).query)
        if not query:
            return None
        rows = [row for row in log.rows if row.size > int(query["above"][0])][: int(query["limit"][0])]
        pages.append(len(rows))
        body = b"".join(reading.listed(row.size, row.note) for row in rows)
        return 200, {"content-type": "application/x-ndjson"}, body

    there = verify(folder)
    assert there[0] == 0 and there[1]["valid"] and there[1]["checkpoints"] == len(log.rows)
    with served(folder) as plain, served(folder, listed) as helpful:
        assert verify(plain) == there == verify(f"{helpful}/")
    assert pages == [200, 200, 51, 0]


def test_keys_are_given_one_by_one_or_in_a_file(folder: Path, log: MadeLog, tmp_path: Path) -> None:
    (tmp_path / "GWY01.vkeys").write_text("\n".join(log.vkeys))
    for given in (["--key", log.vkeys[1]], ["--key", log.vkeys[0], "--key", tmp_path / "GWY01.vkeys"]):
        code, found = verify(folder, *given)
        assert (code, found["valid"], found["keys"]) == (0, True, "given")
    stranger = MadeLog([], origin="other.invalid/log").vkeys[0]
    code, found = verify(folder, "--key", stranger)
    assert (code, found["faults"]) == (1, [{"place": "checkpoint", "why": "no known key has signed this note"}])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], "absent is no folder"), (["http://"], "not the address"), (["ftp://host/log"], "not the address"),
        (["https://name:word@host/log"], "not the address"), (["http://host/log?x=1"], "not the address"),
        (["http://[/log"], "not the address"), (["http://host:x/log"], "not the address"),
        ([".", "--keep", "."], "--keep is another log"), ([".", "--key", "absent"], "--key absent"),
        ([".", "--key", "name+00000000+AAAA"], "not a C2SP verifier key"), ([".", "--key", __file__], "verifier key"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(arguments: list[str], words: str) -> None:
    code, found = verify(*arguments)
    assert code == 2 and words in found["error"]


def test_a_changed_key_and_a_changed_entry_are_named(folder: Path) -> None:
    for path, place in (("keys", "keys"), ("tile/entries/001", "tile/entries/001")):
        kept = (folder / path).read_bytes()
        at = kept.index(b"vkey") + 12 if path == "keys" else 50
        (folder / path).write_bytes(bytes([*kept[:at], kept[at] ^ 1, *kept[at + 1 :]]))
        done = programs.run("log", "verify", folder)
        assert done.returncode == 1 and f"\n{place}: " in f"\n{done.stdout}", done.stdout
        assert "the log is NOT what it says" in done.stdout
        (folder / path).write_bytes(kept)


def test_a_server_that_is_not_there_is_said_to_be(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/log"
        code, found = verify(address)
    assert code == 3 and f"{address}/keys: ConnectError" in found["error"]
    with served(folder, lambda path: (503, {}, b"")) as address:
        assert verify(address) == (3, {"error": f"gateway: {address}/keys: status 503\n"})


def test_a_server_that_stumbles_is_asked_again(folder: Path) -> None:
    seen: set[str] = set()

    def once(path: str) -> Answer | None:
        first = path not in seen and path in ("/checkpoint", "/tile/0/001", "/tile/entries/002.p/88")
        seen.add(path)
        return (503, {}, b"later") if first else None

    with served(folder, once) as address:
        assert verify(address)[0] == 0


EVIL = "../../../../etc/passwd"
HOSTILE: dict[str, tuple[Callable[[str], Answer | None], str]] = {
    "redirects": (lambda path: (302, {"location": f"/{EVIL}"}, b""), "keys"),
    "pages for people": (lambda path: (200, {"content-type": "text/html"}, b"<h1>hello</h1>"), "keys"),
    "nothing": (lambda path: (200, {}, b""), "keys"),
    "noise": (lambda path: None if path == "/keys" else (200, {}, bytes(range(256)) * 4), "checkpoint"),
    "more than there can be": (lambda path: None if path == "/keys" else (200, {}, b"x" * 50_000_000), "checkpoint"),
    "keys with paths for names": (
        lambda path: (200, {}, json.dumps({"origin": EVIL, "keys": [{"vkey": f"{EVIL}+00000000+AAAA"}]}).encode())
        if path == "/keys" else None,
        "keys",
    ),
    "sizes that are paths": (
        lambda path: (200, {}, json.dumps({"size": EVIL, "note": EVIL}).encode()) if "?" in path else None,
        "checkpoints",
    ),
    "notes that are paths": (
        lambda path: (200, {}, json.dumps({"size": 5, "note": EVIL}).encode()) if "?above=0" in path else None,
        "checkpoint of size 5",
    ),
    "a list without an end": (
        lambda path: (200, {}, b'{"size": 1, "note": ""}\n' * 3) if "?" in path else None, "checkpoints",
    ),
    "tiles of zeros": (lambda path: (200, {}, bytes(8192)) if path == "/tile/0/001" else None, "tile/0/001"),
    "bundles of nothing": (
        lambda path: (200, {}, bytes(512)) if path == "/tile/entries/001" else None, "tile/entries/001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_server_makes_its_log_invalid_and_nothing_else(folder: Path, how: str) -> None:
    answer, place = HOSTILE[how]
    asked: list[str] = []

    def told(path: str) -> Answer | None:
        asked.append(path)
        return answer(path)

    with served(folder, told) as address:
        code, found = verify(address)
    assert code == 1 and place in [fault["place"] for fault in found["faults"]], found
    assert [path for path in asked if not ASKED.fullmatch(path)] == []
