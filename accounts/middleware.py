"""Sessions: the list of them, kept up to date without three statements at each request, and their end."""

import time
from datetime import timedelta
from typing import Any

from allauth.usersessions.middleware import UserSessionsMiddleware
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import logout
from django.utils import timezone

from accounts.security_events import METHODS
from config import security_log

EVERY_SECONDS = 60.0
MAX_SESSIONS = 100_000
ORIGIN = ("REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "HTTP_USER_AGENT")


class SessionActivityMiddleware(UserSessionsMiddleware):
    """allauth's, which writes when a session was last seen: once a minute in each process, or from elsewhere.

    As often it looks whether the session has come to its end: `SESSION_DAYS` after the last sign-in or confirmation of
    it, or `SESSION_IDLE_HOURS` after the last request (OWASP ASVS 5, 7.3.1 and 7.3.2).
    """

    def __init__(self, get_response: Any):
        super().__init__(get_response)
        self.get_response = get_response
        self.seen: dict[tuple[str, ...], float] = {}

    def __call__(self, request: Any) -> Any:
        origin = (request.session.session_key or "", *(request.META.get(name, "") for name in ORIGIN))
        now = time.monotonic()
        if now - self.seen.get(origin, -EVERY_SECONDS) < EVERY_SECONDS:
            return self.get_response(request)
        if len(self.seen) > MAX_SESSIONS:
            self.seen.clear()
        if request.user.is_authenticated:
            if why := reason_to_end(request.session):
                security_log.record("session.ended", request, request.user, why=why)
                logout(request)
            else:
                self.seen[origin] = now
        return super().__call__(request)


def reason_to_end(session: Any) -> str:
    """`age` or `silence` if the session has gone on for too long, else nothing. At most one statement."""
    confirmed = max((record.get("at", 0) for record in session.get(METHODS, [])), default=None)
    if confirmed is not None and time.time() - confirmed > settings.SESSION_COOKIE_AGE:
        return "age"
    since = timezone.now() - timedelta(hours=settings.SESSION_IDLE_HOURS)
    silent = settings.SESSION_IDLE_HOURS and UserSession.objects.filter(
        session_key=session.session_key, last_seen_at__lt=since
    )
    return "silence" if silent and silent.exists() else ""
