"""Cache backends that count for django-ratelimit in one step each.

The package asks its cache to `add` a counter and, if there is one already, to `incr` it. Here `add` does both at
once, atomically, and remembers the count for the `incr` that follows on the same thread (Django gives each thread a
cache object of its own). When the store is away, `add` says False and `incr` raises ValueError, which is the answer
that the package's fail-open setting expects.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from typing import Any

import diskcache
import redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

log = logging.getLogger(__name__)

SOCKET_SECONDS = 0.25
PAUSE_SECONDS = 2.0  # between attempts while the store is away
AWAY = (redis.RedisError, sqlite3.Error, OSError, diskcache.Timeout)  # what a store that is away raises


class Breaker:
    """Lets one attempt through every `PAUSE_SECONDS` while the store is away, and logs each outage once."""

    def __init__(self, store: str):
        self.store = store
        self.is_open = False
        self._next_attempt: float
        self._lock = threading.Lock()

    def allows(self) -> bool:
        if not self.is_open:
            return True
        with self._lock:
            if time.monotonic() < self._next_attempt:
                return False
            self._next_attempt = time.monotonic() + PAUSE_SECONDS
            return True

    def failed(self, error: Exception) -> None:
        with self._lock:
            self._next_attempt = time.monotonic() + PAUSE_SECONDS
            first, self.is_open = not self.is_open, True
        if first:
            log.error("Rate limits are off: %s does not answer (%s)", self.store, type(error).__name__)

    def succeeded(self) -> None:
        if self.is_open:
            with self._lock:
                self.is_open = False
            log.warning("Rate limits are on again: %s answers", self.store)


class CountOnce:
    """The half that both stores share: `incr` hands out what `add` counted."""

    breaker: Breaker
    _counted: tuple[str, int] | None = None

    def _count(self, key: str, amount: int, seconds: float) -> int:
        raise NotImplementedError  # pragma: no cover

    def add(self, key: str, value: int, timeout: Any = DEFAULT_TIMEOUT, version: Any = None, **kwargs: Any) -> bool:
        """Count `value` on `key`; True if the counter is new. False with nothing for `incr` if the store is away."""
        self._counted = None
        if not self.breaker.allows():
            return False
        try:
            count = self._count(self.make_key(key, version), value, timeout)  # type: ignore[attr-defined]
        except AWAY as error:
            self.breaker.failed(error)
            return False
        self.breaker.succeeded()
        if count == value:
            return True
        self._counted = (key, count)
        return False

    def incr(self, key: str, delta: int = 1, version: Any = None, **kwargs: Any) -> int:
        """The count that `add` arrived at. Raises ValueError if there is none."""
        if self._counted is None or self._counted[0] != key:
            raise ValueError(f"no count for {key}")
        count, self._counted = self._counted[1], None
        return count

    def close(self, **kwargs: Any) -> None:
        """Django calls this after each request; the connection stays for the next."""


class RedisCounters(CountOnce, BaseCache):
    """Counters in Redis: one EVAL, so one round trip, for each request."""

    # EVAL and not EVALSHA: the text is short, and a Redis that was restarted has forgotten its scripts.
    SCRIPT = (
        "local n = redis.call('INCRBY', KEYS[1], ARGV[1]) "
        "if n == tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[2]) end "
        "return n"
    )
    _pools: dict[str, redis.ConnectionPool] = {}

    def __init__(self, location: str, params: dict[str, Any]):
        super().__init__(params)
        # The pool only makes connections here: each thread keeps its own, which saves the pool's bookkeeping.
        pool = self._pools.get(location)
        if pool is None:
            pool = self._pools[location] = redis.ConnectionPool.from_url(
                location,
                socket_timeout=SOCKET_SECONDS,
                socket_connect_timeout=SOCKET_SECONDS,
                max_connections=2**31,  # that it has ever made; none is given back
            )
            pool.breaker = Breaker("Redis")  # type: ignore[attr-defined]
        self.breaker = pool.breaker  # type: ignore[attr-defined]
        self._connection = pool.make_connection()

    def _count(self, key: str, amount: int, seconds: float) -> int:
        command = self._pack(key, amount, int(seconds))
        try:
            return self._call(command)
        except redis.ConnectionError:  # it was from before a restart, say; the package has closed it and makes another
            return self._call(command)

    def _call(self, command: bytes) -> int:
        self._connection.send_packed_command([command])
        return self._connection.read_response()

    _HEAD = f"*6\r\n$4\r\nEVAL\r\n${len(SCRIPT)}\r\n{SCRIPT}\r\n$1\r\n1\r\n"

    def _pack(self, *arguments: str | int) -> bytes:
        """The command in Redis' protocol; all but the last three words are always the same."""
        words = [str(argument) for argument in arguments]
        return (self._HEAD + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)).encode("ascii")


class DiskCounters(CountOnce, diskcache.DjangoCache):
    """Counters in SQLite files that the processes of one machine share: the default when there is no Redis."""

    breaker = Breaker("the folder of counters")

    def __init__(self, location: str, params: dict[str, Any]):
        self._made_from = location, params
        self._cache: Any = None
        with contextlib.suppress(*AWAY):  # a folder that is damaged or in the way is tried again with each count
            super().__init__(location, params)

    def _count(self, key: str, amount: int, seconds: float) -> int:
        if self._cache is None:
            super().__init__(*self._made_from)
        while True:
            try:
                return self._cache.incr(key, amount, default=None, retry=True)
            except KeyError:
                if self._cache.add(key, amount, expire=seconds, retry=True):
                    return amount
