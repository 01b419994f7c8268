from typing import Any

from django.utils.functional import SimpleLazyObject

import accounts.second_factor
from workspaces.models import Membership, Workspace


def second_factor(request: Any) -> dict[str, Any]:
    """The teams that close to the signed-in person once they give up the only second factor that they have."""
    return {"teams_at_stake": SimpleLazyObject(lambda: _teams_at_stake(request.user))}


def _teams_at_stake(user: Any) -> list[Any]:
    if not user.is_authenticated or accounts.second_factor.of(user)[:2].count() > 1:
        return []
    return list(Workspace.objects.filter(memberships__user=user, requires_second_factor=True).order_by("slug"))


def switcher(request: Any) -> dict[str, Any]:
    """Every workspace of the signed-in person, the personal one first, for the sidebar; asked for once a page."""
    actor = getattr(request, "actor", None)
    if actor is None:
        return {"places": []}
    mine = Membership.objects.filter(user=actor.user).select_related("workspace")
    return {"places": SimpleLazyObject(lambda: list(mine.order_by("-workspace__is_personal", "workspace__slug")))}
