"""System checks of the project itself."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import Error, register
from django.urls import URLPattern, URLResolver, get_resolver

OURS = ("config.", "accounts.", "workspaces.", "apikeys.", "training.")


@register()
def every_view_says_who_may_use_it(app_configs: Any, **kwargs: Any) -> list[Any]:
    """A handler of ours without `@allow` is an error: forgetting it must not open a door."""
    return [
        Error(f"{name} does not say who may use it.", hint="Add @allow(Right…) or @allow(PUBLIC).", id="keyhouse.E010")
        for _, name, handler in handlers()
        if not hasattr(handler, "allowed_right")
    ]


def handlers() -> Iterator[tuple[str, str, Any]]:
    """Every (path, name, handler) of our own views: each method of an API view, each page."""
    for path, callback in patterns():
        view = getattr(callback, "cls", None)
        if view is None:
            if callback.__module__.startswith(OURS):
                yield path, f"{callback.__module__}.{callback.__qualname__}", callback
        elif view.__module__.startswith(OURS):
            for method in view.http_method_names:
                if method != "options" and hasattr(view, method):
                    yield path, f"{view.__module__}.{view.__name__}.{method}", getattr(view, method)


def patterns() -> Iterator[tuple[str, Any]]:
    """Every (path, view) of the server, ours or not."""
    return _patterns(get_resolver().url_patterns, "")


def _patterns(entries: list[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        if isinstance(entry, URLResolver):
            yield from _patterns(entry.url_patterns, prefix + str(entry.pattern))
        elif isinstance(entry, URLPattern):
            yield prefix + str(entry.pattern), entry.callback
