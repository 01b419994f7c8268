"""Template tags that every template has."""

from typing import Any

from django import template
from django.urls import reverse
from django.utils.http import urlencode

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
