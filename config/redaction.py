"""The one pattern of a key's value, and what keeps values out of logs and of text that people enter."""

import re

from django.core.exceptions import ValidationError

TOKEN = re.compile(r"ul_[0-9a-f]{40}")
SHOWN = 11  # characters of a value that lists and logs may show


def redact(text: str) -> str:
    """`text` with the secret part of every API key blotted out; the prefix that the UI shows stays."""
    return TOKEN.sub(lambda match: match[0][:SHOWN] + "[redacted]", text)


def refuse_keys(text: str) -> None:
    """A validator for fields that are kept as they are. Raises ValidationError if `text` has a key's value in it."""
    if TOKEN.search(text):
        raise ValidationError("This contains the value of an API key, which must not be kept here.", code="key")
