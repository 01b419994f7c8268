"""Whatever is sent, our parsers read it or refuse it: no crash, no 500, and nothing secret comes out again.

Others have their own: the header in test_headers.py, events, plots and signed addresses in training/test_parsing.py,
keys in pasted text in apikeys/test_leaks.py, and every JSON body by schemathesis in config/test_openapi.py.
"""

import ipaddress
import re
from contextlib import suppress
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import pytest
import yaml
from django.test import override_settings
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apikeys import endpoints, tokens
from apikeys.models import Endpoint
from config import rates, request_id
from config.address import UNKNOWN, address_in, network
from config.clients import MAX_LENGTH, clean_client
from config.errors import Invalid, NotFound
from config.redaction import INVITATION, clean_reason, redact
from tests.conftest import Browser
from workspaces import links
from workspaces.access import Role

HEX = st.text("0123456789abcdef", min_size=40, max_size=40).map(lambda digits: f"ul_{digits}")
LATIN = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=120)  # what a header can hold
ADDRESSES = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda a: f"{a}%eth0"),
    st.sampled_from(["", "[::1]:80"]),
    LATIN,
)
many = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@many
@given(st.one_of(st.text(max_size=30), st.from_regex(r"\s*\d{1,12}\s*/\s*\d{0,6}[smhd](in)?\s*", fullmatch=True)))
def test_a_rate_is_read_or_refused(text):
    with suppress(ValueError):
        rate = rates.parse(text)
        assert rate is None or (0 < rate[0] < 10**9 and 0 < rate[1] < 10**10)


@many
@given(
    remote=ADDRESSES, forwarded=st.none() | st.lists(ADDRESSES, max_size=5).map(", ".join), proxies=st.integers(0, 4)
)
@example(remote="", forwarded="", proxies=1)
def test_an_address_is_one_of_the_proxys_or_unknown(remote, forwarded, proxies):
    environ = {"REMOTE_ADDR": remote} | ({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})
    with override_settings(TRUSTED_PROXIES=proxies):
        found = address_in(environ)
    assert found in (UNKNOWN, remote) or ipaddress.ip_address(found)
    if not proxies or forwarded is None:
        assert found == (remote or UNKNOWN), "nobody is believed"
    network(found)
    network(remote)


@many
@given(before=st.text(max_size=200), key=HEX, after=st.text(max_size=200))
def test_what_a_client_calls_itself_is_printable_short_and_no_key(before, key, after):
    for text in (before, before + key + after, key * 5):
        name = clean_client(text)
        assert len(name) <= MAX_LENGTH
        assert name.isprintable()
        assert not tokens.contains_token(name)


@many
@given(parts=st.lists(st.one_of(st.text(max_size=40), HEX, st.sampled_from(["ul_", "inv_", "\x00", "ul_ul_"]))))
def test_no_value_comes_through_the_redaction_and_twice_is_once(parts):
    text = "".join(parts)
    clean = redact(text)
    assert not tokens.contains_token(clean)
    assert redact(clean) == clean
    assert tokens.contains_token(text) or INVITATION.search(text) or clean == text
    assert not tokens.contains_token(clean_reason(text))
    assert len(clean_reason(text)) <= 200


@many
@given(st.one_of(st.text(max_size=120), st.from_regex(r"inv_[0-9a-f]{30,34}[A-Za-z0-9_-]{41,45}", fullmatch=True)))
def test_the_link_of_an_invitation_is_read_or_not_found(text):
    with suppress(NotFound):
        link = links.link_of(text)
        assert len(link.digest) == 32
        assert INVITATION.fullmatch(text)


@many
@given(st.one_of(LATIN, HEX, st.from_regex(r"[A-Za-z0-9.-]{6,66}", fullmatch=True)))
def test_the_id_of_a_request_is_sane_whatever_a_proxy_sends(text):
    with override_settings(TRUSTED_PROXIES=1):
        given_id = request_id.begin({"HTTP_X_REQUEST_ID": text})
    request_id.end()
    assert request_id.SANE.fullmatch(given_id)
    assert not tokens.contains_token(given_id)


@pytest.fixture
def anybody(db, settings):
    """A browser that nobody has signed in, for as many requests as it likes."""
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS)
    return SimpleNamespace(browser=Browser())


@many
@given(
    name=st.text(max_size=30),
    upstream=st.one_of(
        st.text(max_size=40),
        st.from_regex(endpoints.UPSTREAM, fullmatch=True),
        st.from_regex(r"https?://[a-z:\[\]0-9.;{}\"' ]{1,20}(/[a-z;{}$ ]{0,10})?", fullmatch=True),
    ),
)
def test_no_address_of_a_service_breaks_out_of_the_configuration_of_a_proxy(name, upstream):
    try:
        endpoint = Endpoint(**endpoints._cleaned(name, upstream, Role.VIEWER))
    except Invalid:
        return
    plain = Endpoint(name="x", upstream="http://x/x" if urlsplit(endpoint.upstream).path else "http://x")
    check = "http://127.0.0.1:8000/api/auth/verify/endpoints/x"
    (nginx, traefik, _), (expected, *_) = (
        [one["code"] for one in endpoints.configurations(one, check)] for one in (endpoint, plain)
    )
    shape = re.sub(r"proxy_pass \S+;|    proxy_ssl_server_name on;\n", "", nginx)
    assert shape == re.sub(r"proxy_pass \S+;", "", expected)
    [service] = yaml.safe_load(traefik)["http"]["services"].values()
    prefix = urlsplit(endpoint.upstream).path
    assert service["loadBalancer"]["servers"][0]["url"] + prefix == endpoint.upstream


PATHS = ("/accounts/login/", "/settings", "/api/account/summary", "/api/teams", "/healthz", "/invites/open")


@many
@given(
    cookie=st.one_of(LATIN, LATIN.map(lambda v: f"keyhouse_session={v}"), LATIN.map(lambda v: f"keyhouse_csrf={v}; x"))
)
def test_a_cookie_of_any_kind_is_no_error(anybody, cookie):
    for path in PATHS:
        anybody.browser.cookies.clear()
        assert anybody.browser.get(path, HTTP_COOKIE=cookie).status_code < 500, path


@many
@given(
    path=st.one_of(st.text(max_size=40), st.from_regex(r"endpoints/[0-9a-f-]{30,40}", fullmatch=True)),
    query=st.lists(st.tuples(st.sampled_from(["role", "workspace", "x", ""]), st.text(max_size=20)), max_size=4),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PROPFIND"]),
    body=st.binary(max_size=50),
    has_key=st.booleans(),
)
def test_the_check_for_proxies_says_204_401_or_403_and_nothing_else(
    anybody, edda_key, path, query, method, body, has_key
):
    address = f"/api/auth/verify/{quote(path.encode(errors='surrogatepass'))}"
    asked = "&".join(f"{quote(name)}={quote(value.encode(errors='surrogatepass'))}" for name, value in query)
    headers = {"HTTP_AUTHORIZATION": f"Bearer {str.__str__(edda_key)}"} if has_key else {}
    answer = anybody.browser.generic(method, f"{address}?{asked}", body, **headers)
    assert answer.status_code in ((204, 403) if has_key else (401,))


@many
@given(
    body=st.one_of(st.binary(max_size=200), st.lists(HEX | st.text(max_size=10)).map(lambda v: f"token={v}".encode())),
    kind=st.sampled_from(
        ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""]
    ),
    path=st.sampled_from(["/api/auth/introspect", "/api/credentials/revoke"]),
)
def test_a_body_that_makes_no_sense_is_refused_in_the_documented_format(anybody, edda_key, body, kind, path):
    headers = {"HTTP_AUTHORIZATION": f"Bearer {str.__str__(edda_key)}"} if "introspect" in path else {}
    answer = anybody.browser.generic("POST", path, body, content_type=kind, **headers)
    assert answer.status_code in (200, 202, 400, 413, 415), answer.content[:200]
    assert "error" in answer.json() or answer.status_code < 300
    assert not tokens.contains_token(answer.content.decode())
