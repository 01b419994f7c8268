"""How the OpenAPI document is made: every operation gets the error answers that it can give."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from config.api import PUBLIC

WORKSPACE = OpenApiParameter(
    "workspace",
    str,
    description="For signed-in browsers: the workspace that is meant, by its URL name. A key has its own.",
)


class ErrorSerializer(serializers.Serializer):
    """Every error of the API."""

    error = serializers.CharField(help_text="A sentence for people.")
    code = serializers.CharField(help_text="A word for programs, such as VALIDATION_ERROR.")
    details = serializers.JSONField(required=False, help_text="More about it, such as the fields that are wrong.")


def an_error(description: str, error: str, code: str, details: Any = None) -> OpenApiResponse:
    """An error in the document, with the example that it needs."""
    value = {"error": error, "code": code} | ({"details": details} if details else {})
    return OpenApiResponse(ErrorSerializer, description, examples=[OpenApiExample(code, value, response_only=True)])


INVALID = an_error(
    "The request is not valid.",
    "name: This field is required.",
    "VALIDATION_ERROR",
    {"name": ["This field is required."]},
)
UNAUTHORIZED = an_error("No key, or one that is unknown or revoked.", "Invalid API key", "UNAUTHORIZED")
FORBIDDEN = an_error(
    "The role or the key does not allow it. With another code: the workspace is SUSPENDED, the team asks for a second "
    "factor that the signed-in person does not have (SECOND_FACTOR_REQUIRED), or values of keys are shown only after a "
    "more recent sign-in (REAUTHENTICATION_REQUIRED).",
    "Permission denied for this operation",
    "FORBIDDEN",
)
NOT_FOUND = an_error("Nothing there that the caller may see.", "API key not found", "NOT_FOUND")
CONFLICT = an_error("It does not fit what is there.", "This does not fit what is there already", "CONFLICT")
NOT_JSON = an_error("The body is not JSON.", "Send JSON, with Content-Type: application/json", "UNSUPPORTED_MEDIA_TYPE")
LIMITED = an_error(
    "Too many requests; `Retry-After` says how many seconds to wait.",
    "Rate limit exceeded",
    "RATE_LIMITED",
    {"category": "default", "limit": 100, "window": 60, "keyPrefix": "ul_a1b2c3d4"},
)
TOO_LARGE = an_error("The file is larger than is allowed.", "The request is too large", "PAYLOAD_TOO_LARGE")
NO_ROOM = an_error("The disk is full.", "The server has no room for this at the moment", "STORAGE_FULL")
UNAVAILABLE = an_error(
    "A part of the server is away; try again.",
    "The service is unavailable at the moment, please try again",
    "UNAVAILABLE",
)


class ApiSchema(AutoSchema):
    def _handler(self) -> Any:
        return getattr(self.view, self.method.lower())

    def get_auth(self) -> list[dict[str, list[Any]]]:
        return [] if self._handler().allowed_right is PUBLIC else [{"ApiKey": []}, {"Session": []}]

    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        handler = self._handler()
        answers: dict[str, OpenApiResponse] = {"503": UNAVAILABLE}
        if handler.allowed_right is not PUBLIC:
            answers |= {"401": UNAUTHORIZED, "403": FORBIDDEN, "404": NOT_FOUND}
        if hasattr(handler, "rate_limit_category"):
            answers["429"] = LIMITED
        if getattr(self.view, "is_signed", False):
            answers |= {"403": FORBIDDEN, "404": NOT_FOUND, "429": LIMITED, "503": UNAVAILABLE}
            if self.method == "PUT":
                answers |= {"413": TOO_LARGE, "507": NO_ROOM}
        if self._get_parameters():
            answers["400"] = INVALID
        if self.method in ("POST", "PUT", "PATCH"):
            answers |= {"400": INVALID, "409": CONFLICT, "415": NOT_JSON}
        for status, response in answers.items():
            if status not in bodies:
                bodies[status] = self._get_response_for_code(response, status)
        return dict(sorted(bodies.items()))


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "apikeys.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "ul_ and 40 hexadecimal digits"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "accounts.authentication.SessionAuthentication"
    name = "Session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


def sort_paths(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    result["paths"] = dict(sorted(result["paths"].items()))
    return result
