"""Builds the Go program beside this file, out of Debian's packages and without a network, and asks it about a log."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("verify.go")
#: Where Debian puts the sources of Go packages.
PACKAGES = Path("/usr/share/gocode")


def lacking() -> str:
    """What this machine lacks to build it; nothing if it can."""
    if shutil.which("go") is None:
        return "golang-go is not installed"
    return "" if (PACKAGES / "src/golang.org/x/mod/sumdb").is_dir() else "golang-golang-x-mod-dev is not installed"


def built(folder: Path) -> Path:
    """The program, made in ``folder``."""
    program = folder / "verify"
    here = {"GO111MODULE": "off", "GOPATH": str(PACKAGES), "GOFLAGS": "", "GOCACHE": str(folder / "cache")}
    subprocess.run(["go", "build", "-o", program, SOURCE], env=os.environ | here, check=True)
    return program


class Refused(Exception):
    """What the program says is wrong with a log."""


def verified(program: Path, log: str | Path, vkey: str, older: Path | None = None) -> dict[str, Any]:
    """What it says of the log at an address or in a folder, and of older checkpoints in a file; raises ``Refused``."""
    more = ["-older", older] if older else []
    done = subprocess.run([program, "-log", log, "-key", vkey, *more], capture_output=True, text=True)
    if done.returncode:
        raise Refused(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found
