from typing import Any

from django.utils.functional import SimpleLazyObject

from workspaces.models import Membership


def switcher(request: Any) -> dict[str, Any]:
    """Every workspace of the signed-in person, the personal one first, for the sidebar; asked for once a page."""
    actor = getattr(request, "actor", None)
    if actor is None:
        return {"places": []}
    mine = Membership.objects.filter(user=actor.user).select_related("workspace")
    return {"places": SimpleLazyObject(lambda: list(mine.order_by("-workspace__is_personal", "workspace__slug")))}
