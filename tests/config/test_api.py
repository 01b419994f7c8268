"""What every API view does: errors in the documented format, and what is logged of them."""

import logging

import pytest
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation, ValidationError
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions

from apikeys import api, services
from config import errors
from config.api import as_service_error
from config.parsers import TooLarge
from tests.conftest import CSRF, assert_error
from workspaces.models import Membership

SUMMARY = "GET /api/account/summary"
CURRENT = "GET /api/api-keys/current"
UNCLEAR = "The request cannot be understood"


class Teapot(exceptions.APIException):
    status_code = 418


@pytest.mark.parametrize(
    ("exception", "status", "code", "sentence"),
    [
        (errors.Conflict("as it is"), 409, "CONFLICT", "as it is"),
        (exceptions.ValidationError({"a": {"b": ["one", "two"]}}), 400, "VALIDATION_ERROR", "b: one"),
        (exceptions.ValidationError({"non_field_errors": ["of all"]}), 400, "VALIDATION_ERROR", "of all"),
        (exceptions.ValidationError(["one", "two"]), 400, "VALIDATION_ERROR", "one"),
        (exceptions.ValidationError({"a": [{}, {"b": ["second"]}]}), 400, "VALIDATION_ERROR", None),
        (exceptions.ValidationError([]), 400, "VALIDATION_ERROR", "The request is not valid"),
        (ValidationError({"name": ["too long"]}), 400, "VALIDATION_ERROR", "name: too long"),
        (ValidationError("of all"), 400, "VALIDATION_ERROR", "of all"),
        (exceptions.NotAuthenticated(), 401, "UNAUTHORIZED", "Authentication required"),
        (exceptions.AuthenticationFailed(), 401, "UNAUTHORIZED", "Invalid API key"),
        (exceptions.PermissionDenied(), 403, "FORBIDDEN", "Permission denied for this operation"),
        (Http404(), 404, "NOT_FOUND", "Not found"),
        (exceptions.NotFound(), 404, "NOT_FOUND", "Not found"),
        (OperationalError(), 503, "UNAVAILABLE", "The service is unavailable at the moment, please try again"),
        (InterfaceError(), 503, "UNAVAILABLE", "The service is unavailable at the moment, please try again"),
        (RequestDataTooBig(), 413, "PAYLOAD_TOO_LARGE", "The request is too large"),
        (TooLarge(), 413, "PAYLOAD_TOO_LARGE", "The request is too large"),
        (exceptions.MethodNotAllowed("PUT"), 405, "METHOD_NOT_ALLOWED", "This address does not answer that method"),
        (
            exceptions.UnsupportedMediaType("text/plain"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "Send JSON, with Content-Type: application/json",
        ),
        (exceptions.NotAcceptable(), 406, "NOT_ACCEPTABLE", "The answer can only be JSON"),
        (exceptions.ParseError(), 400, "VALIDATION_ERROR", "The request's body is not JSON that can be read"),
        (Teapot("short and stout"), 418, "ERROR", "short and stout"),
        (SuspiciousOperation(), 400, "VALIDATION_ERROR", UNCLEAR),
        (BadRequest(), 400, "VALIDATION_ERROR", UNCLEAR),
        (MultiPartParserError(), 400, "VALIDATION_ERROR", UNCLEAR),
        (UnreadablePostError(), 400, "VALIDATION_ERROR", UNCLEAR),
        (IntegrityError("secret"), 500, "INTERNAL_ERROR", "Something went wrong on the server"),
        (RuntimeError("secret"), 500, "INTERNAL_ERROR", "Something went wrong on the server"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_exception_is_an_error_of_the_documented_format(exception, status, code, sentence):
    error = as_service_error(exception)
    assert (error.status, error.code) == (status, code)
    if sentence is not None:
        assert error.sentence == sentence
    assert "secret" not in str(error.as_json())


def test_the_details_of_what_is_not_valid_are_given_field_by_field():
    assert as_service_error(exceptions.ValidationError({"a": ["one"]})).details == {"a": ["one"]}
    assert as_service_error(ValidationError({"a": ["one"]})).details == {"a": ["one"]}
    assert as_service_error(ValidationError("of all")).details == {"": ["of all"]}


@pytest.mark.parametrize("exception", [RuntimeError("what broke"), OperationalError("gone\nwhat broke")])
def test_what_is_the_servers_fault_is_logged_once_with_a_traceback_unless_a_part_is_away(
    browser, edda, team, monkeypatch, caplog, exception
):
    def fail(*_, **__):
        raise exception

    monkeypatch.setattr(services, "create_key", fail)
    headers = {"HTTP_X_CSRFTOKEN": CSRF, "content_type": "application/json"}
    answer = browser(edda).post("/api/api-keys?workspace=acme", {"name": "x"}, **headers)
    status = 503 if isinstance(exception, OperationalError) else 500
    assert_error(answer, status)
    assert "what broke" not in answer.content.decode()
    [record] = [record for record in caplog.records if record.name == "config.api"]
    assert record.levelno == logging.ERROR
    if status == 500:
        assert (record.getMessage(), record.exc_info[1]) == ("RuntimeError in KeyList", exception)
    else:
        assert (record.getMessage(), record.exc_info) == ("OperationalError in KeyList: gone", None)


def test_what_is_the_callers_fault_is_in_no_log_but_that_of_refusals(call, edda, edda_key, vera_key, caplog):
    caplog.set_level(logging.INFO)
    for who, what, body in (
        (edda, "POST /api/api-keys", {"name": ""}),
        (edda, "GET /api/api-keys/nonsense", None),
        (None, SUMMARY, None),
        (edda_key, "PUT /api/account/summary", None),
    ):
        assert 400 <= call(who, what, body).status_code < 500
    assert not [record for record in caplog.records if record.name == "config.api"]
    assert call(vera_key, "GET /api/api-keys").status_code == 403
    events = [record for record in caplog.records if record.name == "keyhouse.security"]
    [record] = [record for record in events if record.event != "sign_in"]
    assert (record.event, record.key, record.path) == ("access.refused", str(vera_key.id), "/api/api-keys")


def test_options_are_no_method_of_the_api(call, edda_key):
    for who in (None, edda_key):
        answer = call(who, "OPTIONS /api/api-keys")
        assert_error(answer, 405, code="METHOD_NOT_ALLOWED")
        assert answer["Allow"] == "GET, POST, DELETE, HEAD"


def test_a_body_of_another_type_is_told_the_one_that_is_read(call, edda, edda_key):
    as_text = {"content_type": "text/plain"}
    assert_error(
        call(edda, "POST /api/api-keys", b"x", **as_text), 415, "Send JSON, with Content-Type: application/json"
    )
    form = "Send a body with Content-Type: application/x-www-form-urlencoded"
    assert_error(call(edda_key, "POST /api/auth/introspect", b"x", **as_text), 415, form)


def test_a_body_in_chunks_is_refused_and_nothing_is_done(call, cast, edda, edda_key):
    for who, what in (
        (edda, "POST /api/api-keys"),
        (edda_key, "POST /api/api-keys/current/rotate"),
        (cast.adam, f"DELETE /api/members/{edda.pk}"),
    ):
        answer = call(who, what, HTTP_TRANSFER_ENCODING="chunked")
        assert_error(answer, 400, "Send the body with its length in Content-Length, not in chunks")
    assert call(edda_key, SUMMARY).status_code == 200
    assert cast.team.api_keys.count() == 1
    assert Membership.objects.filter(workspace=cast.team, user=edda).exists()


def test_a_key_that_ends_between_being_let_in_and_being_looked_up_is_told_so_and_nothing_of_limits(
    call, edda_key, monkeypatch
):
    def ended(*_):
        raise errors.NotFound

    assert "RateLimit" in call(edda_key, CURRENT)
    monkeypatch.setattr(api, "find_key", ended)
    assert_error(call(edda_key, CURRENT), 401, "Invalid API key")


def test_an_answer_is_json_whatever_the_caller_would_accept(call, edda_key):
    for accepted in ("text/html", "application/json; indent=4", "nonsense", ""):
        answer = call(edda_key, SUMMARY, HTTP_ACCEPT=accepted)
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
        assert b"\n" not in answer.content
        assert "Allow" not in answer
