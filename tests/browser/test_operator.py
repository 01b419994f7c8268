"""The operator suspends a team and a person; those see why, in their own browsers, and how to go on."""

import re
import uuid

PASSWORD = "correct horse battery"


def try_to_sign_in(page, username):
    page.goto("/accounts/login/")
    page.get_by_label(re.compile("^username|^login", re.I)).fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("^sign in$", re.I)).click()


def suspend(page, path, reason):
    """From the list, by its search, to the row's own page and its button."""
    page.goto(path)
    page.locator("#result_list tbody th a").first.click()
    page.get_by_role("button", name="Suspend").click()
    page.get_by_label(re.compile("^Reason")).fill(reason)
    page.get_by_role("button", name="Suspend").click()
    page.get_by_text("Suspended 1").wait_for()


def test_a_suspended_team_and_a_suspended_person_are_told_why(person, site):
    name, team = (f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("user", "team"))
    someone = person(phone=True).sign_up(name)
    mine = someone.page
    mine.goto("/settings/teams/create")
    mine.get_by_label("Name", exact=True).fill("Acme Labs")
    mine.get_by_label("URL name").fill(team)
    mine.get_by_role("button", name="Create Team").click()
    mine.get_by_text("Acme Labs is there.").wait_for()
    key = site.new_key(workspace=team)
    assert site.get(key).status_code == 200

    operator = person().sign_in("operator", site.password)
    page = operator.page
    suspend(page, f"/admin/workspaces/workspace/?q={team}", "The invoice is not paid.")
    assert site.get(key).status_code == 401
    mine.goto("/settings")
    assert mine.get_by_role("heading", name="Acme Labs is suspended").is_visible()
    assert mine.get_by_text("The invoice is not paid.").is_visible()
    someone.assert_accessible()
    someone.assert_fits()
    someone.shot("suspended-team-phone")
    mine.get_by_role("main").get_by_role("button", name=name).click()
    mine.get_by_role("heading", name="API Keys").wait_for()

    page.get_by_role("link", name=team, exact=True).click()
    page.get_by_text("The invoice is not paid.").wait_for()
    operator.assert_fits()
    operator.shot("admin-workspace")
    page.get_by_role("link", name="Who had access").click()
    page.get_by_role("button", name="Show").click()
    page.get_by_role("heading", name="Members then").wait_for()
    operator.assert_fits()
    operator.shot("admin-access")
    page.goto(f"/admin/workspaces/workspace/?q={team}")
    page.locator("#result_list tbody th a").first.click()
    page.get_by_role("button", name="Restore").click()
    page.get_by_role("button", name="Restore").click()
    page.get_by_text("Restored 1 workspace.").wait_for()
    assert site.get(key).status_code == 200

    suspend(page, f"/admin/accounts/user/?q={name}", "Left the company.")
    assert site.get(key).status_code == 401
    mine.goto("/settings")
    assert "/accounts/login/" in mine.url
    try_to_sign_in(mine, name)
    mine.get_by_role("heading", name="This account is suspended").wait_for()
    assert mine.get_by_text("Left the company.").is_visible()
    someone.assert_accessible()
    someone.assert_fits()
    someone.shot("suspended-person-phone")
    refused = [text for text in someone.complaints if "status of 403" in text]
    assert len(refused) == 2, "the two pages that say why"
    someone.complaints = [text for text in someone.complaints if text not in refused]


def test_text_of_any_size_is_pasted_and_searched(person, site):
    key = site.new_key()
    page = person().sign_in("operator", site.password).page
    page.goto("/admin/apikeys/apikey/leaks/")
    more = "field => { field.hidden = true; field.value = 'x'.repeat(21 * 1024 * 1024) + ' ' + field.value }"
    page.get_by_label("Text").fill(f"KEY={key} é")
    page.get_by_label("Text").evaluate(more)  # not to be seen, as Chromium takes half a minute to lay that out
    page.get_by_role("button", name="Find keys").click()
    page.get_by_text("1 value that looks like a key; 1 live.").wait_for()
    assert page.get_by_role("checkbox", name=f"Revoke {key[:11]}").is_checked()
    assert key not in page.content()
