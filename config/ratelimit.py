"""`@rate_limit("upload")`: what one key may do in a minute, counted by django-ratelimit.

The decorator goes on a handler of an `ApiView`. It runs after authentication and permissions and before the body is
read. It mends three things in the package: answers through DRF that say when to come back, the last second of a
window (which the package reports as 0 seconds away), and a store that is away (see `config.ratelimit_cache`).
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django_ratelimit.core import get_usage

from config.address import client_address, network
from config.errors import RateLimited


def rate_limit(category: str) -> Callable:
    """Count each request to the decorated handler in `category`. Raises RateLimited when there were too many."""
    if category not in settings.RATE_LIMITS:
        raise ValueError(f"There is no rate-limit category {category!r}")

    def decorate(handler: Callable) -> Callable:
        @functools.wraps(handler)
        def limited(view, request, *args, **kwargs):
            view.category = category
            view.rate_limit_headers = count(request._request, category)
            return handler(view, request, *args, **kwargs)

        limited.rate_limit_category = category  # type: ignore[attr-defined]
        return limited

    return decorate


def count(request: Any, category: str) -> dict[str, str]:
    """Count one request and return the headers that tell how many are left; none if there is no limit.

    Raises RateLimited with the same headers and `Retry-After` (whole seconds, at least 1).
    """
    rate = settings.RATE_LIMITS[category]
    if rate is None:
        return {}
    usage = get_usage(request, group=category, key=_identity, rate=rate, increment=True)
    if usage is None:  # the store of the counters is away
        return {}
    limit, window_seconds = rate
    # The package's window lasts until the end of the second that it names, so it is over one second later.
    seconds_left = max(1, usage["time_left"] + 1)
    remaining = max(0, limit - usage["count"])
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(time.time()) + seconds_left)),
        "RateLimit-Policy": f'"{category}";q={limit};w={window_seconds}',
        "RateLimit": f'"{category}";r={remaining};t={seconds_left}',
    }
    if usage["should_limit"]:
        details = {"category": category, "limit": limit, "window": window_seconds}
        actor = getattr(request, "actor", None)
        if actor is not None and actor.key is not None:
            details["keyPrefix"] = actor.key.prefix
        raise RateLimited(details=details, headers=headers | {"Retry-After": str(seconds_left)})
    return headers


def count_failure(request: Any) -> None:
    """Count a refused key against the client's address. Raises RateLimited when there were too many."""
    rate = settings.RATE_LIMITS["failed"]
    if rate is None:
        return
    usage = get_usage(request, group="failed", key=_address, rate=rate, increment=True)
    if usage is not None and usage["should_limit"]:
        raise RateLimited(
            details={"category": "failed", "limit": rate[0], "window": rate[1]},
            headers={"Retry-After": str(max(1, usage["time_left"] + 1))},
        )


def _identity(group: str, request: Any) -> str:
    """Whom a request counts for: its key, else the person of the session, else the client's address."""
    actor = getattr(request, "actor", None)
    if actor is None:
        return _address(group, request)
    return f"key:{actor.key.pk}" if actor.key is not None else f"user:{actor.user.pk}"


def _address(group: str, request: Any) -> str:
    return f"address:{network(client_address(request))}"
