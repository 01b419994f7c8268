"""Who uses a key: counted in memory, written in one go."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apikeys import services, usage
from apikeys.models import ApiKey, KeyUsage
from tests.conftest import actor_of, make_key

SUMMARY = "GET /api/account/summary"


def test_requests_are_added_up_by_address_and_client(call, edda_key):
    for agent in ("python-httpx/0.28.1", "python-httpx/0.28.1", "curl/8.0"):
        call(edda_key, SUMMARY, HTTP_USER_AGENT=agent)
    assert not KeyUsage.objects.exists()
    usage.flush()
    rows = list(usage.recent(edda_key.row))
    assert [(r["address"], r["client"], r["total"]) for r in rows] == [
        ("127.0.0.1", "python-httpx/0.28.1", 2),
        ("127.0.0.1", "curl/8.0", 1),
    ]


def test_last_used_and_first_used_are_written_and_never_go_back(call, edda_key):
    call(edda_key, SUMMARY)
    usage.flush()
    first = ApiKey.objects.get(pk=edda_key.id)
    assert first.first_used_at == first.last_used_at
    future = datetime.now(UTC) + timedelta(hours=1)
    ApiKey.objects.filter(pk=edda_key.id).update(last_used_at=future)
    call(edda_key, SUMMARY)
    usage.flush()
    again = ApiKey.objects.get(pk=edda_key.id)
    assert (again.first_used_at, again.last_used_at) == (first.first_used_at, future)


def test_a_request_writes_nothing(call, edda_key, django_assert_num_queries):
    call(edda_key, SUMMARY)
    with django_assert_num_queries(0):  # the look-up itself runs on a cursor of its own, see test_lookup
        usage.note_request(edda_key.row, "127.0.0.1", "x")


def test_flushing_is_a_constant_number_of_statements(edda, team, django_assert_num_queries):
    keys = [make_key(actor_of(edda, team)) for _ in range(30)]
    for key in keys:
        usage.note_request(key.row, "127.0.0.1", "x")
    with django_assert_num_queries(4):  # two statements in a savepoint
        usage.flush()
    assert KeyUsage.objects.count() == 30


def test_after_a_rotation_use_before_and_after_the_successors_first_use_is_told_apart(call, edda, edda_key):
    now = datetime.now(UTC)
    successor = call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {}).json()["key"]
    old, new = ApiKey.objects.get(pk=edda_key.id), ApiKey.objects.get(pk=successor["keyId"])
    for seconds, count in ((-30, 3), (-10, 2), (10, 4)):
        KeyUsage.objects.create(
            key=old,
            period_at=now + timedelta(seconds=seconds),
            last_at=now + timedelta(seconds=seconds),
            address="10.0.0.1",
            requests=count,
        )
    ApiKey.objects.filter(pk=new.pk).update(first_used_at=now)
    [row] = usage.since(old, now)
    assert row["total"] == 4


def test_a_rotated_key_is_counted_by_the_second(call, edda, edda_key):
    call(edda, f"POST /api/api-keys/{edda_key.id}/rotate", {})
    call(edda_key, SUMMARY)
    usage.flush()
    assert (datetime.now(UTC) - KeyUsage.objects.get().period_at) < timedelta(seconds=20)


def test_use_of_a_revoked_key_is_noted_at_most_hourly_and_revokes_nothing_else(call, edda, team, edda_key):
    other = make_key(actor_of(edda, team))
    services.revoke_key(actor_of(edda, team), edda_key.row)
    for address in ("10.0.0.1", "10.0.0.2"):
        call(edda_key, SUMMARY, REMOTE_ADDR=address)
        usage.flush()
    row = ApiKey.objects.get(pk=edda_key.id)
    assert row.refused_address == "10.0.0.1"
    ApiKey.objects.filter(pk=row.pk).update(refused_at=datetime.now(UTC) - timedelta(hours=2))
    call(edda_key, SUMMARY, REMOTE_ADDR="10.0.0.3")
    usage.flush()
    row.refresh_from_db()
    assert row.refused_address == "10.0.0.3"
    assert call(other, SUMMARY).status_code == 200


def test_made_up_clients_do_not_fill_the_memory(edda_key, monkeypatch):
    monkeypatch.setattr(usage, "MAX_ENTRIES", 5)
    for n in range(20):
        usage.note_request(edda_key.row, "127.0.0.1", f"client {n}")
    usage.flush()
    assert KeyUsage.objects.count() == 6
    assert sum(row.requests for row in KeyUsage.objects.all()) == 20


def test_a_key_in_a_user_agent_is_not_kept(call, edda_key):
    call(edda_key, SUMMARY, HTTP_USER_AGENT=f"tool key={str.__str__(edda_key)} \x1b[31m")
    usage.flush()
    client = KeyUsage.objects.get().client
    assert str.__str__(edda_key) not in client
    assert "\x1b" not in client


def test_statistics_of_a_key_that_is_gone_are_dropped_and_the_rest_is_written(edda, team):
    gone, kept = (make_key(actor_of(edda, team)) for _ in range(2))
    usage.note_request(gone.row, "127.0.0.1", "x")
    usage.note_request(kept.row, "127.0.0.1", "x")
    ApiKey.objects.filter(pk=gone.id).delete()
    usage.flush()
    assert KeyUsage.objects.get().key_id == kept.id


@pytest.mark.django_db(transaction=True)
def test_what_could_not_be_written_is_kept_for_the_next_time(edda_key, monkeypatch):
    from django.db import OperationalError

    write = usage._write

    def fail(*args):
        raise OperationalError("away")

    monkeypatch.setattr(usage, "_write", fail)
    usage.note_request(edda_key.row, "127.0.0.1", "x")
    usage.flush()
    monkeypatch.setattr(usage, "_write", write)
    usage.note_request(edda_key.row, "127.0.0.1", "x")
    usage.flush()
    assert KeyUsage.objects.get().requests == 2
    connection.close()


def test_cleaning_up_destroys_ended_values_and_drops_old_statistics(edda, team, edda_key):
    ApiKey.objects.filter(pk=edda_key.id).update(revokes_at=datetime.now(UTC) - timedelta(seconds=1))
    KeyUsage.objects.create(
        key=edda_key.row,
        period_at=datetime.now(UTC) - timedelta(days=91),
        last_at=datetime.now(UTC) - timedelta(days=91),
        address="x",
        requests=1,
    )
    assert usage.clean_up() == {"revoked": 1, "usage rows": 1}
    assert bytes(ApiKey.objects.get(pk=edda_key.id).ciphertext) == b""
