from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config import backup


class Command(BaseCommand):
    help = "Restore the database from FILE, which `backup` has written. Every server of it must be stopped."
    requires_system_checks = ()  # they ask the database that is to come

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--replace", action="store_true", help="even if the database is not empty")
        parser.add_argument("--checkpoints", type=Path, metavar="TAR", help="unpack the checkpoints' files from TAR")

    def handle(self, *args: Any, file: Path, replace: bool, checkpoints: Path | None, **options: Any) -> None:
        try:
            for sentence in backup.restore(file, replace=replace):
                self.stdout.write(sentence)
            if checkpoints:
                backup.restore_checkpoints(checkpoints, replace=replace)
        except backup.Failed as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(
            "Restored. Everybody signs in anew. What happened after the backup is not in it: look through the members, "
            "the suspensions and the keys before the server starts."
        )
