"""Sessions in PostgreSQL, as Django's, for keys that Django could have made."""

import re
from typing import Any

from django.contrib.sessions.backends import db


class SessionStore(db.SessionStore):
    """A cookie can hold what no column can, such as a NUL in octal: it is no session, and no error."""

    def _validate_session_key(self, key: Any) -> bool:
        return isinstance(key, str) and re.fullmatch("[a-z0-9]{32}", key) is not None
