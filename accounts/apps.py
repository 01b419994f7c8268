from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        from accounts import receivers, security_events, tabs, views  # noqa: F401

        tabs.register("profile", "Profile", views.profile, order=90, icon="person")
