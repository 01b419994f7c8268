"""The WSGI application: one chain of middleware for pages, a short one for calls with a key.

A program's call needs no session, no messages and no CSRF token; leaving them out is a good part of what a call
costs. Who sends a session's cookie and no Authorization header gets the full chain, on API paths as well.
"""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

django.setup(set_prefix=False)

from config import request_id
from config.middleware import takes_short_chain
from config.startup import refuse_wrong_encryption_key


class ApiHandler(WSGIHandler):
    def load_middleware(self, is_async: bool = False) -> None:
        full, settings.MIDDLEWARE = settings.MIDDLEWARE, settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = full


refuse_wrong_encryption_key()
_pages = WSGIHandler()
_api = ApiHandler()


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer one request (PEP 3333), with its id."""
    header = (request_id.HEADER, request_id.begin(environ))

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, header], exc_info)

    return (_api if takes_short_chain(environ) else _pages)(environ, start)
