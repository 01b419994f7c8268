"""Settings > Endpoints: services of one's own that ask this server about each request's key."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from apikeys import endpoints
from apikeys.forms import EndpointForm
from apikeys.models import Endpoint
from config.context import absolute
from config.errors import Invalid
from config.pages import PageRequest, page
from workspaces.access import Right

TAB = {"tab": "endpoints"}


@page(Right.LIST_KEYS)
def endpoint_list(request: PageRequest) -> HttpResponse:
    """The endpoints of the workspace, and what they are for."""
    found = Endpoint.objects.filter(workspace=request.actor.workspace).select_related("creator").order_by("name", "pk")
    return render(request, "apikeys/endpoints.html", TAB | {"endpoints": found[:500]})


@page(Right.MANAGE_KEYS, "GET", "POST")
def endpoint_create(request: PageRequest) -> HttpResponse:
    """Ask for the service, then show how its proxy is set up."""
    return _form(request, None)


@page(Right.LIST_KEYS)
def endpoint_detail(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    """One endpoint with the ready configuration of each kind of proxy."""
    endpoint = endpoints.find_endpoint(request.actor, endpoint_id)
    check = absolute(request, reverse("apikeys-api:verify-below", kwargs={"rest": f"endpoints/{endpoint.pk}"}))
    context = {"endpoint": endpoint, "snippets": endpoints.configurations(endpoint, check), "check": check}
    return render(request, "apikeys/endpoint.html", TAB | context)


@page(Right.MANAGE_KEYS, "GET", "POST")
def endpoint_change(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    return _form(request, endpoints.find_endpoint(request.actor, endpoint_id))


@page(Right.MANAGE_KEYS, "GET", "POST")
def endpoint_delete(request: PageRequest, endpoint_id: UUID) -> HttpResponse:
    """Say that its proxy will refuse everything, then forget it."""
    endpoint = endpoints.find_endpoint(request.actor, endpoint_id)
    if request.method == "POST":
        endpoints.delete_endpoint(request.actor, endpoint)
        messages.success(request, f"“{endpoint.name}” is deleted. Its proxy refuses all requests from now on.")
        return redirect(f"{reverse('accounts:settings')}?tab=endpoints&workspace={request.actor.workspace.slug}")
    return render(request, "apikeys/endpoint_delete.html", TAB | {"endpoint": endpoint})


def _form(request: PageRequest, endpoint: Endpoint | None) -> HttpResponse:
    actor = request.actor
    initial: Any = None
    if endpoint is not None:
        initial = {n: getattr(endpoint, n) for n in ("name", "upstream", "required_role")}
    form = EndpointForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            if endpoint is None:
                endpoint = endpoints.create_endpoint(actor, **form.cleaned_data)
            else:
                endpoints.change_endpoint(actor, endpoint, **form.cleaned_data)
        except Invalid as error:
            for field, problems in error.details.items():
                form.add_error(field, problems)
        else:
            path = reverse("apikeys:endpoint-detail", args=[endpoint.pk])
            return redirect(f"{path}?workspace={actor.workspace.slug}")
    context = TAB | {"form": form, "endpoint": endpoint}
    return render(request, "apikeys/endpoint_form.html", context, status=400 if form.errors else 200)
