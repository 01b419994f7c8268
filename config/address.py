"""Where a request comes from."""

import ipaddress
from typing import Any

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "unknown"


def client_address(request: HttpRequest) -> str:
    """The client's IP address as text, or `unknown`; see `address_in`."""
    return address_in(request.META)


def address_in(environ: dict[str, Any]) -> str:
    """The client's IP address as text, or `unknown` (a proxy on a Unix socket that names none).

    Each of the `TRUSTED_PROXIES` in front appends the address it saw to X-Forwarded-For, so the entry that many
    from the right is the client; everything left of it was sent by the client and is not believed.
    """
    found = environ.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXIES and "HTTP_X_FORWARDED_FOR" in environ:
        forwarded = environ["HTTP_X_FORWARDED_FOR"].split(",")
        if len(forwarded) >= settings.TRUSTED_PROXIES:
            found = forwarded[-settings.TRUSTED_PROXIES].strip()
        try:
            return str(ipaddress.ip_address(found))
        except ValueError:
            return UNKNOWN
    return found or UNKNOWN


def network(address: str) -> str:
    """What limits count as one client: an IPv4 address, or the /64 that an IPv6 client commands."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address.split("%")[0], 64), strict=False))
    except ValueError:
        return address
