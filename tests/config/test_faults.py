"""Real faults: Redis away, PostgreSQL restarted, a worker killed."""

import os
import shutil
import signal
import subprocess
import time

import httpx
import psutil
import pytest

from tests.live import Redis, Server, wait_for
from tests.security.hammer import Hammers


@pytest.fixture
def redis():
    redis = Redis()
    yield redis
    redis.stop()


def statuses(server, token, count):
    return [server.get(token).status_code for _ in range(count)]


def test_requests_go_on_while_redis_is_away_and_limits_hold_again_when_it_is_back(new_server, redis):
    server = new_server(REDIS_URL=redis.url, RATE_LIMIT_DEFAULT="5/10m")
    token = server.new_key()
    assert statuses(server, token, 7) == [200] * 5 + [429] * 2

    redis.stop()
    started = time.monotonic()
    answers = statuses(server, token, 40)
    assert answers == [200] * 40
    assert time.monotonic() - started < 15, "a store that is away costs little"
    assert "Rate limits are off: Redis does not answer" in server.output
    assert server.output.count("Rate limits are off") <= 2, "one line for each of the two processes"

    redis.start()
    wait_for(lambda: 429 in statuses(server, token, 10), 15, "limits did not come back")
    time.sleep(2.5)
    statuses(server, token, 20)
    assert statuses(server, token, 5) == [429] * 5
    assert "Rate limits are on again" in server.output


def test_a_redis_that_hangs_costs_a_quarter_of_a_second_and_not_the_request(new_server, redis):
    server = new_server(REDIS_URL=redis.url)
    token = server.new_key()
    statuses(server, token, 4)
    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert statuses(server, token, 20) == [200] * 20
        assert time.monotonic() - started < 6
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("damage", ["garbage", "a file in the way"])
def test_counters_that_cannot_be_opened_turn_limits_off_and_not_the_api(new_server, damage):
    server = new_server(RATE_LIMIT_DEFAULT="2/10m")
    token = server.new_key()
    assert statuses(server, token, 3) == [200, 200, 429]
    server.stop()
    folder = server.data_dir / "ratelimit"
    if damage == "garbage":
        for file in folder.rglob("cache.db*"):
            file.write_bytes(b"garbage" * 1000)
    else:
        shutil.rmtree(folder)
        folder.write_text("in the way")
    server.start()
    assert statuses(server, token, 6) == [200] * 6
    assert 1 <= server.output.count("Rate limits are off: the folder of counters") <= 2, "once for each process"

    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    wait_for(lambda: 429 in statuses(server, token, 6), 15, "limits did not come back")


def postmaster(server):
    return int((server.data_dir / "pg" / "postmaster.pid").read_text().split("\n", 1)[0])


def assert_recovers(server, token, seconds=30):
    """Until the database is back every answer is a 503 in the documented format; then requests are served again."""
    seen = []
    end = time.monotonic() + seconds
    good = 0
    while good < 10:
        assert time.monotonic() < end, f"no recovery: {seen}"
        answer = httpx.get(
            f"{server.url}/api/account/summary", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        seen.append(answer.status_code)
        assert answer.status_code in (200, 503), answer.text
        assert server.get(token, "/api/auth/verify").status_code in (204, 503), "proxies are not told that it is bad"
        if answer.status_code == 503:
            assert answer.json()["code"] == "UNAVAILABLE"
            assert int(answer.headers["Retry-After"]) >= 1
            good = 0
            time.sleep(0.1)
        else:
            good += 1
    return seen


def test_requests_recover_from_a_restart_of_postgresql(new_server):
    server = new_server(RATE_LIMIT_DEFAULT="unlimited")
    token = server.new_key()
    page = server.sign_in()
    statuses(server, token, 20)
    before = postmaster(server)

    os.kill(before, signal.SIGINT)  # a fast shutdown
    assert_recovers(server, token)
    assert server.output.count("Traceback") == 0, "a line for each, not the way there: they come in masses"
    assert postmaster(server) != before
    assert page.http.get("/settings?tab=api-keys").status_code == 200

    # A crash: the postmaster and everything it started, killed.
    victims = [psutil.Process(postmaster(server)), *psutil.Process(postmaster(server)).children()]
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, 10)
    assert_recovers(server, token)
    assert page.http.get("/settings?tab=api-keys").status_code == 200

    assert server.stop() == 0
    left = server.data_dir / "pg" / "postmaster.pid"
    assert not left.exists(), "the one that a worker has started ends with the server"


def end_quickly(server):
    os.kill(postmaster(server), signal.SIGINT)


def kill_a_backend(server):
    """One backend dies of kill -9: PostgreSQL then ends all others and recovers by itself."""
    backends = [p for p in psutil.Process(postmaster(server)).children() if "keyhouse" in " ".join(p.cmdline())]
    assert backends
    backends[0].kill()


def kill_everything(server):
    main = psutil.Process(postmaster(server))
    for process in (main, *main.children()):
        process.kill()


@pytest.mark.parametrize("fault", [end_quickly, kill_a_backend, kill_everything])
def test_under_load_a_good_key_is_never_called_bad_while_the_database_is_away(tough, fault):
    token = tough.new_key(fault.__name__)
    hammers = Hammers(tough.url, token, processes=2)
    try:
        wait_for(lambda: tough.get(token).status_code == 200, 20)
        time.sleep(2)
        fault(tough)
        at = time.monotonic_ns()
        assert_recovers(tough, token)
        time.sleep(1)
    finally:
        requests = hammers.requests()
    assert {status for _, _, status in requests} <= {200, 503}
    assert any(status == 200 and end < at for _, end, status in requests), "there was load before"
    assert requests[-1][2] == 200
    assert max(end - start for start, end, _ in requests) < 20e9, "no request hangs"
    # What was counted meanwhile is written when the database is back.
    accepted = sum(status == 200 for _, _, status in requests)
    counted = (
        "from django.db.models import Sum; from apikeys.models import KeyUsage\n"
        f"print(KeyUsage.objects.filter(key__name='{fault.__name__}').aggregate(n=Sum('requests'))['n'] or 0)"
    )
    wait_for(lambda: int(tough.shell(counted)) >= accepted, 15, lambda: f"{tough.shell(counted)} of {accepted}")


@pytest.fixture(scope="module")
def tough(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("tough") / "data", RATE_LIMIT_DEFAULT="unlimited").start()
    yield server
    server.stop()


def test_a_broken_connection_is_replaced_within_the_request(new_server):
    server = new_server(RATE_LIMIT_DEFAULT="unlimited")
    token = server.new_key()
    statuses(server, token, 20)
    server.shell(
        "from django.db import connection\n"
        "connection.cursor().execute('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
        "pg_backend_pid() AND datname = current_database()')"
    )
    assert statuses(server, token, 20) == [200] * 20


def test_a_killed_worker_loses_a_few_seconds_of_statistics_and_nothing_else(new_server):
    server = new_server(RATE_LIMIT_DEFAULT="unlimited", USAGE_FLUSH_SECONDS="1")
    token = server.new_key()
    assert statuses(server, token, 30) == [200] * 30
    time.sleep(2.5)  # written
    counted = "from apikeys.models import KeyUsage; print(sum(u.requests for u in KeyUsage.objects.all()))"
    assert server.shell(counted) == "30"
    workers = psutil.Process(server.process.pid).children()
    gunicorn = [w for w in workers if "postgres" not in w.name()]
    assert len(gunicorn) == 2
    statuses(server, token, 10)
    for worker in gunicorn:
        worker.kill()
    wait_for(lambda: _answers(server, token), 20, "no new worker")
    second = server.new_key("made after the crash")
    assert server.get(second).status_code == 200
    time.sleep(2.5)
    assert 30 <= int(server.shell(counted)) <= 60
    row = "from apikeys.models import ApiKey; print(*ApiKey.objects.filter(name='a key').values_list('revoked_at'))"
    assert server.shell(row) == "(None,)"


def _answers(server, token):
    try:
        return server.get(token).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_counts_of_a_graceful_stop_are_all_there(new_server):
    server = new_server(RATE_LIMIT_DEFAULT="unlimited", USAGE_FLUSH_SECONDS="600")
    token = server.new_key()
    assert statuses(server, token, 25) == [200] * 25
    server.stop()
    counted = "from apikeys.models import KeyUsage; print(sum(u.requests for u in KeyUsage.objects.all()))"
    assert server.shell(counted) == "25"


def test_nothing_is_left_running(new_server):
    server = new_server()
    pid = postmaster(server)
    server.stop()
    wait_for(lambda: not is_running(pid), 5, "PostgreSQL goes on")
    found = subprocess.run(["pgrep", "-f", str(server.data_dir)], capture_output=True, text=True).stdout.split()
    assert [p for p in found if is_running(int(p))] == []


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
