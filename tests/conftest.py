"""The cast and the tools that all tests share.

olga owns the team `acme`, adam administers it, edda edits, vera views, stan is a stranger with only his own workspace.
"""

import json
import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import Client, override_settings
from django.test.client import ClientHandler

from accounts.models import User
from apikeys import services, tokens, usage
from apikeys.models import ApiKey
from config.middleware import takes_short_chain
from workspaces.access import Actor, Role
from workspaces.models import Membership, Workspace
from workspaces.services import actor_in, create_team

PASSWORD = "correct horse battery"
CSRF = "c" * 32


class DispatchingHandler(ClientHandler):
    """As `config.wsgi`: calls without a session go through the short chain of middleware."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.short = ClientHandler(*args, **kwargs)
        with override_settings(MIDDLEWARE=settings.API_MIDDLEWARE):
            self.short.load_middleware()

    def get_response(self, request: Any) -> Any:
        if takes_short_chain(request.META):
            return self.short.get_response(request)
        return super().get_response(request)


class Browser(Client):
    """Django's client with our dispatch and with CSRF checks on."""

    def __init__(self, **kwargs: Any):
        super().__init__(enforce_csrf_checks=True, raise_request_exception=False, **kwargs)
        self.handler = DispatchingHandler(enforce_csrf_checks=True)
        self.cookies[settings.CSRF_COOKIE_NAME] = CSRF

    def send(self, method: str, path: str, data: Any = None, **extra: Any) -> Any:
        """A form post, or any other method without a body; the CSRF token goes along."""
        extra.setdefault("HTTP_X_CSRFTOKEN", CSRF)
        self.cookies[settings.CSRF_COOKIE_NAME] = CSRF  # a sign-in has changed it
        return self.generic(
            method,
            path,
            _form(data) if data is not None else "",
            content_type="application/x-www-form-urlencoded",
            **extra,
        )


def _form(data: dict[str, Any]) -> str:
    from urllib.parse import urlencode

    return urlencode(data, doseq=True)


class Key(str):
    """The value of a key, with its row in `row`. Prints as its prefix, so that no report of a test shows it."""

    row: ApiKey

    def __new__(cls, token: str, row: ApiKey) -> "Key":
        self = super().__new__(cls, token)
        self.row = row
        return self

    @property
    def id(self) -> Any:
        return self.row.pk

    def __repr__(self) -> str:
        return f"<key {self[:11]}…>"


def make_user(username: str, **fields: Any) -> User:
    return User.objects.create_user(username, password=None, **fields)


def give_second_factor(user: User) -> str:
    """Set up an app with codes for `user` and return its secret."""
    from allauth.mfa.totp.internal import auth as totp

    secret = totp.generate_totp_secret()
    totp.TOTP.activate(user, secret)
    return secret


def make_key(actor: Actor, name: str = "a key") -> Key:
    row, token = services.create_key(actor, name=name)
    return Key(token, row)


def actor_of(user: User, workspace: Workspace | None = None) -> Actor:
    return actor_in(user, workspace.slug if workspace else user.username, address="127.0.0.1", client="tests")


@pytest.fixture
def olga(db):
    return make_user("olga", name="Olga")


@pytest.fixture
def team(olga):
    return create_team(actor_of(olga), slug="acme", name="Acme")


def member(team: Workspace, username: str, role: Role) -> User:
    user = make_user(username)
    Membership.objects.create(workspace=team, user=user, role=role)
    return user


@pytest.fixture
def adam(team):
    return member(team, "adam", Role.ADMIN)


@pytest.fixture
def edda(team):
    return member(team, "edda", Role.EDITOR)


@pytest.fixture
def vera(team):
    return member(team, "vera", Role.VIEWER)


@pytest.fixture
def stan(db):
    return make_user("stan")


@pytest.fixture
def edda_key(edda, team):
    return make_key(actor_of(edda, team), "edda's key")


@pytest.fixture
def stan_key(stan):
    return make_key(actor_of(stan), "stan's key")


@pytest.fixture
def vera_key(vera, team):
    """Of a Viewer: made while she was an Editor."""
    membership = Membership.objects.filter(workspace=team, user=vera)
    membership.update(role=Role.EDITOR)
    key = make_key(actor_of(vera, team), "vera's key")
    membership.update(role=Role.VIEWER)
    return key


@pytest.fixture
def browser():
    """Opens a browser that is signed in as somebody, or as nobody."""

    def open_browser(user: User | None = None) -> Browser:
        browser = Browser()
        if user is not None:
            browser.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
            browser.cookies[settings.CSRF_COOKIE_NAME] = CSRF
        return browser

    return open_browser


@pytest.fixture
def call(browser, request):
    """`call(who, "GET /api/…", body)`: one API call as a key, as a person in the browser, or as nobody (None).

    A person's call is for the team where they are in one, else for their own workspace; `workspace=` chooses. Each
    answer is held against the OpenAPI document.
    """
    browsers: dict[Any, Browser] = {}

    def make_call(who: Any, what: str, body: Any = None, *, workspace: str | None = None, **extra: Any) -> Any:
        method, _, path = what.partition(" ")
        person = who if isinstance(who, User) else None
        if person not in browsers:
            browsers[person] = browser(person)
        client = browsers[person]
        if isinstance(who, User):
            if workspace is None and "workspace=" not in path:
                workspace = _main_workspace(who)
            if workspace:
                path += ("&" if "?" in path else "?") + f"workspace={workspace}"
            extra.setdefault("HTTP_X_CSRFTOKEN", CSRF)
        elif who is not None:
            extra.setdefault("HTTP_AUTHORIZATION", f"Bearer {str.__str__(who)}")
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        extra.setdefault("content_type", "application/json")
        response = client.generic(method, path, content, **extra)
        assert_documented(method, path.partition("?")[0], response)
        return response

    return make_call


def _main_workspace(user: User) -> str:
    teams = Membership.objects.of(user).filter(workspace__is_personal=False)
    return teams[0].workspace.slug if teams else user.username


@cache
def openapi() -> dict[str, Any]:
    from drf_spectacular.generators import SchemaGenerator

    return json.loads(json.dumps(SchemaGenerator().get_schema(public=True), default=str))


@cache
def _operations() -> list[tuple[re.Pattern, str, dict]]:
    return [
        (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), method.upper(), operation)
        for path, methods in openapi()["paths"].items()
        for method, operation in methods.items()
    ]


def assert_documented(method: str, path: str, response: Any) -> None:
    """The status and the body of an answer are as the OpenAPI document says."""
    candidates = [o for pattern, m, o in _operations() if m == method and pattern.fullmatch(path)]
    if not candidates:
        assert response.status_code in (404, 405), f"{method} {path} is not in the OpenAPI document"
        return
    # A fixed path wins over one with a parameter, as in the URL configuration.
    documented = candidates[0]["responses"]
    status = str(response.status_code)
    if status in ("405", "413"):
        return
    assert status in documented, f"{method} {path} answered {status}, which is not documented: {response.content[:300]}"
    content = documented[status].get("content")
    if content is None:
        assert response.content == b"", f"{method} {path}: no content expected with {status}"
        return
    if "application/json" not in content:
        assert response["Content-Type"] in content
        return
    assert response["Content-Type"] == "application/json"
    schema = content["application/json"]["schema"] | {"components": openapi()["components"]}
    jsonschema.validate(response.json(), schema)


def assert_error(response: Any, status: int, sentence: str | None = None, code: str | None = None) -> None:
    """An answer is an error in the documented format."""
    assert response.status_code == status, response.content
    body = response.json()
    assert set(body) <= {"error", "code", "details"}
    assert isinstance(body["error"], str)
    assert body["error"]
    assert re.fullmatch(r"[A-Z_]+", body["code"])
    if sentence is not None:
        assert body["error"] == sentence
    if code is not None:
        assert body["code"] == code
    if status == 401:
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not (status in (401, 403) and any("ratelimit" in name.lower() for name in response.headers))


@pytest.fixture(autouse=True)
def _fresh_counters(request):
    """Limits start anew with each test, and what one test counted is not written by the next."""
    caches["ratelimit"].clear()
    for counted in ("requests", "refused", "days", "totals"):
        getattr(usage._recorder, counted).clear()


@pytest.fixture(autouse=True)
def _no_key_in_any_log(caplog):
    """A test in which the value of a key is logged has failed, whatever else it shows."""
    yield
    for when in ("setup", "call"):
        for record in caplog.get_records(when):
            assert not getattr(record, "was_redacted", False), f"a value was meant for the log of {record.name}"
            assert not tokens.contains_token(str(vars(record))), f"a key's value in the log of {record.name}"


@pytest.fixture
def cast(olga, adam, edda, vera, stan, team):
    return SimpleNamespace(olga=olga, adam=adam, edda=edda, vera=vera, stan=stan, team=team)


@pytest.fixture(scope="session")
def redis_server():
    from tests.live import Redis

    redis = Redis()
    yield redis
    redis.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One running Keyhouse for all tests that do not break it."""
    from tests.live import Server

    server = Server(tmp_path_factory.mktemp("live") / "data").start()
    yield server
    server.stop()


@pytest.fixture
def new_server(tmp_path):
    """Starts servers that a test may break; they are stopped in the end."""
    from tests.live import Server

    started: list[Server] = []

    def start(name: str = "data", *, wait: bool = True, **variables: str) -> Server:
        server = Server(tmp_path / name, **variables)
        started.append(server)
        return server.start() if wait else server

    yield start
    for server in started:
        if server.process is not None:
            server.stop()


@pytest.fixture
def mailing(new_server, tmp_path):
    """A server that sends mail: into files in `mails`."""
    (tmp_path / "data-mail").mkdir()
    return new_server(EMAIL_URL=f"filemail:///{tmp_path / 'data-mail'}")
