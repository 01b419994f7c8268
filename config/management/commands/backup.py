from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config import backup


class Command(BaseCommand):
    help = "Write the database to FILE with pg_dump, while the server runs. The encryption keys are not in it."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--checkpoints", type=Path, metavar="TAR", help="write the checkpoints' files to TAR")

    def handle(self, *args: Any, file: Path, checkpoints: Path | None, **options: Any) -> None:
        try:
            backup.dump(file)
            if checkpoints:
                backup.dump_checkpoints(checkpoints)
        except backup.Failed as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"Wrote {file}, {file.stat().st_size:,} bytes: the database without sessions.")
        if checkpoints:
            self.stdout.write(f"Wrote {checkpoints}, {checkpoints.stat().st_size:,} bytes: the checkpoints.")
        self.stdout.write(
            f"Not in it: the encryption keys, which are in {backup.encryption_keys_place()}. Without them no API key "
            "of this backup will ever work again: keep a copy, and keep it elsewhere."
        )
        if not checkpoints:
            folder = backup.checkpoints_folder()
            self.stdout.write(f"Not in it: the checkpoints, which are in {folder or 'the S3 storage'}.")
