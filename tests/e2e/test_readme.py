"""The README's first screen is true: what it shows is what the program prints, and what it names exists."""

import re
from pathlib import Path

from tests.e2e import programs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
#: What differs from run to run: how long it took, and how many times what waited was said, and published, again.
SECONDS = re.compile(r"in [0-9.]+ s\.")
COUNTED = re.compile(r"[0-9]+(?= entries| checkpoints| kept)")


def flowing(text: str) -> str:
    """The text without its line breaks, which move with the length of the time it took."""
    return COUNTED.sub("…", SECONDS.sub("in … s.", " ".join(text.split())))


def test_the_demo_prints_what_the_readme_shows() -> None:
    shown = README.partition("<!-- demo output")[2].partition("```\n")[2].partition("```")[0]
    printed = programs.run("demo", "--exit", COLUMNS="80")
    assert printed.returncode == 0, printed.stderr
    assert "conservation: holds" in shown
    assert flowing(printed.stdout).endswith(flowing(shown))


def test_every_file_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`((?:gateway|connectors|deploy|openapi|tests)/[A-Za-z0-9_./-]+)`", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
