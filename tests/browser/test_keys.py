"""The main story in a real browser: sign up, create, copy, search, rotate, revoke."""

import re
import uuid

import pytest

PASSWORD = "correct horse battery"


def new_name():
    return f"user-{uuid.uuid4().hex[:8]}"


def create(page, name):
    page.goto("/settings?tab=api-keys")
    page.get_by_role("link", name=re.compile("^Create")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill(name)
    dialog.get_by_role("button", name="Create Key").click()
    page.wait_for_url(re.compile(r"/settings/api-keys/[0-9a-f-]{36}"))
    return page.locator("article code").first.text_content()


def card(page, name):
    return page.get_by_role("article", name=name)


def test_from_sign_up_to_a_request_and_to_its_end(person, site):
    me = person().sign_up(new_name())
    page = me.page
    assert page.get_by_role("heading", name="No keys yet").is_visible()
    me.assert_accessible()

    token = create(page, "gpu-1")
    assert re.fullmatch("ul_[0-9a-f]{40}", token)
    assert token not in page.url
    me.assert_accessible()
    me.shot("key")
    assert site.get(token).status_code == 200

    page.get_by_role("button", name="Copy gpu-1").click()
    assert me.clipboard() == token
    assert page.get_by_role("button", name="Copied gpu-1").is_visible()
    for label, expected in (
        ("Environment variable", f"export ULTRALYTICS_PLATFORM_URL={site.url}\nexport ULTRALYTICS_API_KEY={token}"),
        ("YOLO CLI", f"export ULTRALYTICS_PLATFORM_URL={site.url}\nyolo login {token}"),
        ("curl", f'curl -H "Authorization: Bearer {token}" {site.url}/api/account/summary'),
    ):
        page.get_by_role("button", name=f"Copy {label}").click()
        assert me.clipboard() == expected
    page.get_by_role("button", name="Copy Python").click()
    code = me.clipboard()
    scope = {"print": lambda *a: scope.setdefault("said", a)}
    exec(code, scope)  # the lines do what they say
    assert scope["said"][0]["accountType"] == "personal"

    page.goto("/settings?tab=api-keys")
    card(page, "gpu-1").get_by_role("link", name="Revoke").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("in the last 24 hours").first.wait_for()
    me.assert_accessible()
    me.shot("revoke")
    dialog.get_by_role("button", name="Revoke").click()
    page.get_by_text("is revoked").wait_for()
    assert site.get(token).status_code == 401
    assert page.get_by_role("article").count() == 0
    page.get_by_role("link", name="Revoked").click()
    assert card(page, "gpu-1").is_visible()
    me.assert_accessible()


def test_search_and_pages_keep_many_keys_usable(person, site):
    name = new_name()
    me = person().sign_up(name)
    site.shell(
        "from apikeys import services; from workspaces.services import actor_in; from accounts.models import User\n"
        f"a = actor_in(User.objects.get(username='{name}'), '{name}')\n"
        "for n in range(45): services.create_key(a, name=f'machine {n:02}')"
    )
    page = me.page
    page.goto("/settings?tab=api-keys")
    assert page.get_by_role("article").count() == 20
    page.get_by_role("link", name="Older").click()
    page.get_by_role("link", name="Older").click()
    assert page.get_by_text("Page 3 of 3, 45 keys").is_visible()
    assert page.get_by_role("article").count() == 5
    me.assert_accessible()
    page.get_by_role("searchbox").fill("MACHINE 07")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=MACHINE**")
    assert page.get_by_role("article").count() == 1
    assert card(page, "machine 07").is_visible()


def test_a_rotation_takes_four_steps(person, site):
    me = person().sign_up(new_name())
    page = me.page
    old = create(page, "pipeline")
    site.get(old)
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("when I revoke it myself").wait_for()
    me.assert_accessible()
    page.get_by_label("when I revoke it myself").check()
    page.get_by_role("button", name="Create the new key").click()
    new = page.locator("article code").first.text_content()
    assert new != old
    assert site.get(old).status_code == site.get(new).status_code == 200
    page.get_by_role("link", name="Next: verify").click()
    me.assert_accessible()
    page.get_by_text("It is safe to revoke the old key").wait_for(timeout=20_000)
    site.get(old)
    page.get_by_text("The old key is still used").wait_for(timeout=20_000)  # the page asks again by itself
    assert page.get_by_role("cell", name="127.0.0.1").is_visible()
    me.shot("verify")
    page.get_by_role("link", name="Next: revoke the old key").click()
    me.assert_accessible()
    page.get_by_role("button", name="Revoke the old key").click()
    page.get_by_text("is revoked").wait_for()
    assert (site.get(old).status_code, site.get(new).status_code) == (401, 200)


def test_everything_can_be_done_with_the_keyboard(person, site):
    me = person().sign_up(new_name())
    page = me.page
    page.goto("/settings?tab=api-keys")
    page.keyboard.press("Tab")
    assert page.locator(":focus").text_content() == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "Create Key")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("document.activeElement.name") == "name", "the field has the focus at once"
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    assert "Create Key" in page.locator(":focus").text_content(), "the focus is where it was"
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/settings/api-keys/[0-9a-f-]{36}"))
    token = page.locator("article code").first.text_content()
    tab_to(page, "Copy by keyboard")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copied by keyboard").wait_for()
    assert me.clipboard() == token
    page.goto("/settings?tab=api-keys")
    tab_to(page, "Revoke by keyboard")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    tab_to(page, "Revoke", exact=True)
    page.keyboard.press("Enter")
    page.get_by_text("is revoked").wait_for()
    assert site.get(token).status_code == 401


def tab_to(page, name, exact=False):
    for _ in range(40):
        page.keyboard.press("Tab")
        text = " ".join((page.evaluate("document.activeElement.textContent") or "").split())
        if text == name or (not exact and name in text):
            return
    raise AssertionError(f"{name} is not reached by Tab")


def test_without_javascript_everything_works_but_copying(person, site):
    me = person(javascript=False).sign_up(new_name())
    page = me.page
    page.get_by_role("link", name="Create Key").click()
    page.get_by_label("Name", exact=True).fill("plain")
    page.get_by_role("button", name="Create Key").click()
    token = page.locator("article code").first.text_content()
    assert site.get(token).status_code == 200
    assert page.get_by_role("button", name="Copy").count() == 0
    page.get_by_role("link", name="Rotate").click()
    page.get_by_role("button", name="Create the new key").click()
    page.get_by_role("link", name="Next: verify").click()
    page.get_by_role("link", name="Next: revoke the old key").click()
    page.get_by_role("button", name="Revoke the old key").click()
    assert site.get(token).status_code == 401
    page.get_by_role("link", name="Revoke plain").click()
    page.get_by_role("button", name="Revoke").click()
    assert page.get_by_text("is revoked").is_visible()


def test_the_back_button_and_a_reload_make_no_second_key(person):
    me = person().sign_up(new_name())
    page = me.page
    create(page, "once")
    page.reload()
    page.go_back()
    page.go_forward()
    page.goto("/settings?tab=api-keys")
    assert page.get_by_role("article").count() == 1


def test_no_value_is_left_in_the_browser(person):
    me = person().sign_up(new_name())
    token = create(me.page, "secret")
    me.page.goto("/settings?tab=api-keys")
    kept = me.page.evaluate("JSON.stringify([localStorage, sessionStorage, history.state, document.cookie])")
    assert token not in kept
    assert token not in str(me.context.cookies())
    me.page.get_by_role("button", name="Sign out").first.click()
    me.page.wait_for_url("**/accounts/login/**")
    me.page.go_back()
    me.page.get_by_role("button", name="Sign In", exact=True).wait_for()
    assert token not in me.page.content()


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (False, True), (True, True)])
def test_every_page_is_accessible_and_fits_light_dark_and_on_a_phone(person, site, dark, phone):
    me = person(dark=dark, phone=phone)
    look = f"{'dark' if dark else 'light'}-{'phone' if phone else 'desk'}"
    page = me.page
    for path, name in (("/", "home"), ("/accounts/login/", "login"), ("/accounts/signup/", "signup")):
        page.goto(path)
        me.assert_accessible()
        me.assert_fits()
        me.shot(f"{name}-{look}")
    me.sign_up(new_name())
    token = create(page, "a key with quite a long name, so that it has to be broken somewhere on a phone")
    site.get(token)
    here = page.url
    which = re.search(r"[0-9a-f-]{36}", here)[0]
    pages = {
        "keys": "/settings?tab=api-keys",
        "key": here,
        "create": "/settings/api-keys/create",
        "rotate": f"/settings/api-keys/{which}/rotate",
        "revoke": f"/settings/api-keys/{which}/revoke",
        "revoked": "/settings?tab=api-keys&show=revoked",
        "profile": "/settings?tab=profile",
        "password": "/accounts/password/change/",
        "second-factor": "/accounts/2fa/",
        "totp": "/accounts/2fa/totp/activate/",
        "sessions": "/accounts/sessions/",
        "email": "/accounts/email/",
        "logout": "/accounts/logout/",
    }
    for name, path in pages.items():
        page.goto(path)
        me.assert_accessible()
        me.assert_fits()
        me.shot(f"{name}-{look}")
    page.goto(pages["rotate"])
    page.get_by_role("button", name="Create the new key").click()
    for step in ("update", "verify", "revoke"):
        page.goto(page.url.replace("step=update", f"step={step}").replace("step=verify", f"step={step}"))
        me.assert_accessible()
        me.assert_fits()
        me.shot(f"rotation-{step}-{look}")


def test_the_api_docs_work_under_the_policy(person):
    me = person()
    me.page.goto("/api/docs")
    me.page.get_by_text("List the active keys of the workspace").wait_for()
    me.shot("docs")


def confirm(page):
    """Changing how one signs in asks for the password again."""
    page.get_by_role("heading", name="Confirm Access").wait_for()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**/2fa/**")


def test_a_code_from_an_app_is_asked_for_once_it_is_set_up(person, site):
    from allauth.mfa.totp.internal import auth as totp

    name = new_name()
    me = person().sign_up(name)
    page = me.page
    page.goto("/accounts/2fa/totp/activate/")
    confirm(page)
    secret = page.get_by_label("Authenticator secret").input_value()

    def code():
        counter = next(iter(totp.yield_hotp_counters_from_time()))
        return totp.format_hotp_value(totp.hotp_value(secret, counter))

    page.get_by_label("Authenticator code").fill(code())
    page.get_by_role("button", name="Activate").click()
    page.get_by_text("Recovery Codes").first.wait_for()
    me.assert_accessible()
    page.goto("/settings?tab=api-keys")
    page.get_by_role("button", name="Sign out").first.click()
    page.goto("/accounts/login/")
    page.get_by_label("Login").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign In", exact=True).click()
    page.get_by_text("Two-Factor Authentication").first.wait_for()
    page.goto("/settings?tab=api-keys")
    assert "/accounts/" in page.url, "the password alone does not sign in"


def test_a_passkey_signs_in(person, site):
    name = new_name()
    me = person().sign_up(name)
    page = me.page
    # Relying-party ids are names: the server is asked by its name, not by its number.
    here = site.url.replace("127.0.0.1", "localhost")
    page.goto(f"{here}/accounts/login/")
    devtools = me.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.get_by_label("Login").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign In", exact=True).click()
    page.wait_for_url("**/settings**")
    page.goto(f"{here}/accounts/2fa/webauthn/add/")
    confirm(page)
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add").click()
    page.get_by_text("Recovery Codes").or_(page.get_by_text("Security Keys")).first.wait_for()
    page.goto(f"{here}/settings?tab=api-keys")
    page.get_by_role("button", name="Sign out").first.click()
    page.goto(f"{here}/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/settings**")
    assert page.get_by_role("heading", name="API Keys").is_visible()
