"""Middleware of our own: headers for the API, and errors of services as pages."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config import health, metrics, security_log
from config.api import as_service_error
from config.errors import ServiceError
from config.views import error_answer

OF_MACHINES = health.PATHS | {metrics.PATH}
POLICY = "default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"  # of what is no page


def takes_short_chain(environ: dict[str, Any]) -> bool:
    """Is this a program's call, to be answered without sessions and the like? The documentation is a page."""
    path = environ["PATH_INFO"]
    if not path.startswith("/api/") or path == "/api/docs":
        return path in OF_MACHINES  # these need no session, no host name and no https
    if path.startswith("/api/auth/verify"):  # proxies pass all headers of the request that they ask about
        return True
    return "HTTP_AUTHORIZATION" in environ or settings.SESSION_COOKIE_NAME not in environ.get("HTTP_COOKIE", "")


class ApiHeadersMiddleware:
    """What SecurityMiddleware and the like would add to an answer in JSON. The whole chain for calls with a key."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response
        self.headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": POLICY}
        if seconds := getattr(settings, "SECURE_HSTS_SECONDS", 0):
            self.headers["Strict-Transport-Security"] = f"max-age={seconds}; includeSubDomains; preload"

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in self.headers.items():
            response.headers.setdefault(name, value)
        if not response.streaming:
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response


class ServiceErrorMiddleware:
    """Answers an error of a service with a page that says what is wrong, in the status that the API would give."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> Any:
        error = as_service_error(exception)
        if error.status == 403:
            security_log.refused(request, error.sentence)
        if isinstance(exception, ServiceError) or error.status == 503:
            return error_answer(request, error)
        return None
