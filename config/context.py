"""What every template knows."""

from typing import Any

from django.conf import settings


def site(request: Any) -> dict[str, Any]:
    return {
        "actor": getattr(request, "actor", None),
        "signup_open": settings.SIGNUP_OPEN,
        "has_email": settings.HAS_EMAIL,
        "base_url": base_url(request),
    }


def base_url(request: Any) -> str:
    """This server's own address as clients should use it, without a slash at the end."""
    return settings.PUBLIC_URL or request.build_absolute_uri("/").rstrip("/")
