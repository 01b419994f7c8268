"""What pages stand on: who may open them, and answers that no cache keeps."""

import functools
from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_http_methods

from config.api import PUBLIC, allow
from config.errors import Invalid
from config.ratelimit import count


class PageRequest(HttpRequest):
    """What views of pages are given, for the type checker: with what our middleware has put on it."""

    actor: Any
    actor_error: Any
    htmx: Any


def page(right: Any, *methods: str) -> Callable:
    """Open the decorated view to whoever has `right` in the actor's workspace (`PUBLIC`: to everybody).

    Others are sent to sign in, or told that they may not. `methods` are GET unless given. A POST must name its
    workspace in the address: a form from one tab must never act on the workspace that another tab switched to.
    """
    methods = methods or ("GET",)

    def decorate(view: Callable) -> Callable:
        @functools.wraps(view)
        def guarded(request: PageRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if right is not PUBLIC:
                if not request.user.is_authenticated:
                    return redirect_to_login(request.get_full_path())
                if request.actor_error:
                    raise request.actor_error
                if request.method == "POST" and "workspace" not in request.GET:
                    raise Invalid("The form does not say which workspace it is for; please reload the page")
                request.actor.require(right)
                if request.method == "POST":
                    count(request, "default")  # together with the person's API calls
            response = view(request, *args, **kwargs)
            if right is not PUBLIC:
                add_never_cache_headers(response)  # no-store among others: the pages are personal
            return response

        answered = [*methods, "HEAD"] if "GET" in methods else list(methods)  # RFC 9110, section 9.1
        view_of_page: Any = allow(right)(require_http_methods(answered)(guarded))
        view_of_page.page_methods = methods
        return view_of_page

    return decorate
