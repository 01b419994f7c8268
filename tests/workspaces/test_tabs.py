"""Two tabs in two workspaces: a form that a page of one workspace has sent acts on that one, whatever else is open."""

import re
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db.models import F

from apikeys import endpoints, leaks
from apikeys.models import ApiKey, Decoy, Endpoint
from config import checks
from tests.conftest import actor_of, give_second_factor, make_key, make_user
from workspaces import invitations
from workspaces.access import Right, Role
from workspaces.models import Activity, Invitation, Membership, Workspace
from workspaces.services import create_team

# Each page with a form: the page that shows the form, and what is filled in. `?` stands for `workspace=…`.
FORMS = {
    "settings/switch": ("settings?tab=teams&?", {}),
    "settings/teams/create": ("settings/teams/create??", {"name": "New", "slug": "brand-new"}),
    "settings/teams/rename": ("settings/teams/rename??", {"name": "Renamed", "slug": "renamed"}),
    "settings/teams/second-factor": ("settings/teams/second-factor??", {"required": "yes"}),
    "settings/teams/delete": ("settings/teams/delete??", {"confirmation": "acme"}),
    "settings/teams/invite": ("settings/teams/invite??", {"email": "new@example.org", "role": 1}),
    "settings/teams/invites/<uuid:invite_id>/resend": ("settings?tab=teams&?", {}),
    "settings/teams/invites/<uuid:invite_id>/cancel": ("settings?tab=teams&?", {}),
    "settings/teams/members/<uuid:user_id>/role": ("settings/teams/members/<uuid:user_id>/role??", {"role": 1}),
    "settings/teams/members/<uuid:user_id>/remove": ("settings/teams/members/<uuid:user_id>/remove??", {}),
    "settings/teams/members/<uuid:user_id>/transfer": (
        "settings/teams/members/<uuid:user_id>/transfer??",
        {"confirmation": "acme"},
    ),
    "settings/api-keys/create": ("settings/api-keys/create??", {"name": "new"}),
    "settings/api-keys/<uuid:key_id>/rotate": ("settings/api-keys/<uuid:key_id>/rotate??", {"grace": "now"}),
    "settings/api-keys/<uuid:key_id>/revoke": ("settings/api-keys/<uuid:key_id>/revoke??", {}),
    "settings/api-keys/decoys": ("settings/api-keys/decoys??", {"name": "new"}),
    "settings/api-keys/decoys/<uuid:decoy_id>/delete": ("settings/api-keys/decoys??", {}),
    "settings/endpoints/create": (
        "settings/endpoints/create??",
        {"name": "new", "upstream": "http://10.0.0.5", "required_role": 1},
    ),
    "settings/endpoints/<uuid:endpoint_id>/change": (
        "settings/endpoints/<uuid:endpoint_id>/change??",
        {"name": "changed", "upstream": "http://10.0.0.5", "required_role": 1},
    ),
    "settings/endpoints/<uuid:endpoint_id>/delete": ("settings/endpoints/<uuid:endpoint_id>/delete??", {}),
}
FREE = {"settings/switch", "settings/teams/create"}  # they change no workspace that is there


@pytest.fixture
def two(olga, team):
    """Two teams of olga's with one of everything in each, so that nothing but the address tells them apart."""
    give_second_factor(olga)  # without one she may not ask it of others
    other = create_team(actor_of(olga), slug="other-team", name="Other")
    member = make_user("member")
    ids = {}
    for place in (team, other):
        actor = actor_of(olga, place)
        Membership.objects.create(workspace=place, user=member, role=Role.EDITOR)
        invitation, _ = invitations.invite(actor, email="x@example.org", role=Role.VIEWER, only_this_address=False)
        decoy, _ = leaks.create_decoy(actor, name="decoy")
        service = {"name": "service", "upstream": "http://10.0.0.9", "required_role": Role.VIEWER}
        ids[place.slug] = {
            "<uuid:user_id>": member.pk,
            "<uuid:invite_id>": invitation.pk,
            "<uuid:key_id>": make_key(actor, "key").id,
            "<uuid:decoy_id>": decoy.pk,
            "<uuid:endpoint_id>": endpoints.create_endpoint(actor, **service).pk,
        }
    return SimpleNamespace(olga=olga, acme=team, other=other, ids=ids)


def state(workspace):
    """All that the forms could change of a workspace; neither sign-ins nor looking at values are changes."""
    quiet = Activity.objects.exclude(kind__in=("member.signed_in", "key.shown"))
    return [
        *Workspace.objects.filter(pk=workspace.pk).values(),
        *Membership.objects.filter(workspace=workspace).order_by("pk").values("user", "role"),
        *Invitation.objects.filter(workspace=workspace).order_by("pk").values(),
        *ApiKey.objects.filter(workspace=workspace).order_by("pk").values(),
        *Decoy.objects.filter(workspace=workspace).order_by("pk").values(),
        *Endpoint.objects.filter(workspace=workspace).order_by("pk").values(),
        *quiet.filter(workspace=workspace).order_by("pk").values(),
    ]


def filled(path, ids, slug):
    for placeholder, value in ids.items():
        path = path.replace(placeholder, str(value))
    return "/" + re.sub(r"\?$", f"workspace={slug}", path)


def forms_of(page):
    """The addresses to which the forms of a page are posted, with the fields that are hidden in them."""
    found = {}
    for attributes, inner in re.findall(r"<form([^>]*)>(.*?)</form>", page, re.S):
        if 'method="post"' in attributes:
            hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', inner)
            found[unescape(re.search(r'action="([^"]*)"', attributes)[1])] = dict(hidden)
    return found


@pytest.mark.parametrize("path", FORMS)
def test_a_form_of_one_tab_acts_on_its_own_workspace(browser, two, path):
    where, fields = FORMS[path]
    olga, ids = browser(two.olga), two.ids["acme"]
    page = olga.get(filled(where, ids, "acme"))
    assert page.status_code == 200
    forms = forms_of(page.content.decode())
    action = filled(path + "??", ids, "acme")
    assert action in forms, f"{sorted(forms)} are posted to"

    olga.send("POST", "/settings/switch?workspace=other-team")  # in the second tab
    olga.get("/settings?tab=api-keys")
    here, there = state(two.acme), state(two.other)
    answer = olga.send("POST", action, forms[action] | fields)
    assert answer.status_code in (200, 302), answer.content
    assert state(two.other) == there
    assert (state(two.acme) != here) == (path not in FREE), "it does something"


@pytest.mark.parametrize("path", FORMS)
def test_a_form_that_does_not_say_its_workspace_or_names_another_does_nothing(browser, two, path):
    _, fields = FORMS[path]
    olga, ids = browser(two.olga), two.ids["acme"]
    olga.send("POST", "/settings/switch?workspace=other-team")
    here, there = state(two.acme), state(two.other)
    answer = olga.send("POST", filled(path, ids, ""), fields)
    assert answer.status_code == 400
    assert "which workspace" in answer.content.decode()
    if "<uuid:" in path and "user_id" not in path:
        assert olga.send("POST", filled(path + "??", ids, "other-team"), fields).status_code == 404
    if "confirmation" in fields:  # typed for the one team, sent to the other
        assert olga.send("POST", filled(path + "??", ids, "other-team"), fields).status_code == 400
    assert (state(two.acme), state(two.other)) == (here, there)


def test_every_form_of_every_page_names_its_workspace(browser, two):
    """Whatever pages there are: what a form of theirs is posted to says the workspace, or is no workspace's."""
    olga, seen = browser(two.olga), set()
    for where in {where for where, _ in FORMS.values()} | {
        "settings?tab=api-keys&?",
        "settings?tab=endpoints&?",
        "settings?tab=activity&?",
        "settings?tab=profile&?",
        "settings/api-keys/<uuid:key_id>??",
        "settings/api-keys/<uuid:key_id>/usage??",
        "settings/endpoints/<uuid:endpoint_id>??",
    }:
        page = olga.get(filled(where, two.ids["acme"], "acme"))
        assert page.status_code == 200, where
        for action in forms_of(page.content.decode()):
            parts = urlsplit(action)
            if parts.path not in ("/accounts/logout/", "/settings/switch"):
                assert parse_qs(parts.query).get("workspace") == ["acme"], f"{action} on {where}"
                seen.add(parts.path)
    assert len(seen) > 15


def test_every_page_that_takes_a_form_is_in_the_table(browser, two):
    olga = browser(two.olga)
    taking = set()
    for path, name, handler in checks.handlers():
        if name.startswith(("workspaces.", "apikeys.")) and isinstance(handler.allowed_right, Right):
            if path.startswith("api/"):
                continue
            answer = olga.send("POST", filled(path + "??", two.ids["acme"], "none-such"))
            if answer.status_code != 405:
                taking.add(path)
    assert taking == set(FORMS)


def test_the_second_tab_stays_where_it_is_when_the_first_one_switches(browser, two):
    olga = browser(two.olga)
    olga.send("POST", "/settings/switch?workspace=acme")
    page = olga.get("/settings?tab=teams&workspace=acme").content.decode()
    olga.send("POST", "/settings/switch?workspace=other-team")
    links = {unescape(link) for link in re.findall(r'href="(/settings[^"]*)"', page)}
    assert len(links) > 8
    for link in links:
        assert "workspace=acme" in link, f"{link} would lead out of the team"
        answer = olga.get(link)
        assert answer.status_code == 200, link
    chosen = Membership.objects.filter(user=two.olga).order_by(F("chosen_at").desc(nulls_last=True)).first()
    assert chosen.workspace == two.other, "opening a page is no switch"
