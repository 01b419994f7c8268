"""The patterns of a key's value and of an invitation's secret, and what keeps them out of logs and out of texts."""

import re

from django.core.exceptions import ValidationError

TOKEN = re.compile(r"ul_[0-9a-f]{40}")
SHOWN = 11  # characters of a value that lists and logs may show
INVITATION = re.compile(r"inv_([0-9a-f]{32})[A-Za-z0-9_-]{43}")  # the secret of a link into a team, with its id


def redact(text: str) -> str:
    """`text` with the secret part of every API key and of every invitation's link blotted out.

    The prefix of a key, which the UI shows, stays.
    """
    text = TOKEN.sub(lambda match: match[0][:SHOWN] + "[redacted]", text)
    return INVITATION.sub("inv_[redacted]", text)


def clean_reason(text: str) -> str:
    """What an operator gives as a reason, as it is kept and shown: one line, at most 200 characters, without keys."""
    return redact(" ".join("".join(c if c.isprintable() else " " for c in text).split()))[:200]


def refuse_keys(text: str) -> None:
    """A validator for fields that are kept as they are. Raises ValidationError if `text` has a key's value in it."""
    if TOKEN.search(text):
        raise ValidationError("This contains the value of an API key, which must not be kept here.", code="key")
