"""Pages open for whom they are meant, in every state of a key; and the tags that templates use."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from apikeys import services, usage
from apikeys.models import ApiKey
from config.templatetags.keyhouse import when
from tests.conftest import actor_of, make_key

KEYS = "/settings?tab=api-keys&workspace=acme"


def test_times_are_said_as_people_say_them():
    now = timezone.now()
    assert ">3 hours ago<" in when(now - timedelta(hours=3, minutes=20)).replace("\xa0", " ")
    assert ">in 2 days<" in when(now + timedelta(days=2, minutes=1)).replace("\xa0", " ")
    assert ">just now<" in when(now)
    assert 'title="5 March 2026, 07:08:09 UTC"' in when(datetime(2026, 3, 5, 7, 8, 9, tzinfo=UTC))
    assert when(None) == "never"


@pytest.fixture
def states(edda, team, call):
    """A key in each state."""
    actor = actor_of(edda, team)
    plain, used, old, rotated, scheduled, revoked, broken = (make_key(actor, f"state {n}") for n in range(7))
    call(used, "GET /api/account/summary")
    ApiKey.objects.filter(pk=old.id).update(created_at=timezone.now() - timedelta(days=100))
    services.rotate_key(actor, rotated.row, grace="manual")
    services.rotate_key(actor, scheduled.row, grace="1h")
    services.revoke_key(actor, revoked.row, reason="test")
    call(revoked, "GET /api/account/summary")
    ApiKey.objects.filter(pk=broken.id).update(ciphertext=b"\x01" * 72)
    usage.flush()
    return {"plain": plain, "used": used, "old": old, "rotated": rotated, "scheduled": scheduled, "revoked": revoked}


def test_cards_say_what_state_a_key_is_in(browser, edda, states):
    page = browser(edda).get(KEYS).content.decode()
    for text in ("Time to rotate", "Being rotated", "Ends <time", "cannot be decrypted", states["plain"], "just now"):
        assert str.__str__(text) in page
    assert states["revoked"][:11] not in page
    ended = browser(edda).get(KEYS + "&show=revoked").content.decode()
    assert states["revoked"][:11] in ended
    assert "Still being tried" in ended


def test_a_page_answers_head_as_it_answers_get_without_the_page(browser, edda, states):
    for path in ("/", KEYS, "/acme"):
        head, get = (browser(edda).generic(method, path) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (get.status_code, b"")
    assert browser(edda).generic("HEAD", f"/settings/api-keys/{states['plain'].id}/nothing").status_code == 404


def test_pages_with_values_are_kept_by_no_cache(browser, edda, states):
    for path in (KEYS, f"/settings/api-keys/{states['plain'].id}?workspace=acme"):
        assert "no-store" in browser(edda).get(path)["Cache-Control"]


def test_the_card_says_who_looked_last(browser, edda, olga, states):
    browser(olga).get(KEYS)
    assert "by olga" in browser(edda).get(KEYS).content.decode()


def test_keys_are_searched_by_name(browser, edda, states):
    page = browser(edda).get(KEYS + "&q=STATE+1").content.decode()
    assert states["used"][:11] in page
    assert states["plain"][:11] not in page
    assert "No key is called" in browser(edda).get(KEYS + "&q=nothing%00like").content.decode()


def test_a_key_is_made_through_the_page_and_shown_with_the_lines_to_copy(browser, edda, team):
    someone = browser(edda)
    form = {"name": "from the page", "key_id": "11111111-1111-4111-8111-111111111111"}
    answer = someone.send("POST", "/settings/api-keys/create?workspace=acme", form)
    assert answer.status_code == 302
    assert "ul_" not in answer["Location"]
    someone.send("POST", "/settings/api-keys/create?workspace=acme", form)
    assert team.api_keys.count() == 1
    page = someone.get(answer["Location"]).content.decode()
    value = services.reveal(actor_of(edda, team), team.api_keys.get())
    for line in (
        f"export ULTRALYTICS_API_KEY={value}",
        f"yolo login {value}",
        "http://testserver/api/account/summary",
        "export ULTRALYTICS_PLATFORM_URL=http://testserver",
    ):
        assert line in page


def test_a_bad_name_is_told_in_the_form(browser, edda, team):
    answer = browser(edda).send(
        "POST", "/settings/api-keys/create?workspace=acme", {"name": " ", "key_id": "not an id"}
    )
    assert answer.status_code == 400
    assert "This field is required" in answer.content.decode()
    assert team.api_keys.count() == 0


def test_the_four_steps_of_a_rotation(browser, call, edda, edda_key):
    someone = browser(edda)
    where = f"/settings/api-keys/{edda_key.id}"
    assert "Create the new key" in someone.get(f"{where}/rotate?workspace=acme").content.decode()
    update = someone.send("POST", f"{where}/rotate?workspace=acme", {"grace": "manual"})["Location"]
    page = someone.get(update).content.decode()
    successor = ApiKey.objects.get(replaces=edda_key.id)
    value = services.reveal(actor_of(edda, edda_key.row.workspace), successor)
    assert value in page
    verify = update.replace("update", "verify")
    assert "has not been used yet" in someone.get(verify).content.decode()
    call(value, "GET /api/account/summary")
    usage.flush()
    assert "It is safe to revoke the old key" in someone.get(verify).content.decode()
    call(edda_key, "GET /api/account/summary", HTTP_USER_AGENT="forgotten-script/1.0")
    page = someone.get(verify).content.decode()
    assert "The old key is still used" in page
    assert "forgotten-script/1.0" in page
    assert "forgotten-script/1.0" in someone.get(update.replace("update", "revoke")).content.decode()
    someone.send("POST", f"{where}/revoke?workspace=acme", {})
    assert call(edda_key, "GET /api/account/summary").status_code == 401
    assert "The rotation is finished" in someone.get(verify).content.decode()


def test_the_revoke_dialog_says_what_will_stop(browser, call, edda, edda_key):
    for _ in range(3):
        call(edda_key, "GET /api/account/summary", HTTP_USER_AGENT="nightly-job/2")
    page = browser(edda).get(f"/settings/api-keys/{edda_key.id}/revoke?workspace=acme").content.decode()
    assert "3 requests in the last 24 hours" in page
    assert "nightly-job/2" in page
    assert "127.0.0.1" in page


def test_a_form_that_does_not_name_its_workspace_changes_nothing(browser, edda, edda_key):
    answer = browser(edda).send("POST", f"/settings/api-keys/{edda_key.id}/revoke", {})
    assert answer.status_code == 400
    assert ApiKey.objects.active().filter(pk=edda_key.id).exists()


def test_a_form_of_one_workspace_never_acts_on_another(browser, edda, edda_key):
    answer = browser(edda).send("POST", f"/settings/api-keys/{edda_key.id}/revoke?workspace=edda", {})
    assert answer.status_code == 404
    assert ApiKey.objects.active().filter(pk=edda_key.id).exists()


def test_without_a_csrf_token_nothing_is_done(browser, edda, edda_key):
    answer = browser(edda).send(
        "POST", f"/settings/api-keys/{edda_key.id}/revoke?workspace=acme", {}, HTTP_X_CSRFTOKEN=""
    )
    assert answer.status_code == 403
    assert ApiKey.objects.active().filter(pk=edda_key.id).exists()


PAGES = (
    "/settings/api-keys/create",
    "/settings/api-keys/{key}",
    "/settings/api-keys/{key}/rotate",
    "/settings/api-keys/{key}/revoke",
)


@pytest.mark.parametrize("path", PAGES)
def test_pages_of_keys_are_for_editors_and_above(browser, cast, edda_key, path):
    path = path.format(key=edda_key.id) + "?workspace=acme"
    for who, status in (
        (None, 302),
        (cast.stan, 404),
        (cast.vera, 403),
        (cast.edda, 200),
        (cast.adam, 200),
        (cast.olga, 200),
    ):
        assert browser(who).get(path).status_code == status, (who, path)
        if status != 200:
            assert browser(who).send("POST", path, {"name": "x", "grace": "now"}).status_code in (302, 404, 403, 405)
    assert ApiKey.objects.active().filter(pk=edda_key.id).exists()


def test_a_viewer_is_told_why_there_are_no_keys(browser, vera, edda_key):
    page = browser(vera).get(KEYS).content.decode()
    assert "You are a Viewer" in page
    assert edda_key[:11] not in page


def test_forms_count_as_requests_of_the_person(browser, edda, team, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (2, 600)}
    someone = browser(edda)
    path = "/settings/api-keys/create?workspace=acme"
    statuses = [someone.send("POST", path, {"name": ""}).status_code for _ in range(4)]
    assert statuses == [400, 400, 429, 429]
    assert int(someone.send("POST", path, {"name": ""})["Retry-After"]) >= 1
    assert someone.get(path).status_code == 200


def test_unknown_things_are_pages_that_say_so(browser, edda, edda_key):
    for path in (
        "/nope",
        "/settings?tab=nope",
        f"/settings/api-keys/{edda_key.row.workspace_id}",
        "/settings/api-keys/x",
    ):
        answer = browser(edda).get(path)
        assert answer.status_code == 404
        assert "To the start page" in answer.content.decode()


def test_the_list_of_keys_is_a_constant_number_of_queries(browser, edda, team, django_assert_max_num_queries):
    someone = browser(edda)
    make_key(actor_of(edda, team))
    someone.get(KEYS)
    with django_assert_max_num_queries(20) as few:
        someone.get(KEYS)
    for n in range(40):
        make_key(actor_of(edda, team), f"key {n}")
    with django_assert_max_num_queries(len(few) + 1):  # the count of all, once there are pages
        assert "Page 1 of 3" in someone.get(KEYS).content.decode()
    assert "Page 3 of 3" in someone.get(KEYS + "&page=3").content.decode()
    assert "Page 3 of 3" in someone.get(KEYS + "&page=99").content.decode()


def test_headers_protect_pages(browser, edda):
    answer = browser(edda).get(KEYS)
    policy = answer["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "default-src 'none'" in policy
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("header", [None, "nonsense", ""])
def test_a_page_opens_when_the_proxy_names_no_address_or_nonsense(browser, olga, settings, header):
    settings.TRUSTED_PROXIES = 1
    extra = {} if header is None else {"HTTP_X_FORWARDED_FOR": header}
    assert browser(olga).get("/settings?tab=profile", **extra).status_code == 200
