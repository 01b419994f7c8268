from django.urls import path, register_converter

from accounts.names import RESERVED
from training import api, run_views, views, webhooks


class OwnerConverter:
    """The name of a workspace as the first part of a page's path; never a word that a page of ours begins with."""

    regex = "[A-Za-z0-9][A-Za-z0-9-]{2,30}[A-Za-z0-9]"

    def to_python(self, value: str) -> str:
        if value.lower() in RESERVED:
            raise ValueError(value)
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(OwnerConverter, "owner")
MODEL = "models/<str:owner>/<str:project>/<str:model>"

api_urls = [
    path("webhooks/training/metrics", webhooks.Metrics.as_view(), name="metrics"),
    path("webhooks/models/upload", webhooks.Upload.as_view(), name="upload-address"),
    path("webhooks/" + MODEL + "/download", api.ModelDownload.as_view(), name="model-download"),
    path("uploads/<uuid:checkpoint_id>/<str:filename>", webhooks.UploadBytes.as_view(), name="upload"),
    path("downloads/<uuid:checkpoint_id>/<str:filename>", webhooks.DownloadBytes.as_view(), name="download"),
    path("projects", api.ProjectCreation.as_view(), name="project-create"),
    path("projects/<str:owner>", api.ProjectList.as_view(), name="project-list"),
    path("projects/<str:owner>/<str:project>", api.ProjectDetail.as_view(), name="project-detail"),
    path("projects/<str:owner>/<str:project>/clone", api.ProjectClone.as_view(), name="project-clone"),
    path("models", api.ModelCreation.as_view(), name="model-create"),
    path("models/<str:owner>/<str:project>", api.ModelList.as_view(), name="model-list"),
    path(MODEL, api.ModelDetail.as_view(), name="model-detail"),
    path(MODEL + "/files", api.ModelFiles.as_view(), name="model-files"),
    path(MODEL + "/training", api.ModelTraining.as_view(), name="model-training"),
    path(MODEL + "/clone", api.ModelClone.as_view(), name="model-clone"),
    path("storage", api.StorageUsage.as_view(), name="storage"),
    path("users", api.Users.as_view(), name="users"),
]
RUN = "<owner:owner>/<slug:project>/<slug:run>"
page_urls = [
    path("projects", views.projects, name="projects"),
    path("projects/create", views.project_create, name="project-create"),
    path("projects/<uuid:project_id>/change", views.project_change, name="project-change"),
    path("projects/<uuid:project_id>/compare", views.project_compare, name="project-compare"),
    path("projects/<uuid:project_id>/curves", views.project_curves, name="project-curves"),
    path("projects/<uuid:project_id>/delete", views.project_delete, name="project-delete"),
    path("projects/<uuid:project_id>/restore", views.project_restore, name="project-restore"),
    path("projects/<uuid:project_id>/export.csv", views.project_export, name="project-export"),
    path("runs/<uuid:run_id>/live", run_views.run_live, name="run-live"),
    path("runs/<uuid:run_id>/curves", run_views.run_curves, name="run-curves"),
    path("runs/<uuid:run_id>/console", run_views.run_console, name="run-console"),
    path("runs/<uuid:run_id>/plots/<int:position>", run_views.run_plot, name="run-plot"),
    path("runs/<uuid:run_id>/export.csv", run_views.run_export, {"kind": "csv"}, name="run-export-csv"),
    path("runs/<uuid:run_id>/export.json", run_views.run_export, {"kind": "json"}, name="run-export-json"),
    path("runs/<uuid:run_id>/console.log", run_views.run_export, {"kind": "log"}, name="run-export-log"),
    path("runs/<uuid:run_id>/weights", run_views.run_weights, name="run-weights"),
    path("runs/<uuid:run_id>/change", run_views.run_change, name="run-change"),
    path("runs/<uuid:run_id>/cancel", run_views.run_cancel, name="run-cancel"),
    path("runs/<uuid:run_id>/delete", run_views.run_delete, name="run-delete"),
    path("runs/<uuid:run_id>/restore", views.run_restore, name="run-restore"),
    path("trash", views.trash, name="trash"),
    path("<owner:owner>", views.project_list, name="project-list"),
    path("<owner:owner>/<slug:project>", views.project_detail, name="project-detail"),
    path(RUN, run_views.run_detail, name="run-detail"),
]
