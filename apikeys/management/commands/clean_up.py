from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from apikeys import usage


class Command(BaseCommand):
    help = "The daily clean-up: what scheduled revocations left, statistics older than 90 days, expired sessions."

    def handle(self, *args: Any, **options: Any) -> None:
        for what, count in usage.clean_up().items():
            self.stdout.write(f"{what}: {count:,}")
        call_command("clearsessions")
