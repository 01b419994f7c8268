"""Who uses a key: counted in memory, written in one go."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apikeys import services, usage
from apikeys.models import ApiKey, KeyDay, KeyUsage, Total
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
    with django_assert_num_queries(5):  # three statements in a savepoint
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
    done = usage.clean_up()
    assert (done["revoked"], done["usage rows"]) == (1, 1)
    assert bytes(ApiKey.objects.get(pk=edda_key.id).ciphertext) == b""


# By day and category


def test_what_came_of_requests_is_counted_by_day_and_category(call, cast, edda_key, vera_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (3, 60)}
    for _ in range(5):
        call(edda_key, "GET /api/account/summary")  # two of them too fast
    call(edda_key, "POST /api/webhooks/training/metrics", {"event": "nonsense", "data": {}})
    Client().get("/api/auth/verify", HTTP_AUTHORIZATION=f"Bearer {str.__str__(edda_key)}")
    Client().get("/api/auth/verify?role=admin", HTTP_AUTHORIZATION=f"Bearer {str.__str__(edda_key)}")
    call(vera_key, "GET /api/api-keys")  # forbidden
    call(None, "GET /api/account/summary")
    call("ul_" + "0" * 40, "GET /api/account/summary")
    usage.flush()

    rows = {(d.key_id, d.category): (d.requests, d.errors, d.limited) for d in KeyDay.objects.all()}
    assert rows == {
        (edda_key.id, "default"): (5, 2, 2),
        (edda_key.id, "stream"): (1, 1, 0),
        (edda_key.id, "dedicated"): (2, 1, 0),
        (vera_key.id, "default"): (1, 1, 0),
    }
    totals = {(t.category, t.outcome): t.requests for t in Total.objects.all()}
    assert totals == {
        ("default", "ok"): 3,
        ("default", "limited"): 2,
        ("default", "error"): 1,
        ("stream", "error"): 1,
        ("dedicated", "ok"): 1,
        ("dedicated", "error"): 1,
        ("failed", "error"): 2,
    }
    usage.note_outcome(edda_key.id, "default", 200)
    usage.flush()
    assert KeyDay.objects.get(key=edda_key.id, category="default").requests == 6
    assert Total.objects.get(category="default", outcome="ok").requests == 4


def test_the_page_of_a_keys_usage_tells_days_categories_addresses_and_clients(call, browser, cast, edda_key):
    call(edda_key, "GET /api/account/summary", REMOTE_ADDR="10.1.2.3", HTTP_USER_AGENT="trainer/1.0")
    usage.flush()
    path = f"/settings/api-keys/{edda_key.id}/usage?workspace=acme"
    KeyDay.objects.create(key=edda_key.row, day=date.today() - timedelta(days=40), category="download", requests=7)
    page = browser(cast.edda).get(path).content.decode()
    for text in ("10.1.2.3", "trainer/1.0", "default"):
        assert text in page
    assert "download" not in page
    assert "download" in browser(cast.edda).get(f"{path}&days=90").content.decode()
    assert browser(cast.vera).get(path).status_code == 403
    assert browser(cast.stan).get(f"/settings/api-keys/{edda_key.id}/usage?workspace=stan").status_code == 404


def test_a_key_that_nobody_used_for_90_days_is_marked(browser, cast, edda_key):
    page = "/settings?tab=api-keys&workspace=acme"
    assert "Unused for 90 days" not in browser(cast.edda).get(page).content.decode()
    ApiKey.objects.update(created_at=timezone.now() - timedelta(days=91))
    assert "Unused for 90 days" in browser(cast.edda).get(page).content.decode()
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(days=89))
    assert "Unused for 90 days" not in browser(cast.edda).get(page).content.decode()


def metrics_of(**extra):
    return Client().get("/metrics", **({"HTTP_HOST": "localhost"} | extra))


def test_prometheus_reads_what_all_processes_have_counted(call, cast, edda_key):
    call(edda_key, "GET /api/account/summary")
    usage.flush()
    answer = metrics_of()
    assert answer.status_code == 200
    families = {f.name: f for f in text_string_to_metric_families(answer.content.decode())}
    [sample] = families["keyhouse_requests"].samples
    assert (sample.labels, sample.value) == ({"category": "default", "outcome": "ok"}, 1)
    assert families["keyhouse_limiter_up"].samples[0].value == 1
    assert "keyhouse_key_rows" in families
    assert "keyhouse_runs" in families


def test_metrics_are_for_this_machine_or_for_who_knows_the_token(settings, db):
    settings.ALLOWED_HOSTS = ["*"]  # a server asks for no name here
    assert metrics_of(REMOTE_ADDR="10.1.2.3").status_code == 404
    assert metrics_of(REMOTE_ADDR="::1").status_code == 200
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000"):
        assert metrics_of(HTTP_HOST=host).status_code == 200
    for name in ("X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "VIA"):
        assert metrics_of(**{f"HTTP_{name}": "10.1.2.3"}).status_code == 404
    assert metrics_of(HTTP_HOST="keys.example.org").status_code == 404, "a proxy that passes the name on"
    settings.PUBLIC_URL = "https://keys.example.org"
    assert metrics_of().status_code == 404, "a proxy that puts nothing on"
    settings.TRUSTED_PROXIES = 1
    assert metrics_of().status_code == 200
    settings.METRICS_TOKEN = "a long secret"
    assert metrics_of().status_code == 404
    assert metrics_of(HTTP_AUTHORIZATION="Bearer wrong").status_code == 404
    assert metrics_of(REMOTE_ADDR="10.1.2.3", HTTP_AUTHORIZATION="Bearer a long secret").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_processes_that_write_the_same_keys_as_used_and_as_refused_never_wait_in_a_circle(edda, team):
    """One has used a key that the other has seen refused, and the other way round, many times at once."""
    import threading
    import time

    from django.db import connection

    keys = [make_key(actor_of(edda, team), f"key {n}").row for n in range(12)]
    now = time.time()
    failures = []
    together = threading.Barrier(4)

    def write(number):
        try:
            for turn in range(15):
                mine = [key for n, key in enumerate(keys) if (n + number + turn) % 2]
                others = [key for key in keys if key not in mine]
                together.wait()
                usage._write(
                    {(key.pk, 3600 * turn, "127.0.0.1", ""): [1, now, now] for key in mine},
                    {key.pk: ("127.0.0.1", now) for key in others},
                    {},
                    {("default", "ok"): 1},
                )
        except Exception as error:
            failures.append(repr(error))
            together.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
