"""Decoys: values that look like keys, to be hidden where a thief would look."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from apikeys import leaks
from apikeys.forms import DecoyForm
from apikeys.models import Decoy
from config.errors import Invalid
from config.pages import PageRequest, page
from workspaces.access import Right

TAB = {"tab": "api-keys"}


@page(Right.MANAGE_KEYS, "GET", "POST")
def decoy_list(request: PageRequest) -> HttpResponse:
    """The decoys of the workspace; a new one shows its value in the answer, once."""
    actor, token = request.actor, ""
    form = DecoyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            _, token = leaks.create_decoy(actor, **form.cleaned_data)
        except Invalid as error:
            form.add_error("name", error.details["name"])
    decoys = Decoy.objects.filter(workspace=actor.workspace).select_related("creator").order_by("-created_at")[:500]
    context = TAB | {"form": form if not token else DecoyForm(), "decoys": decoys, "token": token}
    return render(request, "apikeys/decoys.html", context, status=400 if form.errors else 200)


@page(Right.MANAGE_KEYS, "POST")
def decoy_delete(request: PageRequest, decoy_id: UUID) -> HttpResponse:
    leaks.delete_decoy(request.actor, decoy_id)
    messages.success(request, "The decoy is deleted.")
    return redirect(f"{reverse('apikeys:decoy-list')}?workspace={request.actor.workspace.slug}")
