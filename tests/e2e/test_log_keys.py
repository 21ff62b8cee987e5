"""``gateway keys log`` and ``gateway witnesses`` as commands: keys follow each other, wrong ones start nothing."""

from pathlib import Path

import httpx

from gateway.signing import notes
from gateway.signing.keys import SoftwareKey
from gateway.signing.log_keys import LogKey
from tests.e2e.programs import refused, run, told
from tests.e2e.test_cli import serving

Settings = dict[str, str]


def test_the_logs_keys_follow_each_other(settings: Settings, tmp_path: Path) -> None:
    second = tmp_path / "second.pem"
    made = told({}, "keys", "log", "new", str(second))["key"]
    assert "never overwritten" in refused({}, "keys", "log", "new", str(second))
    first = LogKey.load(Path(settings["GATEWAY_LOG_KEY_FILE"]))
    renewed = settings | {"GATEWAY_LOG_KEY_FILE": str(second)}
    with serving(settings) as (_, at):
        shown = httpx.get(f"{at['link']}/log/keys").json()
        assert [key["vkey"] for key in shown["keys"]] == [v.vkey for v in first.verifiers(shown["origin"])]
    for process in ("serve", "worker"):
        said = refused(renewed, process)
        assert said.startswith("gateway: GATEWAY_LOG_KEY_FILE: ") and f"{made} were never added" in said
    assert "the only keys" in refused(settings, "keys", "log", "retire", first.id)
    assert told(settings, "keys", "log", "add", str(second)) == {"key": made}
    assert "known already" in refused(settings, "keys", "log", "add", str(second))
    assert told(settings, "keys", "log", "retire", first.id)["retired"]
    assert "are retired" in refused(settings, "worker")
    assert "no log keys x" in refused(settings, "keys", "log", "retire", "x")
    with serving(renewed) as (_, at):
        ends = [key["not_after"] is None for key in httpx.get(f"{at['link']}/log/keys").json()["keys"]]
    listed = told(renewed, "keys", "log", "list", "--json")["keys"]
    assert [key["key"] for key in listed] == [first.id, made] and ends == [False, False, True, True]
    table = run("keys", "log", "list", COLUMNS="200", **renewed)
    assert table.returncode == 0 and "gwy01.article6-gateway.invalid/log" in table.stdout


def test_keys_that_cannot_sign_a_log_start_nothing(settings: Settings, tmp_path: Path) -> None:
    good = Path(settings["GATEWAY_LOG_KEY_FILE"]).read_bytes()
    parts = good.split(b"-----BEGIN")
    wrong = {
        "lost": None,
        "one": b"-----BEGIN" + parts[1],
        "two of a kind": b"-----BEGIN" + parts[1] + b"-----BEGIN" + parts[2] + b"-----BEGIN" + parts[1],
        "out of order": b"-----BEGIN" + parts[2] + b"-----BEGIN" + parts[1] + b"-----BEGIN" + parts[3],
        "cut": good[:-80],
        "no key": b"x",
        "a message key": None,
        "a demo's": None,
    }
    for name, pem in wrong.items():
        file = tmp_path / name
        if pem is not None:
            file.touch(0o600)
            file.write_bytes(pem)
    SoftwareKey.generate().save(tmp_path / "a message key")
    LogKey.generate(demo=True).save(tmp_path / "a demo's")
    for name in wrong:
        said = refused(settings | {"GATEWAY_LOG_KEY_FILE": str(tmp_path / name)}, "worker")
        assert said.startswith("gateway: GATEWAY_LOG_KEY_FILE: "), (name, said)
    without = {name: value for name, value in settings.items() if name != "GATEWAY_LOG_KEY_FILE"}
    assert "'gateway keys log new' makes them" in refused(without, "serve")
    assert "GATEWAY_LOG_ORIGIN" in refused(settings | {"GATEWAY_LOG_ORIGIN": "https://x y"}, "worker")
    for text in (str(tmp_path), "hidden"):
        said = refused(without | {"GATEWAY_LOG_KEY": text}, "worker")
        assert said.startswith("gateway: GATEWAY_LOG_KEY: ") and text not in said.partition(": ")[2]


def test_witnesses_are_added_listed_and_removed(settings: Settings) -> None:
    cosigner = LogKey.generate()
    vkey = cosigner.witness("witness.example/w1").vkey
    assert "either --link or --url" in refused(settings, "witnesses", "add", vkey)
    assert "no link with KOR01" in refused(settings, "witnesses", "add", vkey, "--link", "KOR01")
    assert "verifier key" in refused(settings, "witnesses", "add", "x", "--url", "https://witness.example")
    log_key = cosigner.verifiers("witness.example/w1")[0].vkey
    assert "not a cosigner's key" in refused(settings, "witnesses", "add", log_key, "--url", "https://witness.example")
    assert refused(settings, "witnesses", "add", vkey, "--url", "http://10.1.2.3/w")
    added = told(settings, "witnesses", "add", vkey, "--url", "https://witness.example/w1/")
    assert added == {"witness": "witness.example/w1"}
    found = told(settings, "witnesses", "list", "--json")
    assert found["witnesses"] == [
        {"name": "witness.example/w1", "at": "https://witness.example/w1", "vkey": vkey, "size": 0}
    ]
    assert "no link with KOR01" in refused(settings, "witnesses", "watch", "KOR01", log_key)
    assert told(settings, "witnesses", "remove", "witness.example/w1")["removed"]
    assert "no witness" in refused(settings, "witnesses", "remove", "witness.example/w1")
    assert told(settings, "witnesses", "list", "--json")["witnesses"] == []
    assert notes.Verifier.read(vkey).kind == notes.COSIGNATURE
