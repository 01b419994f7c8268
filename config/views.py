"""Pages and answers that belong to no app: errors, the start page, the API's description."""

import hashlib
import sys
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.decorators import method_decorator
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import condition
from django_htmx.http import HttpResponseClientRedirect
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.views import APIView

from config import errors
from config.api import PUBLIC, ApiView, PlainJson, allow, as_service_error
from config.pages import page


def error_answer(request: HttpRequest, error: errors.ServiceError) -> HttpResponse:
    """The error as JSON under `/api/`, elsewhere as a page, or as the way to the page that helps."""
    if request.path_info.startswith("/api/"):
        response: HttpResponse = JsonResponse(error.as_json(), status=error.status)
    elif address := error.page_instead(request):
        response = HttpResponseClientRedirect(address) if getattr(request, "htmx", False) else redirect(address)
    else:
        response = HttpResponse(_error_page(request, error), status=error.status)
    for name, value in error.headers.items():
        response[name] = value
    return response


def _error_page(request: HttpRequest, error: errors.ServiceError) -> str:
    try:
        return render_to_string(error.template, {"error": error}, request)
    except Exception:  # who is signed in cannot be said while the database is away
        return render_to_string("error.html", {"error": error})


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error_answer(request, errors.Invalid("The request cannot be understood"))


def permission_denied(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error_answer(request, errors.NotAllowed())


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return error_answer(request, errors.NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    """An exception that nobody expected, or a database that is away, in a middleware."""
    exception = sys.exc_info()[1]
    return error_answer(request, as_service_error(exception) if exception else errors.ServiceError())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return error_answer(
        request, errors.NotAllowed("This form has expired or came from another site; go back, reload and try again")
    )


@page(PUBLIC)
def home(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect("accounts:settings")
    return render(request, "home.html")


class UnknownPath(ApiView):
    """Whatever under /api/ is no address of ours: 404 in the documented format, never HTML or a redirect."""

    authentication_classes = ()
    schema = None

    @allow(PUBLIC)
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        raise errors.NotFound

    post = put = patch = delete = head = get


@cache
def _document() -> tuple[bytes, str]:
    """The OpenAPI document as JSON, and its entity tag. Making it takes half a second: once in each process."""
    document = PlainJson().render(SchemaGenerator().get_schema(public=True))
    return document, f'"{hashlib.sha256(document).hexdigest()}"'


class Schema(APIView):
    """The OpenAPI document; the same with and without a key."""

    schema = None
    authentication_classes = permission_classes = ()

    @allow(PUBLIC)
    @method_decorator([gzip_page, condition(etag_func=lambda request: _document()[1])])
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse(_document()[0], content_type="application/json")


class Docs(SpectacularSwaggerSplitView):
    """Interactive documentation, from files of the sidecar package."""

    schema = None
    authentication_classes = ()
    template_name = "api_docs.html"
    get = allow(PUBLIC)(SpectacularSwaggerSplitView.get)
