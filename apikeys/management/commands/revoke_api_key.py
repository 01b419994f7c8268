import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apikeys import services, tokens
from apikeys.models import ApiKey


class Command(BaseCommand):
    help = (
        "Revoke API keys, by id or by value. Values are read from standard input, never from the command line, where "
        "other users and the shell's history would see them: revoke_api_key --value < leaked.txt"
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("ids", nargs="*", metavar="id", help="ids of keys")
        parser.add_argument("--value", action="store_true", help="read values from standard input, in any text")
        parser.add_argument("--reason", default="", help="for the log")

    def handle(self, *args: Any, ids: list[str], value: bool, reason: str, **options: Any) -> None:
        if value == bool(ids):
            raise CommandError("Give ids of keys, or --value and the values on standard input.")
        keys = self._by_value() if value else self._by_id(ids)
        problems = 0
        for label, key in keys.items():
            if key is None:
                problems += 1
                self.stderr.write(f"{label}: no such key.")
            elif services.revoke_as_operator(None, [key.pk], reason=reason, client="revoke_api_key"):
                self.stdout.write(f"{label}: revoked, {key.name!r} of {key.workspace.slug}.")
            else:
                problems += 1
                self.stderr.write(f"{label}: had been revoked already.")
        if not keys:
            raise CommandError("There is no key in what was read.")
        if problems:
            raise CommandError(f"{problems} of {len(keys)} were not there to revoke.")

    def _by_id(self, ids: list[str]) -> dict[str, ApiKey | None]:
        found: dict[str, ApiKey | None] = {}
        for text in ids:
            if tokens.contains_token(text):
                raise CommandError(
                    "That is the value of a key, not its id. It may be in the shell's history now; revoke it with "
                    "--value and standard input."
                )
            try:
                found[text] = ApiKey.objects.select_related("workspace").filter(pk=UUID(text)).first()
            except ValueError:
                raise CommandError(f"{text!r} is not the id of a key.") from None
        return found

    def _by_value(self) -> dict[str, ApiKey | None]:
        if sys.stdin.isatty():
            self.stderr.write("Paste the values, then press Ctrl-D.")
        values = dict.fromkeys(tokens.FORMAT.findall(sys.stdin.read()))
        return {
            f"{tokens.prefix(token)}…": ApiKey.objects.select_related("workspace")
            .filter(digest=tokens.digest(token))
            .first()
            for token in values
        }
