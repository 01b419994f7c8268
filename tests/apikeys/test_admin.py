"""The admin: finds keys, revokes them, never shows a value, stays fast."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apikeys import tokens
from apikeys.models import ApiKey
from tests.conftest import make_user
from workspaces.models import Activity

LIST = "/admin/apikeys/apikey/"


@pytest.fixture
def operator(db):
    return make_user("operator", is_staff=True, is_superuser=True)


def test_only_staff_get_in(browser, olga, operator):
    assert browser().get(LIST).status_code == 302
    assert browser(olga).get(LIST).status_code in (302, 403)
    assert browser(operator).get(LIST).status_code == 200


@pytest.mark.parametrize("search", ["{prefix}", "edda's", "acme", "edda"])
def test_keys_are_found_by_prefix_name_workspace_and_creator(browser, operator, edda_key, stan_key, search):
    page = browser(operator).get(LIST, {"q": search.format(prefix=edda_key[:11])}).content.decode()
    assert edda_key[:11] in page
    assert stan_key[:11] not in page


def test_no_page_shows_a_value_or_a_way_to_it(browser, operator, edda_key):
    page = browser(operator)
    for path in (LIST, f"{LIST}{edda_key.id}/change/", f"{LIST}{edda_key.id}/history/", "/admin/"):
        text = page.get(path).content.decode()
        assert not tokens.contains_token(text)
        assert edda_key.row.digest.hex() not in text
        assert edda_key.row.ciphertext.hex() not in text
    text = page.get(LIST, {"q": str.__str__(edda_key)}).content.decode()
    assert "Search by the first 11 characters" in text


def test_nothing_about_a_key_can_be_edited_added_or_deleted(browser, operator, edda_key):
    page = browser(operator)
    before = ApiKey.objects.values().get()
    for path in (f"{LIST}{edda_key.id}/change/", f"{LIST}add/", f"{LIST}{edda_key.id}/delete/"):
        assert page.send("POST", path, {"name": "x", "workspace": "y", "post": "yes"}).status_code == 403
    assert ApiKey.objects.values().get() == before


def test_revoking_asks_first_and_then_ends_the_keys_through_the_service(browser, call, operator, edda_key, stan_key):
    page = browser(operator)
    chosen = {"action": "revoke", "_selected_action": [edda_key.id]}
    question = page.send("POST", LIST, chosen).content.decode()
    assert edda_key[:11] in question
    assert call(edda_key, "GET /api/account/summary").status_code == 200
    page.send("POST", LIST, chosen | {"confirmed": "yes", "reason": "found in a paste"}, HTTP_USER_AGENT="a browser")
    assert call(edda_key, "GET /api/account/summary").status_code == 401
    assert call(stan_key, "GET /api/account/summary").status_code == 200
    ended = ApiKey.objects.get(pk=edda_key.id)
    assert (ended.revoked_by, ended.revoke_reason, bytes(ended.ciphertext)) == (operator, "found in a paste", b"")
    entry = Activity.objects.get(kind="key.revoked", user=operator, target_id=str(edda_key.id))
    assert entry.details == {"reason": "found in a paste", "by": "operator"}
    assert (entry.address, entry.client) == ("127.0.0.1", "a browser")


def test_staff_without_the_permission_cannot_revoke(browser, edda_key, db):
    from django.contrib.auth.models import Permission

    helper = make_user("helper", is_staff=True)
    helper.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    page = browser(helper)
    assert page.get(LIST).status_code == 200
    page.send("POST", LIST, {"action": "revoke", "_selected_action": [edda_key.id], "confirmed": "yes"})
    assert ApiKey.objects.active().filter(pk=edda_key.id).exists()


def test_the_list_of_100_000_keys_opens_with_as_many_queries_as_the_list_of_one(
    browser, operator, olga, team, edda_key
):
    page = browser(operator)
    page.get(LIST)
    with CaptureQueriesContext(
        connection,
    ) as few:
        page.get(LIST)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO apikeys_apikey (id, workspace_id, creator_id, name, prefix, digest, ciphertext, "
            "encryption_key_id, revoke_reason, refused_address, created_at) SELECT gen_random_uuid(), %s, %s, "
            "'bulk ' || n, 'ul_' || lpad(to_hex(n), 8, '0'), sha256(n::text::bytea), '\\x00', 'k1', '', '', now() "
            "FROM generate_series(1, 100000) n",
            [team.pk, olga.pk],
        )
    with CaptureQueriesContext(connection) as many:
        assert page.get(LIST).status_code == 200
    assert len(many) == len(few)
    with CaptureQueriesContext(connection) as searched:
        assert page.get(LIST, {"q": "ul_0000ffff"}).status_code == 200
    assert len(searched) <= len(few) + 2


def test_people_workspaces_and_memberships_are_shown(browser, operator, edda, team):
    page = browser(operator)
    for path in ("accounts/user", "workspaces/workspace", "workspaces/membership", "workspaces/activity"):
        assert page.get(f"/admin/{path}/").status_code == 200
        assert page.get(f"/admin/{path}/", {"q": "acme"}).status_code == 200
    assert "edda" in page.get(f"/admin/workspaces/workspace/{team.pk}/change/").content.decode()
    assert page.get(f"/admin/accounts/user/{edda.pk}/change/").status_code == 200


def test_the_admin_keeps_the_rules_for_names(browser, operator, team):
    page = browser(operator)
    new = {"usable_password": "false", "password1": "", "password2": ""}
    for username in ("acme", "settings", "Bad Name"):
        page.send("POST", "/admin/accounts/user/add/", new | {"username": username})
    from accounts.models import User

    assert User.objects.count() == 2
    page.send("POST", "/admin/accounts/user/add/", new | {"username": "newcomer"})
    assert User.objects.get(username="newcomer").memberships.get().workspace.slug == "newcomer"


def test_active_is_not_a_field_of_the_form_a_suspension_says_why(browser, call, operator, edda, edda_key):
    page = browser(operator)
    page.send("POST", f"/admin/accounts/user/{edda.pk}/change/", {"name": "", "email": ""})
    edda.refresh_from_db()
    assert edda.is_active
    assert call(edda_key, "GET /api/account/summary").status_code == 200
