"""Sign-up, sign-in, and the one namespace of people and teams."""

import re
import threading

import pytest
from django.core import mail
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from accounts import names
from accounts.models import Name, User
from config.errors import Conflict
from tests.conftest import PASSWORD, actor_of, make_user
from workspaces import members
from workspaces.access import Role
from workspaces.models import Membership, Workspace
from workspaces.services import create_team

SIGNUP = {"username": "alice", "email": "", "password1": PASSWORD, "password2": PASSWORD}


def sign_up(browser, **changes):
    return browser.send("POST", "/accounts/signup/", SIGNUP | changes)


def test_signing_up_makes_a_person_with_a_personal_workspace_who_is_signed_in(browser, db):
    someone = browser()
    assert sign_up(someone).status_code == 302
    alice = User.objects.get(username="alice")
    membership = Membership.objects.get(user=alice)
    assert (membership.workspace.slug, membership.workspace.is_personal, membership.role) == ("alice", True, Role.OWNER)
    assert someone.get("/settings?tab=api-keys").status_code == 200


@pytest.mark.parametrize(
    "username",
    [
        "abc",
        "a" * 33,
        "-alice",
        "alice-",
        "ali_ce",
        "al ice",
        "álice",
        "alice\0",
        "settings",
        "admin",
        "datasets",
        "api",
        "",
    ],
)
def test_a_username_outside_the_rules_is_refused(browser, db, username):
    answer = sign_up(browser(), username=username)
    assert answer.status_code == 200
    assert not User.objects.exists()
    assert not Workspace.objects.exists()
    assert not Name.objects.exists()


def test_usernames_are_lower_case_however_they_are_typed(browser, db):
    sign_up(browser(), username="Alice")
    assert User.objects.get().username == "alice"


@pytest.mark.parametrize("taken", ["olga", "acme"])
def test_people_and_teams_share_one_namespace(browser, team, taken):
    answer = sign_up(browser(), username=taken)
    assert names.TAKEN in answer.content.decode()
    assert User.objects.count() == 1


def test_a_team_cannot_take_a_persons_name(olga, stan):
    with pytest.raises(Conflict):
        create_team(actor_of(olga), slug="stan", name="Not Stan")


def test_a_name_stays_taken_when_its_team_is_gone(team, browser):
    members.delete_team(actor_of(team.memberships.get().user, team), confirmation="acme")
    assert names.TAKEN in sign_up(browser(), username="acme").content.decode()


def test_a_person_without_workspace_is_never_left_behind(db, monkeypatch):
    from workspaces import services

    def fail(user):
        raise RuntimeError

    monkeypatch.setattr(services, "create_personal_workspace", fail)
    with pytest.raises(RuntimeError):
        make_user("alice")
    assert not User.objects.exists()
    assert not Name.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_who_take_one_name_at_once_one_gets_it():
    results = []

    def run():
        try:
            make_user("alice")
            results.append("made")
        except Conflict:
            results.append("taken")
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["made"] + ["taken"] * 7
    assert Workspace.objects.count() == User.objects.count() == 1


@given(st.text(max_size=40))
def test_the_rule_for_names_is_the_documented_one(name):
    documented = bool(re.fullmatch(r"[a-z0-9][a-z0-9-]{2,30}[a-z0-9]", name)) and name not in names.RESERVED
    try:
        names.validate_name(name)
        accepted = True
    except Exception:
        accepted = False
    assert accepted == documented


def test_a_workspace_has_exactly_one_owner_by_the_database(team, olga, edda):
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(workspace=team, user=edda).update(role=Role.OWNER)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(workspace=team, user=olga).delete()
        connection.check_constraints()
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(workspace=team, user=olga).update(role=Role.ADMIN)
        connection.check_constraints()
    with transaction.atomic():  # a handover passes through a moment without an owner
        Membership.objects.filter(workspace=team, user=olga).update(role=Role.ADMIN)
        Membership.objects.filter(workspace=team, user=edda).update(role=Role.OWNER)
        connection.check_constraints()


def test_attempts_to_sign_in_are_limited(browser, db):
    user = make_user("alice")
    user.set_password(PASSWORD)
    user.save()
    someone = browser()
    for _ in range(12):
        answer = someone.send("POST", "/accounts/login/", {"login": "alice", "password": "wrong"})
    answer = someone.send("POST", "/accounts/login/", {"login": "alice", "password": PASSWORD})
    assert "Too many failed login attempts" in answer.content.decode() or answer.status_code == 429
    assert browser(None).get("/settings").status_code == 302


def test_without_mail_nobody_is_asked_to_verify_an_address(browser, db):
    assert sign_up(browser(), email="alice@example.org").status_code == 302
    assert mail.outbox == []


def test_sign_up_can_be_closed(browser, db, settings):
    settings.SIGNUP_OPEN = False
    someone = browser()
    sign_up(someone)
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/login/",
        "/accounts/signup/",
        "/accounts/password/reset/",
        "/accounts/password/change/",
        "/accounts/email/",
        "/accounts/2fa/",
        "/accounts/2fa/totp/activate/",
        "/accounts/2fa/webauthn/",
        "/accounts/2fa/webauthn/add/",
        "/accounts/sessions/",
        "/accounts/logout/",
        "/accounts/reauthenticate/",
    ],
)
def test_every_page_of_the_account_opens(browser, olga, path):
    olga.set_password(PASSWORD)
    olga.save()
    answer = browser(olga).get(path)
    assert answer.status_code in (200, 302), path
    assert browser().get(path).status_code in (200, 302)


def test_a_person_can_change_the_display_name_and_not_the_username(browser, olga):
    assert browser(olga).send("POST", "/settings?tab=profile&workspace=olga", {"name": "Dr Olga", "username": "x"})
    olga.refresh_from_db()
    assert (olga.name, olga.username) == ("Dr Olga", "olga")


def test_when_a_session_was_last_seen_is_written_once_a_minute_and_when_it_comes_from_elsewhere(browser, stan):
    from allauth.usersessions.models import UserSession
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    person = browser(stan)
    person.get("/settings")
    with CaptureQueriesContext(connection) as queries:
        person.get("/settings?tab=profile")
    assert not any("usersession" in query["sql"] for query in queries)
    person.get("/settings", HTTP_USER_AGENT="Elsewhere/1.0")
    assert UserSession.objects.get(user=stan).user_agent == "Elsewhere/1.0"
