"""Sessions in PostgreSQL, as Django's, for keys that Django could have made; and the names that they go by."""

import re
import secrets
from typing import Any

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """A cookie can hold what no column can, such as a NUL in octal: it is no session, and no error."""

    def _validate_session_key(self, key: Any) -> bool:
        return isinstance(key, str) and re.fullmatch("[a-z0-9]{32}", key) is not None


NAME = "name"  # in the session


def give_name(session: Any) -> None:
    """Name a session that begins: what is done in it is known by that, and its key is told to nobody."""
    session[NAME] = secrets.token_hex(4)


def name_of(session: Any) -> str:
    """8 hex digits; empty for a session from before they were named."""
    return session.get(NAME, "")
