"""The admin's page of who had access to what at a moment."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.models import User
from apikeys import history
from config.admin import STAFF
from config.api import allow
from config.exports import csv_file
from workspaces.models import Workspace

ROWS = 500  # of members and of keys on the page; the file has all


class AccessForm(forms.Form):
    """The operator's question who had access to what: a moment, and a workspace or a person or both."""

    at = forms.DateTimeField(
        label="Date and time (UTC)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    workspace = forms.CharField(required=False, max_length=32, help_text="The URL name that it has today.")
    person = forms.CharField(required=False, max_length=254, help_text="A username or an e-mail address.")

    def clean_at(self) -> datetime:
        try:
            at = self.cleaned_data["at"].astimezone(UTC)
        except OverflowError:
            at = None
        if at is None or at > timezone.now():
            raise forms.ValidationError("Choose a moment in the past.")
        return at

    def clean_workspace(self) -> Workspace | None:
        name = self.cleaned_data["workspace"].strip().lower()
        found = Workspace.objects.filter(slug=name).first() if name else None
        if name and found is None:
            raise forms.ValidationError("There is no workspace of this name.")
        return found

    def clean_person(self) -> User | None:
        name = self.cleaned_data["person"].strip()
        found = User.objects.filter(Q(username=name.lower()) | Q(email__iexact=name)).first() if name else None
        if name and found is None:
            raise forms.ValidationError("There is nobody of this name or address.")
        return found

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if not self.errors and data["workspace"] is None and data["person"] is None:
            raise forms.ValidationError("Name a workspace, a person, or both.")
        return data


@allow(STAFF)
def access(request: HttpRequest) -> HttpResponseBase:
    """A form, and once that is sent the memberships and keys of then, as a page or a file."""
    if not request.user.has_perms(["workspaces.view_membership", "apikeys.view_apikey"]):
        raise PermissionDenied
    initial = {"at": timezone.now(), "workspace": request.GET.get("workspace"), "person": request.GET.get("person")}
    form = AccessForm(request.GET if "at" in request.GET else None, initial=initial)
    context = admin.site.each_context(request) | {"title": "Who had access", "form": form}
    if form.is_valid():
        asked = form.cleaned_data
        question = {"workspace": asked["workspace"], "person": asked["person"]}
        members, keys = history.members_at(asked["at"], **question), history.keys_at(asked["at"], **question)
        if "csv" in request.GET:
            return csv_file("access.csv", history.HEADER, history.rows(members, keys))
        context |= {"asked": asked, "members": members[:ROWS], "keys": keys[:ROWS], "row_limit": ROWS}
        context["query"] = request.GET.urlencode()
    return TemplateResponse(request, "admin/access.html", context, status=400 if form.errors else 200)
