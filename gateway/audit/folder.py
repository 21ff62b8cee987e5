"""A folder that holds a published log, to be read, or written so that any web server can publish it as it lies there.

Guarantees: a file appears whole or not at all; ``put`` never changes what is there. Of a folder that somebody else
made only plain files are read: no link out of it, nothing that never ends. Fails with CONFLICT for another content.
"""

import fcntl
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.audit import merkle
from gateway.errors import GatewayError, Kind

#: What a log consists of, as it lies in its folder.
_OURS = {"checkpoint", "checkpoints", "keys", "tile"}
#: What was being written when its process ended.
_UNFINISHED = ".unfinished"
_EXPECTED = (FileNotFoundError, NotADirectoryError)


class Folder:
    """The folder at ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def read(self, path: str, most: int) -> bytes | None:
        """The file at ``path``, at most one byte more than ``most``; None if there is none. Raises UNAVAILABLE."""
        return self.bytes_at(path, most)

    def bytes_at(self, path: str, most: int) -> bytes | None:
        """As ``read``."""
        place = self._root / path
        try:
            with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise GatewayError(Kind.UNAVAILABLE, f"{place} is not a plain file")
                return _all(file, most + 1)
        except _EXPECTED:
            return None
        except OSError as error:
            raise GatewayError(Kind.UNAVAILABLE, f"{place}: {error.strerror}") from error

    def widths(self, path: str) -> list[int]:
        """The widths of the partial tiles or bundles in the folder ``path``, smallest first."""
        with suppress(*_EXPECTED):
            names = {str(width): width for width in range(1, merkle.TILE_WIDTH)}
            return sorted(names[name] for name in os.listdir(self._root / path) if name in names)
        return []

    def put(self, path: str, data: bytes) -> bool:
        """Let ``data`` be at ``path``, where it then stays; whether it was not there. Raises CONFLICT."""
        held = self.bytes_at(path, len(data))
        if held is None:
            self.replace(path, data)
        elif held != data:
            raise GatewayError(Kind.CONFLICT, f"{self._root / path} is there with another content")
        return held is None

    def replace(self, path: str, data: bytes) -> None:
        """Let ``data`` be at ``path``, whatever was."""
        place = self._root / path
        new = place.with_name(place.name + _UNFINISHED)
        place.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(data)
        new.replace(place)

    def is_ours(self) -> bool:
        """Whether there is nothing but what a log consists of."""
        return {entry.name.removesuffix(_UNFINISHED) for entry in self._root.iterdir()} <= _OURS

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder if there is none, and be the one who writes to it; raises CONFLICT if somebody else is."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            held = os.open(self._root, os.O_RDONLY)
        except OSError as error:
            raise GatewayError(Kind.UNAVAILABLE, f"{self._root}: {error.strerror}") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise GatewayError(Kind.CONFLICT, f"{self._root} is being written by another export") from None
        finally:
            os.close(held)

    def kept(self) -> None:
        """Return when all that was written would outlast a loss of power."""
        os.sync()


def _all(file: io.FileIO, most: int) -> bytes:
    found = bytearray()
    while len(found) < most and (part := file.read(most - len(found))):
        found += part
    return bytes(found)
