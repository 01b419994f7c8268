"""`request.actor`: the signed-in person in the workspace that the page or the API call is about."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse

from accounts.reauthentication import proved_at
from accounts.sessions import name_of
from config.address import client_address
from config.clients import client_name
from config.errors import NotFound
from config.pages import PageRequest
from workspaces import services


class ActorMiddleware:
    """Takes the workspace from `?workspace=`, which every form of ours carries, else the one chosen last.

    A workspace where the person has no place leaves `request.actor` None and the reason in `request.actor_error`;
    whoever needs the actor raises it.
    """

    def __init__(self, get_response: Callable[[PageRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: PageRequest) -> HttpResponse:
        request.actor = request.actor_error = None
        if request.user.is_authenticated:
            self.find_actor(request, request.GET.get("workspace"))
        return self.get_response(request)

    def process_view(self, request: PageRequest, view: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """A page whose path begins with the name of a workspace is about that one, whatever was chosen last."""
        owner = kwargs.get("owner", "").lower()
        if not owner or not request.user.is_authenticated or request.path_info.startswith("/api/"):
            return
        if request.actor is None or request.actor.workspace.slug != owner:
            self.find_actor(request, owner)

    def find_actor(self, request: PageRequest, slug: str | None) -> None:
        request.actor = request.actor_error = None
        try:
            request.actor = services.actor_in(
                request.user,
                slug,
                address=client_address(request),
                client=client_name(request),
                session=name_of(request.session),
                proved_at=proved_at(request),
                is_visit=True,
            )
        except NotFound as error:
            request.actor_error = error
