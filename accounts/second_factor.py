"""Second factors: an authenticator app or a security key. Recovery codes stand in for one and are none themselves."""

from typing import Any

TYPES = ("totp", "webauthn")


def of(user: Any) -> Any:
    """The second factors of `user`, which may be a reference of a query."""
    from allauth.mfa.models import Authenticator

    return Authenticator.objects.filter(user=user, type__in=TYPES)
