"""The security log: one line for each event that a reviewer asks for, under the logger `keyhouse.security`.

docs/security.md has the list of events. Entries say who, from where and with what, never what was typed: a password
lands in the field for the name often enough.
"""

import logging
from typing import Any

from config.address import client_address
from config.clients import client_name

log = logging.getLogger("keyhouse.security")


def record(event: str, request: Any, user: Any = None, level: int = logging.INFO, **facts: Any) -> None:
    """Log `event`, a word or two with dots, with the person or None, the request's address and client, and `facts`.

    In JSON each is a field of its own, beside the message that is for people.
    """
    fields: dict[str, Any] = {"event": event, "user": str(user.pk) if user is not None else ""}
    if request is not None:
        fields |= {"address": client_address(request), "client": client_name(request)}
    fields |= {name: str(value) for name, value in facts.items()}
    shown = " ".join(f"{name}={value!r}" for name, value in fields.items() if name != "event" and value)
    log.log(level, "%s %s", event, shown, extra=fields)


def refused(request: Any, sentence: str) -> None:
    """Log that a person, in the browser or by a key, asked for what they may not do. Nobody's requests are not here."""
    actor = getattr(request, "actor", None)
    user = actor.user if actor is not None else getattr(request, "user", None)
    if user is None or user.pk is None:
        return
    key = str(actor.key_id or "") if actor is not None else ""
    record("access.refused", request, user, method=request.method, path=request.path, key=key, why=sentence)
