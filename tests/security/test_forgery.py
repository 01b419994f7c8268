"""Somebody who can write to the database, but has no encryption key, cannot make a key that works."""

import contextlib
import hashlib
import importlib
import io
import sys
import uuid

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection

from apikeys import tokens
from apikeys.keyring import Keyring, Undecryptable, binding, keyring
from apikeys.models import ApiKey
from tests.conftest import actor_of, assert_error, make_key, make_user

SUMMARY = "GET /api/account/summary"


def swap(field, first, second):
    """Exchange a column of two rows behind the product's back."""
    with connection.cursor() as cursor:
        a, b = (ApiKey.objects.values_list(field, flat=True).get(pk=key.id) for key in (first, second))
        cursor.execute(f"UPDATE apikeys_apikey SET {field} = NULL WHERE false")
        spare = bytes(32) if field == "digest" else a
        cursor.execute(f"UPDATE apikeys_apikey SET {field} = %s WHERE id = %s", [spare, first.id])
        cursor.execute(f"UPDATE apikeys_apikey SET {field} = %s WHERE id = %s", [a, second.id])
        cursor.execute(f"UPDATE apikeys_apikey SET {field} = %s WHERE id = %s", [b, first.id])


def assert_shown_without_value(call, people, *keys):
    """Lists and pages stand it, and show no value for rows that were tampered with."""
    for person in people:
        answer = call(person, "GET /api/api-keys")
        assert answer.status_code in (200, 403)
        for key in keys:
            assert str.__str__(key) not in answer.content.decode()


@pytest.mark.parametrize("field", ["ciphertext", "digest", "workspace_id", "creator_id"])
def test_what_is_swapped_between_rows_does_not_authenticate(call, cast, browser, edda_key, field):
    stan_key = make_key(actor_of(cast.stan), "stan's")
    swap(field, edda_key, stan_key)
    for key in (edda_key, stan_key):
        assert_error(call(key, SUMMARY), 401, "Invalid API key")
    assert_shown_without_value(call, (cast.edda, cast.olga, cast.stan), edda_key, stan_key)
    for person in (cast.edda, cast.stan):
        assert browser(person).get("/settings?tab=api-keys").status_code == 200


def test_two_keys_of_one_person_in_one_workspace_cannot_be_swapped_either(call, edda, team, edda_key):
    other = make_key(actor_of(edda, team), "other")
    swap("ciphertext", edda_key, other)
    for key in (edda_key, other):
        assert_error(call(key, SUMMARY), 401)
    assert_shown_without_value(call, (edda,), edda_key, other)


def insert(cast, token, ciphertext, key_id="k1"):
    ApiKey.objects.create(
        workspace=cast.team,
        creator=cast.olga,
        name="forged",
        prefix=tokens.prefix(token),
        digest=hashlib.sha256(token.encode()).digest(),
        ciphertext=ciphertext,
        encryption_key_id=key_id,
    )


@pytest.mark.parametrize(
    "blob",
    [b"", b"\x01", b"\x01" * 72, b"\x01" + bytes(71), b"\x02" * 72, bytes(72), b"\x01" * 73, b"\x01" * 71],
    ids=len,
)
def test_a_row_that_is_inserted_with_a_known_digest_does_not_authenticate(call, cast, blob):
    token = tokens.new_token()
    insert(cast, token, blob)
    assert_error(call(token, SUMMARY), 401, "Invalid API key")
    assert_shown_without_value(call, (cast.olga,), token)


def test_the_blob_of_a_good_key_does_not_open_in_a_copied_row(call, cast, edda_key):
    token = tokens.new_token()
    insert(cast, token, bytes(edda_key.row.ciphertext))
    assert_error(call(token, SUMMARY), 401)
    assert call(edda_key, SUMMARY).status_code == 200


def test_a_blob_made_with_another_encryption_key_does_not_open(call, cast, edda_key):
    foreign = Keyring({"k1": b"x" * 32})
    _, blob = foreign.encrypt(str.__str__(edda_key), edda_key.row.binding)
    ApiKey.objects.filter(pk=edda_key.id).update(ciphertext=blob)
    assert_error(call(edda_key, SUMMARY), 401)


@pytest.mark.parametrize("position", [0, 1, 12, 13, 40, 71])
def test_a_flipped_bit_anywhere_is_noticed(call, edda_key, position):
    blob = bytearray(edda_key.row.ciphertext)
    blob[position] ^= 1
    ApiKey.objects.filter(pk=edda_key.id).update(ciphertext=bytes(blob))
    assert_error(call(edda_key, SUMMARY), 401)


def test_another_id_of_the_encryption_key_does_not_open_it(call, edda_key):
    ApiKey.objects.filter(pk=edda_key.id).update(encryption_key_id="k2")
    assert_error(call(edda_key, SUMMARY), 401)


def test_a_row_that_is_made_the_successor_of_a_foreign_key_is_not_given_to_that_key(call, cast, browser, edda_key):
    """Nothing binds `replaces`: whoever can write to the database can point somebody's key at one of their own."""
    own = make_key(actor_of(cast.stan), "stan's")
    ApiKey.objects.filter(pk=edda_key.id).update(replaces=own.row)
    rotated = call(own, "POST /api/api-keys/current/rotate", {"grace": "manual"})
    assert rotated.status_code == 200
    assert rotated.json()["key"]["keyId"] != str(edda_key.id)
    pages = [rotated, call(cast.stan, f"POST /api/api-keys/{own.id}/rotate", {"grace": "manual"})]
    pages += [browser(cast.stan).get(f"/settings{path}") for path in ("?tab=api-keys", f"/api-keys/{own.id}")]
    for page in pages:
        assert page.status_code == 200
        assert edda_key[:11] not in page.content.decode()
        assert str(edda_key.id) not in page.content.decode()
    assert browser(cast.edda).get(f"/settings/api-keys/{edda_key.id}/rotation?workspace=acme").status_code == 404


@pytest.mark.parametrize("length", [0, 1, 12, 13, 29, 71])
def test_a_truncated_blob_does_not_open(call, edda_key, length):
    ApiKey.objects.filter(pk=edda_key.id).update(ciphertext=bytes(edda_key.row.ciphertext)[:length])
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")


@pytest.mark.parametrize("what", ["garbage", "another key's blob", "another encryption key"])
def test_no_page_and_no_command_fails_at_a_forged_row_or_makes_it_good(call, cast, browser, edda_key, what):
    other = make_key(actor_of(cast.edda, cast.team), "good")
    change = {
        "garbage": {"ciphertext": b"\x01" * 72},
        "another key's blob": {"ciphertext": bytes(other.row.ciphertext)},
        "another encryption key": {"encryption_key_id": "nowhere"},
    }[what]
    ApiKey.objects.filter(pk=edda_key.id).update(**change)

    api = [call(cast.edda, what) for what in ("GET /api/api-keys", f"GET /api/api-keys/{edda_key.id}")]
    assert [answer.status_code for answer in api] == [200, 200]
    assert api[1].json()["key"] is None
    seen = browser(cast.edda)
    admin = make_user("root", is_staff=True, is_superuser=True)
    pages = [
        *(seen.get(f"/settings/api-keys/{edda_key.id}{path}?workspace=acme") for path in ("", "/rotate", "/revoke")),
        seen.get("/settings?tab=api-keys&workspace=acme"),
        seen.get("/settings?tab=api-keys&workspace=acme&show=revoked"),
        browser(admin).get("/admin/apikeys/apikey/"),
        browser(admin).get(f"/admin/apikeys/apikey/{edda_key.id}/change/"),
    ]
    assert [page.status_code for page in pages] == [200] * len(pages)
    for page in (*api, *pages):
        assert str.__str__(edda_key) not in page.content.decode()

    with contextlib.suppress(CommandError):
        call_command("rotate_encryption_key", stdout=io.StringIO(), stderr=io.StringIO())
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    assert call(other, SUMMARY).status_code == 200
    # Rotating it makes a good key beside it; it stays dead. Revoking it works as for any other.
    successor = call(cast.edda, f"POST /api/api-keys/{edda_key.id}/rotate", {"grace": "manual"}).json()["key"]["key"]
    assert call(successor, SUMMARY).status_code == 200
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    assert call(cast.edda, f"DELETE /api/api-keys/{edda_key.id}").status_code == 204


def test_the_wsgi_application_is_not_made_with_a_wrong_encryption_key(edda_key, settings):
    from config.startup import refuse_wrong_encryption_key

    refuse_wrong_encryption_key()
    settings.API_KEY_ENCRYPTION_KEYS = settings.API_KEY_ENCRYPTION_KEYS.partition(":")[0] + ":" + "A" * 43 + "="
    before = sys.modules.pop("config.wsgi", None)
    try:
        with pytest.raises(ImproperlyConfigured, match="does not open the API keys"):
            importlib.import_module("config.wsgi")
    finally:
        sys.modules.pop("config.wsgi", None)
        if before is not None:
            sys.modules["config.wsgi"] = before


def test_a_revoked_key_cannot_be_brought_back_by_clearing_its_date(call, edda, edda_key):
    call(edda, f"DELETE /api/api-keys/{edda_key.id}")
    ApiKey.objects.filter(pk=edda_key.id).update(revoked_at=None)
    assert_error(call(edda_key, SUMMARY), 401)


def test_a_stored_blob_has_the_documented_form(edda_key):
    blob = bytes(edda_key.row.ciphertext)
    assert len(blob) == 72
    assert blob[0] == 1
    ring, row = keyring(), edda_key.row
    associated = b"\x01" + row.pk.bytes + row.workspace_id.bytes + row.creator_id.bytes + bytes(row.digest)
    assert row.binding == associated
    assert len(associated) == 81
    assert ring.decrypt(row.encryption_key_id, blob, associated) == str.__str__(edda_key)


def test_nonces_are_never_the_same():
    ring, associated = keyring(), binding(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), bytes(32))
    token = tokens.new_token()
    nonces = {ring.encrypt(token, associated)[1][1:13] for _ in range(2000)}
    assert len(nonces) == 2000


def test_each_part_of_the_binding_matters():
    ring, token = keyring(), tokens.new_token()
    parts = [uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), hashlib.sha256(token.encode()).digest()]
    key_id, blob = ring.encrypt(token, binding(*parts))
    assert ring.decrypt(key_id, blob, binding(*parts)) == token
    for position in range(4):
        changed = list(parts)
        changed[position] = uuid.uuid4() if position < 3 else bytes(32)
        with pytest.raises(Undecryptable):
            ring.decrypt(key_id, blob, binding(*changed))
