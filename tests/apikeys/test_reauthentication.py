"""REVEAL_REAUTH_MINUTES: values are shown for so long after a sign-in, then it has to be confirmed."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.reauthentication import SIGNED_IN_AT
from apikeys import services, tokens
from apikeys.models import ApiKey
from config.errors import NotAllowed
from tests.conftest import PASSWORD, actor_of, assert_error, give_second_factor, make_key

LIST = "/settings?tab=api-keys&workspace=acme"
CODE = "REAUTHENTICATION_REQUIRED"


@pytest.fixture(autouse=True)
def _thirty_minutes(settings):
    settings.REVEAL_REAUTH_MINUTES = 30


@pytest.fixture
def old_key(edda, team):
    key = make_key(actor_of(edda, team), "old")
    age(key)
    return key


def age(key):
    ApiKey.objects.filter(pk=key.id).update(created_at=timezone.now() - timedelta(days=1))
    key.row.refresh_from_db()


@pytest.fixture
def signed_in(browser):
    """Opens a browser that signed in so many minutes ago, by password."""

    def open_browser(user, minutes):
        if not user.has_usable_password():  # a change would end the other sessions
            user.set_password(PASSWORD)
            user.save(update_fields=["password"])
        someone = browser(user)
        session = someone.session
        session[SIGNED_IN_AT] -= minutes * 60
        session.save()
        return someone

    return open_browser


def next_of(address):
    return parse_qs(urlsplit(address).query)["next"][0]


def asks(answer):
    return answer.status_code == 302 and answer["Location"].startswith("/accounts/reauthenticate/?")


def shows(answer, key):
    return str.__str__(key) in answer.content.decode()


def pages_with_values(key):
    return LIST, LIST + "&q=old", f"/settings/api-keys/{key.id}?workspace=acme"


def test_a_page_leads_to_the_confirmation_and_from_there_back(signed_in, edda, old_key):
    stale = signed_in(edda, 31)
    for path in pages_with_values(old_key):
        asked = stale.get(path)
        assert asks(asked)
        assert next_of(asked["Location"]) == path
        assert not shows(asked, old_key)
    confirmed = stale.send("POST", asked["Location"], {"password": PASSWORD, "next": path})
    assert confirmed["Location"] == path
    for path in pages_with_values(old_key):
        assert shows(stale.get(path), old_key)


def test_a_wrong_password_confirms_nothing(signed_in, edda, old_key):
    stale = signed_in(edda, 31)
    stale.send("POST", "/accounts/reauthenticate/", {"password": "wrong", "next": LIST})
    assert asks(stale.get(LIST))


def test_a_recent_sign_in_is_enough_and_ages(signed_in, edda, old_key, settings):
    for path in pages_with_values(old_key):
        assert shows(signed_in(edda, 29).get(path), old_key)
    assert asks(signed_in(edda, 30.02).get(LIST))
    settings.REVEAL_REAUTH_MINUTES = 15
    assert asks(signed_in(edda, 29).get(LIST))
    settings.REVEAL_REAUTH_MINUTES = 0
    assert shows(signed_in(edda, 10_000).get(LIST), old_key)


def test_a_confirmation_ages_as_well(signed_in, edda, old_key):
    stale = signed_in(edda, 31)
    stale.send("POST", "/accounts/reauthenticate/", {"password": PASSWORD})
    session = stale.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 31 * 60
    session.save()
    assert asks(stale.get(LIST))


def test_signing_in_in_another_browser_helps_this_one_nothing(signed_in, edda, old_key):
    stale = signed_in(edda, 31)
    assert shows(signed_in(edda, 0).get(LIST), old_key)
    assert asks(stale.get(LIST))


def test_a_session_from_before_this_was_noted_counts_as_old(signed_in, edda, old_key):
    someone = signed_in(edda, 0)
    session = someone.session
    del session[SIGNED_IN_AT]
    session.save()
    assert asks(someone.get(LIST))


def test_signing_in_by_password_counts_from_then(browser, edda, old_key):
    edda.set_password(PASSWORD)
    edda.save(update_fields=["password"])
    someone = browser()
    someone.send("POST", "/accounts/login/", {"login": "edda", "password": PASSWORD})
    assert shows(someone.get(LIST), old_key)


def test_a_second_factor_confirms_too(signed_in, edda, old_key):
    from allauth.mfa.totp.internal import auth as totp

    secret = give_second_factor(edda)
    stale = signed_in(edda, 31)
    type(edda).objects.filter(pk=edda.pk).update(password="!unusable")
    session = stale.session  # as if signed in with it: the hash of the password is part of a session
    edda.refresh_from_db()
    session["_auth_user_hash"] = edda.get_session_auth_hash()
    session.save()
    asked = stale.get(LIST)["Location"]
    assert asked.startswith("/accounts/2fa/reauthenticate/")
    code = totp.format_hotp_value(totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time()))))
    assert stale.send("POST", asked, {"code": code, "next": LIST})["Location"] == LIST
    assert shows(stale.get(LIST), old_key)


def test_who_has_no_way_to_confirm_is_told_so_and_sees_nothing(browser, edda, old_key):
    someone = browser(edda)
    session = someone.session
    session[SIGNED_IN_AT] -= 31 * 60
    session.save()
    asked = someone.get(LIST)
    assert asks(asked)
    assert someone.get(asked["Location"]).status_code == 403


def test_htmx_is_sent_there_as_a_whole_page_and_back_to_where_it_was(signed_in, edda, old_key):
    headers = {"HTTP_HX_REQUEST": "true", "HTTP_HX_CURRENT_URL": f"http://testserver{LIST}"}
    asked = signed_in(edda, 31).get(pages_with_values(old_key)[2], **headers)
    assert asked.status_code == 200
    assert asked.content == b""
    assert next_of(asked["HX-Redirect"]) == LIST


def test_json_of_a_session_is_refused_with_a_code_of_its_own(call, signed_in, edda, old_key):
    call(edda, "GET /api/teams")
    stale = signed_in(edda, 31)
    for path in ("/api/api-keys?workspace=acme", f"/api/api-keys/{old_key.id}?workspace=acme"):
        refused = stale.get(path)
        assert_error(refused, 403, code=CODE)
        assert not tokens.contains_token(refused.content.decode())
    assert shows(signed_in(edda, 29).get(path), old_key)


def test_keys_are_not_asked_to_sign_in(call, edda_key, old_key):
    for what in ("GET /api/account/summary", "GET /api/api-keys", "GET /api/api-keys/current"):
        assert call(edda_key, what).status_code == 200
    assert call(edda_key, "POST /api/api-keys/current/rotate", {"grace": "24h"}).status_code == 200
    age(edda_key)
    ApiKey.objects.filter(replaces=edda_key.id).update(created_at=timezone.now() - timedelta(days=1))
    assert call(edda_key, "POST /api/api-keys/current/rotate", {"grace": "24h"}).status_code == 200


def test_what_shows_no_value_asks_for_nothing(signed_in, edda, old_key):
    """Above all revoking: whoever finds a key in a repository must not look for their password first."""
    stale = signed_in(edda, 31)
    key = f"/settings/api-keys/{old_key.id}"
    for path in (f"{key}/usage", f"{key}/rotate", f"{key}/revoke", "/settings/api-keys/create"):
        assert stale.get(f"{path}?workspace=acme").status_code == 200, path
    assert stale.get(LIST + "&show=revoked").status_code == 200
    assert "tab=api-keys" in stale.send("POST", f"{key}/revoke?workspace=acme", {})["Location"]
    assert stale.get(f"{key}?workspace=acme").status_code == 200, "what has no value any more"
    assert stale.get(LIST).status_code == 200


def test_what_one_has_just_made_is_shown_and_the_others_are_not(signed_in, edda, olga, old_key):
    stale = signed_in(edda, 31)
    new = {"name": "new", "key_id": "7f4c5f0a-98c7-4c1b-9a52-3c1f9e1f3c11"}
    made = stale.send("POST", "/settings/api-keys/create?workspace=acme", new)
    page = stale.get(made["Location"])
    assert page.status_code == 200
    assert tokens.contains_token(page.content.decode())
    assert asks(stale.get(LIST)), "the list has the old one as well"
    assert asks(signed_in(olga, 31).get(made["Location"])), "nor is it for others"
    again = stale.send("POST", "/settings/api-keys/create?workspace=acme", new)
    assert again["Location"] == made["Location"], "a form that is sent twice"
    ApiKey.objects.filter(name="new").update(created_at=timezone.now() - timedelta(minutes=5, seconds=1))
    assert asks(stale.get(made["Location"])), "nor for long"


def test_making_and_rotating_through_the_api_gives_the_new_value_once(signed_in, edda, old_key):
    stale = signed_in(edda, 31)
    post = {"content_type": "application/json", "HTTP_X_CSRFTOKEN": "c" * 32}
    made = stale.generic("POST", "/api/api-keys?workspace=acme", b'{"name": "new"}', **post)
    assert made.status_code == 201
    assert tokens.is_token(made.json()["key"])
    path = f"/api/api-keys/{old_key.id}/rotate?workspace=acme"
    rotated = stale.generic("POST", path, b'{"grace": "manual"}', **post)
    assert tokens.is_token(rotated.json()["key"]["key"])
    # Asked again later, it is no new value but an old one.
    ApiKey.objects.filter(replaces=old_key.id).update(created_at=timezone.now() - timedelta(hours=1))
    again = stale.generic("POST", path, b'{"grace": "manual"}', **post)
    assert_error(again, 403, code=CODE)
    assert not tokens.contains_token(again.content.decode())


def test_the_page_of_a_rotation_shows_its_new_key(signed_in, edda, old_key):
    stale = signed_in(edda, 31)
    path = f"/settings/api-keys/{old_key.id}/rotate?workspace=acme"
    update = stale.send("POST", path, {"grace": "24h"})["Location"]
    assert tokens.contains_token(stale.get(update).content.decode())
    ApiKey.objects.filter(replaces=old_key.id).update(created_at=timezone.now() - timedelta(hours=1))
    assert next_of(stale.get(update)["Location"]) == update
    assert next_of(stale.send("POST", path, {"grace": "24h"})["Location"]) == path
    assert stale.get(update.replace("step=update", "step=verify")).status_code == 200


def test_an_actor_of_whom_no_sign_in_is_known_is_refused(edda, team, old_key):
    with pytest.raises(NotAllowed):
        services.reveal(actor_of(edda, team), old_key.row)


def test_confirming_costs_a_page_no_statement(signed_in, edda, old_key, settings):
    someone = signed_in(edda, 1)
    someone.get(LIST)
    counts = []
    for minutes in (0, 30):
        settings.REVEAL_REAUTH_MINUTES = minutes
        with CaptureQueriesContext(connection) as queries:
            someone.get(LIST)
        counts.append(len(queries))
    assert counts[0] == counts[1]
