"""Which program sent a request."""

from functools import lru_cache
from typing import Any

from config.redaction import redact

MAX_LENGTH = 120


def client_name(request: Any) -> str:
    """The User-Agent, printable and cut, without anything that looks like a key; empty if there is none."""
    return clean_client(request.META.get("HTTP_USER_AGENT", ""))


@lru_cache(maxsize=1024)
def clean_client(user_agent: str) -> str:
    return redact("".join(c for c in user_agent[:1000] if c.isprintable()))[:MAX_LENGTH]
