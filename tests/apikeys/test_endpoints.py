"""Keys for services of one's own: the check that proxies ask, introspection, and the page with their configurations."""

import html
import re
from types import SimpleNamespace
from urllib.parse import urlencode

import httpx
import pytest
import yaml
from django.test import Client

from apikeys import endpoints, services
from apikeys.models import Endpoint
from tests.conftest import actor_of, assert_error
from tests.proxies import Echo, Envoy, Nginx
from workspaces.access import Role
from workspaces.models import Activity, Membership
from workspaces.services import suspend

VERIFY = "/api/auth/verify"
INTROSPECT = "/api/auth/introspect"


def ask(token, path=VERIFY, method="GET", **extra):
    headers = {"HTTP_AUTHORIZATION": f"Bearer {str.__str__(token)}"} if token else {}
    return Client().generic(method, path, **headers, **extra)


@pytest.fixture
def endpoint(cast):
    actor = actor_of(cast.edda, cast.team)
    return endpoints.create_endpoint(
        actor, name="Inference", upstream="http://10.0.0.5:9000", required_role=Role.EDITOR
    )


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "NONSENSE"])
@pytest.mark.parametrize("below", ["", "/", "/v1/models?x=1", "/%2e%2e/a//b"])
def test_a_good_key_is_204_with_whose_it_is_for_every_method_and_path(edda_key, method, below):
    answer = ask(edda_key, VERIFY + below, method, data=b"{not json", content_type="application/json")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert {n: v for n, v in answer.headers.items() if n.startswith("X-Auth")} == {
        "X-Auth-User": "edda",
        "X-Auth-Workspace": "acme",
        "X-Auth-Role": "editor",
        "X-Auth-Key-Id": str(edda_key.id),
    }


def test_who_takes_no_204_can_ask_for_a_200_and_nothing_else(edda_key):
    for asked, expected in {"200": 200, "204": 204, "500": 204, "": 204, "2000": 204}.items():
        good, bad = (ask(token, HTTP_X_AUTH_OK=asked) for token in (edda_key, "ul_" + "0" * 40))
        assert (good.status_code, good.headers["X-Auth-User"], good.content) == (expected, "edda", b"")
        assert_error(bad, 401)


def test_the_check_costs_one_statement_and_with_an_endpoint_two(endpoint, edda_key, django_assert_num_queries):
    ask(edda_key)  # the look-up runs beside Django's cursors: test_lookup counts it
    with django_assert_num_queries(0):
        assert ask(edda_key).status_code == 204
    with django_assert_num_queries(1):
        assert ask(edda_key, f"{VERIFY}/endpoints/{endpoint.pk}").status_code == 204


def test_what_is_no_good_key_is_401_and_tells_nothing(cast, edda_key, stan_key):
    services.revoke_key(actor_of(cast.edda, cast.team), edda_key.row)
    answers = [ask(token) for token in (None, edda_key, "ul_" + "0" * 40, "ul_nonsense", "")]
    suspend(None, stan_key.row.workspace)
    answers.append(ask(stan_key))
    for answer in answers:
        assert_error(answer, 401)
        assert not any(name.startswith("X-Auth") for name in answer.headers)


def test_a_browsers_session_opens_nothing(browser, cast):
    for method in ("GET", "POST"):
        assert browser(cast.edda).generic(method, VERIFY).status_code == 401


def test_the_check_is_outside_of_all_limits(edda_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (2, 60), "failed": (2, 60)}
    assert {ask(edda_key).status_code for _ in range(20)} == {204}
    assert {ask("ul_" + "0" * 40).status_code for _ in range(20)} == {401}
    assert not any("ratelimit" in name.lower() for name in ask(edda_key).headers)


NEEDS = {  # query: (edda's key, vera's key, stan's key)
    "": (204, 204, 204),
    "?role=viewer": (204, 204, 204),
    "?role=editor": (204, 403, 204),
    "?role=admin": (403, 403, 403),
    "?role=nonsense": (403, 403, 403),
    "?role=": (403, 403, 403),
    "?role=viewer&role=admin": (403, 403, 403),
    "?workspace=acme": (204, 204, 403),
    "?workspace=stan": (403, 403, 204),
    "?workspace=acme&workspace=stan": (403, 403, 403),
    "?workspace=": (403, 403, 403),
    "?workspace=acme&role=editor": (204, 403, 403),
    "/endpoints/{endpoint}": (204, 403, 403),
    "/endpoints/{endpoint}/v1/models?role=viewer&workspace=acme": (204, 403, 403),
    "/endpoints/{endpoint}?workspace=stan": (403, 403, 403),
    # Envoy appends the path and query of the request that it asks about: they ask for nothing, and open nothing.
    "/endpoints/{endpoint}/?role=admin&workspace=stan": (204, 403, 403),
    "/endpoints/{endpoint}/../00000000-0000-0000-0000-000000000000": (204, 403, 403),
    "/endpoints/00000000-0000-0000-0000-000000000000": (403, 403, 403),
    "/endpoints/nonsense": (403, 403, 403),
    "/endpoints/": (403, 403, 403),
    "/endpoints/{endpoint}extra": (403, 403, 403),
}


@pytest.mark.parametrize(("below", "expected"), NEEDS.items())
def test_role_and_workspace_can_be_asked_for(endpoint, edda_key, vera_key, stan_key, below, expected):
    path = VERIFY + below.format(endpoint=endpoint.pk)
    assert tuple(ask(token, path).status_code for token in (edda_key, vera_key, stan_key)) == expected


def test_an_endpoint_that_was_deleted_lets_nobody_in(cast, endpoint, edda_key):
    assert ask(edda_key, f"{VERIFY}/endpoints/{endpoint.pk}").status_code == 204
    endpoints.delete_endpoint(actor_of(cast.edda, cast.team), endpoint)
    assert ask(edda_key, f"{VERIFY}/endpoints/{endpoint.pk}").status_code == 403


def introspect(caller, token):
    headers = {"HTTP_AUTHORIZATION": f"Bearer {str.__str__(caller)}"} if caller else {}
    return post_form({"token": str.__str__(token)}, **headers)


def post_form(data, query="", **headers):
    content = urlencode(data, doseq=True)
    return Client().post(INTROSPECT + query, content, content_type="application/x-www-form-urlencoded", **headers)


def test_introspection_describes_a_key_of_the_callers_workspace(edda_key, vera_key):
    answer = introspect(vera_key, edda_key)
    assert answer.status_code == 200
    assert answer.json() == {
        "active": True,
        "token_type": "Bearer",
        "sub": str(edda_key.row.creator_id),
        "username": "edda",
        "client_id": str(edda_key.id),
        "iat": int(edda_key.row.created_at.timestamp()) if edda_key.row.created_at else answer.json()["iat"],
        "scope": "read write",
        "workspace": "acme",
        "role": "editor",
        "key_id": str(edda_key.id),
    }
    assert introspect(edda_key, vera_key).json()["scope"] == "read"
    assert answer.headers["Cache-Control"] == "no-store"


def test_all_that_is_no_live_key_of_the_workspace_looks_alike(cast, edda_key, vera_key, stan_key):
    services.revoke_key(actor_of(cast.edda, cast.team), vera_key.row)
    answers = [introspect(edda_key, token) for token in (vera_key, stan_key, "ul_" + "0" * 40, "nonsense", "ul_")]
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, b'{"active":false}')}


def test_introspection_is_for_those_who_authenticate_and_takes_the_value_in_the_body_only(call, edda_key):
    assert_error(introspect(None, edda_key), 401)
    assert_error(introspect("ul_" + "0" * 40, edda_key), 401, "Invalid API key")
    headers = {"HTTP_AUTHORIZATION": f"Bearer {str.__str__(edda_key)}"}
    assert_error(Client().get(INTROSPECT, **headers), 405)
    assert_error(post_form({}, **headers), 400)
    assert_error(post_form({"token": ["a", "b"]}, **headers), 400)
    assert_error(post_form({"token": "x"}, "?token=x", **headers), 400)
    assert_error(call(edda_key, f"POST {INTROSPECT}", {"token": "x"}), 415)


BAD = {
    "name": ("", "x" * 101, "bell\x07", "ul_" + "0" * 40),
    "upstream": (
        "",
        "10.0.0.5:9000",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host:0",
        "http://[::::]",
        "http://host;}",
        'http://host"',
        "http://host/{x}",
        "http://host/ x",
        "http://host\nproxy_pass http://evil",
        "http://user:secret@host",
        "http://host/?q=1",
        "http://" + "x" * 300,
    ),
    "required_role": ("3", "4", "nonsense", ""),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
def test_what_could_break_out_of_a_configuration_is_refused(browser, cast, field, value):
    form = {"name": "Inference", "upstream": "http://10.0.0.5:9000", "required_role": "1"} | {field: value}
    answer = browser(cast.edda).send("POST", "/settings/endpoints/create?workspace=acme", form)
    assert answer.status_code == 400
    assert not Endpoint.objects.exists()


def test_an_endpoint_is_added_changed_and_deleted_on_its_pages_and_in_the_log(browser, cast):
    person = browser(cast.edda)
    form = {"name": "Inference", "upstream": "http://10.0.0.5:9000/", "required_role": "1"}
    shown = person.send("POST", "/settings/endpoints/create?workspace=acme", form)
    endpoint = Endpoint.objects.get()
    assert shown.status_code == 302
    page = person.get(shown["Location"]).content.decode()
    assert f"/api/auth/verify/endpoints/{endpoint.pk};" in page
    assert "http://10.0.0.5:9000;" in page
    assert "Inference" in person.get("/settings?tab=endpoints&workspace=acme").content.decode()
    change = f"/settings/endpoints/{endpoint.pk}/change?workspace=acme"
    assert person.send("POST", change, form | {"required_role": "2"}).status_code == 302
    assert Endpoint.objects.get().required_role == Role.EDITOR
    assert person.send("POST", f"/settings/endpoints/{endpoint.pk}/delete?workspace=acme").status_code == 302
    assert not Endpoint.objects.exists()
    kinds = list(Activity.objects.filter(kind__startswith="endpoint").order_by("pk").values_list("kind", flat=True))
    assert kinds == ["endpoint.created", "endpoint.changed", "endpoint.deleted"]


@pytest.fixture
def service():
    service = Echo()
    yield service
    service.stop()


def shown_for(server, service, proxy, path=""):
    """The configuration of `proxy` on the page of an endpoint in front of `service`."""
    form = {"name": "Echo", "upstream": service.url + path, "required_role": "1"}
    answer = server.sign_in().post("/settings/endpoints/create?workspace=operator", form)
    return html.unescape(re.search(rf'<pre id="code-{proxy}"[^>]*>(.*?)</pre>', answer.text, re.DOTALL)[1])


@pytest.fixture(params=[Nginx, Envoy])
def guarded(request, server, service, tmp_path):
    """A service behind a proxy as the page of its endpoint says."""
    kind = request.param
    if kind is Nginx:
        proxy = Nginx(tmp_path, "client_max_body_size 10m;" + shown_for(server, service, "nginx"))
    else:
        proxy = Envoy(tmp_path, shown_for(server, service, "envoy"), service.url, server.url)
    yield SimpleNamespace(proxy=proxy, server=server)
    proxy.stop()


def test_a_real_proxy_lets_good_keys_pass_and_nobody_else(guarded):
    key = guarded.server.new_key("for a service")
    spoofed = {
        spelling: "root"
        for name in ("X-Auth-User", "X-Auth-Workspace", "X-Auth-Role", "X-Auth-Key-Id")
        for spelling in (name, name.replace("-", "_"), name.replace("-", "_", 1), name[::-1].replace("-", "_", 1)[::-1])
    }
    with httpx.Client(base_url=guarded.proxy.url) as http:
        headers = {"Authorization": f"Bearer {key}"} | spoofed
        good = http.post("/predict?role=owner&workspace=x", content=b"p" * 2_000_000, headers=headers)
        assert good.status_code == 200
        seen = {name.lower(): value for name, value in good.json()["headers"].items()}
        assert (seen["x-auth-user"], seen["x-auth-workspace"], seen["x-auth-role"]) == (
            "operator",
            "operator",
            "editor",
        )
        assert "authorization" not in seen
        assert "root" not in seen.values()
        assert (good.json()["path"], len(good.json()["body"])) == ("/predict?role=owner&workspace=x", 2_000_000)
        # Far more than the API's hundred a minute.
        assert {http.get("/", headers={"Authorization": f"Bearer {key}"}).status_code for _ in range(300)} == {200}
        for token in ("ul_" + "0" * 40, "ul_nonsense"):
            refused = http.get("/", headers={"Authorization": f"Bearer {token}"})
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert http.get("/", headers=spoofed).status_code == 401
        foreign = guarded.server.new_key("of another workspace", workspace=other_workspace(guarded.server))
        assert http.get("/", headers={"Authorization": f"Bearer {foreign}"}).status_code == 403
        guarded.server.manage("revoke_api_key", "--value", text=key)
        assert http.get("/", headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_nginx_puts_the_path_of_an_upstream_before_that_of_the_request(server, service, tmp_path):
    nginx = Nginx(tmp_path, shown_for(server, service, "nginx", "/v1"))
    try:
        answer = httpx.get(f"{nginx.url}/models?x=1", headers={"Authorization": f"Bearer {server.new_key()}"})
        assert answer.json()["path"] == "/v1/models?x=1"
    finally:
        nginx.stop()


def test_towards_https_nginx_asks_for_the_name_and_checks_the_certificate(endpoint, tmp_path):
    endpoint.upstream = "https://models.example.org/v1"
    check = "https://keys.example.org/api/auth/verify/endpoints/x"
    nginx, traefik, _ = (one["code"] for one in endpoints.configurations(endpoint, check))
    for line in ("proxy_ssl_server_name on;", "proxy_ssl_verify on;", "proxy_ssl_trusted_certificate "):
        assert line in nginx.partition("location = /_keyhouse")[2]
    Nginx.check(tmp_path, re.sub(r"(keys|models)\.example\.org", "127.0.0.1", nginx))
    chain = yaml.safe_load(traefik)["http"]
    [router] = chain["routers"].values()
    used = [chain["middlewares"][name] for name in router["middlewares"]]
    assert [next(iter(step)) for step in used] == ["headers", "forwardAuth", "headers", "addPrefix"]
    assert {"X-Auth-User", "X_Auth_User"} <= set(used[0]["headers"]["customRequestHeaders"])
    assert used[2]["headers"]["customRequestHeaders"] == {"Authorization": ""}
    assert used[3]["addPrefix"]["prefix"] == "/v1"
    [service] = chain["services"].values()
    assert service["loadBalancer"]["servers"] == [{"url": "https://models.example.org"}]


def other_workspace(server):
    name = "another-one"
    server.sign_in().post("/settings/teams/create?workspace=operator", {"name": name, "slug": name})
    return name


def test_a_creator_who_becomes_a_viewer_is_refused_where_editors_are_asked_for(endpoint, cast, edda_key):
    path = f"{VERIFY}/endpoints/{endpoint.pk}"
    assert ask(edda_key, path).status_code == 204
    Membership.objects.filter(user=cast.edda, workspace=cast.team).update(role=Role.VIEWER)
    assert ask(edda_key, path).status_code == 403
