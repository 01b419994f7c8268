"""`/healthz` and `/readyz`, for whoever starts, watches and balances servers.

Open to everybody, so they tell states and no reasons (these are in the log), and they cost little however often they
are asked: what was found out is kept for a while.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, JsonResponse

from config import startup
from config.api import PUBLIC, allow

log = logging.getLogger(__name__)

READY, AWAY, UNKNOWN = "ready", "away", "unknown"
PATHS = {"/healthz", "/readyz"}


class Check:
    """A part of the server and its state, asked for again after `seconds`, or after one while it is not ready."""

    def __init__(self, find: Callable[[], str], seconds: float):
        self.find, self.seconds = find, seconds
        self.lock = threading.Lock()
        self.until, self.state = 0.0, UNKNOWN

    def __call__(self) -> str:
        # One asks, the others wait for what it finds; not for long, or a database that hangs would take every thread.
        if not self.lock.acquire(timeout=1):
            return UNKNOWN
        try:
            if time.monotonic() > self.until:
                self.state = self._find()
                self.until = time.monotonic() + (self.seconds if self.state == READY else 1)
            return self.state
        finally:
            self.lock.release()

    def _find(self) -> str:
        try:
            state = self.find()
        except (DatabaseError, InterfaceError) as error:
            state = AWAY
            if self.state != state:
                log.error("Not ready: the database does not answer (%s)", type(error).__name__)
            connection.close()
        return state


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return READY


def _keyring() -> str:
    if problems := startup.encryption_key_problems():
        log.error("Not ready: %s", " ".join(problems))
        return "wrong"
    return READY


def _migrations() -> str:
    missing = _known_migrations() - set(MigrationRecorder(connection).applied_migrations())
    if missing:
        log.error("Not ready: %s migrations are not applied; run manage.py migrate", len(missing))
    return "pending" if missing else READY


@cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).graph.nodes)


def _limiter() -> str:
    counters: Any = caches[settings.RATELIMIT_USE_CACHE]
    counters.add("health", 1, 60)  # through the breaker, so that a store that is away costs nothing here either
    return AWAY if counters.breaker.is_open else READY


DATABASE, LIMITER = Check(_database, 1), Check(_limiter, 1)
KEYRING, MIGRATIONS = Check(_keyring, 10), Check(_migrations, 10)


@allow(PUBLIC)
def healthz(request: HttpRequest) -> JsonResponse:
    """200: the process answers. Asks nothing else, so that no outage makes a supervisor kill a server that is fine."""
    return _answer({"status": "ok"}, 200)


@allow(PUBLIC)
def readyz(request: HttpRequest) -> JsonResponse:
    """200: send requests here. 503: not now, and which part is why. A limiter that is away is told, no more."""
    database = DATABASE()
    checks = {
        "database": database,
        "migrations": MIGRATIONS() if database == READY else UNKNOWN,
        "keyring": KEYRING() if database == READY else UNKNOWN,
        "limiter": LIMITER(),
    }
    is_ready = all(state == READY for part, state in checks.items() if part != "limiter")
    return _answer({"status": "ready" if is_ready else "not ready", "checks": checks}, 200 if is_ready else 503)


def _answer(body: dict[str, Any], status: int) -> JsonResponse:
    response = JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django logs each 503, and this one comes often
    return response
