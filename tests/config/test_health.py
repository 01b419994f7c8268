"""`/healthz` and `/readyz` of a server whose parts are really away."""

import httpx
import pytest

from tests.config.test_serve import PRODUCTION
from tests.live import Postgres, Redis, wait_for

ALL_READY = {"database": "ready", "migrations": "ready", "keyring": "ready", "limiter": "ready"}


def ready(server):
    answer = httpx.get(f"{server.url}/readyz", timeout=30)
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"status", "checks"}
    assert answer.json()["status"] == {200: "ready", 503: "not ready"}[answer.status_code]
    return answer.status_code, answer.json()["checks"]


def both_processes(server, expected):
    """Each process finds out for itself: several answers in a row say the same."""
    wait_for(lambda: all(ready(server) == expected for _ in range(8)), 20, lambda: f"{ready(server)}, not {expected}")


def test_a_limiter_that_is_away_is_told_and_the_server_stays_ready(new_server):
    redis = Redis()
    try:
        server = new_server(REDIS_URL=redis.url)
        assert ready(server) == (200, ALL_READY)
        redis.stop()
        both_processes(server, (200, ALL_READY | {"limiter": "away"}))
        redis.start()
        both_processes(server, (200, ALL_READY))
        assert "redis" not in httpx.get(f"{server.url}/readyz").text.lower()
    finally:
        redis.stop()


@pytest.fixture
def postgres(tmp_path):
    postgres = Postgres(tmp_path / "postgres")
    yield postgres
    postgres.stop()


def test_a_database_that_is_away_makes_the_server_not_ready_and_nobody_kills_it(new_server, postgres):
    server = new_server(DATABASE_URL=postgres.url)
    assert ready(server) == (200, ALL_READY)
    postgres.stop()
    away = {"database": "away", "migrations": "unknown", "keyring": "unknown", "limiter": "ready"}
    both_processes(server, (503, away))
    alive = httpx.get(f"{server.url}/healthz", headers={"Cookie": "keyhouse_session=abc"})
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert str(postgres.port) not in httpx.get(f"{server.url}/readyz").text
    postgres.start()
    both_processes(server, (200, ALL_READY))
    assert server.output.count("Not ready: the database does not answer") <= 2, "once for each process"


def test_migrations_that_lack_and_keys_that_do_not_open_make_it_not_ready(new_server, postgres):
    server = new_server(DATABASE_URL=postgres.url)
    server.new_key()
    gone = postgres.query("DELETE FROM django_migrations WHERE app = 'apikeys' RETURNING app, name, applied")
    both_processes(server, (503, ALL_READY | {"migrations": "pending"}))
    for app, name, applied in gone:
        postgres.query(f"INSERT INTO django_migrations (app, name, applied) VALUES ('{app}', '{name}', '{applied}')")
    both_processes(server, (200, ALL_READY))
    postgres.query("UPDATE apikeys_apikey SET encryption_key_id = 'other'")
    both_processes(server, (503, ALL_READY | {"keyring": "wrong"}))
    assert "'other'" not in httpx.get(f"{server.url}/readyz").text
    assert "'other'" in server.output


def test_a_balancer_in_production_may_ask_without_https_and_by_address(new_server, postgres):
    server = new_server(wait=False, **PRODUCTION, DATABASE_URL=postgres.url, TRUSTED_PROXIES="1")
    server.manage("migrate")
    server.start()
    for path in ("/healthz", "/readyz"):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_asking_often_costs_the_database_little(client, db, django_assert_max_num_queries):
    from config import health

    for check in (health.DATABASE, health.KEYRING, health.MIGRATIONS):
        check.until = 0
    with django_assert_max_num_queries(12):
        for _ in range(50):
            assert client.get("/readyz").status_code == 200
    with django_assert_max_num_queries(0):
        assert client.get("/healthz").status_code == 200
