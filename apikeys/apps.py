from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    name = "apikeys"
    verbose_name = "API keys"

    def ready(self) -> None:
        from accounts import tabs
        from apikeys import checks, receivers, views  # noqa: F401
        from apikeys.models import active_keys_of_member
        from workspaces import members

        members.facts["active_keys"] = active_keys_of_member()
        tabs.register("api-keys", "API Keys", views.key_list, order=10, icon="key")
