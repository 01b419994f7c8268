"""A browser's session as a way into the API."""

from typing import Any

from rest_framework import authentication

from config.errors import NotAllowed


class CrossSiteRequest(NotAllowed):
    code = "CSRF_FAILED"


class SessionAuthentication(authentication.SessionAuthentication):
    """Django's session with its CSRF check; the actor was found by `workspaces.middleware`.

    The check is given Django's request: DRF's would parse the body, before the limit is looked at.
    """

    def authenticate(self, request: Any) -> tuple[Any, None] | None:
        actor = getattr(request._request, "actor", None)
        error = getattr(request._request, "actor_error", None)
        if error is not None:
            self.enforce_csrf(request._request)
            raise error
        if actor is None:
            return None
        self.enforce_csrf(request._request)
        return actor.user, None

    def enforce_csrf(self, request: Any) -> None:
        check = authentication.CSRFCheck(lambda _: None)  # type: ignore[arg-type]
        check.process_request(request)
        reason = check.process_view(request, None, (), {})  # type: ignore[arg-type]
        if reason:
            raise CrossSiteRequest(details={"csrf": [str(reason)]})
