"""``gateway authorisations``: two persons tell and revoke one by commands. Persons and authorisations are synthetic."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.authorised import terms
from tests.e2e.programs import only_line, run
from tests.e2e.test_access import jwks, said
from tests.e2e.test_cli import Installation, installation, migrated  # noqa: F401 - fixtures

NAME = "MMR/2026/?1#.."


@pytest.fixture(scope="module")
def staffed(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:  # noqa: F811
    """With an operator and an approver of the gateway."""
    folder = tmp_path_factory.mktemp("staff")
    for name, role in (("one", "operator"), ("two", "approver")):
        _, public = jwks(folder, name)
        said("people", "add", name, "--all", "--role", role, "--keys", public, at=migrated)
    return migrated


def approved(there: Installation, asked: dict[str, Any]) -> None:
    done = said("approvals", "approve", asked["id"], "--sha256", asked["sha256"], "--by", "two", at=there)
    assert done["state"] == "approved"


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "terms.json"
    file.write_text(json.dumps(terms(**changes)))
    return file


def test_two_persons_tell_and_revoke_an_authorisation_by_commands(staffed: Installation, tmp_path: Path) -> None:
    file = written(tmp_path, id=NAME, quantity=1000)
    approved(staffed, said("authorisations", "tell", file, "--by", "one", at=staffed))
    [listed] = said("authorisations", "list", "--json", at=staffed)["authorisations"]
    assert (listed["party"], listed["id"], listed["left"]) == ("MMR", NAME, 1000)
    assert said("authorisations", "list", "--party", "KOR", "--json", at=staffed)["authorisations"] == []
    assert said("authorisations", "show", "MMR", NAME, "--json", at=staffed) == listed
    asked = said("authorisations", "revoke", "MMR", NAME, "1", "--reason", "withdrawn", "--by", "one", at=staffed)
    approved(staffed, asked)
    for command in ("list",), ("show", "MMR", NAME):
        shown = run("authorisations", *command, **staffed.settings, COLUMNS="160")
        assert NAME in shown.stdout and "by operator of GWY01: withdrawn" in shown.stdout and "1,000" in shown.stdout


def test_what_stands_against_terms_is_said_with_its_code_and_field(staffed: Installation, tmp_path: Path) -> None:
    wrong = run("authorisations", "tell", written(tmp_path, purposes="CORSIA"), "--by", "one", **staffed.settings)
    line = only_line(wrong.stderr)
    assert wrong.returncode == 2 and "authorisation.purposes: " in line and line.endswith("[2014]")
    (tmp_path / "none.json").write_text('{"id": NaN}')
    for file in ("none.json", "absent.json"):
        wrong = run("authorisations", "tell", tmp_path / file, "--by", "one", **staffed.settings)
        assert wrong.returncode == 2 and only_line(wrong.stderr).endswith("[2001]")
    absent = run("authorisations", "show", "MMR", "..", **staffed.settings)
    assert absent.returncode == 2 and only_line(absent.stderr).endswith("[3001]")


def test_a_machine_tells_nothing(staffed: Installation, tmp_path: Path) -> None:
    alone = run("authorisations", "tell", written(tmp_path, id="ALONE"), **staffed.settings)
    assert alone.returncode == 2 and only_line(alone.stderr).endswith("[8001]")
