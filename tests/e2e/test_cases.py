"""``gateway cases``: an inconsistency from its identification to its end, by commands. Everything here is synthetic."""

import pytest

from tests.e2e.programs import only_line, run
from tests.e2e.test_access import said
from tests.e2e.test_authorisations import approved, staffed  # noqa: F401 - fixture
from tests.e2e.test_cli import Installation, installation, migrated  # noqa: F401 - fixtures

FOUND = ("--source", "secretariat", "--check", "II04", "--detail", "metrics differ", "--by", "one")


def test_a_case_goes_from_identification_to_closure_by_commands(staffed: Installation) -> None:  # noqa: F811
    case = said("cases", "open", *FOUND, "--party", "KOR", at=staffed)["case"]["id"]
    steps = (
        ("notify", "--note", "letter of the secretariat"),
        ("respond", "--text", "we look into it"),
        ("corrected", "--submission", "2026 version 2"),
    )
    for version, (command, *arguments) in enumerate(steps, 1):
        done = said("cases", command, case, "--version", str(version), *arguments, "--by", "one", at=staffed)
        assert done["case"]["version"] == version + 1
    closing = ("cases", "close", case, "--version", "4", "--reason", "checked again", "--by", "one")
    approved(staffed, said(*closing, at=staffed))
    assert said("cases", "list", "--state", "open", "--json", at=staffed)["cases"] == []
    [listed] = said("cases", "list", "--source", "secretariat", "--json", at=staffed)["cases"]
    assert listed == said("cases", "show", case, "--json", at=staffed)["case"]
    assert (listed["state"], listed["corrected_by"]) == ("closed", "submission 2026 version 2")
    shown = run("cases", "show", case, **staffed.settings, COLUMNS="160").stdout
    for words in ("metrics differ", "letter of the secretariat", "we look into it", "submission 2026 version 2"):
        assert words in shown
    assert case in run("cases", "list", **staffed.settings, COLUMNS="160").stdout
    assert said("cases", "show", case, "--findings", at=staffed) == {"findings": [], "next": None}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("open", *FOUND, "--party", "XXX"), "[2010]"),
        (("open", *FOUND, "--party", "KOR", "--due", "2199-01-01"), "[2014]"),
        (("open", *FOUND, "--party", "KOR", "--units", "MEC01/SERIES/1-10"), "[4003]"),
        (("open", *FOUND, "--party", "KOR", "--units", "MEC01/SERIES"), "[2001]"),
        (("open", *FOUND, "--party", "KOR", "--units", "MEC01/SERIES/9007199254740992"), "[2006]"),
        (("notify", "KOR-99", "--version", "1", "--note", "x", "--by", "one"), "[3001]"),
        (("show", ".."), "[3001]"),
    ],
)
def test_what_cannot_be_is_said_with_its_code(
    staffed: Installation,  # noqa: F811
    arguments: tuple[str, ...],
    code: str,
) -> None:
    wrong = run("cases", *arguments, **staffed.settings)
    assert wrong.returncode == 2 and only_line(wrong.stderr).endswith(code), wrong.stderr
