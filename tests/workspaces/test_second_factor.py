"""A team that asks its members for a second factor. Each door of it is tried in tests/security/test_roles.py."""

import io

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.conftest import PASSWORD, actor_of, assert_error, give_second_factor, make_user
from workspaces import invitations, members, services
from workspaces.access import Role, SecondFactorRequired
from workspaces.models import Activity, Membership, Workspace

SUMMARY = "GET /api/account/summary"
PAGE = "/settings/teams/second-factor?workspace=acme"
TEAM = "/settings?tab=teams&workspace=acme"
WALL = "Set up a second factor"


@pytest.fixture
def strict(cast, edda_key):
    """The team asks for a second factor; only olga has one, and edda has a key from before."""
    give_second_factor(cast.olga)
    services.require_second_factor(actor_of(cast.olga, cast.team), is_required=True)
    return cast


def text_of(answer):
    return answer.content.decode()


def queries_of(act):
    with CaptureQueriesContext(connection) as queries:
        act()
    return [query["sql"] for query in queries]


# Switching it on and off


def test_the_owner_switches_it_on_and_off_and_the_log_says_so(browser, call, cast):
    give_second_factor(cast.olga)
    owner = browser(cast.olga)
    page = text_of(owner.get(PAGE))
    assert "It is not required." in page
    assert "3 members have none" in page
    assert "API keys go on working" in page
    for answer in ("yes", "yes", "no", "no"):
        assert owner.send("POST", PAGE, {"required": answer}).status_code == 302
        assert Workspace.objects.get(slug="acme").requires_second_factor == (answer == "yes")
        [shown] = call(cast.olga, "GET /api/teams").json()["teams"]
        assert shown["requiresSecondFactor"] == (answer == "yes")
    kinds = list(Activity.objects.filter(kind__startswith="team.second").order_by("pk").values_list("kind", "user"))
    assert kinds == [
        ("team.second_factor_required", cast.olga.pk),
        ("team.second_factor_optional", cast.olga.pk),
    ]


def test_an_owner_without_a_second_factor_cannot_lock_themselves_out(browser, cast):
    owner = browser(cast.olga)
    assert "Set one up first" in text_of(owner.get(PAGE))
    refused = owner.send("POST", PAGE, {"required": "yes"})
    assert refused.status_code == 400
    assert "Set up a second factor for yourself first" in text_of(refused)
    assert not Workspace.objects.get(slug="acme").requires_second_factor


def test_recovery_codes_alone_are_no_second_factor(cast):
    Authenticator.objects.create(user=cast.olga, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert not cast.olga.has_second_factor()
    Authenticator.objects.create(user=cast.olga, type=Authenticator.Type.WEBAUTHN, data={})
    assert cast.olga.has_second_factor()


def test_a_personal_workspace_asks_for_none(browser, cast):
    give_second_factor(cast.stan)
    refused = browser(cast.stan).send("POST", "/settings/teams/second-factor?workspace=stan", {"required": "yes"})
    assert "Only a team" in text_of(refused)
    assert not Workspace.objects.filter(requires_second_factor=True).exists()


# The wall, and what is left


def test_who_sets_one_up_is_let_in_with_the_next_request_of_the_same_session(browser, strict):
    edda = browser(strict.edda)
    walled = edda.get(TEAM)
    assert walled.status_code == 403
    assert "Acme asks for a second factor" in text_of(walled)
    assert "/accounts/2fa/" in text_of(walled)
    assert "vera" not in text_of(walled)
    give_second_factor(strict.edda)
    assert edda.get(TEAM).status_code == 200


def test_a_session_without_one_gets_a_code_of_its_own_and_may_use_other_workspaces(call, strict):
    for what in (SUMMARY, "GET /api/members", "GET /api/api-keys", "GET /api/projects/acme"):
        assert_error(call(strict.edda, what), 403, code="SECOND_FACTOR_REQUIRED")
    assert call(strict.edda, SUMMARY, workspace="edda").status_code == 200
    # An address that names the team is as closed from elsewhere.
    assert_error(call(strict.edda, "GET /api/projects/acme", workspace="edda"), 403, code="SECOND_FACTOR_REQUIRED")
    made = call(strict.edda, "POST /api/projects", {"project": "x", "name": "X", "owner": "acme"}, workspace="edda")
    assert_error(made, 403, code="SECOND_FACTOR_REQUIRED")


def test_keys_of_members_without_one_go_on_in_one_statement(call, strict, edda_key):
    call(edda_key, "GET /api/api-keys/current")
    assert call(edda_key, SUMMARY).status_code == 200
    assert call(edda_key, "POST /api/api-keys/current/rotate", {"grace": "manual"}).status_code == 200


def test_authentication_by_key_still_asks_the_database_once(edda_key, strict):
    from apikeys.authentication import authenticate_token
    from workspaces.access import Right

    def authenticate():
        actor = authenticate_token(str.__str__(edda_key), "127.0.0.1", "tests")
        assert actor.can(Right.EDIT)

    with CaptureQueriesContext(connection) as queries:
        authenticate()
    assert len(queries) == 0, "the look-up runs beside Django's cursors, and nothing else may run"


def test_the_check_costs_one_statement_where_a_team_asks_and_none_where_not(browser, cast):
    for user in (cast.olga, cast.adam):
        give_second_factor(user)
    for path in (TEAM, "/settings?tab=api-keys&workspace=acme", "/settings?tab=activity&workspace=acme"):
        adam = browser(cast.adam)
        adam.get(path)
        Workspace.objects.filter(pk=cast.team.pk).update(requires_second_factor=False)
        free = queries_of(lambda: adam.get(path))  # noqa: B023
        Workspace.objects.filter(pk=cast.team.pk).update(requires_second_factor=True)
        asked = queries_of(lambda: adam.get(path))  # noqa: B023
        assert len(asked) == len(free) + 1, path
        assert not [sql for sql in free if "mfa_authenticator" in sql and "workspaces_membership" not in sql]


def test_what_slips_in_while_the_owner_switches_it_on_is_refused(strict):
    """An actor from before, as a request that was under way has one."""
    from apikeys.services import create_key

    actor = actor_of(strict.edda, strict.team)
    actor.workspace.requires_second_factor = False
    with pytest.raises(SecondFactorRequired):
        create_key(actor, name="late")


def test_leaving_needs_no_second_factor_and_tells_nothing_of_the_others(browser, call, strict, edda_key):
    edda = browser(strict.edda)
    path = f"/settings/teams/members/{strict.edda.pk}/remove?workspace=acme"
    assert path.replace("&", "&amp;") in text_of(edda.get(TEAM))
    page = text_of(edda.get(path))
    assert "Leave Acme?" in page
    assert "Hand over to" not in page
    assert "adam" not in page
    body = {"handOver": {str(edda_key.id): str(strict.adam.pk)}}
    handed = call(strict.edda, f"DELETE /api/members/{strict.edda.pk}", body, workspace="acme")
    assert_error(handed, 403, code="SECOND_FACTOR_REQUIRED")
    assert edda.send("POST", path, {"confirmed": "yes"}).status_code == 302
    assert not Membership.objects.filter(workspace=strict.team, user=strict.edda).exists()
    assert call(edda_key, SUMMARY).status_code == 401


def test_all_but_the_owner_are_offered_to_leave(browser, strict):
    Authenticator.objects.all().delete()
    for person in (strict.vera, strict.adam, strict.olga):
        page = text_of(browser(person).get(TEAM))
        assert WALL in page
        assert ("/remove" in page) == (person != strict.olga)


def test_an_invitation_is_accepted_and_the_wall_tells(browser, strict):
    actor = actor_of(strict.olga, strict.team)
    _, token = invitations.invite(actor, email="stan@example.org", role=Role.EDITOR, only_this_address=False)
    stan = browser(strict.stan)
    here = stan.get(f"/invites/{token}")["Location"]
    joined = stan.send("POST", here)
    assert joined.status_code == 302
    assert Membership.objects.filter(workspace=strict.team, user=strict.stan).exists()
    assert WALL in text_of(stan.get(joined["Location"]))


def test_invitations_of_who_lacks_one_open_nothing_until_they_have_it(cast):
    _, token = invitations.invite(
        actor_of(cast.adam, cast.team), email="stan@example.org", role=Role.EDITOR, only_this_address=False
    )
    give_second_factor(cast.olga)
    services.require_second_factor(actor_of(cast.olga, cast.team), is_required=True)
    with pytest.raises(invitations.NotOpen):
        invitations.accept(cast.stan, token)
    give_second_factor(cast.adam)
    assert invitations.accept(cast.stan, token).role == Role.EDITOR


def test_live_keys_by_hash_leave_out_teams_that_are_closed(call, strict, edda_key):
    digest = bytes(edda_key.row.digest).hex()
    what = f"GET /api/leaks/range/{digest[:5]}"
    assert call(strict.edda, what, workspace="edda").json()["suffixes"] == []
    give_second_factor(strict.edda)
    assert call(strict.edda, what, workspace="edda").json()["suffixes"] == [digest[5:]]


def test_the_command_line_makes_keys_for_those_only_who_could_make_them(strict):
    with pytest.raises(CommandError, match="edda has none"):
        call_command("create_api_key", workspace="acme", name="ci", creator="edda", stdout=io.StringIO())
    out = io.StringIO()
    call_command("create_api_key", workspace="acme", name="ci", stdout=out, stderr=io.StringIO())
    assert out.getvalue().startswith("ul_")


# Who has none


def test_admins_see_who_has_none_and_others_do_not(browser, call, cast, django_assert_num_queries):
    give_second_factor(cast.edda)
    shown = {m["username"]: m["hasSecondFactor"] for m in call(cast.adam, "GET /api/members").json()["members"]}
    assert shown == {"olga": False, "adam": False, "edda": True, "vera": False}
    for person in (cast.edda, cast.vera):
        listed = call(person, "GET /api/members").json()["members"]
        assert {m["hasSecondFactor"] for m in listed} == {None}
    assert text_of(browser(cast.adam).get(TEAM)).count("No second factor") == 3
    assert "No second factor" not in text_of(browser(cast.edda).get(TEAM))


def test_the_lists_of_members_cost_the_same_for_many(browser, call, strict):
    give_second_factor(strict.adam)
    adam = browser(strict.adam)

    def both():
        adam.get(TEAM)
        call(strict.adam, "GET /api/members")

    both()
    few = queries_of(both)
    for n in range(30):
        user = make_user(f"member-{n}")
        Membership.objects.create(workspace=strict.team, user=user, role=Role.VIEWER)
        if n % 2:
            give_second_factor(user)
    assert len(queries_of(both)) == len(few)


# Giving it up


def signed_in_by_password(browser, user):
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    someone = browser(user)
    someone.send("POST", "/accounts/reauthenticate/", {"password": PASSWORD})
    return someone


def test_giving_up_the_last_one_warns_and_closes_the_team_at_once(browser, strict):
    give_second_factor(strict.edda)
    edda = signed_in_by_password(browser, strict.edda)
    assert edda.get(TEAM).status_code == 200
    page = text_of(edda.get("/accounts/2fa/totp/deactivate/"))
    assert "this is the only one you have" in page
    assert "<strong>Acme</strong>" in page
    assert edda.send("POST", "/accounts/2fa/totp/deactivate/", {}).status_code == 302
    assert edda.get(TEAM).status_code == 403
    assert edda.get("/settings?tab=api-keys&workspace=edda").status_code == 200


def test_giving_up_one_of_two_or_where_no_team_asks_warns_of_nothing(browser, strict, cast):
    give_second_factor(strict.edda)
    data = {"name": "a key", "credential": {}}
    key = Authenticator.objects.create(user=strict.edda, type="webauthn", data=data)
    edda = signed_in_by_password(browser, strict.edda)
    assert "the only one" not in text_of(edda.get("/accounts/2fa/totp/deactivate/"))
    edda.send("POST", "/accounts/2fa/totp/deactivate/", {})
    assert edda.get(TEAM).status_code == 200
    assert "the only one" in text_of(edda.get(f"/accounts/2fa/webauthn/keys/{key.pk}/remove/"))
    give_second_factor(cast.stan)
    stan = signed_in_by_password(browser, cast.stan)
    assert "the only one" not in text_of(stan.get("/accounts/2fa/totp/deactivate/"))


def test_the_operator_helps_an_owner_who_has_lost_theirs(strict, browser):
    """By deleting it in the admin: the Owner signs in by password, sets up another, and is back."""
    operator = make_user("operator", is_staff=True, is_superuser=True)
    [lost] = Authenticator.objects.filter(user=strict.olga)
    browser(operator).send("POST", f"/admin/mfa/authenticator/{lost.pk}/delete/", {"post": "yes"})
    olga = browser(strict.olga)
    assert olga.get(TEAM).status_code == 403
    give_second_factor(strict.olga)
    assert olga.get(PAGE).status_code == 200


def test_the_team_may_be_handed_over_to_who_has_none_and_waits_for_them(strict, browser):
    members.transfer_ownership(actor_of(strict.olga, strict.team), strict.adam.pk, confirmation="acme")
    adam = browser(strict.adam)
    assert adam.get(PAGE).status_code == 403
    give_second_factor(strict.adam)
    assert adam.get(PAGE).status_code == 200


def test_where_no_mail_is_sent_an_unverified_address_keeps_nobody_out(browser, strict):
    """allauth refuses a second factor to who has one; without mail they could never verify it, nor come in again."""
    from allauth.account.models import EmailAddress

    EmailAddress.objects.create(user=strict.edda, email="edda@example.org", verified=False)
    edda = signed_in_by_password(browser, strict.edda)
    assert edda.get("/accounts/2fa/totp/activate/").status_code == 200
