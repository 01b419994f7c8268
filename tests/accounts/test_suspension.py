"""Suspending people and workspaces: keys, sessions, sign-in, pages and the API, and the way back."""

import threading

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from accounts import services as people
from accounts.models import User
from config.errors import Conflict
from tests.conftest import PASSWORD, actor_of, assert_error, make_key, make_user
from workspaces import invitations, members, services
from workspaces.access import Role, Suspended
from workspaces.models import Activity, Membership, Workspace

SUMMARY = "GET /api/account/summary"
USERS = "/admin/accounts/user/"
WORKSPACES = "/admin/workspaces/workspace/"
REASON = "unpaid <b>since</b> May"
SHOWN = "unpaid &lt;b&gt;since&lt;/b&gt; May"


@pytest.fixture
def operator(db):
    return make_user("operator", is_staff=True, is_superuser=True)


def act(page, at, action, *things, **fields):
    """What the operator sees after saying yes to an action of the admin's list."""
    chosen = {"action": action, "_selected_action": [thing.pk for thing in things], "confirmed": "yes"} | fields
    answer = page.send("POST", at, chosen)
    return page.get(answer["Location"]).content.decode() if answer.status_code == 302 else answer.content.decode()


def sign_in(browser, username, password=PASSWORD):
    return browser().send("POST", "/accounts/login/", {"login": username, "password": password})


def with_password(user):
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    return user


# A workspace


def test_the_operator_suspends_and_restores_a_workspace(browser, call, operator, cast, edda_key, stan_key):
    page = browser(operator)
    question = page.send("POST", WORKSPACES, {"action": "suspend", "_selected_action": [cast.team.pk]}).content.decode()
    assert "Suspend workspaces?" in question
    assert "acme" in question
    assert call(edda_key, SUMMARY).status_code == 200, "asking changes nothing"
    assert "Suspended 1 workspace." in act(page, WORKSPACES, "suspend", cast.team, reason=REASON)
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    assert call(stan_key, SUMMARY).status_code == 200
    assert SHOWN in page.get(f"{WORKSPACES}{cast.team.pk}/change/").content.decode()
    assert "Restored 1 workspace." in act(page, WORKSPACES, "restore", cast.team)
    assert call(edda_key, SUMMARY).status_code == 200
    kinds = list(Activity.objects.filter(kind__startswith="workspace.").order_by("pk").values_list("kind", "user"))
    assert kinds == [("workspace.suspended", operator.pk), ("workspace.restored", operator.pk)]


def test_a_suspension_without_a_reason_is_asked_again(browser, operator, cast):
    page = browser(operator)
    for at, thing in ((WORKSPACES, cast.team), (USERS, cast.edda)):
        assert "Say why" in act(page, at, "suspend", thing, reason="  ")
    assert not Workspace.objects.filter(suspended_at__isnull=False).exists()
    assert not User.objects.filter(is_active=False).exists()


def test_suspending_and_restoring_twice_is_once(cast, operator):
    assert services.suspend(operator, cast.team, reason="first")
    since = Workspace.objects.get(pk=cast.team.pk).suspended_at
    assert not services.suspend(operator, cast.team, reason="second")
    suspended = Workspace.objects.get(pk=cast.team.pk)
    assert (suspended.suspended_at, suspended.suspended_reason) == (since, "first")
    assert services.restore(operator, cast.team)
    assert not services.restore(operator, cast.team)
    assert people.suspend_users(operator, [cast.edda.pk], reason="first") == 1
    assert people.suspend_users(operator, [cast.edda.pk], reason="second") == 0
    assert User.objects.get(pk=cast.edda.pk).suspended_reason == "first"
    assert people.restore_users(operator, [cast.edda.pk]) == 1
    assert people.restore_users(operator, [cast.edda.pk]) == 0
    done = Activity.objects.filter(workspace=cast.team, details__by="operator").order_by("pk")
    assert [entry.kind for entry in done] == [
        "workspace.suspended",
        "workspace.restored",
        "member.suspended",
        "member.restored",
    ]


def test_the_value_of_a_key_in_a_reason_is_kept_nowhere(browser, operator, cast, edda_key):
    act(browser(operator), WORKSPACES, "suspend", cast.team, reason=f"leaked {str.__str__(edda_key)}")
    act(browser(operator), USERS, "suspend", cast.edda, reason=f"leaked\n{str.__str__(edda_key)}")
    kept = [
        Workspace.objects.get(pk=cast.team.pk).suspended_reason,
        User.objects.get(pk=cast.edda.pk).suspended_reason,
        *(str(details) for details in Activity.objects.values_list("details", flat=True)),
    ]
    assert kept[0] == kept[1] == f"leaked {edda_key[:11]}[redacted]"
    assert not any(str.__str__(edda_key) in text for text in kept)


# GET of each page, and each call by session, of a suspended workspace, as its Owner
PAGES = {
    "/settings": 403,
    "/settings?tab=api-keys": 403,
    "/settings?tab=teams": 403,
    "/settings?tab=activity": 403,
    "/settings?tab=profile": 200,
    "/settings/teams/create": 200,
    "/settings/teams/invite": 403,
    "/settings/teams/rename": 403,
    "/settings/teams/delete": 403,
    "/settings/teams/members/{edda}/role": 403,
    "/settings/teams/members/{edda}/remove": 403,
    "/settings/teams/members/{edda}/transfer": 403,
    "/settings/api-keys/create": 403,
    "/settings/api-keys/{key}": 403,
    "/settings/api-keys/{key}/revoke": 403,
}


@pytest.mark.parametrize(("path", "status"), PAGES.items())
def test_pages_of_a_suspended_workspace_say_why_and_lead_elsewhere(browser, operator, cast, edda_key, path, status):
    services.suspend(operator, cast.team, reason=REASON)
    path = path.format(edda=cast.edda.pk, key=edda_key.id)
    answer = browser(cast.olga).get(path + ("&" if "?" in path else "?") + "workspace=acme")
    assert answer.status_code == status
    page = answer.content.decode()
    assert (SHOWN in page) == (status == 403)
    assert 'action="/settings/switch?workspace=olga"' in page
    assert 'action="/accounts/logout/"' in page


def test_members_of_a_suspended_workspace_switch_and_sign_out(browser, operator, cast):
    someone = browser(cast.edda)
    assert someone.send("POST", "/settings/switch?workspace=acme").status_code == 302
    services.suspend(operator, cast.team, reason=REASON)
    assert SHOWN in someone.get("/settings").content.decode(), "the one chosen last"
    elsewhere = someone.send("POST", "/settings/switch?workspace=edda")
    assert someone.get(elsewhere["Location"]).status_code == 200
    assert someone.get("/settings").status_code == 200
    assert someone.send("POST", "/settings/switch?workspace=acme").status_code == 302, "to see whether it is restored"
    assert someone.send("POST", "/accounts/logout/").status_code == 302
    assert someone.get("/settings").status_code == 302


def test_nothing_in_a_suspended_workspace_is_changed_through_the_pages(browser, operator, cast, edda_key):
    invitation, _ = invitations.invite(
        actor_of(cast.olga, cast.team), email="x@example.org", role=Role.VIEWER, only_this_address=False
    )
    services.suspend(operator, cast.team, reason=REASON)
    before = state(cast.team)
    someone = browser(cast.olga)
    for path, fields in {
        "teams/invite": {"email": "y@example.org", "role": 1},
        f"teams/invites/{invitation.pk}/resend": {},
        f"teams/invites/{invitation.pk}/cancel": {},
        "teams/rename": {"name": "New", "slug": "new-name"},
        "teams/delete": {"confirmation": "acme"},
        f"teams/members/{cast.edda.pk}/role": {"role": 1},
        f"teams/members/{cast.edda.pk}/remove": {},
        f"teams/members/{cast.adam.pk}/transfer": {"confirmation": "acme"},
        "api-keys/create": {"name": "new"},
        f"api-keys/{edda_key.id}/rotate": {"grace": "now"},
        f"api-keys/{edda_key.id}/revoke": {},
    }.items():
        answer = someone.send("POST", f"/settings/{path}?workspace=acme", fields)
        assert answer.status_code == 403, path
        assert SHOWN in answer.content.decode(), path
    assert state(cast.team) == before


def test_the_api_by_session_says_why(call, operator, cast, edda_key):
    services.suspend(operator, cast.team, reason="unpaid")
    before = state(cast.team)
    for what, body in {
        SUMMARY: None,
        "GET /api/members": None,
        "POST /api/members": {"email": "y@example.org", "role": "viewer"},
        f"PATCH /api/members/{cast.vera.pk}": {"role": "editor"},
        f"DELETE /api/members/{cast.vera.pk}": None,
        "POST /api/members/transfer-ownership": {"userId": str(cast.adam.pk), "confirmation": "acme"},
        "GET /api/activity": None,
        "GET /api/api-keys": None,
        "POST /api/api-keys": {"name": "new"},
        f"DELETE /api/api-keys/{edda_key.id}": None,
    }.items():
        answer = call(cast.olga, what, body, workspace="acme")
        assert_error(answer, 403, "This workspace is suspended: unpaid", "SUSPENDED")
    assert state(cast.team) == before
    assert call(cast.olga, SUMMARY, workspace="olga").status_code == 200
    assert [team["username"] for team in call(cast.olga, "GET /api/teams").json()["teams"]] == ["acme"]


def test_services_refuse_an_actor_from_before_the_suspension(cast, operator, edda_key):
    """A request that found its actor, and came to the change only after the suspension."""
    from apikeys import services as keys

    olga, edda = actor_of(cast.olga, cast.team), actor_of(cast.edda, cast.team)
    services.suspend(operator, cast.team, reason=REASON)
    before = state(cast.team)
    for change in (
        lambda: keys.create_key(edda, name="late"),
        lambda: keys.rotate_key(edda, edda_key.row),
        lambda: services.rename_team(olga, slug="acme", name="Late"),
        lambda: members.change_role(olga, cast.vera.pk, Role.EDITOR),
        lambda: members.remove_member(olga, cast.vera.pk),
        lambda: members.remove_member(edda, cast.edda.pk),
        lambda: members.transfer_ownership(olga, cast.adam.pk, confirmation="acme"),
        lambda: members.delete_team(olga, confirmation="acme"),
        lambda: invitations.invite(olga, email="x@example.org", role=Role.VIEWER, only_this_address=False),
    ):
        olga.workspace.suspended_at = edda.workspace.suspended_at = None
        with pytest.raises(Suspended):
            change()
    assert state(cast.team) == before


def test_nobody_joins_a_suspended_team_or_by_the_word_of_somebody_suspended(browser, operator, cast):
    _, token = invitations.invite(
        actor_of(cast.adam, cast.team), email="stan@example.org", role=Role.VIEWER, only_this_address=False
    )
    someone, path = browser(cast.stan), f"/invites/{token}"
    services.suspend(operator, cast.team, reason="a matter between us")
    here = someone.get(path)["Location"]
    for answer in (someone.get(here), someone.send("POST", here)):
        assert answer.status_code == 409
        assert "This team is suspended" in answer.content.decode()
        assert "a matter between us" not in answer.content.decode()
    services.restore(operator, cast.team)
    people.suspend_users(operator, [cast.adam.pk], reason="left")
    assert someone.send("POST", here).status_code == 409
    assert not Membership.objects.filter(workspace=cast.team, user=cast.stan).exists()
    people.restore_users(operator, [cast.adam.pk])
    assert someone.send("POST", here).status_code == 302


def state(team):
    return (
        list(Workspace.objects.filter(pk=team.pk).values()),
        sorted(Membership.objects.filter(workspace=team).values_list("user", "role")),
        sorted(team.invitations.values_list("pk", "token_digest", "cancelled_at"), key=str),
        sorted(team.api_keys.values_list("pk", "revoked_at", "rotated_at", "creator")),
        Activity.objects.filter(workspace=team).exclude(kind="member.signed_in").count(),
    )


# A person


def test_the_operator_suspends_and_restores_a_person(browser, call, operator, cast, edda_key):
    with_password(cast.edda)
    own_key = make_key(actor_of(cast.edda), "own")
    other_key = make_key(actor_of(cast.olga, cast.team), "olga's")
    phone, laptop = browser(cast.edda), browser(cast.edda)
    for device in (phone, laptop):
        assert device.get("/settings?tab=profile").status_code == 200
    page = browser(operator)
    question = page.send("POST", USERS, {"action": "suspend", "_selected_action": [cast.edda.pk]}).content.decode()
    assert "Suspend users?" in question
    assert "edda" in question
    assert "Suspended 1 user." in act(page, USERS, "suspend", cast.edda, reason=REASON)

    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    assert_error(call(own_key, SUMMARY), 401, "Invalid API key")
    assert call(other_key, SUMMARY).status_code == 200
    for device in (phone, laptop):
        assert device.get("/settings?tab=profile")["Location"].startswith("/accounts/login/")
        assert_error(device.get("/api/teams"), 401)
    assert not UserSession.objects.filter(user=cast.edda).exists()
    assert sorted(Membership.objects.filter(user=cast.edda).values_list("workspace__slug", "role")) == [
        ("acme", Role.EDITOR),
        ("edda", Role.OWNER),
    ]

    assert "Restored 1 user." in act(page, USERS, "restore", cast.edda)
    assert call(edda_key, SUMMARY).status_code == 200
    assert call(own_key, SUMMARY).status_code == 200
    for device in (phone, laptop):
        assert device.get("/settings?tab=profile").status_code == 302, "the sessions of before do not come back"
    assert sign_in(browser, "edda").status_code == 302
    for team in ("acme", "edda"):
        entries = Activity.objects.filter(workspace__slug=team, kind__startswith="member.", user=operator)
        assert [(e.kind, e.details.get("reason")) for e in entries.order_by("pk")] == [
            ("member.suspended", REASON),
            ("member.restored", None),
        ]


def test_signing_in_says_why_only_after_the_right_password(browser, operator, cast):
    with_password(cast.edda)
    with_password(cast.vera)
    people.suspend_users(operator, [cast.edda.pk], reason=REASON)
    wrong = sign_in(browser, "edda", "not her password")
    unknown = sign_in(browser, "vera", "not her password")
    assert wrong.status_code == unknown.status_code == 200
    assert errors_of(wrong) == errors_of(unknown) != []
    assert "suspended" not in wrong.content.decode().lower()

    someone = browser()
    right = someone.send("POST", "/accounts/login/", {"login": "edda", "password": PASSWORD})
    assert right.status_code == 403
    assert "This account is suspended" in right.content.decode()
    assert SHOWN in right.content.decode()
    assert someone.get("/settings").status_code == 302
    assert all(REASON not in str(s.get_decoded()) for s in Session.objects.all())
    again = browser().get("/accounts/inactive/")  # the address that django-allauth has for it tells nothing
    assert SHOWN not in again.content.decode()


def errors_of(answer):
    return [str(error) for errors in answer.context["form"].errors.values() for error in errors]


def test_suspended_between_password_and_second_factor(browser, operator, cast):
    from allauth.mfa.totp.internal import auth

    with_password(cast.edda)
    secret = auth.generate_totp_secret()
    auth.TOTP.activate(cast.edda, secret)
    someone = browser()
    answer = someone.send("POST", "/accounts/login/", {"login": "edda", "password": PASSWORD})
    assert answer["Location"] == "/accounts/2fa/authenticate/"
    people.suspend_users(operator, [cast.edda.pk], reason=REASON)
    code = auth.format_hotp_value(auth.hotp_value(secret, int(timezone.now().timestamp()) // 30))
    answer = someone.send("POST", "/accounts/2fa/authenticate/", {"code": code})
    assert answer.status_code == 403
    assert SHOWN in answer.content.decode()
    people.restore_users(operator, [cast.edda.pk])
    assert someone.get("/settings?tab=profile").status_code == 302


def test_a_session_that_began_during_the_suspension_does_not_come_alive(browser, operator, cast):
    """A sign-in that had looked at the person just before, and finished just after."""
    people.suspend_users(operator, [cast.edda.pk], reason=REASON)
    late = browser(cast.edda)
    UserSession.objects.create(user=cast.edda, ip="192.0.2.1", session_key=late.session.session_key)
    assert late.get("/settings?tab=profile").status_code == 302
    people.restore_users(operator, [cast.edda.pk])
    assert late.get("/settings?tab=profile").status_code == 302


def test_no_operator_suspends_themselves_or_the_last_superuser(browser, operator, cast):
    page = browser(operator)
    text = act(page, USERS, "suspend", operator, cast.edda, reason="oops")
    assert "You cannot suspend yourself" in text
    assert "Nothing was changed." in text
    assert not User.objects.filter(is_active=False).exists()
    with pytest.raises(Conflict, match="last superuser"):
        people.suspend_users(None, [operator.pk, cast.edda.pk])
    assert not User.objects.filter(is_active=False).exists()
    second = make_user("second", is_staff=True, is_superuser=True)
    assert "Suspended 1 user." in act(page, USERS, "suspend", second, reason="left")
    assert "Suspended 0 users." in act(page, USERS, "suspend", second, reason="left")


def test_superusers_are_for_superusers(browser, operator, cast):
    helper = make_user("helper", is_staff=True)
    helper.user_permissions.add(*Permission.objects.filter(codename__in=("view_user", "change_user")))
    make_user("second", is_staff=True, is_superuser=True)
    page = browser(helper)
    assert "Only a superuser can suspend or restore a superuser" in act(page, USERS, "suspend", operator, reason="mine")
    assert User.objects.get(pk=operator.pk).is_active
    assert "Suspended 1 user." in act(page, USERS, "suspend", cast.edda, reason="left")
    for path in (f"{USERS}{operator.pk}/change/", f"{USERS}{operator.pk}/password/"):
        fields = {"name": "x", "usable_password": "true", "password1": "a new one 123", "password2": "a new one 123"}
        assert page.send("POST", path, fields).status_code == 403
    mine = {"name": "Me", "email": "", "is_staff": "on", "is_superuser": "on"}
    assert page.send("POST", f"{USERS}{helper.pk}/change/", mine).status_code == 302
    helper.refresh_from_db()
    assert (helper.name, helper.is_superuser) == ("Me", False)


def test_staff_without_the_permission_suspend_nobody(browser, cast):
    helper = make_user("helper", is_staff=True)
    helper.user_permissions.add(*Permission.objects.filter(codename__in=("view_user", "view_workspace")))
    page = browser(helper)
    act(page, USERS, "suspend", cast.edda, reason="mine")
    act(page, WORKSPACES, "suspend", cast.team, reason="mine")
    assert not User.objects.filter(is_active=False).exists()
    assert not Workspace.objects.filter(suspended_at__isnull=False).exists()
    assert 'value="suspend"' not in page.get(f"{USERS}{cast.edda.pk}/change/").content.decode()
    assert 'value="suspend"' not in page.get(f"{WORKSPACES}{cast.team.pk}/change/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_two_superusers_who_suspend_each_other_at_once_leave_one():
    one, two = (make_user(name, is_staff=True, is_superuser=True) for name in ("first", "second"))
    start, refused = threading.Barrier(2), []

    def suspend(operator, other):
        try:
            start.wait()
            people.suspend_users(operator, [other.pk], reason="you go")
        except Conflict as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=suspend, args=pair) for pair in ((one, two), (two, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert User.objects.filter(is_active=True, is_superuser=True).count() == 1
