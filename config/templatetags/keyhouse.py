"""Template tags that every template has."""

from datetime import datetime
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.timesince import timesince, timeuntil

register = template.Library()


@register.filter
def can(actor: Any, right: str) -> bool:
    """`{% if actor|can:"edit" %}`: may they? Nobody signed in may nothing."""
    return actor is not None and actor.can(right)


@register.simple_tag(takes_context=True)
def here(context: Any, name: str, *args: Any, **query: Any) -> str:
    """The address of a page or an action in the workspace that this page shows: `{% here "app:verb" pk q=1 %}`."""
    actor = context.get("actor")
    if actor is not None:
        query = {"workspace": actor.workspace.slug} | query
    return reverse(name, args=args) + (f"?{urlencode(query)}" if query else "")


@register.simple_tag(takes_context=True)
def tab_url(context: Any, slug: str, **query: Any) -> str:
    """The address of a settings tab, bound to the workspace that this page shows."""
    actor = context.get("actor")
    bound = {"tab": slug} | ({"workspace": actor.workspace.slug} if actor is not None else {})
    return f"{reverse('accounts:settings')}?{urlencode(bound | query)}"


@register.simple_tag
def when(moment: datetime | None, never: str = "never") -> str:
    """A time as people say it (`3 hours ago`, `in 2 days`), exact when hovered over."""
    if moment is None:
        return never
    now = timezone.now()
    if abs((now - moment).total_seconds()) < 60:
        text = "just now" if moment <= now else "in a moment"
    elif moment <= now:
        text = f"{timesince(moment, now, depth=1)} ago"
    else:
        text = f"in {timeuntil(moment, now, depth=1)}"
    exact = moment.astimezone(timezone.get_default_timezone())
    spoken = f"{exact:%-d %B %Y, %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', exact.isoformat(), spoken, text)
