"""The life of a key, through the API."""

import uuid
from datetime import timedelta

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys import services, tokens
from apikeys.authentication import actor_of_key, authenticate_token
from apikeys.models import ApiKey, KeyReveal
from config.errors import Conflict, Invalid, NotAllowed, NotFound
from tests.conftest import Key, actor_of, assert_error, make_key
from workspaces import services as workspaces
from workspaces.access import Role
from workspaces.models import Activity

SUMMARY = "GET /api/account/summary"


def test_a_new_key_is_shown_with_its_value_and_works(call, edda, team):
    answer = call(edda, "POST /api/api-keys", {"name": "  gpu   one "})
    assert answer.status_code == 201
    body = answer.json()
    assert tokens.is_token(body["key"])
    assert (body["name"], body["keyPrefix"], body["createdBy"]) == ("gpu one", body["key"][:11], "edda")
    assert answer["Cache-Control"] == "no-store"
    assert Activity.objects.filter(kind="key.created", target_id=body["keyId"], user=edda).count() == 1
    assert call(body["key"], SUMMARY).json()["username"] == "acme"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "   "},
        {"name": None},
        {"name": ["x"]},
        {"name": "x" * 101},
        {"name": "tab\x07bell"},
        {"name": "nul\0"},
        {"name": "\ud800"},
        {"name": "ok", "extra": 1},
        [],
        "text",
        None,
        b"{",
        b"\xff\xfe",
        b'{"name": NaN}',
    ],
)
def test_bad_input_is_told_and_makes_nothing(call, edda, team, body):
    assert_error(call(edda, "POST /api/api-keys", body), 400, code="VALIDATION_ERROR")
    assert team.api_keys.count() == 0


def test_a_body_that_is_too_large_or_too_deep_is_told_and_costs_nothing(call, edda, team, settings):
    assert_error(call(edda, "POST /api/api-keys", b"[" * 200_000), 400)
    assert_error(call(edda, "POST /api/api-keys", b'{"name": ' * 50_000), 400)
    assert_error(call(edda, "POST /api/api-keys", b'{"name": ' + b"9" * 10_000 + b"}"), 400)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    assert_error(call(edda, "POST /api/api-keys", {"name": "x" * 2000}), 413, code="PAYLOAD_TOO_LARGE")
    assert team.api_keys.count() == 0


def test_a_name_may_not_be_the_value_of_a_key(call, edda, edda_key):
    answer = call(edda, "POST /api/api-keys", {"name": f"my {edda_key!s}"})
    assert_error(answer, 400)
    assert str(edda_key) not in answer.content.decode()


def test_names_need_not_be_unique_and_there_is_no_limit_on_keys(edda, team):
    actor = actor_of(edda, team)
    assert len({make_key(actor, "same") for _ in range(150)}) == 150


def test_a_revoked_key_fails_from_the_next_request_on(call, edda, edda_key):
    assert call(edda_key, SUMMARY).status_code == 200
    assert call(edda, f"DELETE /api/api-keys/{edda_key.id}").status_code == 204
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")


def test_revoking_destroys_the_value_and_keeps_the_row(call, edda, edda_key):
    call(edda, "DELETE /api/api-keys", {"keyId": str(edda_key.id)})
    row = ApiKey.objects.get(pk=edda_key.id)
    assert (bytes(row.ciphertext), row.revoked_by) == (b"", edda)
    assert Activity.objects.filter(kind="key.revoked", target_id=str(row.pk), user=edda).count() == 1
    assert_error(call(edda, f"DELETE /api/api-keys/{edda_key.id}"), 404, "API key not found")
    assert_error(call(edda, f"GET /api/api-keys/{edda_key.id}"), 404, "API key not found")


def test_revoking_twice_is_revoking_once(edda, team, edda_key):
    actor = actor_of(edda, team)
    assert services.revoke_key(actor, edda_key.row)
    assert not services.revoke_key(actor, edda_key.row)
    assert Activity.objects.filter(kind="key.revoked").count() == 1


@pytest.mark.parametrize("where", ["/current", "/{own}", "?keyId={own}"])
def test_a_key_may_end_itself_and_no_other(call, edda_key, vera_key, where):
    other = where.format(own=edda_key.id)
    if other != where:
        assert_error(call(vera_key, f"DELETE /api/api-keys{other}"), 403)
    assert call(vera_key, f"DELETE /api/api-keys{where.format(own=vera_key.id)}").status_code == 204
    assert_error(call(vera_key, SUMMARY), 401, "Invalid API key")
    assert call(edda_key, SUMMARY).status_code == 200


def test_a_key_sees_itself_without_its_value(call, edda_key):
    body = call(edda_key, "GET /api/api-keys/current").json()
    assert body["keyId"] == str(edda_key.id)
    assert "key" not in body


def test_lists_carry_values_for_people_and_none_for_keys(call, edda, edda_key):
    [shown] = call(edda, "GET /api/api-keys").json()["keys"]
    assert shown["key"] == str(edda_key)
    [listed] = call(edda_key, "GET /api/api-keys").json()["keys"]
    assert "key" not in listed


def test_lists_can_be_searched_and_cut(call, edda, team):
    keys = [make_key(actor_of(edda, team), f"machine {n}") for n in range(5)]
    answer = call(edda, "GET /api/api-keys?search=MACHINE&limit=2&offset=1").json()
    assert (answer["total"], [k["name"] for k in answer["keys"]]) == (5, ["machine 3", "machine 2"])
    assert call(edda, f"GET /api/api-keys?search={keys[0][:11]}").json()["total"] == 1
    assert call(edda, "GET /api/api-keys?offset=50").json() == {"keys": [], "total": 5}
    assert_error(call(edda, "GET /api/api-keys?limit=0"), 400)
    assert_error(call(edda, "GET /api/api-keys?search=%00"), 400)


def test_a_key_is_found_by_its_whole_value_which_goes_into_no_statement(edda, team):
    keys = [make_key(actor_of(edda, team)) for _ in range(3)]
    for key in keys:
        with CaptureQueriesContext(connection) as queries:
            assert [found.pk for found in ApiKey.objects.named(f"{key[:]}")] == [key.id]
        assert not tokens.contains_token(str(queries.captured_queries))


def test_keys_made_at_the_same_moment_have_an_order(edda, team):
    ids = [make_key(actor_of(edda, team)).id for _ in range(20)]
    ApiKey.objects.update(created_at=timezone.now())
    assert [key.pk for key in ApiKey.objects.newest_first()] == sorted(ids, reverse=True)


def test_seeing_a_value_is_remembered_at_most_once_an_hour(call, edda, adam, edda_key):
    call(edda, "GET /api/api-keys")
    first = KeyReveal.objects.get(key=edda_key.row, person=edda)
    call(edda, "GET /api/api-keys")
    assert KeyReveal.objects.get(pk=first.pk).last_at == first.last_at
    KeyReveal.objects.update(last_at=timezone.now() - timedelta(hours=2))
    call(edda, f"GET /api/api-keys/{edda_key.id}")
    again = KeyReveal.objects.get(pk=first.pk)
    assert again.last_at > timezone.now() - timedelta(minutes=1)
    assert again.first_at == first.first_at
    call(adam, "GET /api/api-keys")
    assert KeyReveal.objects.filter(key=edda_key.row).count() == 2


SERVICES = {
    "create": lambda actor, key: services.create_key(actor, name="new"),
    "show": lambda actor, key: services.reveal_all(actor, [key]),
    "rotate": services.rotate_key,
    "revoke": services.revoke_key,
}


@pytest.mark.parametrize("what", SERVICES)
def test_a_service_asks_for_the_right_whichever_door_let_the_caller_in(cast, vera_key, edda_key, what):
    def is_allowed(actor, key):
        try:
            SERVICES[what](actor, key.row)
        except NotAllowed:
            return False
        return True

    by_key = {key: authenticate_token(str.__str__(key), "", "") for key in (vera_key, edda_key)}
    olgas = make_key(actor_of(cast.olga, cast.team))
    assert [is_allowed(actor, olgas) for actor in by_key.values()] == [False, False]
    assert not is_allowed(actor_of(cast.vera, cast.team), olgas)
    # A key may do to itself what it may not do to others.
    for_itself = {"rotate": [False, True], "revoke": [True, True]}.get(what, [False, False])
    assert [is_allowed(actor, key) for key, actor in by_key.items()] == for_itself
    for person in (cast.edda, cast.adam, cast.olga):
        assert is_allowed(actor_of(person, cast.team), make_key(actor_of(cast.olga, cast.team)))


def test_a_service_finds_no_key_of_another_workspace(cast, edda_key):
    stan = actor_of(cast.stan)
    assert services.reveal_all(stan, [edda_key.row]) == {}
    assert not services.revoke_key(stan, edda_key.row)
    with pytest.raises(NotFound):
        services.rotate_key(stan, edda_key.row)
    assert ApiKey.objects.active().filter(pk=edda_key.id, rotated_at=None).exists()


def test_a_reason_is_kept_and_logged_without_values(cast, edda_key):
    actor = actor_of(cast.adam, cast.team)
    services.revoke_key(actor, edda_key.row, reason=f"{edda_key[:]} was in a paste " + "x" * 300)
    row = ApiKey.objects.get()
    assert (row.revoke_reason[:11], len(row.revoke_reason)) == (edda_key[:11], 200)
    entry = Activity.objects.get(kind="key.revoked")
    assert (entry.user, entry.address, entry.client) == (cast.adam, actor.address, actor.client)
    assert "was in a paste" in entry.details["reason"]
    assert not tokens.contains_token(row.revoke_reason + str(entry.details))
    another = make_key(actor, "another")
    assert services.revoke_as_operator(None, [another.id, edda_key.id], reason="x" * 300) == 1
    assert ApiKey.objects.get(pk=another.id).revoke_reason == "x" * 200


def test_the_value_of_a_revoked_key_is_shown_by_no_service(edda, team, edda_key):
    actor, row = actor_of(edda, team), ApiKey.objects.get()  # as read before
    row.revoked_at = timezone.now()
    assert services.reveal_all(actor, [row]) == {row.pk: None}
    with pytest.raises(Conflict, match="no value to show"):
        services.reveal(actor, row)
    assert not KeyReveal.objects.exists(), "what was not seen is not noted as seen"


def test_an_id_that_is_taken_is_not_written_over(edda, team, edda_key):
    with pytest.raises(IntegrityError), transaction.atomic():
        services._insert(actor_of(edda, team), name="another", creator_id=edda.pk, key_id=edda_key.id)
    assert services.reveal(actor_of(edda, team), ApiKey.objects.get()) == str.__str__(edda_key)


# Rotation


def test_rotating_makes_a_successor_of_the_same_name_and_lets_the_old_key_go_on(call, edda, edda_key):
    body = call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {"grace": "1h"}).json()
    assert (body["key"]["name"], body["key"]["replaces"]) == ("edda's key", str(edda_key.id))
    assert body["oldRevoked"] is False
    assert body["old"]["revokesAt"] is not None
    assert call(edda_key, SUMMARY).status_code == call(body["key"]["key"], SUMMARY).status_code == 200
    entry = Activity.objects.get(kind="key.rotated", target_id=str(edda_key.id))
    assert entry.details == {"successor": body["key"]["keyId"], "grace": "1h"}
    assert KeyReveal.objects.filter(key=body["key"]["keyId"], person=edda).exists()


def test_a_rotation_touches_no_other_key(call, edda, team, edda_key):
    other = make_key(actor_of(edda, team), "another")
    before = ApiKey.objects.values().get(pk=other.id)
    for grace in ("24h", "now"):
        assert call(edda_key, "POST /api/api-keys/current/rotate", {"grace": grace}).status_code == 200
    assert ApiKey.objects.values().get(pk=other.id) == before
    ended = ApiKey.objects.get(pk=edda_key.id)
    assert (ended.revoked_by, ended.revoke_reason) == (edda, "rotated")
    assert Activity.objects.get(kind="key.revoked").details == {"reason": "rotated"}
    assert not KeyReveal.objects.exists(), "a program has seen it, and no person"


def test_when_a_key_was_rotated_is_when_it_first_was(call, edda_key):
    times = []
    for _ in range(2):
        assert call(edda_key, "POST /api/api-keys/current/rotate", {}).status_code == 200
        times.append(ApiKey.objects.get(pk=edda_key.id).rotated_at)
        ApiKey.objects.filter(pk=edda_key.id).update(rotated_at=times[0] - timedelta(hours=1))
    assert times[1] == times[0] - timedelta(hours=1)


def test_a_successor_that_was_revoked_or_cannot_be_opened_is_not_given_again(call, edda, team, edda_key):
    rotate = f"POST /api/api-keys/{edda_key.id}/rotate"
    first = call(edda, rotate, {"grace": "manual"}).json()["key"]
    services.revoke_key(actor_of(edda, team), ApiKey.objects.get(pk=first["keyId"]))
    second = call(edda, rotate, {"grace": "manual"}).json()["key"]
    assert second["keyId"] != first["keyId"]
    assert call(second["key"], SUMMARY).status_code == 200
    ApiKey.objects.filter(pk=second["keyId"]).update(encryption_key_id="nowhere")
    assert_error(call(edda, rotate, {"grace": "manual"}), 409, "The successor of this key cannot be decrypted")


def test_rotating_twice_gives_the_same_successor_with_its_value(call, edda, edda_key):
    first = call(edda_key, "POST /api/api-keys/current/rotate", {}).json()
    for caller, path in ((edda_key, "current"), (edda, edda_key.id), (edda_key, "current")):
        again = call(caller, f"POST /api/api-keys/{path}/rotate", {"grace": "7d"}).json()
        assert (again["key"]["keyId"], again["key"]["key"]) == (first["key"]["keyId"], first["key"]["key"])
        assert again["old"]["revokesAt"] == first["old"]["revokesAt"], "a longer grace is not obeyed"
    assert Activity.objects.filter(kind="key.rotated").count() == 1


def test_a_second_rotation_can_shorten_the_grace(call, edda, edda_key):
    first = call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {"grace": "manual"}).json()
    assert first["old"]["revokesAt"] is None
    second = call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {"grace": "now"}).json()
    assert second["oldRevoked"] is True
    assert second["key"]["key"] == first["key"]["key"]
    assert_error(call(edda_key, SUMMARY), 401)


@pytest.mark.parametrize(("grace", "seconds"), [("1h", 3600), ("24h", 86400), ("7d", 604800)])
def test_the_grace_is_what_was_asked_for(call, edda, edda_key, grace, seconds):
    call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {"grace": grace})
    left = ApiKey.objects.filter(pk=edda_key.id).annotate(now=Now()).get()
    assert seconds <= (left.revokes_at - left.rotated_at).total_seconds() < seconds + 1
    assert left.revokes_at - left.now <= timedelta(seconds=seconds)


def test_a_scheduled_revocation_takes_effect_without_any_job(call, edda, edda_key):
    call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {"grace": "1h"})
    ApiKey.objects.filter(pk=edda_key.id).update(revokes_at=Now() - timedelta(milliseconds=1))
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    assert_error(call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {}), 404)
    assert [k["keyId"] for k in call(edda, "GET /api/api-keys").json()["keys"]] != [str(edda_key.id)]
    assert bytes(ApiKey.objects.get(pk=edda_key.id).ciphertext), "nothing has been written yet"
    another = call(edda, "POST /api/api-keys", {"name": "another"}).json()["key"]
    ended = ApiKey.objects.get(pk=edda_key.id)
    assert bytes(ended.ciphertext) == b""
    assert ended.revoked_at == ended.revokes_at
    assert ended.revoke_reason == "rotated"
    assert call(another, SUMMARY).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_daily_clean_up_needs_no_transaction_around_it(edda, team):
    key = make_key(actor_of(edda, team))
    ApiKey.objects.filter(pk=key.id).update(revokes_at=Now() - timedelta(milliseconds=1))
    assert services.finish_due_revocations() == 1


@pytest.mark.parametrize("act", ["rotate", "revoke", "clean up"])
def test_what_is_past_its_time_is_destroyed_by_whatever_comes_next(edda, team, edda_key, act):
    actor = actor_of(edda, team)
    others = [make_key(actor, name) for name in ("another", "and another")]
    ApiKey.objects.filter(pk=edda_key.id).update(revokes_at=Now() - timedelta(milliseconds=1))
    if act == "clean up":
        assert services.finish_due_revocations() == 1
        assert services.finish_due_revocations() == 0
    else:
        SERVICES[act](actor, others[0].row)
    assert bytes(ApiKey.objects.get(pk=edda_key.id).ciphertext) == b""
    assert services.reveal(actor, ApiKey.objects.get(pk=others[1].id)) == str.__str__(others[1])


@pytest.mark.django_db(transaction=True)
def test_what_somebody_else_is_working_on_is_left_to_the_next_time(edda, team):
    actor = actor_of(edda, team)
    held, free = make_key(actor), make_key(actor)
    ApiKey.objects.update(revokes_at=Now() - timedelta(milliseconds=1))
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute(f"SELECT FROM {ApiKey._meta.db_table} WHERE id = %s FOR UPDATE", [held.id])
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        assert services.finish_due_revocations() == 1
    assert {key.pk for key in ApiKey.objects.exclude(ciphertext=b"")} == {held.id}
    assert services.finish_due_revocations() == 1
    assert {key.pk: bool(key.revoked_at) for key in ApiKey.objects.all()} == {held.id: True, free.id: True}


def test_a_revoked_key_cannot_rotate(call, edda, edda_key, team):
    make_key(actor_of(edda, team), "goes on")
    services.revoke_key(actor_of(edda, team), edda_key.row)
    assert_error(call(edda_key, "POST /api/api-keys/current/rotate", {}), 401)
    with pytest.raises(Conflict):
        services.rotate_key(actor_of(edda, team), edda_key.row)


def test_an_unknown_grace_changes_nothing(call, edda, edda_key):
    assert_error(call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {"grace": "2h"}), 400)
    with pytest.raises(Invalid) as refused:
        services.rotate_key(actor_of(edda, edda_key.row.workspace), edda_key.row, grace="2h")
    assert set(refused.value.details) == {"grace"}
    assert ApiKey.objects.count() == 1
    assert ApiKey.objects.get().rotated_at is None


def test_a_successor_can_be_rotated_in_its_turn(call, edda, edda_key):
    second = call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {}).json()["key"]
    third = call(second["key"], "POST /api/api-keys/current/rotate", {}).json()["key"]
    assert third["replaces"] == second["keyId"]
    assert third["keyId"] != second["keyId"]


def test_a_key_older_than_90_days_says_so_until_it_is_rotated(edda_key):
    assert not edda_key.row.is_due_for_rotation
    edda_key.row.created_at = timezone.now() - timedelta(days=89, hours=23)
    assert not edda_key.row.is_due_for_rotation
    edda_key.row.created_at = timezone.now() - timedelta(days=90, seconds=1)
    assert edda_key.row.is_due_for_rotation
    edda_key.row.rotated_at = timezone.now()
    assert not edda_key.row.is_due_for_rotation


def test_a_key_is_active_until_its_end_or_the_moment_of_a_scheduled_one(edda_key):
    now, row = timezone.now(), edda_key.row
    assert row.is_active()
    for seconds, is_active in ((-1, False), (0, False), (1, True)):
        row.revokes_at = now + timedelta(seconds=seconds)
        assert row.is_active(now) == is_active
    row.revokes_at = now + timedelta(hours=1)
    assert (row.is_active(), row.is_active(now + timedelta(hours=2))) == (True, False)
    row.revoked_at = now
    assert not row.is_active(now)


# Forms that are sent twice, and values that cannot be opened


def test_a_form_that_is_sent_twice_makes_one_key(edda, adam, stan, team):
    key_id = uuid.uuid4()
    first = services.create_key(actor_of(edda, team), name="once", key_id=key_id)
    again = services.create_key(actor_of(edda, team), name="once", key_id=key_id)
    assert first == again
    for other in (actor_of(stan), actor_of(edda), actor_of(adam, team)):
        with pytest.raises(Conflict):
            services.create_key(other, name="once", key_id=key_id)


def test_a_key_that_cannot_be_decrypted_is_listed_without_value_and_refused(call, edda, edda_key, settings):
    good = settings.API_KEY_ENCRYPTION_KEYS
    settings.API_KEY_ENCRYPTION_KEYS = "other:" + "A" * 43 + "="
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    [shown] = call(edda, "GET /api/api-keys").json()["keys"]
    assert shown["key"] is None
    assert call(edda, f"GET /api/api-keys/{edda_key.id}").json()["key"] is None
    settings.API_KEY_ENCRYPTION_KEYS = good
    assert call(edda_key, SUMMARY).status_code == 200


def test_a_deactivated_creator_ends_their_keys_at_once_and_coming_back_revives_them(call, edda, edda_key):
    type(edda).objects.update(is_active=False)
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    type(edda).objects.update(is_active=True)
    assert call(edda_key, SUMMARY).status_code == 200


def test_a_suspended_workspace_refuses_its_keys(call, team, edda_key):
    type(team).objects.update(suspended_at=Now())
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")


def test_what_a_key_has_signed_is_good_for_as_much_and_as_long_as_the_key(cast, edda_key, settings):
    olgas = make_key(actor_of(cast.olga, cast.team))
    assert [actor_of_key(key.id).role for key in (olgas, edda_key)] == [Role.EDITOR, Role.EDITOR]
    workspaces.suspend(None, cast.team)
    assert actor_of_key(olgas.id) is None


def test_the_access_log_is_told_the_prefix_of_the_key_and_no_more(call, edda_key):
    told = call(edda_key, SUMMARY).wsgi_request.META
    assert told["keyhouse.key_prefix"] == edda_key[:11]
    assert str.__str__(edda_key) not in str({k: v for k, v in told.items() if k != "HTTP_AUTHORIZATION"})


def test_a_key_of_somebody_who_is_no_member_is_refused(call, team, edda, edda_key):
    team.memberships.filter(user=edda).delete()
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")


def test_the_database_holds_neither_value_nor_name_of_the_secret(edda_key):
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text FROM apikeys_apikey k")
        row = cursor.fetchone()[0]
    assert str(edda_key)[11:] not in row
    assert str(edda_key).encode().hex() not in row


def test_listing_is_a_constant_number_of_queries(call, edda, team, django_assert_max_num_queries):
    actor = actor_of(edda, team)
    make_key(actor)
    call(edda, "GET /api/api-keys")  # the session and the statements are there
    with django_assert_max_num_queries(12) as one:
        call(edda, "GET /api/api-keys")
    for _ in range(60):
        make_key(actor)
    with django_assert_max_num_queries(len(one)) as many:
        assert len(call(edda, "GET /api/api-keys").json()["keys"]) == 61
    assert len(many) <= len(one)


def test_clean_name_refuses_what_cannot_be_shown():
    for name in ("", "\n", "a\u202eb", "x" * 101):
        with pytest.raises(Invalid) as refused:
            services.clean_name(name)
        assert set(refused.value.details) == {"name"}
    assert services.clean_name("x" * 100) == "x" * 100
    assert services.clean_name("Zoë’s  GPU") == "Zoë’s GPU"


def test_keys_print_as_their_prefix(edda_key):
    assert isinstance(edda_key, Key)
    assert str(edda_key) not in repr(edda_key) + str(edda_key.row)
