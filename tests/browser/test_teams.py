"""Two people in two browsers: invited, joined, a key made, switched, demoted, removed."""

import re
import uuid

import httpx
import pytest

from tests.browser.test_keys import PASSWORD, new_name

METRICS = "/api/webhooks/training/metrics"


def training_starts(site, token):
    """What a program gets that wants to write with a key."""
    body = {"event": "training_started", "project": "race", "data": {"trainArgs": {}, "epochs": 1}}
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(site.url + METRICS, json=body, headers=headers).status_code


def make_team(page, name):
    page.goto("/settings/teams/create")
    page.get_by_label("Name", exact=True).fill("Story Team")
    page.get_by_label("URL name").fill(name)
    page.get_by_role("button", name=re.compile("^Create")).click()
    page.get_by_text("Invite the others").wait_for()


def make_member(site, team, name):
    """The id of an Editor with two keys and a run that goes on with one of them."""
    site.shell(
        "from accounts.models import User; from workspaces.models import Membership, Workspace\n"
        f"Membership.objects.create(workspace=Workspace.objects.get(slug='{team}'), role=2, "
        f"user=User.objects.create_user('{name}'))"
    )
    keys = [
        site.shell(
            "from apikeys import services; from workspaces.services import actor_in; from accounts.models import User\n"
            f"a = actor_in(User.objects.get(username='{name}'), '{team}')\n"
            f"print(services.create_key(a, name='{key}')[1])"
        )
        for key in ("idle", "busy")
    ]
    assert training_starts(site, keys[1]) == 200
    return next(m["userId"] for m in site.get(keys[0], "/api/members").json()["members"] if m["username"] == name)


def invite(page, role):
    page.get_by_role("link", name=re.compile("^Invite")).first.click()
    page.get_by_label("E-mail address").fill("friend@example.org")
    page.get_by_label("Role").select_option(label=role)
    if page.get_by_label("Only for this address").is_checked():
        page.get_by_label("Only for this address").uncheck()
    page.get_by_role("button", name=re.compile("^Invite|^Send|^Make")).click()
    text = page.locator("pre, code").all_inner_texts()
    return next(found[0] for found in (re.search(r"http://\S+/invites/\S+", line) for line in text) if found)


def test_the_story_of_a_team(person, site):
    team = f"team-{uuid.uuid4().hex[:8]}"
    olga, friend = person().sign_up(new_name()), person(phone=True)
    make_team(olga.page, team)
    olga.assert_accessible()
    link = invite(olga.page, "Editor")
    olga.assert_accessible()
    olga.shot("story-invited")

    # The friend has no account yet: signs up through the link, and accepts.
    name = new_name()
    page = friend.page
    page.goto(link)
    friend.assert_accessible()
    friend.shot("story-link")
    page.get_by_role("link", name=re.compile("create.*account|sign up", re.I)).first.click()
    page.get_by_label(re.compile("username", re.I)).fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label(re.compile(r"password.*again|confirm", re.I)).fill(PASSWORD)
    page.get_by_role("button", name=re.compile("sign up", re.I)).click()
    page.get_by_role("button", name=re.compile("join|accept", re.I)).click()
    page.wait_for_url(re.compile(f"workspace={team}|/{team}"))
    friend.assert_accessible()
    friend.assert_fits()

    # A key of the team, which works for writing.
    page.goto(f"/settings?tab=api-keys&workspace={team}")
    first, second = create_in(page, team, "nightly"), create_in(page, team, "laptop")
    assert training_starts(site, first) == 200

    # Switching changes everything that belongs to a workspace, and is remembered.
    page.goto("/settings?tab=api-keys")
    page.locator(".topbar > details > summary").click()
    page.locator(".topbar .place summary").click()
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("heading", name="No keys yet").wait_for()
    page.goto("/settings?tab=api-keys")
    assert page.get_by_text("nightly").count() == 0

    # Demoted: the keys read only, from the next request on.
    page = olga.page
    page.goto(f"/settings?tab=teams&workspace={team}")
    olga.shot("story-members")
    page.get_by_role("link", name=re.compile(f"Role of {name}")).click()
    page.get_by_label("Role").select_option(label="Viewer")
    assert "read" in page.locator("main").inner_text().lower()
    olga.assert_accessible()
    page.get_by_role("button", name=re.compile("role|save|change", re.I)).first.click()
    page.get_by_text(f"{name} is Viewer now").wait_for()
    assert training_starts(site, first) == 403
    assert site.get(first).status_code == 200

    # Removed: one key goes on under olga, the other ends.
    page.get_by_role("link", name=re.compile(f"Remove {name}")).click()
    olga.assert_accessible()
    olga.shot("story-remove")
    chooser = page.get_by_label(re.compile("nightly"))
    chooser.select_option(index=1)
    page.get_by_role("button", name=re.compile("^Remove")).click()
    page.get_by_text(re.compile(f"{name}.*(removed|no longer|left)", re.I)).wait_for()
    assert training_starts(site, first) == 200
    assert site.get(second).status_code == 401
    friend.page.goto(f"/settings?tab=api-keys&workspace={team}")
    assert friend.page.get_by_text("nightly").count() == 0
    friend.complaints = [text for text in friend.complaints if "404" not in text]

    page.goto(f"/settings?tab=activity&workspace={team}")
    log = page.locator("main").inner_text()
    for thing in (name, "nightly", "laptop"):
        assert thing in log
    olga.assert_accessible()
    olga.shot("story-activity")


def test_two_tabs_in_two_teams_do_not_confuse_each_other(person, site):
    """A dialog that was opened in one team acts there or not at all: the other tab switches, signs out, signs in."""
    name = new_name()
    olga = person().sign_up(name)
    first, second = f"team-{uuid.uuid4().hex[:8]}", f"team-{uuid.uuid4().hex[:8]}"
    for team in (first, second):
        make_team(olga.page, team)
    here, there = olga.page, olga.new_page()
    here.goto(f"/settings?tab=api-keys&workspace={first}")
    here.get_by_role("link", name=re.compile("^Create.*[Kk]ey")).first.click()
    dialog = here.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("of the first")
    there.goto("/settings?tab=api-keys")
    there.locator(".sidebar .place summary").click()
    there.get_by_role("button", name=second).click()
    there.get_by_role("heading", name="No keys yet").wait_for()
    dialog.get_by_role("button", name="Create Key").click()
    here.wait_for_url(re.compile(rf"/settings/api-keys/[0-9a-f-]{{36}}\?workspace={first}"))
    there.reload()
    assert there.get_by_role("heading", name="No keys yet").is_visible()

    here.goto(f"/settings?tab=api-keys&workspace={first}")
    here.get_by_role("article", name="of the first").get_by_role("link", name="Revoke").click()
    dialog.get_by_role("button", name="Revoke").wait_for()
    there.get_by_role("button", name=re.compile("Sign out")).click()
    there.wait_for_url("**/accounts/login/**")
    person().sign_up(other := new_name())
    there.get_by_label(re.compile("^username|^login", re.I)).fill(other)
    there.get_by_label("Password").fill(PASSWORD)
    there.get_by_role("button", name=re.compile("^sign in$", re.I)).click()
    there.wait_for_url("**/settings**")
    dialog.get_by_role("button", name="Revoke").click()  # a form of olga's, with the other's session
    here.get_by_text("This form has expired").wait_for()
    olga.complaints = [text for text in olga.complaints if "status of 403" not in text]

    again = person().sign_in(name, PASSWORD)  # where she went last, in whichever browser
    assert again.page.locator(".sidebar .place strong").inner_text() == second
    again.page.goto(f"/settings?tab=api-keys&workspace={first}")
    assert again.page.get_by_role("article", name="of the first").is_visible()


def create_in(page, team, name):
    page.goto(f"/settings?tab=api-keys&workspace={team}")
    return create_here(page, name)


def create_here(page, name):
    page.get_by_role("link", name=re.compile("^Create.*[Kk]ey")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill(name)
    dialog.get_by_role("button", name="Create Key").click()
    page.wait_for_url(re.compile(r"/settings/api-keys/[0-9a-f-]{36}"))
    return page.locator("article code").first.text_content()


@pytest.mark.parametrize("look", [{"dark": True}, {"phone": True}], ids=["dark", "phone"])
def test_the_pages_of_a_team_are_good_in_the_dark_and_on_a_phone(person, site, look):
    olga = person(**look).sign_up(new_name())
    team = f"team-{uuid.uuid4().hex[:8]}"
    make_team(olga.page, team)
    friend = make_member(site, team, new_name())
    olga.page.goto(f"/settings?tab=teams&workspace={team}")
    width = olga.page.viewport_size["width"]
    for button in olga.page.locator("main td a.button, main td button").all():
        box = button.bounding_box()
        assert box["x"] + box["width"] <= width, "every action is in sight without scrolling sideways"
    for path in (
        "/settings?tab=teams",
        "/settings/teams/invite?",
        "/settings/teams/rename?",
        "/settings/teams/second-factor?",
        "/settings/teams/delete?",
        f"/settings/teams/members/{friend}/remove?",
        f"/settings/teams/members/{friend}/role?",
        f"/settings/teams/members/{friend}/transfer?",
        "/settings?tab=activity",
        "/settings?tab=endpoints",
        "/settings/endpoints/create?",
        "/settings/api-keys/decoys?",
        "/settings/api-keys/leaks?",
    ):
        olga.page.goto(f"{path}{'&' if '=' in path else ''}workspace={team}")
        olga.assert_accessible()
        olga.assert_fits()
        shown = re.sub("[^a-z]+", "-", path.replace(friend, "")).strip("-")
        olga.shot(f"team-{shown}-{next(iter(look))}")
