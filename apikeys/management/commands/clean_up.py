from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from apikeys import usage


class Command(BaseCommand):
    help = (
        "The daily clean-up: what scheduled revocations left, statistics older than 90 days, what was deleted more "
        "than 30 days ago, files that no run needs, expired sessions, and activity that is older than "
        "ACTIVITY_RETENTION_DAYS, if that is set."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for what, count in usage.clean_up().items():
            self.stdout.write(f"{what}: {count:,}")
        call_command("clearsessions")
        if settings.ACTIVITY_RETENTION_DAYS:
            call_command("trim_activity", stdout=self.stdout)
