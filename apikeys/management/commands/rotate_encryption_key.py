import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apikeys import reencryption, second_factors


class Command(BaseCommand):
    help = (
        "Encrypt all API keys and second factors anew with the first key of API_KEY_ENCRYPTION_KEYS. Works in batches "
        "beside the running server; can be stopped at any moment and started again, and goes on where it was."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--batch", type=int, default=500, help="rows in one transaction")

    def handle(self, *args: Any, batch: int, **options: Any) -> None:
        total = reencryption.remaining()
        seeds = second_factors.encrypt_anew()
        if total == seeds == 0:
            raise CommandError("Nothing to do: all keys are encrypted with the first encryption key already.")
        done, started = reencryption.Progress(), time.monotonic()
        try:
            for done in reencryption.run(batch):
                self._show(done, total)
        except KeyboardInterrupt:
            self.stderr.write("")
            raise CommandError(f"Stopped after {done.encrypted:,} keys. Start it again to go on.") from None
        if self.stderr.isatty():
            self.stderr.write("")
        seconds = time.monotonic() - started
        self.stdout.write(
            f"Encrypted {done.encrypted:,} keys anew in {seconds:.1f} s; {done.skipped:,} had changed meanwhile."
        )
        if seeds:
            self.stdout.write(f"Encrypted {seeds:,} second factors anew.")
        if done.failed:
            raise CommandError(f"{done.failed:,} keys could not be decrypted and were left as they are.")

    def _show(self, done: Any, total: int) -> None:
        if self.stderr.isatty():
            share = min(1.0, done.seen / total)
            bar = "#" * int(share * 40)
            self.stderr.write(f"\r[{bar:<40}] {share:4.0%}  {done.seen:,} of {total:,}", ending="")
            sys.stderr.flush()
