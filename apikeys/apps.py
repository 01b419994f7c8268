from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    name = "apikeys"
    verbose_name = "API keys"

    def ready(self) -> None:
        from accounts import tabs
        from apikeys import checks, endpoint_views, receivers, usage, views  # noqa: F401
        from apikeys.models import active_keys_of_member
        from config import api, backup, metrics
        from workspaces import activity, members

        api.answered.append(usage.note_answer)
        metrics.collectors.append(usage.collect)
        backup.carried_over.append(receivers.keep_revoked)
        members.facts["active_keys"] = active_keys_of_member()
        activity.KINDS["decoy"] = ("Decoys", ("created", "deleted", "used", "reported"))
        activity.KINDS["endpoint"] = ("Endpoints", ("created", "changed", "deleted"))
        tabs.register("api-keys", "API Keys", views.key_list, order=10, icon="key")
        tabs.register("endpoints", "Endpoints", endpoint_views.endpoint_list, order=15, icon="plug")
