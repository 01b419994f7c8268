from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    name = "workspaces"

    def ready(self) -> None:
        from accounts import tabs
        from workspaces import receivers, views  # noqa: F401

        tabs.register("teams", "Teams", views.team, order=20, icon="people")
        tabs.register("activity", "Activity", views.log, order=30, icon="clock")
