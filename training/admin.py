from typing import Any

from django.contrib import admin

from config.admin import ReadOnlyAdmin
from training.models import Project, Run


@admin.register(Project)
class ProjectAdmin(ReadOnlyAdmin):
    """Projects of all workspaces. What changes, changes on their pages."""

    list_display = ("slug", "workspace", "name", "creator", "created_at", "deleted_at")
    list_filter = ("created_at", "deleted_at")
    list_select_related = ("workspace", "creator")
    search_fields = ("slug", "name", "=workspace__slug")
    search_help_text = "Part of a project's name, or a workspace's exact name."
    ordering = ("-created_at",)
    fields = ("slug", "workspace", "name", "description", "visibility", "creator", "created_at", "deleted_at")


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs of all workspaces: whose they are and how far, without what was measured."""

    list_display = ("slug", "project", "workspace", "shown", "epochs", "creator", "heard_at", "deleted_at")
    list_filter = ("status", "created_at", "deleted_at")
    list_select_related = ("workspace", "project", "creator")
    search_fields = ("slug", "name", "=workspace__slug", "=project__slug")
    search_help_text = "Part of a run's name, or a workspace's or project's exact name."
    ordering = ("-created_at", "-id")
    fields = (
        "slug",
        "project",
        "workspace",
        "name",
        "creator",
        "key",
        "status",
        "attempt",
        "planned_epochs",
        "last_epoch",
        "created_at",
        "heard_at",
        "completed_at",
        "cancelled_at",
        "deleted_at",
    )

    def get_queryset(self, request: Any) -> Any:
        heavy = ("last_metrics", "train_args", "environment", "results", "console_progress", "class_names", "metadata")
        return super().get_queryset(request).defer(*heavy)

    @admin.display(description="Status")
    def shown(self, run: Run) -> str:
        return run.shown_status

    @admin.display(description="Epochs")
    def epochs(self, run: Run) -> str:
        return f"{run.epochs_done} of {run.planned_epochs or '?'}"
