"""`DEBUG=off` behind a proxy with TLS: cookies, redirects, headers, static files, errors."""

import httpx
import pytest

from tests.config.test_serve import PRODUCTION
from tests.live import Server

VIA_TLS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "Host": "keys.example.org"}


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("production") / "data", **PRODUCTION, TRUSTED_PROXIES="1")
    server.variables["ALLOWED_HOSTS"] += ",127.0.0.1"
    server.variables["PUBLIC_URL"] = "https://keys.example.org"
    server.manage("migrate")
    server.manage("collectstatic", "--noinput")
    server.start()
    server.shell(
        "from accounts.models import User; User.objects.create_superuser('operator', password='a good phrase')"
    )
    yield server
    server.stop()


def get(server, path, **headers):
    return httpx.get(server.url + path, headers=VIA_TLS | headers)


def test_cookies_are_secure_and_kept_from_scripts(production):
    with httpx.Client(base_url=production.url, headers=VIA_TLS) as client:
        page = client.get("/accounts/login/")
        cookies = page.headers.get_list("set-cookie")
        token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        csrf = cookies[0].split(";")[0]
        fields = {"login": "operator", "password": "a good phrase", "csrfmiddlewaretoken": token}
        headers = {"Cookie": csrf, "Referer": "https://keys.example.org/", "Origin": "https://keys.example.org"}
        signed_in = client.post("/accounts/login/", data=fields, headers=headers)
        assert signed_in.status_code == 302
        cookies += signed_in.headers.get_list("set-cookie")
    names = {cookie.split("=")[0] for cookie in cookies}
    assert {"keyhouse_csrf", "keyhouse_session"} <= names
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; ")), cookie


def test_browsers_are_sent_to_https_and_programs_never_are(production):
    plain = {"Host": "keys.example.org"}
    page = httpx.get(production.url + "/accounts/login/", headers=plain)
    assert page.status_code == 301
    assert page.headers["Location"] == "https://keys.example.org/accounts/login/"
    for path in ("/api/account/summary", "/api/nope", "/openapi.json"):
        assert not httpx.get(production.url + path, headers=plain).is_redirect


def test_answers_of_pages_and_of_the_api_carry_the_headers_of_defence(production):
    for path in ("/accounts/login/", "/api/account/summary", "/nope"):
        answer = get(production, path)
        assert "max-age=31536000" in answer.headers["Strict-Transport-Security"], path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_static_files_have_a_digest_in_their_name_and_are_kept_for_ever(production):
    page = get(production, "/accounts/login/").text
    sheet = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert sheet.startswith("/static/css/tokens.")
    answer = get(production, sheet)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]


def test_a_host_that_is_not_ours_is_refused(production):
    answer = httpx.get(production.url + "/accounts/login/", headers=VIA_TLS | {"Host": "evil.example.com"})
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_the_lines_to_copy_have_the_public_address_whatever_the_request_says(production):
    token = production.new_key()
    with httpx.Client(base_url=production.url, headers=VIA_TLS) as client:
        page = client.get("/accounts/login/")
        csrf = page.headers.get_list("set-cookie")[0].split(";")[0]
        field = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        fields = {"login": "operator", "password": "a good phrase", "csrfmiddlewaretoken": field}
        headers = {"Cookie": csrf, "Referer": "https://keys.example.org/"}
        signed_in = client.post("/accounts/login/", data=fields, headers=headers)
        session = next(c for c in signed_in.headers.get_list("set-cookie") if "session" in c).split(";")[0]
        which = production.get(token, "/api/api-keys/current").json()["keyId"]
        page = client.get(f"/settings/api-keys/{which}", headers={"Cookie": session})
    assert f"export ULTRALYTICS_API_KEY={token}" in page.text
    assert "export ULTRALYTICS_PLATFORM_URL=https://keys.example.org\n" in page.text


def test_the_clients_address_comes_from_the_proxy_and_not_from_the_client(production):
    token = production.new_key()
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
    assert get(production, "/api/account/summary", **headers).status_code == 200
    code = (
        "import time; time.sleep(2.5)\nfrom apikeys.models import KeyUsage\n"
        "print(*KeyUsage.objects.values_list('address', flat=True))"
    )
    addresses = production.shell(code).split()
    assert "203.0.113.7" in addresses
    assert "198.51.100.1" not in addresses


def test_signing_in_takes_an_address_that_the_proxy_made_up_badly(production):
    answer = get(production, "/api/account/summary", **{"X-Forwarded-For": "nonsense", "Authorization": "Bearer x"})
    assert answer.status_code == 401
