"""An invitation in two browsers: from the form to the member, and each page on the way, looked at."""

import re
import uuid

import pytest

from tests.browser.test_keys import PASSWORD, new_name


def make_team(owner):
    slug = f"team-{uuid.uuid4().hex[:8]}"
    page = owner.page
    page.goto("/settings/teams/create")
    page.get_by_label("Name", exact=True).fill("Acme Labs")
    page.get_by_label("URL name").fill(slug)
    page.get_by_role("button", name="Create Team").click()
    page.get_by_text("is there. Invite the others.").wait_for()
    return slug


def invite(owner, email, *, only=False):
    """The link, as the page shows it."""
    page = owner.page
    page.get_by_role("link", name="Invite").click()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Role").select_option("Editor")
    page.get_by_label("Only for this address").set_checked(only)
    page.get_by_role("button", name="Invite").click()
    page.get_by_role("heading", name="The invitation is ready").wait_for()
    page.get_by_role("button", name="Copy the link").click()
    link = owner.clipboard()
    assert link == page.locator("#link").text_content()
    return link


def test_somebody_without_an_account_is_invited_and_lands_in_the_team(person):
    owner, name = person().sign_up(new_name()), new_name()
    slug = make_team(owner)
    link = invite(owner, f"{name}@example.org")
    owner.assert_accessible()

    guest = person()
    page = guest.page
    page.goto(link)
    assert re.search(r"/invites/[0-9a-f-]{36}$", page.url), "the secret has left the address"
    guest.assert_accessible()
    page.get_by_role("link", name="Create an account").click()
    assert page.get_by_label("Email").input_value() == f"{name}@example.org"
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password (again)").fill(PASSWORD)
    page.get_by_role("button", name="Sign Up").click()
    page.get_by_role("button", name=f"Join as {name}").click()
    page.get_by_text("You are in Acme Labs now, as Editor.").wait_for()
    assert f"workspace={slug}" in page.url
    assert page.get_by_role("link", name="Create Key").is_visible(), "an Editor makes keys"

    owner.page.goto("/settings?tab=teams")
    row = owner.page.get_by_role("row", name=name)
    assert row.get_by_text("Editor").is_visible()
    assert row.get_by_text("just now").count() == 2, "joined and seen"


def test_signed_in_as_somebody_else_one_is_asked_and_changes_the_account(person):
    owner, me, other = person().sign_up(new_name()), new_name(), new_name()
    make_team(owner)
    link = invite(owner, f"{me}@example.org", only=True)
    person().sign_up(me)
    guest = person().sign_up(other)
    page = guest.page
    page.goto(link)
    assert page.get_by_text("for that address only").is_visible()
    assert page.get_by_role("button", name="Join").count() == 0
    guest.assert_accessible()
    page.get_by_role("button", name="Use another account").click()
    page.get_by_role("link", name="Sign in", exact=True).click()
    page.get_by_label("Login").fill(me)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign In", exact=True).click()
    page.get_by_text(f"You are signed in as {me}, without an e-mail address").wait_for()
    page.get_by_role("link", name="add it to your addresses").click()
    page.get_by_role("heading", name=re.compile("E-?mail", re.I)).first.wait_for()


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (False, True), (True, True)])
def test_every_page_of_an_invitation_is_accessible_and_fits(person, site, dark, phone):
    look = f"{'dark' if dark else 'light'}-{'phone' if phone else 'desk'}"
    owner, name = person(dark=dark, phone=phone).sign_up(new_name()), new_name()
    slug = make_team(owner)
    email = f"{name}.with-quite-a-long-address@subdomain.example.org"
    seen = []

    def look_at(who, what):
        who.assert_accessible()
        who.assert_fits()
        who.shot(f"invite-{what}-{look}")
        seen.append(what)

    owner.page.goto(f"/settings/teams/invite?workspace={slug}")
    look_at(owner, "form")
    owner.page.goto(f"/settings?tab=teams&workspace={slug}")
    open_link = invite(owner, email)
    look_at(owner, "link")
    owner.page.goto(f"/settings?tab=teams&workspace={slug}")
    look_at(owner, "members")

    guest = person(dark=dark, phone=phone)
    guest.page.goto(open_link)
    look_at(guest, "signed-out")
    guest.page.get_by_role("link", name="Create an account").click()
    look_at(guest, "sign-up")
    guest.page.get_by_label("Username").fill(name)
    guest.page.get_by_label("Password", exact=True).fill(PASSWORD)
    guest.page.get_by_label("Password (again)").fill(PASSWORD)
    guest.page.get_by_role("button", name="Sign Up").click()
    guest.page.get_by_role("button", name=f"Join as {name}").wait_for()
    look_at(guest, "own-address")
    owner.page.goto(open_link)
    look_at(owner, "member")
    other = person(dark=dark, phone=phone).sign_up(new_name())
    other.page.goto(open_link)
    look_at(other, "other-address")
    guest.page.get_by_role("button", name=f"Join as {name}").click()
    guest.page.get_by_text("You are in Acme Labs now").wait_for()
    assert other.page.goto(open_link).status == 409
    look_at(other, "used")
    other.complaints.clear()  # Chromium complains about each 409
    owner.page.goto(f"/settings?tab=activity&workspace={slug}")
    look_at(owner, "activity")
    assert len(seen) == 10
