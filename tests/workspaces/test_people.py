"""What a team knows of its people: when they were last seen, their sign-ins, who looked at values, and with what."""

import csv
import io
import re
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from tests.conftest import PASSWORD, actor_of, make_key
from workspaces import members, services
from workspaces.access import Role
from workspaces.models import Activity, Membership

TEAM_PAGE = "/settings?tab=teams&workspace=acme"


def seen_at(team, user):
    return Membership.objects.values_list("seen_at", flat=True).get(workspace=team, user=user)


def updates(queries):
    return [q["sql"] for q in queries if q["sql"].startswith('UPDATE "workspaces_membership"')]


# Last seen


def test_the_list_of_members_says_when_each_was_last_seen_in_the_browser(browser, call, cast):
    assert seen_at(cast.team, cast.vera) is None
    browser(cast.vera).get(TEAM_PAGE)
    listed = {m["username"]: m["lastSeenAt"] for m in call(cast.olga, "GET /api/members").json()["members"]}
    assert listed["vera"] is not None
    assert listed["edda"] is None
    page = browser(cast.olga).get(TEAM_PAGE).content.decode()
    row = page[page.index("<strong>vera</strong>") :]
    assert "just now" in row[: row.index("</tr>")]
    assert seen_at(Membership.objects.get(user=cast.vera, workspace__is_personal=True).workspace, cast.vera) is None


def test_being_seen_is_written_once_in_a_quarter_of_an_hour_and_asks_nothing_more(browser, cast):
    person = browser(cast.vera)
    with CaptureQueriesContext(connection) as first:
        person.get(TEAM_PAGE)
    with CaptureQueriesContext(connection) as second:
        person.get(TEAM_PAGE)
    assert (len(updates(first)), len(updates(second))) == (1, 0)
    for minutes, written in ((14, 0), (16, 1)):
        Membership.objects.update(seen_at=Now() - timedelta(minutes=minutes))
        with CaptureQueriesContext(connection) as queries:
            person.get(TEAM_PAGE)
        assert len(updates(queries)) == written, f"after {minutes} minutes"


def test_a_key_and_a_command_are_not_somebody_who_is_seen(call, cast, edda_key):
    call(edda_key, "GET /api/members")
    actor_of(cast.edda, cast.team)
    assert seen_at(cast.team, cast.edda) is None


# Sign-ins


def sign_in(browser, user, **extra):
    user.set_password(PASSWORD)
    user.save()
    return browser().send("POST", "/accounts/login/", {"login": user.username, "password": PASSWORD}, **extra)


def sign_ins(user):
    return Activity.objects.filter(kind="member.signed_in", user=user)


def test_a_sign_in_is_in_the_activity_of_each_workspace_of_the_person(browser, call, cast):
    origin = {"REMOTE_ADDR": "192.0.2.7", "HTTP_USER_AGENT": "Firefox/1.0"}
    assert sign_in(browser, cast.edda, **origin).status_code == 302
    assert {entry.workspace.slug for entry in sign_ins(cast.edda)} == {"edda", "acme"}
    entries = call(cast.adam, "GET /api/activity?kind=member.signed_in&person=edda").json()["activity"]
    assert [(e["address"], e["client"], e["via"]) for e in entries] == [("192.0.2.7", "Firefox/1.0", "session")]
    page = browser(cast.adam).get("/settings?tab=activity&workspace=acme&kind=member.signed_in&person=edda")
    assert "192.0.2.7 Firefox/1.0" in page.content.decode()
    assert not Activity.objects.filter(kind="member.signed_in", user=cast.edda, workspace__slug="olga").exists()


def test_an_attempt_that_fails_is_no_sign_in(browser, cast):
    browser().send("POST", "/accounts/login/", {"login": "edda", "password": "wrong"})
    assert not sign_ins(cast.edda).exists()


def test_a_sign_in_costs_the_same_with_many_teams(browser, cast):
    with CaptureQueriesContext(connection) as few:
        sign_in(browser, cast.edda)
    for n in range(30):
        team = services.create_team(actor_of(cast.olga), slug=f"team-{n}", name="T")
        Membership.objects.create(workspace=team, user=cast.edda, role=Role.VIEWER)
    with CaptureQueriesContext(connection) as many:
        assert sign_in(browser, cast.edda).status_code == 302
    assert sign_ins(cast.edda).count() == 2 + 32
    about_workspaces = [[q["sql"] for q in queries if "workspaces_" in q["sql"]] for queries in (few, many)]
    assert [len(sql) for sql in about_workspaces] == [2, 2], about_workspaces


def test_somebody_signs_in_whatever_became_of_their_teams(browser, cast):
    other = services.create_team(actor_of(cast.olga), slug="gone-team", name="Gone")
    Membership.objects.create(workspace=other, user=cast.edda, role=Role.EDITOR)
    members.delete_team(actor_of(cast.olga, other), confirmation="gone-team")
    services.suspend(None, cast.team, reason="unpaid")
    assert sign_in(browser, cast.edda).status_code == 302
    assert {entry.workspace.slug for entry in sign_ins(cast.edda)} == {"edda", "acme"}
    User.objects.filter(pk=cast.edda.pk).update(is_active=False)
    sign_in(browser, User.objects.get(pk=cast.edda.pk))
    assert sign_ins(cast.edda).count() == 2


# Values that were looked at


def shown(team, user):
    return Activity.objects.filter(workspace=team, user=user, kind="key.shown")


def forget_an_hour(*people):
    Membership.objects.filter(user__in=people).update(keys_shown_at=Now() - timedelta(minutes=61))


def test_looking_at_values_is_noted_once_an_hour_for_each_person_and_workspace(browser, call, cast, edda_key):
    second = make_key(actor_of(cast.edda, cast.team), "second")
    adam = browser(cast.adam)
    adam.get(f"/settings/api-keys/{edda_key.id}?workspace=acme")
    adam.get("/settings?tab=api-keys&workspace=acme")
    adam.get(f"/settings/api-keys/{second.id}?workspace=acme")
    call(cast.adam, f"GET /api/api-keys/{second.id}")
    call(cast.adam, "GET /api/api-keys")
    [entry] = shown(cast.team, cast.adam)
    assert (entry.target_id, entry.details) == (str(edda_key.id), {"keys": 1})
    call(cast.olga, "GET /api/api-keys")
    [entry] = shown(cast.team, cast.olga)
    assert (entry.target_id, entry.details) == ("", {"keys": 2}), "a page of keys is one entry"

    make_key(actor_of(cast.adam), "own")
    call(cast.adam, "GET /api/api-keys", workspace="adam")
    assert shown(cast.team, cast.adam).count() == 1
    assert Activity.objects.filter(workspace__slug="adam", kind="key.shown").count() == 1
    forget_an_hour(cast.adam)
    call(cast.adam, "GET /api/api-keys")
    call(cast.adam, "GET /api/api-keys")
    assert shown(cast.team, cast.adam).count() == 2


def test_nothing_is_noted_where_no_value_was_shown(browser, call, cast, edda_key):
    call(edda_key, "GET /api/api-keys")
    browser(cast.vera).get("/settings?tab=api-keys&workspace=acme")
    browser(cast.adam).get("/settings?tab=api-keys&workspace=acme&show=revoked")
    call(cast.olga, "GET /api/members")
    assert not Activity.objects.filter(kind="key.shown").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", range(3))
def test_of_many_tabs_that_show_values_at_once_one_is_noted(transactional_db, browser, cast, number):
    actor = actor_of(cast.edda, cast.team)
    paths = [f"/settings/api-keys/{make_key(actor, f'key {n}').id}?workspace=acme" for n in range(3)]
    paths.append("/settings?tab=api-keys&workspace=acme")
    tabs = [browser(cast.adam) for _ in paths]
    barrier, statuses = threading.Barrier(len(paths)), []

    def look(tab, path):
        try:
            barrier.wait()
            statuses.append(tab.get(path).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=look, args=item) for item in zip(tabs, paths, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(paths)
    assert shown(cast.team, cast.adam).count() == 1


# With what it was done


def test_the_log_names_the_key_the_browser_or_the_server(browser, call, cast, edda_key):
    call(edda_key, "POST /api/api-keys/current/rotate", {"grace": "manual"}, HTTP_USER_AGENT="pipeline/2")
    call(cast.edda, "POST /api/api-keys", {"name": "by hand"}, HTTP_USER_AGENT="Firefox/1.0")
    services.suspend(None, cast.team)
    services.restore(None, cast.team)

    entries = {e["kind"]: e for e in reversed(call(cast.olga, "GET /api/activity").json()["activity"])}
    rotated, made, restored = entries["key.rotated"], entries["key.created"], entries["workspace.restored"]
    name = f"edda's key ({edda_key[:11]}…)"
    assert (rotated["via"], rotated["keyId"], rotated["keyName"]) == ("key", str(edda_key.id), name)
    assert (made["via"], made["keyId"], made["keyName"], made["client"]) == ("session", None, "", "Firefox/1.0")
    assert (restored["via"], restored["keyId"], restored["person"]) == ("server", None, None)

    page = browser(cast.olga).get("/settings?tab=activity&workspace=acme").content.decode()
    assert f"the key {name.replace(chr(39), '&#x27;')}<br>" in page
    assert re.search(r'browser session [0-9a-f]{8}<br><span class="muted small">127.0.0.1 Firefox/1.0', page)
    assert ">the server</td>" in page

    export = browser(cast.olga).get("/settings?tab=activity&workspace=acme&format=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(export.streaming_content).decode())))
    vias = {row["kind"]: (row["via"], row["key"], row["client"]) for row in reversed(rows)}
    assert vias["key.rotated"] == (name, str(edda_key.id), "pipeline/2")
    assert vias["key.created"] == ("session", "", "Firefox/1.0")
    assert vias["workspace.restored"] == ("server", "", "")


def test_the_log_keeps_the_name_that_a_key_had(call, cast):
    key = make_key(actor_of(cast.edda, cast.team), "nightly")
    call(key, "DELETE /api/api-keys/current")
    members.remove_member(actor_of(cast.olga, cast.team), cast.edda.pk)
    [entry] = Activity.objects.filter(kind="key.revoked", target_id=str(key.id))
    assert entry.means == f"nightly ({key[:11]}…)"
