"""Pages of teams, and what they do through the same services. Who gets in is in roles.py."""

import re
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from accounts.services import suspend_users
from tests.conftest import actor_of, make_key
from tests.training.stream import event, send, start
from training.models import Run
from workspaces import invitations, views
from workspaces.access import Role
from workspaces.models import Membership
from workspaces.services import actor_in


def test_switching_changes_the_page_and_is_remembered(browser, cast):
    someone = browser(cast.edda)
    assert "<strong>edda</strong>" in someone.get("/settings?tab=profile").content.decode()
    someone.send("POST", "/settings/switch?workspace=acme", {})
    assert "<strong>acme</strong>" in browser(cast.edda).get("/settings?tab=profile").content.decode()
    assert browser(cast.edda).send("POST", "/settings/switch?workspace=stan", {}).status_code == 404
    assert actor_in(cast.edda, None).workspace == cast.team


def test_a_team_is_made_on_the_page_with_its_rules(browser, cast):
    someone = browser(cast.stan)
    path = "/settings/teams/create?workspace=stan"
    for slug, status in (("acme", 400), ("x", 400), ("settings", 400), ("new-team", 302)):
        assert someone.send("POST", path, {"name": "New", "slug": slug}).status_code == status, slug
    assert Membership.objects.get(workspace__slug="new-team").user == cast.stan


def test_the_link_of_an_invitation_is_in_one_answer(browser, cast):
    someone = browser(cast.adam)
    fields = {"email": "new@example.org", "role": Role.EDITOR.value}
    page = someone.send("POST", "/settings/teams/invite?workspace=acme", fields).content.decode()
    assert "/invites/" in page
    refused = someone.send("POST", "/settings/teams/invite?workspace=acme", fields | {"role": Role.ADMIN.value})
    assert refused.status_code == 400, "an Admin is not offered to make Admins"


def test_a_member_is_removed_and_each_key_revoked_or_handed_over(browser, call, cast, edda_key):
    other = make_key(actor_of(cast.edda, cast.team), "other")
    someone = browser(cast.adam)
    path = f"/settings/teams/members/{cast.edda.pk}/remove?workspace=acme"
    page = someone.get(path).content.decode()
    assert edda_key[:11] in page
    assert "Hand over to olga" in page
    assert "Hand over to vera" not in page
    assert (
        someone.send("POST", path, {f"key-{edda_key.id}": str(cast.olga.pk), f"key-{other.id}": ""}).status_code == 302
    )
    assert call(edda_key, "GET /api/account/summary").status_code == 200
    assert call(other, "GET /api/account/summary").status_code == 401


def test_the_question_what_becomes_of_keys_names_the_work_that_goes_on(browser, call, cast, edda_key):
    idle = make_key(actor_of(cast.edda, cast.team), "idle")
    going = start(call, edda_key, project="night", name="long")
    send(call, edda_key, event(start(call, edda_key, project="night", name="over"), "training_complete", results={}))
    path = f"/settings/teams/members/{cast.edda.pk}/remove?workspace=acme"

    def rows():
        page = browser(cast.adam).get(path).content.decode()
        return {key: re.search(f'name="key-{key.id}".*?(?=<div class="field">|<button)', page, re.S)[0] for key in keys}

    keys = (edda_key, idle)
    assert 'Training now: <a href="/acme/night/long">night/long</a>' in rows()[edda_key]
    assert "night/over" not in rows()[edda_key]
    assert "Training now" not in rows()[idle]
    Run.objects.filter(pk=going).update(heard_at=Now() - timedelta(days=1))
    assert "Training now" not in rows()[edda_key], "a run that has been silent for so long is none"


def test_of_very_many_keys_it_is_asked_once(browser, call, cast, edda_key, monkeypatch):
    monkeypatch.setattr(views, "MAX_CHOICES", 5)  # two keys, each with two who could take it, or to be revoked
    other = make_key(actor_of(cast.edda, cast.team), "other")
    path = f"/settings/teams/members/{cast.edda.pk}/remove?workspace=acme"
    page = browser(cast.adam).get(path).content.decode()
    assert page.count("<select") == 1
    for text in ("All 2 keys", edda_key[:11], other[:11]):
        assert text in page
    assert browser(cast.adam).send("POST", path, {"all-keys": str(cast.vera.pk)}).status_code == 400
    assert browser(cast.adam).send("POST", path, {"all-keys": str(cast.olga.pk)}).status_code == 302
    for key in (edda_key, other):
        assert call(key, "GET /api/account/summary").status_code == 200
    assert not Membership.objects.filter(workspace=cast.team, user=cast.edda).exists()


def test_deleting_says_how_much_will_go(browser, call, cast, edda_key):
    page = "/settings/teams/delete?workspace=acme"
    assert "4 members lose access, 1 key stops at once. This" in browser(cast.olga).get(page).content.decode()
    for name in ("one", "two"):
        start(call, edda_key, project="night", name=name)
    text = "4 members lose access, 1 key stops at once, and 1 project with 2 runs goes. This"
    assert text in browser(cast.olga).get(page).content.decode()


BOTH = {"role", "remove"}
OFFERED = {
    "vera": {"vera": {"remove"}},  # to leave
    "edda": {"edda": {"remove"}},
    "adam": {"adam": {"remove"}, "edda": BOTH, "vera": BOTH},
    "olga": {name: BOTH | {"transfer"} for name in ("adam", "edda", "vera")},
}
FOR_THE_TEAM = {
    "vera": set(),
    "edda": set(),
    "adam": {"invite"},
    "olga": {"invite", "rename", "second-factor", "delete"},
}


@pytest.mark.parametrize("who", OFFERED)
def test_each_is_offered_what_they_may_and_nothing_else(browser, cast, who):
    invitations.invite(actor_of(cast.olga, cast.team), email="x@example.org", role=Role.VIEWER, only_this_address=False)
    names = {str(getattr(cast, name).pk): name for name in OFFERED}
    me = browser(getattr(cast, who))
    page = me.get("/settings?tab=teams&workspace=acme").content.decode()
    offered = {}
    for link, user_id, action in re.findall(r'href="(/settings/teams/members/([0-9a-f-]+)/(\w+)\?[^"]+)"', page):
        offered.setdefault(names[user_id], set()).add(action)
        assert me.get(link).status_code == 200
    assert offered == OFFERED[who]
    of_team = set(re.findall(r'href="/settings/teams/([a-z-]+)\?', page)) - {"create"}
    assert of_team == FOR_THE_TEAM[who]
    assert ("Open invitations" in page) == ("x@example.org" in page) == (who in ("adam", "olga"))


def test_the_list_of_members_says_who_is_suspended_and_offers_them_no_team(browser, cast):
    suspend_users(None, [cast.edda.pk])
    page = browser(cast.olga).get("/settings?tab=teams&workspace=acme").content.decode()
    rows = {name: page[page.index(f"<strong>{name}") :].partition("</tr>")[0] for name in ("edda", "adam")}
    assert ("Suspended" in rows["edda"], "Suspended" in rows["adam"]) == (True, False)
    assert ("Hand over" in rows["edda"], "Hand over" in rows["adam"]) == (False, True)


def test_handing_over_and_deleting_ask_for_the_name(browser, cast):
    owner = browser(cast.olga)
    transfer = f"/settings/teams/members/{cast.adam.pk}/transfer?workspace=acme"
    assert owner.send("POST", transfer, {"confirmation": "wrong"}).status_code == 400
    assert owner.send("POST", transfer, {"confirmation": "acme"}).status_code == 302
    new_owner = browser(cast.adam)
    assert new_owner.send("POST", "/settings/teams/delete?workspace=acme", {"confirmation": "acme"}).status_code == 302
    assert not Membership.objects.filter(workspace=cast.team).exists()


def test_an_invitation_that_is_not_open_is_a_page_that_says_so(browser, cast):
    invitation, token = invitations.invite(
        actor_of(cast.olga, cast.team), email="x@example.org", role=Role.VIEWER, only_this_address=False
    )
    invitations.cancel(actor_of(cast.olga, cast.team), invitation.pk)
    page = browser(cast.stan).get(f"/invites/{token}", follow=True)
    assert page.status_code == 409
    assert "This invitation was cancelled" in page.content.decode()
    assert browser(cast.stan).get("/invites/nonsense").status_code == 404


def test_the_log_is_filtered_paged_and_exported(browser, cast, edda_key):
    someone = browser(cast.olga)
    page = someone.get("/settings?tab=activity&workspace=acme&kind=key").content.decode()
    assert "key.created" in page
    assert '<span class="badge">team.created</span>' not in page
    export = someone.get("/settings?tab=activity&workspace=acme&format=csv")
    text = b"".join(export.streaming_content).decode()
    assert export["Content-Type"].startswith("text/csv")
    assert "key.created" in text
    assert text.startswith("time,kind,person")
    own = b"".join(
        browser(cast.vera).get("/settings?tab=activity&workspace=acme&format=csv").streaming_content
    ).decode()
    assert "key.created" not in own


def test_a_cell_of_the_export_is_never_a_formula(browser, cast):
    make_key(actor_of(cast.olga, cast.team), "=HYPERLINK(1)")
    export = browser(cast.olga).get("/settings?tab=activity&workspace=acme&format=csv")
    assert ",'=HYPERLINK" in b"".join(export.streaming_content).decode()
