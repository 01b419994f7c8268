from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from workspaces import activity


class Command(BaseCommand):
    help = (
        "Delete old entries of the activity log, of all workspaces. Works beside the running server; can be stopped at "
        "any moment and started again."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--older-than-days", type=int, metavar="N", help="by default ACTIVITY_RETENTION_DAYS, where that is set"
        )

    def handle(self, *args: Any, older_than_days: int | None, **options: Any) -> None:
        days = settings.ACTIVITY_RETENTION_DAYS or None if older_than_days is None else older_than_days
        if days is None:
            raise CommandError("Say --older-than-days, or set ACTIVITY_RETENTION_DAYS: by default nothing is deleted.")
        if not 1 <= days <= 36_500:
            raise CommandError("--older-than-days must be from 1 to 36500.")
        self.stdout.write(f"activity entries older than {days} days: {activity.trim(days):,} deleted")
