from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from apikeys import leak_admin, services
from apikeys.access_admin import access
from apikeys.models import ApiKey, Decoy, Endpoint
from config.admin import STAFF, ReadOnlyAdmin, ask_first, origin
from config.api import allow


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("ended", "Revoked"), ("scheduled", "Revocation scheduled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet | None:
        active = ApiKey.objects.active()
        match self.value():
            case "active":
                return queryset.filter(pk__in=active.values("pk"))
            case "ended":
                return queryset.exclude(pk__in=active.values("pk"))
            case "scheduled":
                return queryset.filter(pk__in=active.filter(revokes_at__isnull=False).values("pk"))
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys without their values. Nothing can be edited; revoking goes through the same service as everywhere."""

    change_list_template = "admin/apikeys/change_list.html"
    list_display = ("prefix", "name", "workspace", "creator", "created_at", "last_used_at", "revokes_at", "revoked_at")
    list_filter = (StateFilter, "created_at", "last_used_at")
    list_select_related = ("workspace", "creator")
    search_fields = ("^prefix", "name", "=workspace__slug", "=creator__username")
    search_help_text = "The beginning of a prefix, part of a name, or a workspace's or creator's exact name."
    ordering = ("-created_at", "-id")
    list_per_page = 50
    actions = ("revoke",)
    fields = (
        "prefix",
        "name",
        "workspace",
        "creator",
        "created_at",
        "first_used_at",
        "last_used_at",
        "replaces",
        "rotated_at",
        "revokes_at",
        "revoked_at",
        "revoked_by",
        "revoke_reason",
        "refused_at",
        "refused_address",
        "encryption_key_id",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        # Neither the digest nor the ciphertext leaves the database for a page that shows neither.
        return super().get_queryset(request).defer("digest", "ciphertext")

    def get_urls(self) -> list:
        @csrf_exempt
        @allow(STAFF)
        def leaked(request: HttpRequest) -> HttpResponse:
            if not self.has_revoke_permission(request):
                raise PermissionDenied
            return leak_admin.leaked_keys(self, request)

        guarded = csrf_exempt(self.admin_site.admin_view(leaked))
        ours = [
            path("leaks/", guarded, name="apikeys_apikey_leaks"),
            path("access/", self.admin_site.admin_view(access), name="access"),
        ]
        return [*ours, *super().get_urls()]

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """A whole key that somebody pastes to find out whose it is finds nothing: values belong in no URL."""
        if len(search_term) > 11 and search_term.startswith("ul_"):
            self.message_user(
                request,
                "Search by the first 11 characters. A whole key, once pasted, is in the browser's history: revoke it.",
                messages.WARNING,
            )
            search_term = search_term[:11]
        return super().get_search_results(request, queryset, search_term)

    @admin.action(description="Revoke selected API keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet) -> TemplateResponse | None:
        keys = queryset.filter(revoked_at=None).select_related("workspace", "creator")
        question = ask_first(
            self,
            request,
            action="revoke",
            title="Revoke API keys?",
            warning="From the next request on, these keys will be refused. This cannot be undone.",
            rows=keys,
            describe=lambda key: f"{key.prefix}… {key.name}, in {key.workspace}, made by {key.creator}",
            button="Revoke",
            reason="may",
        )
        if question is not None:
            return question
        ended = services.revoke_as_operator(
            request.user, [key.pk for key in keys], reason=request.POST.get("reason", ""), **origin(request)
        )
        self.message_user(request, f"Revoked {ended} of {queryset.count()} selected keys.", messages.SUCCESS)
        return None

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("apikeys.revoke_apikey") or request.user.has_perm("apikeys.change_apikey")


@admin.register(Decoy)
class DecoyAdmin(ReadOnlyAdmin):
    """Decoys of all workspaces, and when they were used."""

    list_display = ("prefix", "name", "workspace", "creator", "created_at", "used_at", "used_address", "used_client")
    list_select_related = ("workspace", "creator")
    search_fields = ("^prefix", "name", "=workspace__slug")
    ordering = ("-used_at", "-created_at")
    fields = list_display


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    """Services of people's own that ask about keys."""

    list_display = ("name", "workspace", "upstream", "required_role", "creator", "created_at")
    list_select_related = ("workspace", "creator")
    search_fields = ("name", "=workspace__slug", "upstream")
    ordering = ("workspace__slug", "name")
    fields = list_display
