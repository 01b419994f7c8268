"""The id of the request that a thread is answering: in each line of the log, and in the answer's `X-Request-Id`."""

import re
import secrets
import threading
from typing import Any

from django.conf import settings

HEADER = "X-Request-Id"
# What a proxy may send. No underscore, so that an API key is none.
SANE = re.compile(r"[A-Za-z0-9.-]{8,64}")

_of_thread = threading.local()


def begin(environ: dict[str, Any]) -> str:
    """The id of the request that begins: the one that a proxy of ours has sent, else a new one."""
    given = environ.get("HTTP_X_REQUEST_ID", "") if settings.TRUSTED_PROXIES else ""
    _of_thread.id = (SANE.fullmatch(given) and given) or secrets.token_hex(16)
    return _of_thread.id


def end() -> None:
    """The thread goes on with other things."""
    _of_thread.id = ""


def current() -> str:
    """The id of the request that this thread answers; empty outside of one."""
    return getattr(_of_thread, "id", "")
