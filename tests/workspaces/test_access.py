"""The rights themselves, and members, invitations and the log through the API.

Who may do what at which door is in tests/security/test_roles.py.
"""

import json

import httpx
import pytest
from django.utils import timezone

from apikeys import services as keys
from apikeys.authentication import authenticate_token
from config.errors import NotAllowed
from tests.conftest import actor_of, assert_error, make_key, make_user
from workspaces import invitations, services
from workspaces.access import Actor, Right, Role, SecondFactorRequired, Suspended
from workspaces.models import Membership, Workspace

# Who has it: people, keys (whose roles end at Editor, but that is not relied on), people of a workspace that is
# suspended, people without the second factor that the team asks for. By the first letters of the roles.
HAVE = {
    Right.VIEW: ("VEAO", "VEAO", "", ""),
    Right.OWN_ACCOUNT: ("VEAO", "", "VEAO", "VEAO"),
    Right.LEAVE: ("VEAO", "", "", "VEAO"),
    Right.USE_TEAMS: ("VEAO", "", "", ""),
    Right.LIST_KEYS: ("EAO", "EAO", "", ""),
    Right.EDIT: ("EAO", "EAO", "", ""),
    Right.MANAGE_KEYS: ("EAO", "", "", ""),
    Right.ROTATE_ITSELF: ("EAO", "EAO", "", ""),
    Right.MANAGE_MEMBERS: ("AO", "", "", ""),
    Right.MANAGE_TEAM: ("O", "", "", ""),
}


def refusal_of(actor, right):
    try:
        actor.require(right)
    except NotAllowed as error:
        return type(error)
    return None


@pytest.mark.parametrize("right", Right)
def test_each_right_is_had_by_these_and_nobody_else(cast, edda_key, right):
    people, by_key, while_suspended, without_factor = HAVE[right]
    free, suspended, strict = (Workspace.objects.get(pk=cast.team.pk) for _ in range(3))
    suspended.suspended_at, strict.requires_second_factor = timezone.now(), True
    for role in Role:
        for key, workspace, who, reason in (
            (None, free, people, NotAllowed),
            (edda_key.row, free, by_key, NotAllowed),
            (edda_key.row, strict, by_key, NotAllowed),
            (None, suspended, while_suspended, Suspended),
            (edda_key.row, suspended, "", NotAllowed if right is Right.OWN_ACCOUNT else Suspended),
            (None, strict, without_factor, SecondFactorRequired),
        ):
            actor = Actor(cast.edda, workspace, role, key=key)
            has_it = role.label[0] in who
            assert actor.can(right) == has_it, (role, key, workspace)
            assert refusal_of(actor, right) is (None if has_it else reason), (role, key, workspace)


def test_an_actor_becomes_what_the_database_says_and_a_key_never_more_than_an_editor(cast, edda_key):
    olgas = make_key(actor_of(cast.olga, cast.team))
    by_key = authenticate_token(str.__str__(olgas), "", "")
    for actor, role in ((actor_of(cast.olga, cast.team), Role.OWNER), (by_key, Role.EDITOR)):
        actor.require_still(Right.EDIT)
        assert actor.role is role
    before = actor_of(cast.edda, cast.team)
    services.suspend(None, cast.team, reason="unpaid")
    with pytest.raises(Suspended, match=r"^This workspace is suspended: unpaid$"):
        before.require_still(Right.VIEW)
    cast.team.suspended_reason = ""
    assert str(Suspended(cast.team)) == "This workspace is suspended"


def test_members_are_listed_with_roles_and_keys_in_constant_queries(
    call, cast, edda_key, django_assert_max_num_queries
):
    make_key(actor_of(cast.edda))  # elsewhere, and one that has ended
    keys.revoke_key(actor_of(cast.edda, cast.team), make_key(actor_of(cast.edda, cast.team)).row)
    call(cast.olga, "GET /api/members")
    with django_assert_max_num_queries(12) as few:
        listed = call(cast.olga, "GET /api/members").json()["members"]
    assert [(m["username"], m["role"], m["activeKeys"]) for m in listed] == [
        ("olga", "owner", 0),
        ("adam", "admin", 0),
        ("edda", "editor", 1),
        ("vera", "viewer", 0),
    ]
    for n in reversed(range(60)):
        Membership.objects.create(workspace=cast.team, user=make_user(f"member-{n:02}"), role=Role.VIEWER)
    with django_assert_max_num_queries(len(few)):
        names = [m["username"] for m in call(cast.olga, "GET /api/members").json()["members"]]
    assert names == ["olga", "adam", "edda", *(f"member-{n:02}" for n in range(60)), "vera"]


def test_a_key_sees_no_invitations(call, cast, edda_key):
    invitations.invite(actor_of(cast.olga, cast.team), email="x@example.org", role=Role.VIEWER, only_this_address=False)
    assert call(edda_key, "GET /api/members").json()["invites"] == []
    assert len(call(cast.adam, "GET /api/members").json()["invites"]) == 1


def test_the_link_of_an_invitation_is_told_once_and_leads_in(call, browser, cast):
    answer = call(cast.olga, "POST /api/members", {"email": "stan@example.org", "role": "editor"}).json()
    path = "/invites/" + answer["url"].rsplit("/", 1)[1]
    stan = browser(cast.stan)
    page = stan.get(path, follow=True)
    assert "Join Acme?" in page.content.decode()
    assert Membership.objects.filter(workspace=cast.team, user=cast.stan).count() == 0, "a GET accepts nothing"
    assert stan.send("POST", page.request["PATH_INFO"]).status_code == 302
    assert call(cast.stan, "GET /api/members", workspace="acme").status_code == 200
    assert "You are in Acme already" in stan.get(path, follow=True).content.decode()
    assert answer["url"].rsplit("/", 1)[1] not in json.dumps(call(cast.olga, "GET /api/members").json())


def test_the_log_is_for_admins_and_each_sees_their_own(call, cast, edda_key):
    everything = call(cast.adam, "GET /api/activity").json()["activity"]
    assert {"team.created", "key.created"} <= {entry["kind"] for entry in everything}
    own = call(cast.edda, "GET /api/activity").json()["activity"]
    assert {entry["person"] for entry in own} == {"edda"}
    assert [e["kind"] for e in call(cast.vera, "GET /api/activity").json()["activity"]] == ["member.signed_in"]
    filtered = call(cast.olga, "GET /api/activity?kind=key&person=edda").json()["activity"]
    assert [entry["kind"] for entry in filtered] == ["key.created"]
    first = call(cast.olga, "GET /api/activity?limit=1").json()
    older = call(cast.olga, f"GET /api/activity?limit=1&before={first['next']}").json()
    assert first["activity"][0]["id"] > older["activity"][0]["id"]
    assert_error(call(cast.olga, "GET /api/activity?since=yesterday"), 400)


def test_leaving_hands_keys_over_through_the_api(call, cast, edda_key):
    body = {"handOver": {str(edda_key.id): str(cast.adam.pk)}}
    assert call(cast.edda, f"DELETE /api/members/{cast.edda.pk}", body).status_code == 204
    assert call(edda_key, "GET /api/account/summary").status_code == 200
    assert_error(call(cast.edda, "GET /api/members", workspace="acme"), 404)


def test_an_error_is_said_of_the_field_that_the_caller_sent(call, cast, edda_key):
    for name, status in (("x", 400), ("settings", 400), ("acme", 409)):
        answer = call(cast.stan, "POST /api/teams/create", {"username": name, "name": "New"})
        assert (answer.status_code, set(answer.json()["details"])) == (status, {"username"}), name
    body = {"handOver": {str(edda_key.id): str(cast.vera.pk)}}
    answer = call(cast.olga, f"DELETE /api/members/{cast.edda.pk}", body)
    assert (answer.status_code, set(answer.json()["details"])) == (400, {"handOver"})


def test_what_comes_in_chunks_is_refused_and_never_taken_for_nothing(server):
    """Django reads no body without its length: a removal would revoke keys that were to be handed over."""
    operator = server.sign_in()
    team = operator.api("POST", "/api/teams/create", {"username": "chunked-team", "name": "Chunked"}).json()["username"]
    token = server.new_key(workspace=team)
    user_id = operator.api("GET", f"/api/members?workspace={team}").json()["members"][0]["userId"]
    csrf = {"X-CSRFToken": operator.token(operator.http.get("/settings?tab=profile").text)}
    as_json = csrf | {"Content-Type": "application/json"}
    with_key = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for method, path, body, headers in (
        ("DELETE", f"/api/members/{user_id}?workspace={team}", b'{"handOver": {}}', as_json),
        ("POST", "/api/api-keys/current/rotate", b'{"grace": "manual"}', with_key),
    ):
        client = operator.http if headers is as_json else httpx.Client(base_url=server.url)
        answer = client.request(method, path, content=iter([body]), headers=headers)
        assert answer.status_code == 400, answer.text
        assert "Content-Length" in answer.json()["error"]
    assert server.get(token).status_code == 200
