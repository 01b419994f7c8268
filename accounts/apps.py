from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import tabs, views

        tabs.register("profile", "Profile", views.profile, order=90, icon="person")
