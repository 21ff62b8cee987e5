"""What persons do to links and transfers by command: limits, restored registries, endings, agreements, alarms."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.signing.keys import SoftwareKey
from tests.e2e.programs import only_line, run
from tests.e2e.test_cli import Installation, installation, migrated  # noqa: F401 - fixtures
from tests.integration.test_sandbox_play import uuid7

LINK = ["--kind", "party", "--party", "KOR", "--url", "http://127.0.0.1:9"]
LIMITS = ["--time-limit", "48"]


@pytest.fixture(scope="module")
def linked(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:  # noqa: F811
    """An installation with KOR01, registered with a limit of its own, and a transfer of its in ``attention``."""
    jwks = tmp_path_factory.mktemp("linked") / "KOR01.jwks"
    jwks.write_text(json.dumps({"keys": [SoftwareKey.generate().public_jwk()]}))
    added = run("links", "add", "KOR01", *LINK, *LIMITS, "--keys", jwks, **migrated.settings)
    assert added.returncode == 0, added.stderr
    return migrated


def planted(there: Installation, state: str) -> str:
    """A transfer of KOR01's in a state, written by hand: what the commands make of it is what is tried."""
    transfer = f"KOR01-{uuid7()}"
    with psycopg.connect(there.server.dsn("gateway", "gateway_owner")) as database:
        database.execute(
            "INSERT INTO transfer (id, source, transferring_registry, transferring_party, transferring_account, "
            "acquiring_registry, acquiring_party, acquiring_account, purpose, quantity, block_count, state, version, "
            "deadline, created_at, changed_at, commit_id) VALUES (%s, 'KOR01', 'KOR01', 'KOR', '100-1', 'JPN01', "
            "'JPN', '100-1', 'NDC', 1, 1, %s, 1, now(), now(), now(), gen_random_uuid())",
            [transfer, state],
        )
    return transfer


def told(there: Installation, *arguments: str | Path) -> Any:
    done = run(*arguments, **there.settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(there: Installation, *arguments: str | Path) -> str:
    done = run(*arguments, **there.settings)
    assert (done.returncode, done.stdout) == (2, "")
    return only_line(done.stderr)


def test_a_time_limit_is_given_with_the_link_and_changed(linked: Installation) -> None:
    [link] = [x for x in told(linked, "links", "list", "--json") if x["code"] == "KOR01"]
    assert link["time_limit_hours"] == 48
    assert told(linked, "links", "time-limit", "KOR01", "240") == {"link": "KOR01", "time_limit_hours": 240}
    for hours in ("0", "241"):
        assert "1 to 240" in refused(linked, "links", "time-limit", "KOR01", hours)
    assert "XXX01" in refused(linked, "links", "time-limit", "XXX01", "24")


def test_of_a_restored_registry_the_new_key_counts_and_its_open_transfers_are_named(
    linked: Installation, tmp_path: Path
) -> None:
    transfer = planted(linked, "committing")
    new = SoftwareKey.generate()
    jwks = tmp_path / "new.jwks"
    jwks.write_text(json.dumps({"keys": [new.public_jwk()]}))
    since = ["--since", "2026-01-01T00:00:00Z"]
    found = told(linked, "links", "restored", "KOR01", "--keys", jwks, *since)
    assert {"transfer": transfer, "state": "committing"} in found["transfers"]
    keys = {key["kid"]: key["revoked"] for key in told(linked, "links", "keys", "list", "KOR01", "--json")["keys"]}
    assert keys.pop(new.kid) is None
    assert set(keys.values()) == {"restored"}
    # The same key cannot be new a second time, and nothing is revoked by the attempt.
    assert new.kid in refused(linked, "links", "restored", "KOR01", "--keys", jwks, *since)
    refused(linked, "links", "restored", "KOR01", "--keys", jwks, "--since", "yesterday")


def test_two_persons_resume_and_one_does_not(linked: Installation, tmp_path: Path) -> None:
    transfer = planted(linked, "attention")
    resume = ["transfers", "resume", transfer, "--by"]
    for person in ("one", "two", "three"):
        public = tmp_path / f"{person}.jwks"
        public.write_text(json.dumps({"keys": [SoftwareKey.generate().public_jwk()]}))
        told(linked, "people", "add", person, "--all", "--role", "operator", "--keys", public)
    assert told(linked, *resume, "one")["awaited"] == 1
    assert told(linked, *resume, "one")["state"] == "attention"
    assert told(linked, *resume, "two") == {"transfer": transfer, "state": "committing", "awaited": 0}
    assert "[3002]" in refused(linked, *resume, "three")


def test_a_transfer_is_ended_before_its_commit_and_not_after(linked: Installation) -> None:
    transfer = planted(linked, "proposed")
    end = ["transfers", "end", transfer, "--reason"]
    assert "[2014]" in refused(linked, *end, " ")
    assert told(linked, *end, "withdrawn by the ministry")["state"] == "ending"
    assert "[3002]" in refused(linked, *end, "once more")
    assert "[3001]" in refused(linked, "transfers", "end", f"KOR01-{uuid7()}", "--reason", "x")
    for no_id in ("x", f"../{transfer}", f"{transfer}/end", "", "é"):
        assert "[2003]" in refused(linked, "transfers", "end", no_id, "--reason", "x")


def test_transfers_are_listed_by_pages_and_shown(linked: Installation) -> None:
    transfers = [planted(linked, "checked") for _ in range(3)]
    first = told(linked, "transfers", "list", "--state", "checked", "--limit", "2", "--json")
    second = told(linked, "transfers", "list", "--state", "checked", "--before", first["next"], "--json")
    assert {t["id"] for page in (first, second) for t in page["transfers"]} == set(transfers)
    assert told(linked, "transfers", "show", transfers[0], "--json")["transfer"]["state"] == "checked"
    assert "[3001]" in refused(linked, "transfers", "list", "--before", f"KOR01-{uuid7()}")
    shown = run("transfers", "show", transfers[0], **linked.settings, COLUMNS="80")
    assert shown.returncode == 0 and "to   JPN01 JPN 100-1" in shown.stdout


def test_a_transfer_is_requested_once_under_its_key(linked: Installation) -> None:
    with psycopg.connect(linked.server.dsn("gateway", "gateway_owner")) as database:
        database.execute("UPDATE link SET state = 'active' WHERE code = 'KOR01'")
    there = ["--to", "JPN01/JPN/100-1", "--quantity", "5", "--purpose", "NDC"]
    wish = ["transfers", "request", "--from", "KOR01/KOR/100-1", *there, "--key"]
    asked = told(linked, *wish, "first")
    assert (asked["state"], asked["source"], asked["transfer"]) == ("sent", "KOR01", None)
    assert told(linked, *wish, "first") == asked
    assert told(linked, *wish, "second")["request"] != asked["request"]
    assert "[2004]" in refused(linked, *wish[:-1], "--quantity", "6", "--key", "first")
    for unreadable in ("KOR01/KOR", "KOR01/KOR/100-1/x", ""):
        assert "--from" in refused(linked, "transfers", "request", "--from", unreadable, *there, "--key", "x")
    assert "[4001]" in refused(linked, "transfers", "request", "--from", "MEC01/MMR/100-1", *there, "--key", "x")


def test_the_books_are_shown_with_their_balance(linked: Installation) -> None:
    books = told(linked, "books", "--json")
    assert books["conservation"] == "holds"
    assert "KOR01" in [registry["registry"] for registry in books["registries"]]
    shown = run("books", **linked.settings, COLUMNS="100").stdout
    assert "KOR01" in shown and "issued = held + in transit + used + cancelled: holds" in shown


def test_alarms_are_listed_for_people_and_machines(linked: Installation) -> None:
    with psycopg.connect(linked.server.dsn("gateway", "gateway_owner")) as database:
        database.execute(
            "INSERT INTO alarm VALUES (DEFAULT, now(), 'KOR01', 'KOR01-x', 3002, 'says [bold]two[/] things', 1)"
        )
    [alarm] = told(linked, "alarms", "--json", "--link", "KOR01")["alarms"]
    assert (alarm["code"], alarm["detail"]) == (3002, "says [bold]two[/] things")
    assert told(linked, "alarms", "--json", "--link", "MEC01")["alarms"] == []
    shown = run("alarms", **linked.settings, COLUMNS="80").stdout
    assert "says [bold]two[/] things" in shown
    [link] = [x for x in told(linked, "links", "list", "--json") if x["code"] == "KOR01"]
    assert link["alarms"] == 1


def test_no_environment_makes_a_gateway_kill_itself(linked: Installation) -> None:
    for command in (["worker"], ["serve"], ["transfers", "list"]):
        done = run(*command, **linked.settings, GATEWAY_CRASH="lease.before-commit")
        assert (done.returncode, done.stdout) == (2, "")
        assert "GATEWAY_CRASH" in only_line(done.stderr)
