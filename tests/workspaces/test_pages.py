"""Pages of teams, and what they do through the same services. Who gets in is in roles.py."""

import re
from datetime import timedelta

from django.db.models.functions import Now

from tests.conftest import actor_of, make_key, make_user
from tests.training.stream import event, send, start
from training.models import Run
from workspaces import invitations
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


def test_the_page_of_500_members_is_a_constant_number_of_queries(browser, cast, django_assert_max_num_queries):
    someone = browser(cast.olga)
    path = "/settings?tab=teams&workspace=acme"
    someone.get(path)
    with django_assert_max_num_queries(20) as few:
        someone.get(path)
    Membership.objects.bulk_create(
        Membership(workspace=cast.team, user=make_user(f"member-{n}"), role=Role.VIEWER) for n in range(150)
    )
    with django_assert_max_num_queries(len(few)):
        assert "Page 1 of 2" in someone.get(path).content.decode()
