"""What every template knows."""

from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.urls import get_script_prefix


def site(request: Any) -> dict[str, Any]:
    return {
        "actor": getattr(request, "actor", None),
        "signup_open": settings.SIGNUP_OPEN,
        "has_email": settings.HAS_EMAIL,
        "base_url": base_url(request),
    }


def base_url(request: Any) -> str:
    """This server's own address as clients should use it, with the prefix of its paths, without a slash at the end."""
    return settings.PUBLIC_URL or request.build_absolute_uri(get_script_prefix()).rstrip("/")


def absolute(request: Any, path: str) -> str:
    """`path`, as `reverse` makes it, as an address for clients; one that is absolute already stays as it is."""
    return urljoin(base_url(request), path)
