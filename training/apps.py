from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from apikeys import views as key_views
        from config import metrics
        from training import receivers
        from workspaces import activity, members

        key_views.uses.append(receivers.runs_of_keys)
        members.work.append(receivers.running_with_keys)
        activity.KINDS["project"] = ("Projects", ("created", "changed", "deleted", "restored"))
        activity.KINDS["run"] = ("Runs", ("created", "changed", "cancelled", "deleted", "restored"))
        metrics.collectors.append(receivers.collect)
