"""The errors that services raise. Each knows its HTTP status, its code and the sentence that callers see.

One handler turns them into answers for the API (`config.api`), one middleware for pages (`config.middleware`).
"""

from typing import Any


class ServiceError(Exception):
    status = 500
    code = "INTERNAL_ERROR"
    template = "error.html"  # what pages show; it is given `error`
    sentence = "Something went wrong on the server"

    def __init__(self, sentence: str | None = None, *, details: Any = None, headers: dict[str, str] | None = None):
        self.sentence = sentence or self.sentence
        self.details = details
        self.headers = headers or {}
        super().__init__(self.sentence)

    def page_instead(self, request: Any) -> str | None:
        """Where a browser is sent that asked for a page, if it is not shown `template`."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The body of the answer: `error`, `code` and, where there is more to say, `details`."""
        body: dict[str, Any] = {"error": self.sentence, "code": self.code}
        if self.details is not None:
            body["details"] = self.details
        return body


class Invalid(ServiceError):
    """The input cannot be used. `details` maps each field to its sentences."""

    status, code, sentence = 400, "VALIDATION_ERROR", "The request is not valid"


class Unauthenticated(ServiceError):
    status, code, sentence = 401, "UNAUTHORIZED", "Authentication required"

    def __init__(self, sentence: str | None = None):
        super().__init__(sentence, headers={"WWW-Authenticate": "Bearer"})


class NotAllowed(ServiceError):
    status, code, sentence = 403, "FORBIDDEN", "Permission denied for this operation"


class NotFound(ServiceError):
    status, code, sentence = 404, "NOT_FOUND", "Not found"


class Conflict(ServiceError):
    status, code, sentence = 409, "CONFLICT", "This does not fit what is there already"


class RateLimited(ServiceError):
    status, code, sentence = 429, "RATE_LIMITED", "Rate limit exceeded"


class Unavailable(ServiceError):
    """A part that the server needs is away for the moment; never answer 401 then, clients would drop their key."""

    status, code, sentence = 503, "UNAVAILABLE", "The service is unavailable at the moment, please try again"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class PayloadTooLarge(ServiceError):
    status, code, sentence = 413, "PAYLOAD_TOO_LARGE", "The request is too large"


class StorageFull(ServiceError):
    status, code, sentence = 507, "STORAGE_FULL", "The server has no room for this at the moment"
