from typing import Any

from django.contrib import admin

from config.admin import ReadOnlyAdmin, ReadOnlyInline
from workspaces.models import Activity, Membership, Workspace


class MembershipInline(ReadOnlyInline):
    model = Membership
    fields = ("user", "role", "joined_at")
    readonly_fields = fields
    show_change_link = True

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).select_related("user", "workspace")


@admin.register(Workspace)
class WorkspaceAdmin(ReadOnlyAdmin):
    list_display = ("slug", "name", "is_personal", "created_at", "suspended_at")
    list_filter = ("is_personal",)
    search_fields = ("slug", "name")
    ordering = ("slug",)
    inlines = (MembershipInline,)


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    list_display = ("workspace", "user", "role", "joined_at")
    list_filter = ("role",)
    list_select_related = ("workspace", "user")
    search_fields = ("=workspace__slug", "=user__username")
    ordering = ("workspace__slug", "user__username")


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin):
    list_display = ("at", "workspace", "kind", "user", "target_name", "address")
    list_filter = ("kind",)
    list_select_related = ("workspace", "user")
    search_fields = ("=workspace__slug", "=user__username", "=target_id")
    ordering = ("-id",)
