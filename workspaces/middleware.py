"""`request.actor`: the signed-in person in the workspace that the page or the API call is about."""

from collections.abc import Callable

from django.http import HttpResponse

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
            try:
                request.actor = services.actor_in(
                    request.user,
                    request.GET.get("workspace"),
                    address=client_address(request),
                    client=client_name(request),
                )
            except NotFound as error:
                request.actor_error = error
        return self.get_response(request)
