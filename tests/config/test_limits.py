"""Rate limits, exact under concurrency, on the counters of one machine and on Redis."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace

import django_ratelimit.core
import environ
import httpx
import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from apikeys import tokens
from config import ratelimit_cache, rates
from config.ratelimit import rate_limit
from tests.conftest import assert_error
from tests.live import Redis, Server, wait_for

SUMMARY = "GET /api/account/summary"
HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit")


def hammer_from_processes(url, token, processes=4, each=250):
    """(status, headers) of so many requests from so many processes at once."""
    command = [sys.executable, "-m", "tests.load", url, str(each)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for worker in workers:
        worker.stdin.write(token + "\n")
        worker.stdin.flush()
    lines = [line for worker in workers for line in worker.communicate(timeout=120)[0].splitlines()]
    return [tuple(json.loads(line)) for line in lines]


@pytest.mark.parametrize("store", ["files", "redis"])
def test_of_1000_requests_from_4_processes_in_one_window_exactly_100_pass(request, new_server, store):
    variables = {"REDIS_URL": request.getfixturevalue("redis_server").url} if store == "redis" else {}
    # A window that no run can straddle twice: the test begins when a new one has begun.
    server = new_server(RATE_LIMIT_DEFAULT="100/10m", **variables)
    for attempt in range(10):  # each key has windows of its own: take one that has just begun
        token = server.new_key(f"key {attempt}")
        first = server.get(token)
        if int(re.search(r"t=(\d+)", first.headers["RateLimit"])[1]) > 120:
            break
    answers = [(first.status_code, dict(first.headers)), *hammer_from_processes(server.url, token, each=250)]
    passed = [headers for status, headers in answers if status == 200]
    refused = [headers for status, headers in answers if status == 429]
    assert (len(passed), len(refused)) == (100, 901)
    # Each answer says what was left after it: of the hundred, each number once.
    assert sorted(int(headers["x-ratelimit-remaining"]) for headers in passed) == list(range(100))
    for headers in passed + refused:
        r, t = map(int, re.fullmatch(r'"default";r=(\d+);t=(\d+)', headers["ratelimit"]).groups())
        assert r == int(headers["x-ratelimit-remaining"])
        assert 1 <= t <= 600
        assert headers["x-ratelimit-limit"] == "100"
        assert headers["ratelimit-policy"] == '"default";q=100;w=600'
        assert headers.get("retry-after", str(t)) == str(t)
        assert ("retry-after" in headers) == (headers in refused)


def test_every_answer_says_how_much_is_left(call, edda_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (5, 600)}
    before = datetime.now(UTC)
    remaining = []
    for _ in range(7):
        answer = call(edda_key, SUMMARY)
        assert set(HEADERS) <= set(answer.headers)
        assert answer["X-RateLimit-Limit"] == "5"
        assert answer["RateLimit-Policy"] == '"default";q=5;w=600'
        r, t = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer["RateLimit"]).groups()
        assert answer["X-RateLimit-Remaining"] == r
        assert 1 <= int(t) <= 600
        reset = datetime.fromisoformat(answer["X-RateLimit-Reset"])
        assert abs((reset - before).total_seconds() - int(t)) < 5
        remaining.append(int(r))
    assert remaining == [4, 3, 2, 1, 0, 0, 0]


def test_too_fast_is_a_429_that_says_when_to_come_back(call, edda_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (1, 600)}
    call(edda_key, SUMMARY)
    answer = call(edda_key, SUMMARY)
    assert_error(answer, 429, "Rate limit exceeded", "RATE_LIMITED")
    assert answer.json()["details"] == {
        "category": "default",
        "limit": 1,
        "window": 600,
        "keyPrefix": edda_key[:11],
    }
    assert re.fullmatch("[1-9][0-9]*", answer["Retry-After"])


def test_too_many_keys_that_are_none_are_a_429_that_names_no_key(call, edda_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"failed": (1, 600)}
    assert_error(call(tokens.new_token(), SUMMARY), 401)
    answer = call(tokens.new_token(), SUMMARY)
    assert_error(answer, 429, "Rate limit exceeded", "RATE_LIMITED")
    assert answer.json()["details"] == {"category": "failed", "limit": 1, "window": 600}
    assert call(edda_key, SUMMARY).status_code == 200, "a good key from the same address is not held up"


@pytest.mark.parametrize("category", ["default", "failed"])
def test_without_a_limit_nothing_is_counted_and_nothing_said(call, edda_key, settings, category):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {category: None}
    who, status = (edda_key, 200) if category == "default" else (tokens.new_token(), 401)
    for _ in range(400):
        answer = call(who, SUMMARY)
        assert answer.status_code == status
        assert not set(HEADERS) & set(answer.headers)


def test_refusals_say_nothing_about_limits(call, edda_key, vera_key):
    for who, what, status in (
        (None, SUMMARY, 401),
        ("ul_nonsense", SUMMARY, 401),
        (vera_key, "POST /api/api-keys/current/rotate", 403),
    ):
        answer = call(who, what)
        assert answer.status_code == status
        assert not set(HEADERS) & set(answer.headers)


def test_errors_after_counting_carry_the_headers(call, edda):
    for body, path in (({"name": ""}, "api-keys"), (b"{", "api-keys")):
        answer = call(edda, f"POST /api/{path}", body)
        assert answer.status_code == 400
        assert set(HEADERS) <= set(answer.headers)


def test_the_body_is_not_read_when_the_limit_is_reached(call, edda, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (1, 600)}
    call(edda, "GET /api/api-keys")
    assert call(edda, "POST /api/api-keys", b"not json at all").status_code == 429


def test_each_key_and_each_person_has_a_counter_of_their_own(call, edda, edda_key, stan_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (1, 600)}
    assert [call(who, SUMMARY).status_code for who in (edda_key, stan_key, edda)] == [200, 200, 200]
    assert [call(who, SUMMARY).status_code for who in (edda_key, stan_key, edda)] == [429, 429, 429]


def test_waiting_as_long_as_the_answer_says_is_always_enough(new_server):
    server = new_server(RATE_LIMIT_DEFAULT="2/2s")
    tokens = [server.new_key(f"key {n}") for n in range(4)]  # each has windows that begin at another second
    failures = []

    def one_client(token):
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            for _ in range(6):
                for _ in range(10):
                    answer = client.get(f"{server.url}/api/account/summary")
                    if answer.status_code == 429:
                        break
                    time.sleep(0.03)
                else:
                    failures.append("never limited")
                time.sleep(int(answer.headers["Retry-After"]))
                answer = client.get(f"{server.url}/api/account/summary")
                if answer.status_code != 200:
                    failures.append(answer.headers["Retry-After"])

    threads = [threading.Thread(target=one_client, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("category", ["default", "failed"])
def test_to_wait_is_neither_too_short_nor_too_long_in_any_second_of_a_window(
    call, edda_key, settings, monkeypatch, category
):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {category: (1, 7)}
    who, passed = (edda_key, 200) if category == "default" else (tokens.new_token(), 401)
    start = int(time.time())

    def answer_at(seconds):
        monkeypatch.setattr(django_ratelimit.core.time, "time", lambda: start + seconds)
        return call(who, SUMMARY)

    waits = []
    for second in range(15):
        assert answer_at(second + 0.9).status_code == passed
        limited = answer_at(second + 0.9)
        assert limited.status_code == 429
        waits.append(int(limited["Retry-After"]))
        assert answer_at(second + 0.9 + waits[-1] - 1).status_code == 429, "to wait a second less was enough"
        assert answer_at(second + 0.9 + waits[-1]).status_code == passed, "waiting that long was not enough"
        caches["ratelimit"].clear()
    assert (min(waits), max(waits)) == (1, 7)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/m", (100, 60)),
        ("10/30s", (10, 30)),
        ("5/2h", (5, 7200)),
        ("1/d", (1, 86400)),
        ("unlimited", None),
        ("7/min", (7, 60)),
        (" Unlimited ", None),
        (" 1 / m ", (1, 60)),
    ],
)
def test_rates_are_read_as_documented(text, rate):
    assert rates.parse(text) == rate


@pytest.mark.parametrize("text", ["", "100", "0/m", "-1/m", "ten/m", "10/0s", "10/m extra", "1e3/m"])
def test_a_rate_that_is_none_is_refused_with_its_name(text):
    env = environ.Env()
    env.ENVIRON = {"RATE_LIMIT_UPLOAD": text or " "}
    with pytest.raises(ImproperlyConfigured, match="RATE_LIMIT_UPLOAD"):
        rates.from_environment(env)


MINUTE = {"default": 100, "training": 10, "upload": 10, "predict": 20, "export": 20, "download": 30, "stream": 6000}
LIMITS = {category: (requests, 60) for category, requests in MINUTE.items()}
LIMITS |= {"dedicated": None, "invite": (60, 3600), "report": (10, 60), "failed": (300, 60)}


def test_the_categories_are_those_of_the_design_and_each_can_be_set():
    env = environ.Env()
    env.ENVIRON = {}
    assert rates.from_environment(env) == LIMITS
    for category in LIMITS:
        env.ENVIRON = {f"RATE_LIMIT_{category.upper()}": "7/s"}
        assert rates.from_environment(env) == LIMITS | {category: (7, 1)}


def test_a_category_that_does_not_exist_is_noticed_when_the_code_is_loaded():
    with pytest.raises(ValueError, match="uplaod"):
        rate_limit("uplaod")


def test_a_nonsense_rate_stops_the_start_with_one_clear_sentence(tmp_path):
    server = Server(tmp_path / "data", RATE_LIMIT_UPLOAD="many")
    done = server.manage("check", check=False)
    assert done.returncode != 0
    assert "RATE_LIMIT_UPLOAD" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_method_that_is_not_answered_names_those_that_are(call, edda_key):
    answer = call(edda_key, "PATCH /api/api-keys")
    assert_error(answer, 405, code="METHOD_NOT_ALLOWED")
    assert answer["Allow"] == "GET, POST, DELETE, HEAD"


@pytest.fixture
def clock(monkeypatch):
    """The seconds that circuit breakers go by."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(ratelimit_cache, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def redis(clock):
    redis = Redis()
    yield redis
    redis.stop()


@pytest.fixture(params=["files", "redis"])
def counters(request, tmp_path):
    if request.param == "redis":
        return ratelimit_cache.RedisCounters(request.getfixturevalue("redis_server").url, {})
    return ratelimit_cache.DiskCounters(str(tmp_path / "counters"), {})


def count(counters, key, seconds=60):
    """One more on a counter as django-ratelimit does it; the count, or None where the store is away."""
    if counters.add(key, 1, timeout=seconds):
        return 1
    try:
        return counters.incr(key)
    except ValueError:
        return None


def test_counters_count_each_on_its_own_until_their_window_ends(counters):
    assert [count(counters, key, 2) for key in ("a", "b", "a", "a", "b")] == [1, 1, 2, 3, 2]
    wait_for(lambda: count(counters, "a", 60) == 1, 10, "the counter did not end")
    assert count(counters, "a", 60) == 2


def test_a_count_is_handed_out_once_and_for_its_own_counter_only(counters):
    key = f"{time.time_ns()}"
    assert counters.add(key, 1, timeout=60)
    with pytest.raises(ValueError, match="no count"):
        counters.incr(key)
    assert not counters.add(key, 1, timeout=60)
    with pytest.raises(ValueError, match="no count"):
        counters.incr("another")
    assert counters.incr(key) == 2
    with pytest.raises(ValueError, match="no count"):
        counters.incr(key)
    counters.add(key, 1, timeout=60)
    counters.add("another", 1, timeout=60)
    with pytest.raises(ValueError, match="no count"):
        counters.incr(key)


def outages(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records if "Rate limits" in record.message]


OFF = ("ERROR", "Rate limits are off: the store does not answer (OSError)")
ON = ("WARNING", "Rate limits are on again: the store answers")


def test_while_a_store_is_away_one_request_in_two_seconds_asks_it_and_an_outage_is_two_lines(clock, caplog):
    breaker = ratelimit_cache.Breaker("the store")
    breaker.succeeded()
    assert [breaker.allows(), breaker.allows()] == [True, True]
    for _ in range(2):
        breaker.failed(OSError())
        clock.now += 1.9
        assert not breaker.allows()
        clock.now += 0.1
        assert [breaker.allows(), breaker.allows()] == [True, False]
        clock.now += 2
        assert [breaker.allows(), breaker.allows()] == [True, False]
    assert outages(caplog) == [OFF]
    breaker.succeeded()
    assert [breaker.allows(), breaker.allows()] == [True, True]
    assert outages(caplog) == [OFF, ON]
    breaker.failed(OSError())
    assert outages(caplog) == [OFF, ON, OFF], "the next outage is said again"


def test_a_redis_that_goes_and_comes_back_is_counted_on_again(redis, clock, caplog):
    counters = ratelimit_cache.RedisCounters(redis.url, {})
    assert [count(counters, "a"), count(counters, "a")] == [1, 2]
    redis.stop()
    assert count(counters, "a") is None
    redis.start()
    assert count(counters, "a") is None, "not asked again so soon"
    clock.now += 2
    assert [count(counters, "a"), count(counters, "a")] == [1, 2]
    assert [level for level, _ in outages(caplog)] == ["ERROR", "WARNING"]
    redis.stop()
    redis.start()
    assert count(counters, "a") == 1, "a connection from before a restart costs no request its count"
    assert len(outages(caplog)) == 2


def test_while_the_counters_are_away_keys_are_told_from_what_is_none_as_ever(call, edda_key, redis, settings):
    settings.CACHES = settings.CACHES | {
        "ratelimit": {"BACKEND": "config.ratelimit_cache.RedisCounters", "LOCATION": redis.url}
    }
    assert "RateLimit" in call(edda_key, SUMMARY)
    redis.stop()
    for _ in range(2):
        assert_error(call(tokens.new_token(), SUMMARY), 401, "Invalid API key")
        answer = call(edda_key, SUMMARY)
        assert (answer.status_code, "RateLimit" in answer) == (200, False)


def test_what_a_redis_answers_too_late_is_not_taken_for_the_answer_to_the_next_question(redis, clock, caplog):
    counters = ratelimit_cache.RedisCounters(redis.url, {})
    assert [count(counters, key) for key in "aab"] == [1, 2, 1]
    os.kill(redis.process.pid, signal.SIGSTOP)
    try:
        assert count(counters, "a") is None
    finally:
        os.kill(redis.process.pid, signal.SIGCONT)
    clock.now += 2
    assert count(counters, "b") == 2
    assert outages(caplog)[0] == ("ERROR", "Rate limits are off: Redis does not answer (TimeoutError)")


@pytest.mark.parametrize("takes_connections", [True, False])
def test_a_redis_that_says_nothing_holds_a_request_up_for_less_than_the_package_would_wait(clock, takes_connections):
    with socket.socket() as silent, contextlib.ExitStack() as waiting:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64 if takes_connections else 0)
        for _ in range(0 if takes_connections else 8):  # as many as are let wait, and some
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(silent.getsockname())
        counters = ratelimit_cache.RedisCounters(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", {})
        with ThreadPoolExecutor() as pool:
            assert pool.submit(count, counters, "a").result(timeout=4) is None


def test_a_counter_that_redis_cannot_count_on_is_as_good_as_away(redis, clock, caplog):
    counters = ratelimit_cache.RedisCounters(redis.url, {})
    import redis as client

    client.Redis.from_url(redis.url).lpush(counters.make_key("list"), "x")
    assert count(counters, "list") is None
    clock.now += 2
    assert [count(counters, "a"), count(counters, "a")] == [1, 2]
    assert outages(caplog)[0] == ("ERROR", "Rate limits are off: Redis does not answer (ResponseError)")


def test_connections_of_all_threads_to_one_redis_share_what_is_known_of_it(redis, clock):
    one, other = (ratelimit_cache.RedisCounters(redis.url, {}) for _ in range(2))
    assert [count(one, "a"), count(other, "a")] == [1, 2]
    redis.stop()
    assert count(one, "a") is None
    assert not other.breaker.allows()


def test_as_many_threads_as_there_are_count_each_on_a_connection_of_its_own(redis, clock):
    all_counters = [ratelimit_cache.RedisCounters(redis.url, {}) for _ in range(150)]
    assert [count(counters, "a") for counters in all_counters] == list(range(1, 151))


def test_who_has_to_wait_for_the_counters_of_another_process_counts_all_the_same(tmp_path):
    counters = ratelimit_cache.DiskCounters(str(tmp_path / "counters"), {})
    count(counters, "known")
    for key, expected in (("known", 2), ("new", 1)):
        held = [sqlite3.connect(path, isolation_level=None) for path in tmp_path.glob("counters/*/cache.db")]
        assert len(held) == 8
        for link in held:
            link.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor() as pool:
            counted = pool.submit(count, counters, key)
            time.sleep(0.3)
            assert not counted.done()
            for link in held:
                link.close()
            assert counted.result() == expected


def test_a_folder_of_counters_that_is_in_the_way_is_opened_as_soon_as_it_can_be(tmp_path, clock, monkeypatch, caplog):
    monkeypatch.setattr(ratelimit_cache.DiskCounters, "breaker", ratelimit_cache.Breaker("the folder of counters"))
    folder = tmp_path / "counters"
    folder.write_text("in the way")
    counters = ratelimit_cache.DiskCounters(str(folder), {})
    assert count(counters, "a") is None
    folder.unlink()
    assert count(counters, "a") is None
    clock.now += 2
    assert [count(counters, "a"), count(counters, "a")] == [1, 2]
    assert [level for level, _ in outages(caplog)] == ["ERROR", "WARNING"]
