import base64
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apikeys import second_factors
from apikeys.checks import rows_by_key
from apikeys.keyring import KEY_ID, Keyring, keyring


class Command(BaseCommand):
    help = (
        "The encryption keys: `make` prints a new one, `list` tells what each still holds, and where "
        "API_KEY_ENCRYPTION_KEYS_FILE is set, `add`, `promote` and `retire` change that file."
    )

    def add_arguments(self, parser: Any) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        make = steps.add_parser("make", help="print a new key, and nothing else, as id:base64")
        make.add_argument("id", nargs="?", help="1 to 32 of A-Z, a-z, 0-9, . _ -; made up if there is none")
        steps.add_parser("list", help="tell which there are, which one encrypts, and how many API keys each holds")
        for name, what in (
            ("add", "put a new key second: it decrypts, and encrypts nothing yet"),
            ("promote", "put a key first: it encrypts from the next start of each server on"),
            ("retire", "take a key out; refused while API keys are encrypted with it"),
        ):
            step = steps.add_parser(name, help=what)
            step.add_argument("id")

    def handle(self, *args: Any, step: str, **options: Any) -> None:
        getattr(self, f"do_{step}")(options.get("id"))

    def do_make(self, key_id: str | None) -> None:
        self.stdout.write(new_key(key_id or f"k{secrets.token_hex(3)}"))

    def do_list(self, _: Any) -> None:
        held, seeds = rows_by_key(), second_factors.held_by_key()
        for number, key_id in enumerate(keyring().ids):
            use = "encrypts" if number == 0 else "decrypts"
            self.stdout.write(f"{key_id:32} {use:9} {held.pop(key_id, 0):>14,} API keys{_and(seeds.pop(key_id, 0))}")
        for key_id in held.keys() | seeds.keys() - {""}:
            count = held.get(key_id, 0)
            self.stdout.write(f"{key_id:32} MISSING   {count:>14,} API keys{_and(seeds[key_id])} cannot be used")
        if seeds[""]:
            self.stdout.write(f"{seeds['']:,} second factors are not encrypted yet: run rotate_encryption_key.")

    def do_add(self, key_id: str) -> None:
        entries = self._read()
        if key_id in ids(entries):
            raise CommandError(f"There is a key called {key_id} already.")
        self._write([*entries[:1], new_key(key_id), *entries[1:]])
        self.stdout.write(f"Added {key_id}. Restart every server, then promote it.")

    def do_promote(self, key_id: str) -> None:
        entries = self._read()
        found = [entry for entry in entries if entry.partition(":")[0] == key_id]
        if not found:
            raise CommandError(f"There is no key called {key_id}.")
        self._write(found + [entry for entry in entries if entry not in found])
        self.stdout.write(f"{key_id} comes first. Restart every server, then run rotate_encryption_key.")

    def do_retire(self, key_id: str) -> None:
        if key_id not in keyring().ids:
            raise CommandError(f"There is no key called {key_id}.")
        if key_id == keyring().current_id:
            raise CommandError(f"{key_id} is the one that encrypts. Put another one first.")
        if count := rows_by_key().get(key_id, 0):
            raise CommandError(f"{count:,} API keys are encrypted with {key_id}. Run rotate_encryption_key first.")
        if count := second_factors.held_by_key()[key_id]:
            raise CommandError(
                f"{count:,} second factors are encrypted with {key_id}. Run rotate_encryption_key first."
            )
        if settings.API_KEY_ENCRYPTION_KEYS_FILE:
            self._write([entry for entry in self._read() if entry.partition(":")[0] != key_id])
            self.stdout.write(f"Took {key_id} out. Keep its copy as long as there are backups from before.")
        else:
            self.stdout.write(f"Nothing is encrypted with {key_id} any more: take it out of where the keys come from.")

    def _read(self) -> list[str]:
        if not settings.API_KEY_ENCRYPTION_KEYS_FILE:
            raise CommandError("This changes the file of API_KEY_ENCRYPTION_KEYS_FILE, which is not set.")
        text = Path(settings.API_KEY_ENCRYPTION_KEYS_FILE).read_text().strip()
        Keyring.parse(text)
        return [entry.strip() for entry in text.split(",")]

    def _write(self, entries: list[str]) -> None:
        """Replace the file as a whole, for its owner only, on the disk before the old one is gone."""
        text = ",".join(entries)
        Keyring.parse(text)
        path = Path(settings.API_KEY_ENCRYPTION_KEYS_FILE).resolve()
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chown(draft, path.stat().st_uid, path.stat().st_gid)
        os.replace(draft, path)


def new_key(key_id: str) -> str:
    if not KEY_ID.fullmatch(key_id):
        raise CommandError("An id is 1 to 32 of A-Z, a-z, 0-9, . _ -.")
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _and(seeds: int) -> str:
    return f", {seeds:,} second factors" if seeds else ""


def ids(entries: list[str]) -> list[str]:
    return [entry.partition(":")[0] for entry in entries]
