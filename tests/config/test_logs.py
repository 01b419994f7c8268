"""The log: no key whichever way it is written; JSON for machines; one id for a request, its lines and its answer."""

import io
import json
import logging
import logging.handlers
import re
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from django.conf import settings

from config.logs import JsonFormatter, RedactingFormatter
from tests.live import ROOT, wait_for

VALUE = "ul_" + "0123456789" * 4
SHOWN = VALUE[:11] + "[redacted]"


class Clumsy(Exception):
    """An exception that has the value in everything it is made of."""

    def __init__(self):
        super().__init__(f"cannot use {VALUE}")
        self.add_note(f"a note on {VALUE}")


def raise_and_log(log):
    try:
        try:
            raise ValueError(VALUE)
        except ValueError:
            raise Clumsy from None
    except Clumsy:
        log.exception("failed with %s", VALUE)


def log_with_cause(log):
    try:
        try:
            raise ValueError(VALUE)
        except ValueError as cause:
            raise RuntimeError("second") from cause
    except RuntimeError:
        log.error("failed", exc_info=True)


def from_elsewhere(log):
    """A record from another process, as a queue or a socket delivers it."""
    log.handle(logging.makeLogRecord({"msg": f"from elsewhere {VALUE}", "levelno": 40, "name": "other"}))


WAYS = {
    "the message": lambda log: log.error(f"key {VALUE}"),
    "an argument": lambda log: log.error("key %s", VALUE),
    "two halves": lambda log: log.error("%s%s", VALUE[:20], VALUE[20:]),
    "arguments by name": lambda log: log.error("%(key)s", {"key": VALUE}),
    "an argument that is not shown": lambda log: log.error("%(a)s", {"a": 1, "key": VALUE}),
    "bytes": lambda log: log.error("%r", VALUE.encode()),
    "something in a list": lambda log: log.error("%s", [{"headers": {"Authorization": f"Bearer {VALUE}"}}]),
    "arguments that do not fit": lambda log: log.error("%d %d", VALUE),
    "extra": lambda log: log.error("x", extra={"key": VALUE, "number": 5}),
    "something in extra": lambda log: log.error("x", extra={"headers": {"Authorization": [VALUE.encode()]}}),
    "a request in extra": lambda log: log.error("x", extra={"request": Clumsy()}),
    "an exception": raise_and_log,
    "the cause of an exception": log_with_cause,
    "an exception that is given": lambda log: log.error("x", exc_info=Clumsy()),
    "the stack": lambda log: log.error("x", stack_info=True) or "ul_0123456789012345678901234567890123456789",
    "a warning": lambda log: warnings.warn(f"careful with {VALUE}", stacklevel=1),
    "a record from elsewhere": from_elsewhere,
    "the name of a logger": lambda log: logging.getLogger(VALUE).error("x"),
}


@pytest.fixture
def outputs():
    """What our handlers write, in both formats, wherever a logger hangs."""
    streams = {}
    handlers = []
    for name, formatter in (
        ("text", RedactingFormatter("%(levelname)s %(name)s: %(message)s")),
        ("json", JsonFormatter()),
    ):
        streams[name] = io.StringIO()
        handlers.append(logging.StreamHandler(streams[name]))
        handlers[-1].setFormatter(formatter)
        logging.getLogger().addHandler(handlers[-1])
    yield streams
    for handler in handlers:
        logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "logger", ["apikeys.services", "django.request", "gunicorn.error", "a.package.we.never.saw", ""]
)
def test_a_value_does_not_get_into_the_log(outputs, way, logger, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest keeps warnings for itself; this is what captureWarnings has put in place of it.
        warnings.showwarning = logging._showwarning
        WAYS[way](logging.getLogger(logger))
    caplog.clear()  # this is what the suite would complain of
    for text in (stream.getvalue() for stream in outputs.values()):
        assert text, "nothing was logged"
        assert VALUE not in text
        assert VALUE[3:] not in text
    line = json.loads(outputs["json"].getvalue().splitlines()[0])
    assert {"time", "level", "logger", "message", "process"} <= set(line)
    if way == "an exception":
        assert "Clumsy: cannot use " + SHOWN in line["exception"]
        assert "Traceback" in outputs["text"].getvalue()


@pytest.mark.parametrize("way", [way for way in WAYS if way != "a warning"])
def test_a_handler_of_a_package_that_is_not_ours_gets_no_value_either(way, caplog):
    class Foreign(logging.handlers.MemoryHandler):
        def emit(self, record):
            seen.extend(map(str, vars(record).values()))
            seen.append(repr(vars(record)))
            seen.append(logging.Formatter().format(record))

    seen, log = [], logging.getLogger("foreign")
    handler = Foreign(10)
    log.addHandler(handler)
    try:
        WAYS[way](logging.getLogger("foreign"))
    finally:
        log.removeHandler(handler)
        caplog.clear()
    assert seen or way == "the name of a logger"
    assert VALUE[3:] not in "".join(seen)


def test_a_message_cannot_forge_a_line(outputs):
    logging.getLogger("x").error("path %s", "/a\n2026-01-01 00:00:00 CRITICAL fake: all is lost\x1b[31m")
    assert len(outputs["text"].getvalue().splitlines()) == 1
    assert "\x1b" not in outputs["text"].getvalue()
    assert json.loads(outputs["json"].getvalue())["message"].count("\n") == 1


def test_every_handler_of_the_server_has_a_formatter_of_ours(new_server):
    """No logger has a handler of its own that would write past the redaction; nothing stops a record on its way."""
    server = new_server(wait=False)
    found = server.shell(
        "import logging, config.wsgi, config.gunicorn\n"
        "from gunicorn.config import Config\n"
        "cfg = Config(); cfg.set('logconfig_dict', config.gunicorn.logconfig_dict)\n"
        "config.gunicorn.AccessLogger(cfg)\n"
        "loggers = [logging.getLogger(n) for n in logging.root.manager.loggerDict]\n"
        "quiet = logging.NullHandler\n"
        "print([x.name for x in loggers if not x.propagate or any(type(h) is not quiet for h in x.handlers)])\n"
        "print([type(h.formatter).__name__ for h in logging.root.handlers])\n"
    )
    assert found.splitlines() == ["[]", "['RedactingFormatter']"], found


def test_what_nobody_catches_is_logged_and_redacted(tmp_path):
    code = (
        "import config.gunicorn, django, threading; django.setup()\n"
        f"def fail(): raise ValueError('{VALUE[:20]}' + '{VALUE[20:]}')\n"
        "t = threading.Thread(target=fail); t.start(); t.join()\n"
        "fail()\n"
    )
    environment = {"DATA_DIR": str(tmp_path), "LOG_FORMAT": "json", "PATH": "/usr/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines] == ["ValueError was not caught"] * 2
    assert all(SHOWN in line["exception"] for line in lines)
    assert VALUE not in done.stderr


@pytest.fixture
def chatty(new_server):
    return new_server(LOG_FORMAT="json", ACCESS_LOG="on", TRUSTED_PROXIES="1", LOG_LEVEL="DEBUG")


def lines_of(server):
    return [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]


def test_a_request_has_one_id_in_its_lines_and_in_its_answer(chatty):
    token = chatty.new_key()
    mine = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "203.0.113.7", "X-Request-Id": "from-the-proxy-1"}
    answer = httpx.get(f"{chatty.url}/api/account/summary?secret=abc", headers=mine)
    assert answer.headers.get_list("X-Request-Id") == ["from-the-proxy-1"]
    found: list[dict] = []

    def is_logged():  # after the answer
        found[:] = [x for x in lines_of(chatty) if x.get("request_id") == "from-the-proxy-1" and "path" in x]
        return found

    wait_for(is_logged, 5)
    [line] = found
    assert line["logger"] == "gunicorn.access"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/account/summary", 200)
    assert line["key_prefix"] == token[:11]
    assert line["address"] == "203.0.113.7"
    assert 0 < line["milliseconds"] < 10_000
    at = datetime.fromisoformat(line["time"])
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=5)
    assert "secret=abc" not in chatty.output
    assert token not in chatty.output

    others = [
        f"{chatty.url}{path}" for path in ("/healthz", "/accounts/login/", "/nope", "/static/css/base.css", "/api/x")
    ]
    ids = [httpx.get(url).headers["X-Request-Id"] for url in others]
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)
    assert len(set(ids)) == len(ids)
    everything = [line for line in chatty.output.splitlines() if not line.startswith("{")]
    assert [x for x in everything if x.strip() and "Keyhouse" not in x and "  " not in x] == [], "all lines are JSON"


@pytest.mark.parametrize(
    "bad", [VALUE, "short", "a" * 65, "with blank inside", "<script>alert(1)</script>", "nul%00here"]
)
def test_an_id_that_is_not_sane_is_replaced(server, bad):
    answer = httpx.get(f"{server.url}/healthz", headers={"X-Request-Id": bad})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_a_client_without_a_proxy_does_not_choose_the_id(server):
    answer = httpx.get(f"{server.url}/healthz", headers={"X-Request-Id": "my-own-request-id"})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_the_sdk_keeps_the_id_of_an_error(server):
    from ultralytics_platform import APIError, Platform

    with pytest.raises(APIError) as caught:
        Platform(api_key=VALUE, base_url=server.url).account.summary()
    assert re.fullmatch("[0-9a-f]{32}", caught.value.request_id)


def test_threads_do_not_share_an_id():
    from config import request_id

    first = request_id.begin({})
    seen = []
    thread = threading.Thread(target=lambda: seen.append(request_id.current()))
    thread.start()
    thread.join()
    assert seen == [""]
    assert request_id.current() == first
    request_id.end()
    assert request_id.current() == ""
    assert settings.TRUSTED_PROXIES == 0
