"""CPU time of requests that are made in this process, through the WSGI application."""

import io
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from django.db import connection

# What gunicorn gives for a request of a Python client behind no proxy.
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "gunicorn",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "50000",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "python-requests/2.32.3",
    "HTTP_ACCEPT": "*/*",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate",
    "HTTP_CONNECTION": "keep-alive",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": None,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


class Cost(NamedTuple):
    """CPU microseconds of one request. Redis is not part of the sum."""

    python: float
    postgresql: float
    redis: float

    @property
    def total(self) -> float:
        return self.python + self.postgresql


@dataclass
class Variant:
    """One way to answer a request. `activate` is called before each of its blocks, outside of what is timed."""

    title: str
    path: str
    headers: list[dict[str, str]]
    activate: Callable[[], None]
    query: str = ""
    costs: list[Cost] = field(default_factory=list)
    next_header: int = 0

    def environs(self, count: int) -> list[dict[str, Any]]:
        made = []
        for _ in range(count):
            headers = self.headers[self.next_header]
            self.next_header = (self.next_header + 1) % len(self.headers)
            made.append(
                ENVIRON | {"PATH_INFO": self.path, "QUERY_STRING": self.query, "wsgi.input": io.BytesIO()} | headers
            )
        return made

    def totals(self) -> list[float]:
        return [cost.total for cost in self.costs]


def interleave(
    application: Any, variants: list[Variant], *, rounds: int, requests: int, redis_pid: int | None = None
) -> None:
    """Let the variants take turns, in an order that changes with each round, after a round that does not count."""
    order = random.Random(1)
    for number in range(rounds + 1):
        for variant in order.sample(variants, len(variants)):
            cost = block(application, variant, requests, redis_pid)
            if number:
                variant.costs.append(cost)


def block(application: Any, variant: Variant, requests: int, redis_pid: int | None = None) -> Cost:
    """The mean cost of `requests` requests in a row. Raises AssertionError if one is not answered with 200."""
    variant.activate()
    statuses: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        statuses.append(status)

    def answer(environ: dict[str, Any]) -> None:
        response = application(environ, start_response)
        for _ in response:
            pass
        response.close()

    environs = variant.environs(requests)
    answer(variant.environs(1)[0])  # connects
    backend = connection.connection.info.backend_pid if connection.connection is not None else None
    before = time.process_time_ns(), on_cpu(backend), on_cpu(redis_pid)
    for environ in environs:
        answer(environ)
    after = time.process_time_ns(), on_cpu(backend), on_cpu(redis_pid)
    refused = set(statuses) - {"200 OK"}
    assert not refused, f"{variant.title}: {refused}"
    return Cost(*((b - a) / requests / 1000 for a, b in zip(before, after, strict=True)))


def on_cpu(pid: int | None) -> int:
    """Nanoseconds that a process has run: exact where Linux tells, else in ticks of usually 10 ms."""
    if pid is None:
        return 0
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except OSError:
        times = psutil.Process(pid).cpu_times()
        return int((times.user + times.system) * 1e9)


def ratios(variant: Variant, other: Variant) -> list[float]:
    """What `variant` costs in terms of `other`, round by round."""
    return [a / b for a, b in zip(variant.totals(), other.totals(), strict=True)]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def middle_half(values: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4)
    return low, high
