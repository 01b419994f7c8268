from django.apps import AppConfig
from django.contrib.staticfiles import apps as staticfiles


class ConfigConfig(AppConfig):
    name = "config"
    default = True

    def ready(self) -> None:
        from config import checks  # noqa: F401


class StaticFilesConfig(staticfiles.StaticFilesConfig):
    """Django's; a folder of front-end files that comes in a Python package has modules in it, too."""

    default = False
    ignore_patterns = [*staticfiles.StaticFilesConfig.ignore_patterns, "*.py", "*.pyc", "__pycache__"]
