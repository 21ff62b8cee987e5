"""What is checked of a bundle, in order: what must hold, how it is computed, and the text that says so.

``verify`` makes each check under its number; the schema tells them, so that others can. The texts are in
``rules.toml``.
"""

import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``title`` is what holds when it is passed, ``how`` what to compute, ``source`` where that is from."""

    number: int
    name: str
    title: str
    how: str
    source: str


_TABLE = tomllib.loads(resources.files(__package__).joinpath("rules.toml").read_text("utf-8"))
PREFACE: str = _TABLE["preface"]
CHECKS = tuple(
    Check(number, check["name"], check["title"], " ".join(check["how"].split()), check["source"])
    for number, check in enumerate(_TABLE["check"], 1)
)
