"""The list of sessions, kept up to date without three statements at each request."""

import time
from typing import Any

from allauth.usersessions.middleware import UserSessionsMiddleware

EVERY_SECONDS = 60.0
MAX_SESSIONS = 100_000
ORIGIN = ("REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "HTTP_USER_AGENT")


class SessionActivityMiddleware(UserSessionsMiddleware):
    """allauth's, which writes when a session was last seen: once a minute in each process, or from elsewhere."""

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
            self.seen[origin] = now
        return super().__call__(request)
