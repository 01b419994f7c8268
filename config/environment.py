"""Environment variables, each read with one clear sentence for what is wrong with it."""

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured


class Environment(environ.Env):
    """django-environ, which by itself ends with a traceback at a number or an address that is none.

    What an address contains is never repeated: it may hold a password.
    """

    def integer(self, name: str, default: int, least: int = 0, most: int = 2**31 - 1) -> int:
        """A whole number from `least` to `most`. Raises ImproperlyConfigured."""
        text = self.str(name, "") or str(default)
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ImproperlyConfigured(f"{name}={text!r} is not a whole number from {least} to {most}.")
        return number

    def seconds(self, name: str, default: float) -> float:
        """A number of seconds, 0 or more, with or without a fraction. Raises ImproperlyConfigured."""
        text = self.str(name, "") or str(default)
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number < 2**31:
            raise ImproperlyConfigured(f"{name}={text!r} is not a number of seconds.")
        return number

    def postgresql(self, name: str) -> dict[str, Any]:
        """The address of a PostgreSQL server as Django's settings. Raises ImproperlyConfigured."""
        try:
            found = dict(self.db_url_config(self.str(name)))
        except ValueError:
            found = {}
        if found.get("ENGINE") != "django.db.backends.postgresql":
            raise ImproperlyConfigured(f"{name} must name a PostgreSQL server: postgres://user:password@host/name.")
        return found

    def redis(self, name: str) -> str:
        """The address of a Redis server, or nothing. Raises ImproperlyConfigured."""
        text = self.str(name, "")
        if text:
            from redis.connection import parse_url

            try:
                parse_url(text)
            except ValueError:
                raise ImproperlyConfigured(f"{name} must name a Redis server: redis://host:6379/0.") from None
        return text
