"""Secrets that a server for trying out makes for itself, in files that only their owner can read."""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the text of `path`, written with `make()` first if there is no such file. Safe between processes."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(make() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # fails if another process was first, whose secret then holds
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()


def new_secret_key() -> str:
    return secrets.token_urlsafe(64)


def new_encryption_keys() -> str:
    """One fresh 256-bit key in the format of `API_KEY_ENCRYPTION_KEYS`."""
    return "k1:" + base64.b64encode(secrets.token_bytes(32)).decode()
