"""The way in: who may sign up, and where somebody goes on to once they are signed in."""

from typing import Any

from django.conf import settings

from accounts import signals

DESTINATION = "destination"


def go_on_to(request: Any, path: str) -> None:
    """Send this browser to `path` after its next sign-in, whatever steps lie between, unless that says another."""
    request.session[DESTINATION] = path


def destination(request: Any) -> str | None:
    """Where this browser was to go on to, told once."""
    return request.session.pop(DESTINATION, None)


def invited_addresses(request: Any) -> list[str]:
    """The e-mail addresses whose invitations this browser has opened, the last one first."""
    answers = signals.signup_asked.send(None, request=request)
    return [address for _, addresses in answers for address in addresses or ()]


def may_sign_up(request: Any) -> bool:
    return settings.SIGNUP_OPEN or (settings.SIGNUP_BY_INVITATION and bool(invited_addresses(request)))
