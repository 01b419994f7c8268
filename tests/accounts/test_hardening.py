"""Sessions come to an end, passwords are not this place's own words, and the security log tells who did what."""

import json
import logging
import re
import time
from datetime import timedelta
from io import StringIO

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from allauth.usersessions.models import UserSession
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import middleware, security_events
from config.logs import JsonFormatter
from tests.conftest import PASSWORD

PAGE = "/settings?tab=api-keys"
TOTP_SECRET = "JBSWY3DPEHPK3PXP"


@pytest.fixture
def asks_each_time(monkeypatch):
    monkeypatch.setattr(middleware, "EVERY_SECONDS", 0.0)


@pytest.fixture
def sign_in(browser):
    def enter(user, password=PASSWORD):
        if not user.has_usable_password():
            user.set_password(PASSWORD)
            user.save()
        someone = browser()
        someone.answer = someone.send("POST", "/accounts/login/", {"login": user.username, "password": password})
        return someone

    return enter


@pytest.fixture
def lines():
    """The security log as a machine reads it."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("keyhouse.security").addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger("keyhouse.security").removeHandler(handler)


def is_in(someone):
    return someone.get(PAGE).status_code == 200


def test_a_session_ends_some_days_after_the_sign_in_however_busy_it_is(asks_each_time, sign_in, edda, settings, lines):
    someone = sign_in(edda)
    assert is_in(someone)
    session = someone.session
    for record in session[security_events.METHODS]:
        record["at"] = time.time() - settings.SESSION_COOKIE_AGE - 5
    session.save()
    assert not is_in(someone)
    assert not is_in(someone), "not the next time either"
    assert [line["why"] for line in lines() if line["event"] == "session.ended"] == ["age"]
    assert not UserSession.objects.filter(session_key=session.session_key).exclude(user=edda).exists()


@pytest.mark.parametrize(
    ("hours", "silent", "goes_on"), [(72, 71, True), (72, 73, False), (1, 2, False), (0, 999, True)]
)
def test_a_session_ends_after_some_hours_of_silence(asks_each_time, sign_in, edda, settings, hours, silent, goes_on):
    settings.SESSION_IDLE_HOURS = hours
    someone = sign_in(edda)
    assert is_in(someone)
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(hours=silent))
    assert is_in(someone) == goes_on
    assert is_in(someone) == goes_on


def test_the_value_of_a_session_that_ended_opens_nothing_any_more(asks_each_time, sign_in, edda, browser, settings):
    someone = sign_in(edda)
    stolen = someone.cookies[settings.SESSION_COOKIE_NAME].value
    someone.send("POST", "/accounts/logout/", {})
    thief = browser()
    thief.cookies[settings.SESSION_COOKIE_NAME] = stolen
    assert not is_in(thief)


@pytest.mark.parametrize(
    ("password", "is_good"),
    [
        ("keyhouse123", False),
        ("KeyHouse-2026", False),
        ("mypassword1", False),
        ("ultralytics!", False),
        ("example-2026", False),
        ("a keyhouse full of horses", True),
        ("correct horse battery", True),
        ("p" * 5 + " " + "q" * 80, True),
        ("пароль очень длинный", True),
    ],
)
def test_words_of_this_place_make_no_password(settings, password, is_good):
    settings.ALLOWED_HOSTS = ["keys.example.org"]
    if is_good:
        validate_password(password)
    else:
        with pytest.raises(ValidationError):
            validate_password(password)


def test_signing_in_and_out_and_failing_to_is_logged_without_what_was_typed(sign_in, edda, lines, browser):
    sign_in(edda, password="a wrong phrase")
    browser().send("POST", "/accounts/login/", {"login": "my secret phrase", "password": "another phrase"})
    sign_in(edda).send("POST", "/accounts/logout/", {})
    told = lines()
    assert [(line["event"], line["user"]) for line in told] == [
        ("sign_in.failed", str(edda.pk)),
        ("sign_in.failed", ""),
        ("sign_in", str(edda.pk)),
        ("sign_out", str(edda.pk)),
    ]
    assert {line["address"] for line in told} == {"127.0.0.1"}
    assert told[2]["factors"] == "password"
    assert "phrase" not in json.dumps(told)


def test_a_second_factor_that_comes_fails_and_goes_is_logged(sign_in, edda, lines):
    authenticator = TOTP.activate(edda, TOTP_SECRET).instance
    someone = sign_in(edda)
    someone.send("POST", "/accounts/2fa/authenticate/", {"code": "000000"})
    code = format_hotp_value(hotp_value(TOTP_SECRET, next(yield_hotp_counters_from_time())))
    someone.send("POST", "/accounts/2fa/authenticate/", {"code": code})
    assert is_in(someone)
    assert "/accounts/reauthenticate/" in someone.send("POST", "/accounts/2fa/totp/deactivate/", {})["Location"]
    someone.send("POST", "/accounts/reauthenticate/", {"password": PASSWORD})
    someone.send("POST", "/accounts/2fa/totp/deactivate/", {})
    assert not type(authenticator).objects.filter(user=edda, type="totp").exists()
    events = [(line["event"], line.get("factor") or line.get("type") or line.get("factors")) for line in lines()]
    assert events == [
        ("sign_in.failed", "second"),
        ("sign_in", "password+totp"),
        ("second_factor.removed", "totp"),
    ]


def test_what_somebody_may_not_do_is_logged_in_pages_and_in_the_api(browser, call, vera, team, lines, edda_key):
    someone = browser(vera)
    assert someone.send("POST", f"/settings/switch?workspace={team.slug}", {"workspace": team.slug}).status_code < 400
    assert someone.get("/settings/teams/invite").status_code == 403
    assert call(vera, "POST /api/api-keys", {"name": "x"}).status_code == 403
    assert call(edda_key, "GET /api/invites").status_code in (403, 404)
    refused = [line for line in lines() if line["event"] == "access.refused"]
    assert {(line["method"], line["path"]) for line in refused} >= {
        ("GET", "/settings/teams/invite"),
        ("POST", "/api/api-keys"),
    }
    assert {line["user"] for line in refused} <= {str(vera.pk), str(edda_key.row.creator_id)}
    assert all(line["why"] for line in refused)


# Passwords


@pytest.mark.parametrize(
    ("password", "is_good"),
    [
        ("short one", False),
        ("qwertyuiop", False),  # among the 20,000 that Django knows from breaches
        ("1234567890", False),
        ("just lower case", True),
        ("  spaces around it  ", True),
        ("ünï çödé 日本語 🔑🔑", True),
        ("long " * 40, True),
    ],
)
def test_passwords_are_long_and_not_well_known_and_otherwise_free(sign_in, browser, edda, password, is_good):
    someone = sign_in(edda)
    fields = {"oldpassword": PASSWORD, "password1": password, "password2": password}
    changed = someone.send("POST", "/accounts/password/change/", fields)
    assert (changed.status_code == 302) == is_good
    edda.refresh_from_db()
    assert edda.check_password(password) == is_good, "exactly as it was typed"
    stranger = browser()
    entered = stranger.send("POST", "/accounts/login/", {"login": "edda", "password": password})
    assert (entered.status_code == 302) == is_good
    if is_good and password != password.strip():
        trimmed = browser().send("POST", "/accounts/login/", {"login": "edda", "password": password.strip()})
        assert trimmed.status_code == 200, "nothing is cut off"
    assert edda.password.startswith("pbkdf2_sha256$")
    assert int(edda.password.split("$")[1]) >= 600_000, "iterations, OWASP's password storage cheat sheet"


def test_a_password_is_changed_by_who_knows_the_old_one_and_ends_other_sessions(sign_in, edda):
    here, there = sign_in(edda), sign_in(edda)
    new = {"password1": "a new long phrase", "password2": "a new long phrase"}
    assert here.send("POST", "/accounts/password/change/", new | {"oldpassword": "not it, sorry"}).status_code == 200
    before = here.session.session_key
    assert here.send("POST", "/accounts/password/change/", new | {"oldpassword": PASSWORD}).status_code == 302
    assert is_in(here)
    assert here.session.session_key != before
    assert not is_in(there)


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/"])
def test_fields_for_passwords_hide_them_and_let_password_managers_in(browser, db, path):
    page = browser().get(path).content.decode()
    fields = re.findall(r"<input[^>]*name=\"password1?\"[^>]*>", page)
    assert fields
    for field in fields:
        assert 'type="password"' in field
        assert re.search(r'autocomplete="(current|new)-password"', field)
        assert "onpaste" not in field


# Second factors


def code_of(when=0):
    return format_hotp_value(hotp_value(TOTP_SECRET, list(yield_hotp_counters_from_time())[when]))


def test_a_code_opens_once_and_a_recovery_code_too(sign_in, edda):
    TOTP.activate(edda, TOTP_SECRET)
    recovery = RecoveryCodes.activate(edda).get_unused_codes()
    code = code_of()
    first, second = sign_in(edda), sign_in(edda)
    first.send("POST", "/accounts/2fa/authenticate/", {"code": code})
    second.send("POST", "/accounts/2fa/authenticate/", {"code": code})
    assert is_in(first)
    assert not is_in(second)
    third, fourth = sign_in(edda), sign_in(edda)
    third.send("POST", "/accounts/2fa/authenticate/", {"code": recovery[0]})
    fourth.send("POST", "/accounts/2fa/authenticate/", {"code": recovery[0]})
    assert is_in(third)
    assert not is_in(fourth)
    assert len(set(recovery)) == 10
    assert min(map(len, recovery)) >= 8


# Sessions


def test_a_sign_in_makes_a_new_session_of_165_bits(sign_in, browser, edda):
    before = browser(edda).session.session_key
    keys = [sign_in(edda).session.session_key for _ in range(5)]
    assert len({before, *keys}) == 6
    assert all(re.fullmatch("[a-z0-9]{32}", key) for key in keys)  # 32 of 36 letters, by `secrets`


def test_people_see_and_end_their_sessions_and_each_page_has_a_way_out(sign_in, edda):
    here, there = sign_in(edda), sign_in(edda)
    assert is_in(here)
    assert is_in(there)
    page = here.get("/accounts/sessions/").content.decode()
    assert page.count("127.0.0.1") >= 2
    for path in (PAGE, "/accounts/sessions/", "/settings?tab=profile", "/"):
        assert 'action="/accounts/logout/"' in here.get(path, follow=True).content.decode(), path
    session = here.session
    for record in session[security_events.METHODS]:
        record["at"] -= 3600
    session.save()
    asked = here.send("POST", "/accounts/sessions/", {})
    assert asked["Location"].startswith("/accounts/reauthenticate/")
    assert is_in(there), "not without the password, when the sign-in was long ago"
    here.send("POST", "/accounts/reauthenticate/", {"password": PASSWORD})
    here.send("POST", "/accounts/sessions/", {})
    assert is_in(here)
    assert not is_in(there)
