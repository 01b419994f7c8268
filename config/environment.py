"""Environment variables, each read with one clear sentence for what is wrong with it."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

COMMAND_SECONDS = 30


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

    def choice(self, name: str, *choices: str) -> str:
        """One of `choices`, the first if nothing is set. Raises ImproperlyConfigured."""
        text = self.str(name, "") or choices[0]
        if text not in choices:
            raise ImproperlyConfigured(f"{name}={text!r} is none of {', '.join(choices)}.")
        return text

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

    def secret(self, name: str) -> str:
        """A secret from the variable, from the file of `<name>_FILE`, or what the program of `<name>_COMMAND` prints.

        Empty if there is none. Raises ImproperlyConfigured, never with the secret or what the program printed.
        """
        sources = [source for source in (name, f"{name}_FILE", f"{name}_COMMAND") if self.str(source, "")]
        if len(sources) > 1:
            raise ImproperlyConfigured(f"{' and '.join(sources)} are set: only one of them can be meant.")
        if not sources or sources == [name]:
            return self.str(name, "")
        value = self.str(sources[0])
        return _from_file(sources[0], value) if sources[0].endswith("_FILE") else _from_command(sources[0], value)

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


def _from_file(name: str, value: str) -> str:
    path = Path(value).expanduser()
    try:
        if path.stat().st_mode & 0o007:
            raise ImproperlyConfigured(f"{name}: everybody on this machine may read {path}; use chmod 600.")
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}: {path} cannot be read ({type(error).__name__}).") from None


def _from_command(name: str, value: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (the operator's own program)
            shlex.split(value), capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ImproperlyConfigured(f"{name}: the program could not be run ({type(error).__name__}).") from None
    if done.returncode or not done.stdout.strip():
        raise ImproperlyConfigured(f"{name}: the program ended with {done.returncode} and gave no keys.")
    return done.stdout.strip()
