"""What every REST view stands on: `ApiView`, `@allow`, and the one place where errors become answers."""

import logging
from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions, serializers
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config import errors, security_log
from config.parsers import TooLarge

log = logging.getLogger(__name__)
PUBLIC = object()
# Called with the request, its rate-limit category and the answer's status; higher apps add theirs. Must be fast.
answered: list[Callable[[Any, str, int], None]] = []


def allow(right: Any) -> Callable:
    """Say who may call the decorated handler: a right of `workspaces.access`, or `PUBLIC` for everybody."""

    def mark(handler: Callable) -> Callable:
        handler.allowed_right = right  # type: ignore[attr-defined]
        return handler

    return mark


class Allowed(BasePermission):
    """Asks the actor for the right that `@allow` put on the handler. 401 without an actor, 403 without the right."""

    def has_permission(self, request: Any, view: Any) -> bool:
        request = request._request
        handler = getattr(view, request.method.lower(), None)
        if handler is None or request.method == "OPTIONS":
            return True  # DRF answers 405
        right = handler.allowed_right
        if right is PUBLIC:
            return True
        actor = getattr(request, "actor", None)
        if actor is None:
            raise errors.Unauthenticated
        actor.require(right)
        return True


class ApiRequest(Request):
    """What handlers are given, for the type checker: DRF's request, with the actor that authentication found."""

    actor: Any


class PlainJson(JSONRenderer):
    def get_indent(self, *_: Any) -> None:
        """None: DRF would parse the media type at each request to see whether an indent is wished for."""


class ApiView(APIView):
    """A JSON view. Each handler says `@allow(...)` and, unless it is free, `@rate_limit(...)`."""

    permission_classes = (Allowed,)
    metadata_class = None  # OPTIONS is a 405: the OpenAPI document describes the API
    default_response_headers: dict[str, str] = {}  # type: ignore[assignment]  # `Allow` goes with a 405 only
    _renderer = PlainJson()
    rate_limit_headers: dict[str, str] | None = None  # of this request, set by `@rate_limit`
    category = "default"  # the same

    def perform_content_negotiation(self, request: Any, force: bool = False) -> tuple[Any, str]:
        """JSON, whatever the caller would accept: there is nothing else to choose, and errors must be JSON, too."""
        return self._renderer, "application/json"

    def has_body(self) -> bool:
        """Did the caller send a body, or mean to?"""
        meta = self.request._request.META
        return meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta

    def validated(self, serializer_class: type[serializers.Serializer]) -> dict[str, Any]:
        """The request's body after `serializer_class`, as Python names. Raises Invalid with a sentence per field.

        A body without its length, which Django would take for none, is refused: what it asks for must not be left out.
        """
        if "HTTP_TRANSFER_ENCODING" in self.request._request.META:
            raise errors.Invalid("Send the body with its length in Content-Length, not in chunks")
        serializer = serializer_class(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def validated_query(self, serializer_class: type[serializers.Serializer]) -> dict[str, Any]:
        """The same for the query string."""
        serializer = serializer_class(data=self.request.query_params.dict())
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        for listener in answered:
            listener(request._request, self.category, response.status_code)
        limit_headers = self.rate_limit_headers
        if limit_headers and response.status_code not in (401, 403):
            for name, value in limit_headers.items():
                response[name] = value
        return response


def no_store(response: Response) -> Response:
    """Forbid every cache to keep the answer, because it shows a key's value (RFC 9111, section 5.2.2.5)."""
    response["Cache-Control"] = "no-store"
    return response


def exception_handler(exception: Exception, context: dict[str, Any]) -> Response:
    """Turn any exception of an API view into an answer in the documented format."""
    error = as_service_error(exception)
    if error.status == 403:
        security_log.refused(context["request"]._request, error.sentence)
    if error.status == 405:
        error.headers["Allow"] = ", ".join(m for m in context["view"].allowed_methods if m != "OPTIONS")
    if error.status == 415 and (wanted := context["view"].parser_classes[0].media_type) != "application/json":
        error.sentence = f"Send a body with Content-Type: {wanted}"
    note_failure(error, exception, type(context["view"]).__name__)
    return Response(error.as_json(), status=error.status, headers=error.headers)


def note_failure(error: errors.ServiceError, exception: BaseException, where: str) -> None:
    """Log what is the server's fault: with its traceback, or in one line if a part is away, as that comes in masses."""
    if error.status == 503:
        log.error("%s in %s: %s", type(exception).__name__, where, str(exception).partition("\n")[0])
    elif error.status >= 500:
        log.error("%s in %s", type(exception).__name__, where, exc_info=exception)


def as_service_error(exception: BaseException) -> errors.ServiceError:
    """The documented error that says what `exception` means to the caller."""
    match exception:
        case errors.ServiceError():
            return exception
        case exceptions.ValidationError():
            return errors.Invalid(_first_sentence(exception.detail), details=exception.detail)
        case DjangoValidationError():
            details = exception.message_dict if hasattr(exception, "error_dict") else {"": exception.messages}
            return errors.Invalid(_first_sentence(details), details=details)
        case exceptions.NotAuthenticated():
            return errors.Unauthenticated()
        case exceptions.AuthenticationFailed():
            return errors.Unauthenticated("Invalid API key")
        case exceptions.PermissionDenied():
            return errors.NotAllowed()
        case Http404() | exceptions.NotFound():
            return errors.NotFound()
        case OperationalError() | InterfaceError():
            return errors.Unavailable()
        case RequestDataTooBig() | TooLarge():
            return errors.PayloadTooLarge()
        case exceptions.MethodNotAllowed():
            return _other(405, "METHOD_NOT_ALLOWED", "This address does not answer that method")
        case exceptions.UnsupportedMediaType():
            return _other(415, "UNSUPPORTED_MEDIA_TYPE", "Send JSON, with Content-Type: application/json")
        case exceptions.NotAcceptable():
            return _other(406, "NOT_ACCEPTABLE", "The answer can only be JSON")
        case exceptions.ParseError():
            return errors.Invalid("The request's body is not JSON that can be read")
        case exceptions.APIException():
            return _other(exception.status_code, "ERROR", str(exception.detail))
        case SuspiciousOperation() | BadRequest() | MultiPartParserError() | UnreadablePostError():
            return errors.Invalid("The request cannot be understood")
    return errors.ServiceError()


def _other(status: int, code: str, sentence: str) -> errors.ServiceError:
    error = errors.ServiceError(sentence)
    error.status, error.code = status, code
    return error


def _first_sentence(details: Any, field: str = "") -> str | None:
    """One sentence for clients that show nothing but `error`: the first field's."""
    if isinstance(details, dict):
        for name, value in details.items():
            return _first_sentence(value, "" if name in ("", "non_field_errors") else str(name))
    if isinstance(details, list):
        for value in details:
            return _first_sentence(value, field)
    return (f"{field}: {details}" if field else str(details)) if details else None
