"""Lists of the field as dated data: a folder a subject, a TOML file an edition, named by its date.

The files travel with the package and are read once, when the module that needs them is imported. The domain has no
clock: an edition is in force from the release that brings it, and the newest one of a release is its last.
"""

import tomllib
from importlib import resources
from typing import Any


def editions(subject: str) -> list[dict[str, Any]]:
    """What the files of ``subject`` say, the newest last; an ISO date sorts as text."""
    folder = resources.files("gateway.domain").joinpath(subject)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return [tomllib.loads(file.read_text("utf-8")) for file in files]
