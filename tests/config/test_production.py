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
    assert names == {"__Host-keyhouse_csrf", "__Host-keyhouse_session"}
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; ")), cookie
        assert "Domain=" not in cookie


def test_browsers_are_sent_to_https_and_programs_never_are(production):
    plain = {"Host": "keys.example.org"}
    page = httpx.get(production.url + "/accounts/login/", headers=plain)
    assert page.status_code == 301
    assert page.headers["Location"] == "https://keys.example.org/accounts/login/"
    for path in ("/api/account/summary", "/api/nope", "/openapi.json"):
        assert not httpx.get(production.url + path, headers=plain).is_redirect


def test_prometheus_asks_the_machine_itself_without_tls_and_others_find_nothing(production):
    assert "keyhouse_requests" in httpx.get(production.url + "/metrics").text
    assert get(production, "/metrics").status_code == 404
    assert httpx.get(production.url + "/metrics", headers={"Host": "keys.example.org"}).status_code == 404


EVERYWHERE = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
    "X-Content-Type-Options": "nosniff",
}
# method and path: status, and is it a page?
ANSWERS = {
    "GET /accounts/login/": (200, True),
    "GET /settings/api-keys/leaks": (302, True),
    "GET /admin/": (302, True),
    "GET /nope": (302, True),
    "GET /accounts/nope/": (404, True),
    "POST /accounts/login/": (403, True),
    "TRACE /accounts/login/": (405, True),
    "GET /static/{sheet}": (200, True),
    "GET /static/nope.css": (404, True),
    "GET /static/": (404, True),
    "GET /static/%2e%2e/manage.py": (404, True),
    "GET /.git/config": (404, True),
    "GET /.env": (404, True),
    "GET /api/account/summary": (401, False),
    "GET /api/nope": (404, False),
    "TRACE /api/account/summary": (405, False),
    "POST /api/account/summary": (405, False),
    "GET /api/auth/verify": (401, False),
    "POST /api/credentials/revoke": (400, False),
    "GET /openapi.json": (200, False),
    "GET /api/docs": (200, True),
    "GET /healthz": (200, False),
    "GET /readyz": (200, False),
    "GET /metrics": (404, False),
    "GET /accounts/login/?a=%00": (200, True),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_every_kind_of_answer_carries_the_headers_of_defence(production, what):
    method, path = what.split(" ")
    status, is_page = ANSWERS[what]
    if "{sheet}" in path:
        path = get(production, "/accounts/login/").text.split('rel="stylesheet" href="')[1].split('"')[0]
    answer = httpx.request(method, production.url + path, headers=VIA_TLS)
    assert answer.status_code == status
    for name, value in EVERYWHERE.items():
        assert answer.headers[name] == value, name
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    for directive in ("default-src", "object-src", "base-uri", "frame-ancestors"):
        assert policy[directive] == "'none'", directive
    assert all("unsafe" not in sources and "http" not in sources and "*" not in sources for sources in policy.values())
    if is_page:
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    for name in answer.headers:
        assert not name.startswith("access-control-"), "no other origin reads our answers"
    assert "Django" not in str(answer.headers), "nor whom to attack"


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
