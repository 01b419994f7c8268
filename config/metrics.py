"""`/metrics` for Prometheus: what the whole installation has done, as the database knows it."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from config.api import PUBLIC, allow

collectors: list[Callable[[], Iterable[Metric]]] = []  # higher apps add theirs
PATH = "/metrics"
FORWARDED = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")  # what proxies put on
LOOPBACK_NAMES = ("", "localhost", "127.0.0.1", "[::1]")


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
        raise Http404
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All())  # type: ignore[arg-type]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: Any) -> bool:
    if settings.METRICS_TOKEN:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        return scheme.lower() == "bearer" and constant_time_compare(token, settings.METRICS_TOKEN)
    return _is_of_this_machine(request.META)


def _is_of_this_machine(environ: dict[str, Any]) -> bool:
    """Does it come from this machine, and not through a proxy on it, which brings everybody's requests?"""
    if settings.PUBLIC_URL and not settings.TRUSTED_PROXIES:
        return False  # there is a proxy, and nobody has said that it names the clients
    if any(name.startswith(FORWARDED) for name in environ):
        return False
    if re.sub(r":\d*$", "", environ.get("HTTP_HOST", "")) not in LOOPBACK_NAMES:
        return False
    try:
        return ipaddress.ip_address(environ.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
