from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from apikeys import views as key_views
        from config import metrics
        from training import receivers

        key_views.uses.append(receivers.runs_of_keys)
        metrics.collectors.append(receivers.collect)
