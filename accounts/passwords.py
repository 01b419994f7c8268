"""Passwords that are easy to guess because of what they are for."""

import re
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

WORDS = ("keyhouse", "ultralytics", "password", "api-key", "apikey")
LEAST_BESIDE = 8  # characters


class ContextValidator:
    """Refuses a password that is a word of this place with little beside it (OWASP ASVS 5, 6.1.2 and 6.2.11).

    Words are `WORDS` and the names that the server's hosts consist of, from five letters on.
    """

    def validate(self, password: str, user: Any = None) -> None:
        rest = password.casefold()
        for word in sorted(self.words(), key=len, reverse=True):
            rest = rest.replace(word, "")
        if len(rest) < LEAST_BESIDE and rest != password.casefold():
            raise ValidationError(self.get_help_text(), code="password_of_this_place")

    def get_help_text(self) -> str:
        return "Your password can’t be the name of this server or of what it does with little beside it."

    @staticmethod
    def words() -> set[str]:
        hosts = [*settings.ALLOWED_HOSTS, settings.PUBLIC_URL]
        return {*WORDS, *(word for host in hosts for word in re.findall(r"[^\W\d_]{5,}", host.casefold()))} - {"https"}
