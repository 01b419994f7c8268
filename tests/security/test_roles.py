"""Who may do what: every endpoint and every page for every kind of caller, each cell asserted.

The tables are in `tests/<app>/roles.py`; what is in none of them fails `test_every_endpoint_and_page_is_in_a_table`.
"""

import json
import re
import uuid

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.urls import resolve

from accounts import tabs
from apikeys import tokens
from apikeys.models import KeyDay, KeyUsage, Total
from config import checks
from tests.accounts import roles as accounts
from tests.apikeys import roles as apikeys
from tests.config import roles as config
from tests.conftest import actor_of, assert_error, give_second_factor, make_key
from tests.roles import ACTIVE, KEYS, MEMBERS, PEOPLE, SUSPENDED, WHO, Team
from tests.training import roles as training
from tests.workspaces import roles as workspaces
from workspaces.access import Role
from workspaces.models import Workspace
from workspaces.services import create_team, suspend

TABLES = {"config": config, "accounts": accounts, "workspaces": workspaces, "apikeys": apikeys, "training": training}


def merged(name):
    return {what: row for table in TABLES.values() for what, row in getattr(table, name, {}).items()}


API, PAGES, PUBLIC, BODIES = merged("API"), merged("PAGES"), merged("PUBLIC"), merged("BODIES")
FOREIGN = [item for table in TABLES.values() for item in getattr(table, "FOREIGN", ())]
UNDOCUMENTED = ("/api/auth/verify", "/api/docs", "/api/openapi.json", "/api/nowhere")
CREDENTIALS = {"token", "checkpoint"}  # the secret of an invitation, and what a signature is asked for


@pytest.fixture
def acme(call, browser, cast, vera_key, edda_key, stan_key, settings):
    """The team of the cast with a key of each, and one thing of each kind."""
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS)
    keys = {"vera's key": vera_key, "edda's key": edda_key, "stan's key": stan_key}
    keys |= {f"{name}'s key": make_key(actor_of(getattr(cast, name), cast.team), name) for name in ("adam", "olga")}
    team = furnished(call, cast.team, cast.olga, cast.edda, edda_key)
    team.callers = {name: getattr(cast, name) for name in PEOPLE} | keys | {"nobody": None}
    team.browsers = {name: browser(getattr(cast, name, None)) for name in ("nobody", *PEOPLE)}
    for name in PEOPLE:  # so that neither a sign-in nor a first visit is among what a request changes
        call(team.callers[name], "GET /api/teams", workspace=name)
        team.browsers[name].get("/settings?tab=profile&workspace=" + ("acme" if name != "stan" else name))
        if name != "stan":
            call(team.callers[name], "GET /api/teams", workspace="acme")
    return team


def furnished(call, workspace, owner, editor, editor_key):
    team = Team(call=call, workspace=workspace, owner=owner, editor=editor, editor_key=editor_key, ids={})
    for table in TABLES.values():
        if hasattr(table, "things"):
            table.things(team)
    team.ids = {name: str(pk) for name, pk in team.ids.items()}
    return team


def tables():
    """Each table of ours with its column that says which workspace; without what is counted beside each request."""
    for app in TABLES:
        for model in apps.get_app_config(app).get_models():
            names = {field.name: field.column for field in model._meta.concrete_fields}
            if model not in (KeyUsage, KeyDay, Total):
                yield model._meta.db_table, "id" if model is Workspace else names.get("workspace")


OURS = dict(tables())


def state(workspace=None):
    """The whole product, or a workspace, as one number for each table: what a refused request must not change."""
    statement = " UNION ALL ".join(
        f"SELECT '{table}', count(*), sum(hashtextextended(t::text, 0)) FROM {table} t"
        + (f" WHERE t.{column} = '{workspace.pk}'" if workspace is not None else "")
        for table, column in OURS.items()
        if column or workspace is None
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def fill(value, ids):
    """`value` with each `{name}` replaced by the thing of that name."""
    return json.loads(re.sub(r"\{([a-z_]+)\}", lambda found: ids[found[1]], json.dumps(value)))


def ask(team, who, what, body, workspace):
    """One request by who, for a workspace; answers of the API are held against the OpenAPI document."""
    method, _, path = what.partition(" ")
    name = who.removeprefix("suspended ")
    if path.startswith("/api/") and not path.startswith(UNDOCUMENTED):
        return team.call(team.callers[name], what, body, workspace=workspace if name in PEOPLE else None)
    headers = {"HTTP_AUTHORIZATION": f"Bearer {str.__str__(team.callers[name])}"} if name in KEYS else {}
    path += f"{'&' if '?' in path else '?'}workspace={workspace}"
    return team.browsers.get(name, team.browsers["nobody"]).send(method, path, body, **headers)


def each_cell(team, rows, active=ACTIVE):
    """Every (row, caller, answer, whether anything changed), each as if it was the first; suspended callers last."""
    for callers in (active, SUSPENDED):
        with transaction.atomic():
            if callers is SUSPENDED:
                suspend(None, team.workspace, reason="unpaid")
            yield from asked_by(team, rows, callers)
            transaction.set_rollback(True)


def asked_by(team, rows, callers):
    before = state()
    for what in rows:
        path, body = fill(what, team.ids), fill(BODIES.get(what), team.ids)
        for who in callers:
            with transaction.atomic():
                answer = ask(team, who, path, body, "acme")
                refused = answer.status_code >= 400 or goes_to_sign_in(answer)
                yield what, who, answer, refused and state() != before
                transaction.set_rollback(True)


def goes_to_sign_in(answer):
    return answer.status_code == 302 and "/login" in answer["Location"]


@pytest.mark.parametrize("app", [app for app in TABLES if hasattr(TABLES[app], "API")])
def test_each_caller_of_the_api_gets_what_the_table_says(acme, app):
    rows, wrong = TABLES[app].API, []
    for what, who, answer, has_changed in each_cell(acme, rows):
        if answer.status_code != (expected := rows[what][WHO.index(who)]):
            wrong.append(f"{what} by {who}: {answer.status_code} instead of {expected}")
        if answer.status_code >= 400:
            assert_error(answer, answer.status_code)
        if has_changed:
            wrong.append(f"{what} by {who}: refused, and something changed")
        wrong += shown_values(what, who, answer)
    assert wrong == [], "\n".join(wrong)


def shown_values(what, who, answer):
    """Values go to people alone, and to a key that has just rotated itself; and no cache keeps them."""
    text = answer.content.decode("utf-8", "replace") if not answer.streaming else ""
    if answer.status_code >= 300 or not tokens.contains_token(text):
        return []
    if who in KEYS and not what.endswith("current/rotate"):
        return [f"{what}: {who} was shown a value"]
    return [] if answer.headers.get("Cache-Control") == "no-store" else [f"{what} by {who}: a cache may keep a value"]


@pytest.mark.parametrize("app", [app for app in TABLES if hasattr(TABLES[app], "PAGES")])
def test_each_caller_of_a_page_gets_what_the_table_says(acme, app):
    rows, wrong = TABLES[app].PAGES, []
    for what, who, answer, has_changed in each_cell(acme, rows):
        if answer.status_code != (expected := rows[what][WHO.index(who)]):
            wrong.append(f"{what} by {who}: {answer.status_code} instead of {expected}")
        if goes_to_sign_in(answer) != (who.removeprefix("suspended ") not in PEOPLE):
            wrong.append(f"{what} by {who}: was sent to {answer.headers.get('Location')}")
        if has_changed:
            wrong.append(f"{what} by {who}: refused, and something changed")
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("has_factor", [False, True], ids=["without", "with"])
@pytest.mark.parametrize("app", TABLES)
def test_a_team_that_asks_for_a_second_factor_is_closed_to_sessions_of_who_has_none(acme, app, has_factor):
    """At each door, whatever the role; keys, and those who have one, get what the tables say."""
    table, wrong = TABLES[app], []
    rows, still_open = getattr(table, "API", {}) | getattr(table, "PAGES", {}), getattr(table, "WITHOUT_FACTOR", {})
    Workspace.objects.filter(pk=acme.workspace.pk).update(requires_second_factor=True)
    sender = acme.workspace.memberships.exclude(user__in=[acme.callers[name] for name in MEMBERS]).get(role=Role.ADMIN)
    give_second_factor(sender.user)  # else the invitation would be worth nothing
    acme.workspace.invitations.update(invited_by=sender.user)
    if has_factor:
        for name in MEMBERS:
            give_second_factor(acme.callers[name])
    for what, who, answer, has_changed in asked_by(acme, rows, (*MEMBERS, *(() if has_factor else KEYS))):
        expected = rows[what][WHO.index(who)]
        needs_none = who in KEYS or who in still_open.get(what, ()) or expected == 401 or len(set(rows[what])) == 1
        is_walled = not has_factor and not needs_none
        if answer.status_code != (403 if is_walled else expected):
            wrong.append(f"{what} by {who}: {answer.status_code}")
        if is_walled and (b"SECOND_FACTOR_REQUIRED" if " /api/" in what else b"Set up a second factor") not in (
            b"" if answer.streaming else answer.content
        ):
            wrong.append(f"{what} by {who}: does not say why")
        if has_changed:
            wrong.append(f"{what} by {who}: refused, and something changed")
    assert wrong == [], "\n".join(wrong)


def test_what_is_public_says_the_same_to_everybody(acme):
    wrong = []
    for what, who, answer, has_changed in each_cell(acme, PUBLIC, ("nobody", "vera", "edda's key")):
        is_page = not what.split(" ")[1].startswith("/api/")
        expected = PUBLIC[what][is_page and who.removeprefix("suspended ") in PEOPLE]
        if answer.status_code != expected or has_changed:
            wrong.append(f"{what} by {who}: {answer.status_code} instead of {expected}")
    assert wrong == [], "\n".join(wrong)


def named_in(*parts):
    """The names of the things in a request."""
    return set(re.findall(r"\{([a-z_]+)\}", json.dumps(parts)))


OTHER_DIGITS = str.maketrans("0123456789abcdef", "123456789abcdef0")


@pytest.mark.parametrize("who", ["stan", "stan's key"])
def test_ids_of_another_workspace_are_as_good_as_invented_ones_and_change_nothing(acme, who):
    """Stan owns a team, so nothing but the ids keeps him from acme's things."""
    stan = acme.callers["stan"]
    rival = create_team(actor_of(stan), slug="rival", name="Rival")
    acme.callers["stan's key"] = make_key(actor_of(stan, rival), "a rival's")
    own = furnished(acme.call, rival, stan, stan, acme.callers["stan's key"])
    acme.call(stan, "GET /api/teams", workspace="rival")
    places = [(what, BODIES.get(what), {"team": "rival"}) for what in (*API, *PAGES)]
    places = [place for place in places if named_in(*place[:2]) - {"team"}]
    assert len(places) > 60
    named = {"own_" + name: value for name, value in own.ids.items()} | {"team": "acme"}  # names are no secret
    places += [(what, body, named) for what, body in FOREIGN]
    invented = {name: value.translate(OTHER_DIGITS) for name, value in acme.ids.items()}
    before, of_acme, wrong = state(), state(acme.workspace), []
    for what, body, names in places:
        is_api = what.split(" ")[1].startswith("/api/")
        if named_in(what, body) & CREDENTIALS or not (is_api or who in PEOPLE):
            continue
        statuses, contents = [], []
        for ids in (acme.ids, invented):
            with transaction.atomic():
                answer = ask(acme, who, fill(what, ids | names), fill(body, ids | names), "rival")
                has_changed = state() != before if answer.status_code >= 400 else state(acme.workspace) != of_acme
                if has_changed:
                    wrong.append(f"{what}: answered {answer.status_code}, and something changed")
                statuses.append(answer.status_code)
                contents.append(without(ids, answer))
                transaction.set_rollback(True)
        if (names is not named or "team" in named_in(what, body)) and statuses[0] not in (401, 403, 404):
            wrong.append(f"{what}: {statuses[0]} for an id of acme's")
        if statuses[0] != statuses[1] or contents[0] != contents[1]:
            wrong.append(f"{what} {body}: {statuses} {contents}")
    assert wrong == [], "\n".join(wrong)


def without(ids, answer):
    """What was answered, with the ids that were asked for and what differs each time left out."""
    text = b"".join(answer) if answer.streaming else answer.content
    text = re.sub(r'(name="csrfmiddlewaretoken" value|nonce)="[^"]+"', "", text.decode("utf-8", "replace"))
    for value in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(value, "…")
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9-]{10}T[0-9:.]+Z", "…", text)


def routes():
    """Every (method, route) of the server but the admin's, which has a table in tests/workspaces/test_admin.py."""
    for path, callback in checks.patterns():
        if path.startswith("admin/"):
            continue
        view = getattr(callback, "cls", None)
        methods = getattr(callback, "page_methods", ("GET",))
        if view is not None:
            methods = [name.upper() for name in view.http_method_names if name != "options" and hasattr(view, name)]
        for method in methods:
            yield method, path.replace("^", "")


def route_of(what):
    method, _, path = what.partition("?")[0].partition(" ")
    some = {"team": "acme", "token": "a-secret"}
    path = re.sub(r"\{([a-z_]+)\}", lambda found: some.get(found[1], str(uuid.UUID(int=1))), path)
    return method, resolve(path).route.replace("^", "")


def test_every_endpoint_and_page_is_in_a_table():
    listed = {what: route_of(what) for what in (*API, *PAGES, *PUBLIC)}
    known = set(listed.values())
    assert [f"{method} /{route}" for method, route in routes() if (method, route) not in known] == []
    missing_tabs = [tab.url for tab in tabs.all_tabs() if f"GET {tab.url}" not in PAGES]
    assert missing_tabs == []
    # Each of them that takes an id is tried with one of another workspace.
    tried = {route_of(what) for what in (*API, *PAGES) if named_in(what)} | {route_of(what) for what, _ in FOREIGN}
    public = {listed[what] for what in PUBLIC}
    assert [route for route in known - tried - public if "<" in route[1]] == []
