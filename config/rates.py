"""The rate-limit categories, what each allows by default, and how the environment changes that."""

import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured

UNLIMITED = None
# What one key (or one signed-in person, or one address) may do in a category: (requests, seconds).
DEFAULTS: dict[str, tuple[int, int] | None] = {
    "default": (100, 60),
    "training": (10, 60),
    "upload": (10, 60),
    "predict": (20, 60),
    "export": (20, 60),
    "download": (30, 60),
    "stream": (6000, 60),
    "dedicated": UNLIMITED,
    "invite": (60, 3600),  # invitations: they are mailed to whomever somebody names, in the name of this server
    "report": (10, 60),  # leaked keys that somebody reports, per address; a report holds up to 1,000
    "failed": (300, 60),  # refused keys, per address; good keys from the same address are not held up
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(text: str) -> tuple[int, int] | None:
    """Read `100/m`, `10/30s` or `unlimited` as (requests, seconds) or None. Raises ValueError."""
    if text.strip().lower() == "unlimited":
        return UNLIMITED
    match = re.fullmatch(r"\s*([1-9]\d{0,8})\s*/\s*([1-9]\d{0,4})?([smhd])(in)?\s*", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]), int(match[2] or 1) * UNITS[match[3]]


def from_environment(env: Any) -> dict[str, tuple[int, int] | None]:
    """The limits in force: `RATE_LIMIT_<CATEGORY>` where it is set, the default elsewhere."""
    limits = dict(DEFAULTS)
    for category in DEFAULTS:
        variable = f"RATE_LIMIT_{category.upper()}"
        if text := env.str(variable, ""):
            try:
                limits[category] = parse(text)
            except ValueError:
                raise ImproperlyConfigured(
                    f"{variable}={text!r} is not a rate such as 100/m, 10/30s or unlimited."
                ) from None
    return limits
