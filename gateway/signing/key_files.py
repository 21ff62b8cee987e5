"""Files of private keys: read only when nobody else may touch them, written whole or not at all, never over another.

Fails with ``GatewayError``: NOT_FOUND, UNTRUSTED (a mode that lets others in), CONFLICT (something is there already),
UNAVAILABLE (the disk). No error shows what is in a file.
"""

import os
import secrets
import stat
from pathlib import Path

from gateway.errors import GatewayError, Kind

_MAX_PEM = 16 * 1024  # bytes; the three keys of a log are below 1,000


def read(path: Path) -> bytes:
    """The PEM in the file ``path``; refuses one that its group or others may touch."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise GatewayError(Kind.NOT_FOUND, f"key file {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)  # of what was opened: the name may point elsewhere by now
        if not stat.S_ISREG(status.st_mode) or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise GatewayError(Kind.UNTRUSTED, f"key file {path}: must be a regular file with mode 0600")
        return file.read(_MAX_PEM)


def write(path: Path, pem: bytes) -> None:
    """Write ``pem`` to ``path`` with mode 0600.

    Written beside the target and linked into place: ``link`` refuses an existing name, ``rename`` would not.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(descriptor)
            os.link(beside, path)
        finally:
            os.unlink(beside)
        _sync_folder(path.parent)
    except FileExistsError:
        raise GatewayError(Kind.CONFLICT, f"key file {path}: exists and is never overwritten") from None
    except OSError as error:
        raise GatewayError(Kind.UNAVAILABLE, f"key file {path}: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
