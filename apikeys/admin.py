from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from apikeys import services
from apikeys.models import ApiKey
from config.address import client_address
from config.admin import ReadOnlyAdmin
from config.clients import client_name


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
        keys = queryset.filter(Q(revoked_at=None)).select_related("workspace", "creator")
        if "confirmed" not in request.POST:
            context = self.admin_site.each_context(request) | {
                "title": "Revoke API keys?",
                "keys": list(keys[:200]),
                "count": keys.count(),
                "selected": request.POST.getlist("_selected_action"),
                "select_across": request.POST.get("select_across", "0"),
                "opts": self.model._meta,
            }
            return TemplateResponse(request, "admin/apikeys/revoke.html", context)
        ended = services.revoke_as_operator(
            request.user,
            [key.pk for key in keys],
            reason=request.POST.get("reason", ""),
            address=client_address(request),
            client=client_name(request),
        )
        self.message_user(request, f"Revoked {ended} of {queryset.count()} selected keys.", messages.SUCCESS)
        return None

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("apikeys.revoke_apikey") or request.user.has_perm("apikeys.change_apikey")
