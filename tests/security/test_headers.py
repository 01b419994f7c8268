"""Authorization headers that are no good."""

from contextlib import contextmanager
from unittest import mock

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apikeys import tokens
from apikeys.authentication import read_header
from tests.conftest import Browser, assert_error

HEX = st.text("0123456789abcdef", min_size=40, max_size=40)
LATIN = st.characters(codec="latin-1", exclude_categories=("Cc",))
SCHEMES = st.sampled_from(["Bearer", "bearer", "BEARER", "Basic", "Token", "Bearer:", "", "Bearer Bearer"])
NEARLY = st.one_of(
    st.text("0123456789abcdefABCDEFul_- \t", max_size=60),
    HEX.map(str.upper).map(lambda h: f"ul_{h}").filter(lambda t: not tokens.is_token(t)),
    HEX.map(lambda h: f"UL_{h}"),
    HEX.map(lambda h: f"ul_{h[:-1]}"),
    HEX.map(lambda h: f"ul_{h}0"),
    HEX.map(lambda h: f" ul_{h}"),
    HEX.map(lambda h: f"ul_{h} "),
    HEX.map(lambda h: f"ul_{h},ul_{h}"),
    HEX.map(lambda h: f'"ul_{h}"'),
    st.text("٠١٢٣٤٥٦٧٨٩０１", min_size=40, max_size=40).map(lambda h: f"ul_{h}"),
    st.text(LATIN, max_size=80),
)
MALFORMED = st.one_of(
    st.text(LATIN, max_size=200),
    st.tuples(SCHEMES, st.sampled_from([" ", "  ", "\t", "", ": "]), NEARLY).map("".join),
    HEX.map(lambda h: f"ul_{h}"),
    HEX.map(lambda h: f"Basic ul_{h}"),
    st.binary(max_size=100).map(lambda b: b.decode("latin-1")),
).filter(lambda header: read_header(header) is None)


@pytest.fixture(scope="module")
def anybody():
    return Browser()


@contextmanager
def no_database():
    """There is no connection, and making one is an error, by whatever way a statement would be sent."""
    database = connections["default"]
    asked = AssertionError("the database was asked")
    with mock.patch.object(database, "connection", None), mock.patch.object(database, "connect", side_effect=asked):
        yield


def test_without_a_database_a_well_formed_key_cannot_be_answered(anybody, db):
    """What the test below relies on: a request that asks the database is noticed."""
    with no_database():
        answer = anybody.get("/api/account/summary", HTTP_AUTHORIZATION=f"Bearer {tokens.new_token()}")
    assert answer.status_code == 500


@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(header=MALFORMED)
def test_a_malformed_header_is_a_401_without_a_query(anybody, header):
    with no_database():
        answer = anybody.get("/api/account/summary", HTTP_AUTHORIZATION=header)
    assert_error(answer, 401, "Invalid API key")


@settings(max_examples=2_000, deadline=None)
@given(text=st.text(max_size=60))
def test_only_the_documented_form_is_a_key(text):
    import re

    assert tokens.is_token(text) == bool(re.fullmatch("ul_[0-9a-f]{40}", text))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_read_in_any_case(call, edda_key, scheme):
    header = f"{scheme} {str.__str__(edda_key)}"
    assert call(None, "GET /api/account/summary", HTTP_AUTHORIZATION=header).status_code == 200


@pytest.mark.parametrize(
    "form", ["Basic {}", "Token {}", "{}", " {}", "Bearer  {}", "Bearer {} ", "Bearer\t{}", "Bearer,{}"]
)
def test_a_good_key_in_any_other_form_is_refused(call, edda_key, form):
    header = form.format(str.__str__(edda_key))
    assert_error(call(None, "GET /api/account/summary", HTTP_AUTHORIZATION=header), 401, "Invalid API key")


def test_a_bad_header_is_refused_even_from_a_signed_in_browser(browser, edda):
    answer = browser(edda).get("/api/account/summary?workspace=edda", HTTP_AUTHORIZATION="Bearer nonsense")
    assert_error(answer, 401, "Invalid API key")


def test_unknown_keys_are_401_and_then_429_while_good_keys_go_on(call, edda_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"failed": (5, 60)}
    statuses = [call(tokens.new_token(), "GET /api/account/summary").status_code for _ in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    limited = call(tokens.new_token(), "GET /api/account/summary")
    assert_error(limited, 429, "Rate limit exceeded", "RATE_LIMITED")
    assert int(limited["Retry-After"]) >= 1
    assert call(edda_key, "GET /api/account/summary").status_code == 200
    assert call("not a key", "GET /api/account/summary").status_code == 401
