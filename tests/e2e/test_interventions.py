"""What persons do to links and transfers by command: limits, restored registries, endings, agreements, alarms."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.signing.keys import SoftwareKey
from tests.e2e.programs import only_line, run
from tests.e2e.test_cli import Installation, installation, known, migrated  # noqa: F401 - fixtures
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
    known(migrated, "one", "two", "three")
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


def decided(there: Installation, *arguments: str | Path) -> dict[str, Any]:
    """What comes of a command that takes two persons."""
    asked = told(there, *arguments, "--by", "one")
    approve = ["approvals", "approve", asked["id"], "--sha256", asked["sha256"], "--by", "two"]
    return dict(told(there, *approve)["result"])


def test_limits_are_given_with_the_link_and_changed_by_two(linked: Installation) -> None:
    [link] = [x for x in told(linked, "links", "list", "--json") if x["code"] == "KOR01"]
    assert (link["time_limit_hours"], link["state"]) == (48, "requested")
    change = ["links", "change", "KOR01"]
    assert decided(linked, *change, "--time-limit", "240") == {"link": "KOR01", "time_limit_hours": 240}
    assert decided(linked, *change, "--window", "08:00-18:00", "--blocks-per-day", "5000") == {
        "link": "KOR01", "window": "08:00-18:00", "blocks_per_day": 5000,
    }  # fmt: skip
    assert decided(linked, *change, "--window", "none", "--blocks-per-day", "none", "--use", "view") == {
        "link": "KOR01", "window": None, "blocks_per_day": None, "capabilities": ["view"],
    }  # fmt: skip
    for wrong, why in (
        (["--time-limit", "241"], "1 to 240"),
        (["--window", "8-18"], "HH:MM"),
        (["--window", "08:00-08:00"], "two different ends"),
        (["--messages-per-second", "some"], "whole number or none"),
        (["--use", "record"], "a party registry cannot record"),
        (["--url", "ftp://x"], "http or https"),
        ([], "nothing"),
    ):
        assert why in refused(linked, *change, *wrong, "--by", "one")
    assert "XXX01" in refused(linked, "links", "change", "XXX01", "--time-limit", "24", "--by", "one")
    assert "[8001]" in refused(linked, *change, "--time-limit", "24")  # nobody in particular asks


def test_a_link_is_tested_and_closed_by_two(linked: Installation) -> None:
    for wrong in ("suspend", "reactivate"):
        assert "[3002]" in refused(linked, "links", wrong, "KOR01", "--by", "one")
    waiting = told(linked, "links", "test", "KOR01", "--by", "one")
    assert "http://127.0.0.1:9" in waiting["canonical"]
    assert decided(linked, "links", "test", "KOR01") == {"link": "KOR01", "state": "testing"}
    assert "[3002]" in refused(linked, "links", "test", "KOR01", "--by", "one")


def test_of_a_restored_registry_the_new_key_counts_and_its_open_transfers_are_named(
    linked: Installation, tmp_path: Path
) -> None:
    transfer = planted(linked, "committing")
    new = SoftwareKey.generate()
    jwks = tmp_path / "new.jwks"
    jwks.write_text(json.dumps({"keys": [new.public_jwk()]}))
    since = ["--since", "2026-01-01T00:00:00Z"]
    found = decided(linked, "links", "restored", "KOR01", "--keys", jwks, *since)
    assert {"transfer": transfer, "state": "committing"} in found["transfers"]
    keys = {key["kid"]: key["revoked"] for key in told(linked, "links", "keys", "list", "KOR01", "--json")["keys"]}
    assert keys.pop(new.kid) is None
    assert set(keys.values()) == {"restored"}
    # The same key cannot be new a second time, and nothing is revoked by the attempt.
    assert new.kid in refused(linked, "links", "restored", "KOR01", "--keys", jwks, *since, "--by", "one")
    refused(linked, "links", "restored", "KOR01", "--keys", jwks, "--since", "yesterday", "--by", "one")


def test_two_persons_resume_and_one_does_not(linked: Installation, tmp_path: Path) -> None:
    transfer = planted(linked, "attention")
    resume = ["transfers", "resume", transfer, "--by"]
    assert "[8001]" in refused(linked, *resume[:-1])  # whoever has the password is no person
    waiting = told(linked, *resume, "one")
    assert (waiting["state"], told(linked, *resume, "two")["id"]) == ("open", waiting["id"])
    shown = run("approvals", "show", waiting["id"], **linked.settings)
    assert f"sha256 {waiting['sha256']}" in shown.stdout
    assert waiting["id"] in run("approvals", "list", "--state", "open", **linked.settings).stdout
    approve = ["approvals", "approve", waiting["id"], "--sha256", waiting["sha256"], "--by"]
    assert "[8001]" in refused(linked, *approve, "one")
    assert told(linked, *approve, "two")["result"] == {"transfer": transfer, "state": "committing"}
    assert "[3003]" in refused(linked, *approve, "three")
    assert "[3002]" in refused(linked, *resume, "three")
    assert told(linked, "approvals", "list", "--json")["approvals"][0]["decider"] == "two"


def test_what_was_asked_for_is_declined_with_a_reason(linked: Installation) -> None:
    transfer = planted(linked, "attention")
    waiting = told(linked, "transfers", "resume", transfer, "--by", "one")
    decline = ["approvals", "decline", waiting["id"], "--by", "two", "--reason"]
    assert "[2014]" in refused(linked, *decline, " ")
    declined = told(linked, *decline, "not yet")
    assert (declined["state"], declined["reason"]) == ("declined", "not yet")
    assert "[3003]" in refused(linked, *decline, "again")


def test_a_halt_is_said_and_lifted_by_two(linked: Installation) -> None:
    assert told(linked, "halt")["halted"] is False
    assert told(linked, "halt", "a drill", "--by", "one")["reason"] == "a drill"
    assert "a drill [3002]" in refused(linked, "halt", "another")
    assert told(linked, "transfers", "list", "--json")["halted"] == "a drill"
    assert "The gateway is halted: a drill" in run("transfers", "list", **linked.settings).stdout
    assert "without a reason" in refused(linked, "halt", "why", "--lift", "--by", "one")
    assert decided(linked, "halt", "--lift")["lifted"] is True
    assert told(linked, "halt")["halted"] is False
    assert "[3002]" in refused(linked, "halt", "--lift", "--by", "one")


def test_an_approval_that_is_none_is_refused(linked: Installation) -> None:
    nothing = "00000000-0000-4000-8000-000000000000"
    assert "[2001]" in refused(linked, "approvals", "show", "x")
    assert "[3001]" in refused(linked, "approvals", "show", nothing)
    assert "[2001]" in refused(linked, "approvals", "approve", nothing, "--sha256", "zz", "--by", "one")
    assert "[3001]" in refused(linked, "approvals", "approve", nothing, "--sha256", "0" * 64, "--by", "one")
    assert "[2001]" in refused(linked, "approvals", "list", "--state", "lost")


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
        database.execute("UPDATE link SET state = 'active', capabilities = '{transfer_out}' WHERE code = 'KOR01'")
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
