"""A team that asks for a second factor, and values that ask for a recent sign-in, in a real browser."""

import re
import uuid

import pytest
from allauth.mfa.totp.internal import auth as totp

from tests.browser.conftest import Person
from tests.browser.test_keys import PASSWORD, confirm, create, new_name
from tests.browser.test_teams import create_in, invite, make_team


def set_up_codes(page):
    """From allauth's overview of second factors."""
    page.get_by_role("link", name="Activate").first.click()
    confirm(page)
    secret = page.get_by_label("Authenticator secret").input_value()
    counter = next(iter(totp.yield_hotp_counters_from_time()))
    page.get_by_label("Authenticator code").fill(totp.format_hotp_value(totp.hotp_value(secret, counter)))
    page.get_by_role("button", name="Activate").click()
    page.get_by_text("Recovery Codes").first.wait_for()


def expect_refusals(someone, status):
    """Chromium writes each refused page to the console."""
    someone.complaints = [text for text in someone.complaints if str(status) not in text]


def test_a_member_meets_the_wall_sets_up_codes_and_is_let_in(person, site):
    team = f"team-{uuid.uuid4().hex[:8]}"
    olga, friend, name = person().sign_up(new_name()), person(phone=True), new_name()
    make_team(olga.page, team)
    link = invite(olga.page, "Editor")
    friend.sign_up(name).page.goto(link)
    friend.page.get_by_role("button", name=re.compile("join|accept", re.I)).click()
    key = create_in(friend.page, team, "nightly")

    # The Owner sets one up first, is led back by the page's own words, and switches it on.
    page = olga.page
    page.goto(f"/settings?tab=teams&workspace={team}")
    assert page.get_by_text("No second factor").count() == 2
    olga.shot("factor-members")
    page.get_by_role("link", name="Second factor", exact=True).click()
    page.get_by_text("You have none yourself").wait_for()
    olga.assert_accessible()
    olga.shot("factor-none-yourself")
    page.get_by_role("link", name="Set up a second factor").click()
    set_up_codes(page)
    page.goto(f"/settings/teams/second-factor?workspace={team}")
    page.get_by_text("1 member has none").wait_for()
    olga.shot("factor-switch")
    page.get_by_role("button", name="Require a second factor").click()
    page.get_by_text("asks its members for a second factor now").wait_for()
    olga.assert_accessible()
    olga.shot("factor-required")

    # The member meets the wall; the key goes on.
    page = friend.page
    page.goto(f"/settings?tab=api-keys&workspace={team}")
    page.get_by_role("heading", name="Story Team asks for a second factor").wait_for()
    assert page.get_by_text("nightly").count() == 0
    friend.assert_accessible()
    friend.assert_fits()
    friend.shot("factor-wall")
    assert site.get(key).status_code == 200
    page.get_by_role("link", name="leave Story Team").click()
    page.get_by_role("heading", name="Leave Story Team?").wait_for()
    friend.assert_accessible()
    friend.shot("factor-leave")
    page.go_back()
    page.get_by_role("link", name="Set up a second factor").click()
    set_up_codes(page)
    page.goto(f"/settings?tab=api-keys&workspace={team}")
    page.get_by_role("article", name="nightly").wait_for()

    # Giving it up is warned of, and shuts them out again.
    page.goto("/accounts/2fa/totp/deactivate/")
    page.get_by_text("this is the only one you have").wait_for()
    friend.assert_accessible()
    friend.assert_fits()
    friend.shot("factor-give-up")
    page.get_by_role("button", name="Deactivate").click()
    page.goto(f"/settings?tab=teams&workspace={team}")
    page.get_by_role("heading", name="Story Team asks for a second factor").wait_for()
    expect_refusals(friend, 403)


@pytest.fixture
def strict_site(new_server):
    return new_server(REVEAL_REAUTH_MINUTES="30", RATE_LIMIT_DEFAULT="unlimited", TRUSTED_PROXIES="1")


def test_values_are_shown_after_the_password_once_a_sign_in_is_old(chromium, strict_site):
    me = Person(chromium, strict_site).sign_up(new_name())
    page = me.page
    first = create(page, "gpu-1")
    strict_site.shell(
        "from datetime import timedelta; from django.utils import timezone; from apikeys.models import ApiKey\n"
        "from django.contrib.sessions.models import Session\n"
        "from django.contrib.sessions.backends.db import SessionStore\n"
        "ApiKey.objects.update(created_at=timezone.now() - timedelta(hours=1))\n"
        "for row in Session.objects.all():\n"
        "    session = SessionStore(row.session_key)\n"
        "    session['signed_in_at'] = session.get('signed_in_at', 0) - 31 * 60\n"
        "    session.save()"
    )
    page.goto("/settings?tab=api-keys")
    page.get_by_role("heading", name="Confirm Access").wait_for()
    me.assert_accessible()
    me.shot("reveal-confirm")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**/settings?tab=api-keys")
    assert page.locator("article code").first.text_content() == first
    me.shot("reveal-shown")
    me.context.close()
    assert me.complaints == []
