"""Rate limits, exact under concurrency, on the counters of one machine and on Redis."""

import json
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured

from config import rates
from config.ratelimit import HEADERS, rate_limit
from tests.conftest import assert_error
from tests.live import Server

SUMMARY = "GET /api/account/summary"


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


def test_the_last_second_of_a_window_is_not_reported_as_zero(call, edda_key, settings, monkeypatch):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": (1, 7)}
    import django_ratelimit.core

    start = int(time.time())
    waits = []
    for second in range(15):
        monkeypatch.setattr(django_ratelimit.core.time, "time", lambda second=second: start + second + 0.9)
        for _ in range(2):
            answer = call(edda_key, SUMMARY)
        waits.append(int(answer["Retry-After"]))
        monkeypatch.setattr(django_ratelimit.core.time, "time", lambda second=second: start + second + 0.9 + waits[-1])
        assert call(edda_key, SUMMARY).status_code == 200, "waiting that long was not enough"
        from django.core.cache import caches

        caches["ratelimit"].clear()
    assert min(waits) >= 1
    assert max(waits) <= 7


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/m", (100, 60)),
        ("10/30s", (10, 30)),
        ("5/2h", (5, 7200)),
        ("1/d", (1, 86400)),
        ("unlimited", None),
        ("7/min", (7, 60)),
    ],
)
def test_rates_are_read_as_documented(text, rate):
    assert rates.parse(text) == rate


@pytest.mark.parametrize("text", ["", "100", "0/m", "-1/m", "ten/m", "10/0s", "10/m extra", "1e3/m"])
def test_a_rate_that_is_none_is_refused_with_its_name(text):
    import environ

    env = environ.Env()
    env.ENVIRON = {"RATE_LIMIT_UPLOAD": text or " "}
    with pytest.raises(ImproperlyConfigured, match="RATE_LIMIT_UPLOAD"):
        rates.from_environment(env)


def test_every_category_of_the_design_can_be_set(new_server):
    assert rates.DEFAULTS["default"] == (100, 60)
    assert rates.DEFAULTS["training"] == rates.DEFAULTS["upload"] == (10, 60)
    assert rates.DEFAULTS["predict"] == rates.DEFAULTS["export"] == (20, 60)
    assert rates.DEFAULTS["download"] == (30, 60)
    assert rates.DEFAULTS["stream"] == (6000, 60)
    assert rates.DEFAULTS["dedicated"] is None


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
