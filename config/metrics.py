"""`/metrics` for Prometheus: what the whole installation has done, as the database knows it."""

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from config.api import PUBLIC, allow
from config.errors import NotFound

collectors: list[Callable[[], Iterable[Metric]]] = []  # higher apps add theirs
FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_HOST")


class _All:
    def collect(self) -> Iterator[Metric]:
        for collector in collectors:
            yield from collector()
        counters: Any = caches[settings.RATELIMIT_USE_CACHE]
        is_up = not counters.breaker.is_open
        yield GaugeMetricFamily("keyhouse_limiter_up", "The store of the rate limits answers this process.", int(is_up))


@allow(PUBLIC)
def metrics(request: HttpRequest) -> HttpResponse:
    """Everything in Prometheus' text format, for who knows `METRICS_TOKEN`; if there is none, for this machine only.

    A 404 for all others: nothing tells them that there is something.
    """
    if not _may_read(request):
        raise NotFound
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All())  # type: ignore[arg-type]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: Any) -> bool:
    if settings.METRICS_TOKEN:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        return scheme.lower() == "bearer" and constant_time_compare(token, settings.METRICS_TOKEN)
    if any(name in request.META for name in FORWARDED):
        return False  # somebody else's request that a proxy on this machine has passed on
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
