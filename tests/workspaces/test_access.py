"""Who may do what with teams, members, invitations and the log: role x endpoint, each cell asserted."""

import json

import pytest

from tests.conftest import actor_of, assert_error, make_user
from workspaces import invitations, services
from workspaces.access import Role
from workspaces.models import Invitation, Membership

# `key` is edda's own, `viewer key` vera's, `foreign key` stan's, `suspended` a key of a suspended workspace.
WHO = ("nobody", "stan", "vera", "edda", "adam", "olga", "key", "viewer key", "foreign key", "suspended")
ACCESS = {
    "GET /api/teams": (401, 404, 200, 200, 200, 200, 403, 403, 403, 401),
    "POST /api/teams/create": (401, 404, 201, 201, 201, 201, 403, 403, 403, 401),
    "GET /api/members": (401, 404, 200, 200, 200, 200, 200, 200, 200, 401),
    "POST /api/members": (401, 404, 403, 403, 201, 201, 403, 403, 403, 401),
    "PATCH /api/members/{member}": (401, 404, 403, 403, 200, 200, 403, 403, 403, 401),
    "DELETE /api/members/{member}": (401, 404, 403, 403, 204, 204, 403, 403, 403, 401),
    "POST /api/members/transfer-ownership": (401, 404, 403, 403, 403, 204, 403, 403, 403, 401),
    "GET /api/invites/info?token={token}": (401, 404, 200, 200, 200, 200, 403, 403, 403, 401),
    "POST /api/invites/accept": (401, 404, 200, 200, 200, 200, 403, 403, 403, 401),
    "DELETE /api/invites/{invite}": (401, 404, 403, 403, 204, 204, 403, 403, 403, 401),
    "POST /api/invites/{invite}/resend": (401, 404, 403, 403, 200, 200, 403, 403, 403, 401),
    "GET /api/activity": (401, 404, 200, 200, 200, 200, 403, 403, 403, 401),
}
CELLS = [(what, who, status) for what, row in ACCESS.items() for who, status in zip(WHO, row, strict=True)]


@pytest.mark.parametrize(("what", "who", "status"), CELLS)
def test_each_caller_gets_what_the_table_says(call, cast, edda_key, vera_key, stan_key, what, who, status):
    other = make_user("other-member")
    Membership.objects.create(workspace=cast.team, user=other, role=Role.VIEWER)
    owner = actor_of(cast.olga, cast.team)
    invitation, token = invitations.invite(owner, email="x@example.org", role=Role.VIEWER, only_this_address=False)
    callers = {"nobody": None, "key": edda_key, "viewer key": vera_key, "foreign key": stan_key, "suspended": edda_key}
    if who == "suspended":
        services.suspend(None, cast.team)
    caller = callers[who] if who in callers else getattr(cast, who)
    body = {
        "POST /api/teams/create": {"username": "brand-new", "name": "Brand new"},
        "POST /api/members": {"email": "y@example.org", "role": "viewer"},
        "PATCH /api/members/{member}": {"role": "editor"},
        "POST /api/members/transfer-ownership": {"userId": str(other.pk), "confirmation": "acme"},
        "POST /api/invites/accept": {"token": token},
    }.get(what)
    before = state(cast.team)
    path = what.format(member=other.pk, token=token, invite=invitation.pk)

    response = call(caller, path, body, workspace="acme" if who in ("stan", "vera", "edda", "adam", "olga") else None)

    assert response.status_code == status, response.content
    if status >= 400:
        assert_error(response, status)
        assert state(cast.team) == before


def state(team):
    return (
        sorted(Membership.objects.filter(workspace=team).values_list("user", "role")),
        sorted(Invitation.objects.filter(workspace=team).values_list("pk", "cancelled_at", "accepted_at")),
    )


def test_every_endpoint_is_in_the_table():
    from config.checks import handlers

    ours = {
        (path, name.rsplit(".", 1)[1].upper())
        for path, name, _ in handlers()
        if path.startswith("api/") and name.startswith("workspaces.")
    }
    listed = set()
    for what in ACCESS:
        method, path = what.split(" ")
        path = path.partition("?")[0].lstrip("/")
        listed.add((path.replace("{member}", "<uuid:user_id>").replace("{invite}", "<uuid:invite_id>"), method))
    assert ours == listed


def test_ids_of_another_workspace_are_not_found_and_change_nothing(call, cast):
    rival = services.create_team(actor_of(cast.stan), slug="rival", name="Rival")
    insider = make_user("insider")
    Membership.objects.create(workspace=rival, user=insider, role=Role.VIEWER)
    foreign, _ = invitations.invite(
        actor_of(cast.stan, rival), email="x@example.org", role=Role.VIEWER, only_this_address=False
    )
    before = state(rival)
    for what, body in (
        (f"PATCH /api/members/{insider.pk}", {"role": "editor"}),
        (f"DELETE /api/members/{insider.pk}", None),
        ("POST /api/members/transfer-ownership", {"userId": str(insider.pk), "confirmation": "acme"}),
        (f"DELETE /api/invites/{foreign.pk}", None),
        (f"POST /api/invites/{foreign.pk}/resend", None),
    ):
        assert_error(call(cast.olga, what, body, workspace="acme"), 404)
    assert state(rival) == before


def test_members_are_listed_with_roles_and_keys_in_constant_queries(
    call, cast, edda_key, django_assert_max_num_queries
):
    call(cast.olga, "GET /api/members")
    with django_assert_max_num_queries(12) as few:
        listed = call(cast.olga, "GET /api/members").json()["members"]
    assert [(m["username"], m["role"], m["activeKeys"]) for m in listed] == [
        ("olga", "owner", 0),
        ("adam", "admin", 0),
        ("edda", "editor", 1),
        ("vera", "viewer", 0),
    ]
    for n in range(60):
        Membership.objects.create(workspace=cast.team, user=make_user(f"member-{n}"), role=Role.VIEWER)
    with django_assert_max_num_queries(len(few)):
        assert len(call(cast.olga, "GET /api/members").json()["members"]) == 64


def test_a_key_sees_no_invitations(call, cast, edda_key):
    invitations.invite(actor_of(cast.olga, cast.team), email="x@example.org", role=Role.VIEWER, only_this_address=False)
    assert call(edda_key, "GET /api/members").json()["invites"] == []
    assert len(call(cast.adam, "GET /api/members").json()["invites"]) == 1


def test_the_link_of_an_invitation_is_told_once_and_leads_in(call, browser, cast):
    answer = call(cast.olga, "POST /api/members", {"email": "stan@example.org", "role": "editor"}).json()
    path = "/invites/" + answer["url"].rsplit("/", 1)[1]
    stan = browser(cast.stan)
    page = stan.get(path).content.decode()
    assert "Join Acme?" in page
    assert Membership.objects.filter(workspace=cast.team, user=cast.stan).count() == 0, "a GET accepts nothing"
    assert stan.send("POST", path + "?workspace=stan").status_code == 302
    assert call(cast.stan, "GET /api/members", workspace="acme").status_code == 200
    assert stan.get(path).status_code == 409
    assert answer["url"].rsplit("/", 1)[1] not in json.dumps(call(cast.olga, "GET /api/members").json())


def test_the_log_is_for_admins_and_each_sees_their_own(call, cast, edda_key):
    everything = call(cast.adam, "GET /api/activity").json()["activity"]
    assert {"team.created", "key.created"} <= {entry["kind"] for entry in everything}
    own = call(cast.edda, "GET /api/activity").json()["activity"]
    assert {entry["person"] for entry in own} == {"edda"}
    assert call(cast.vera, "GET /api/activity").json()["activity"] == []
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
