from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apikeys import services
from config.errors import ServiceError
from workspaces.access import Actor, Role
from workspaces.models import Membership, Workspace


class Command(BaseCommand):
    help = "Make an API key and print its value, and nothing else, on standard output."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--workspace", required=True, help="the URL name of the workspace, such as operator")
        parser.add_argument("--name", required=True, help="what the key is for")
        parser.add_argument("--creator", help="the member in whose name it acts; by default the workspace's Owner")

    def handle(self, *args: Any, workspace: str, name: str, creator: str | None, **options: Any) -> None:
        place = Workspace.objects.filter(slug=workspace).first()
        if place is None:
            raise CommandError(f"There is no workspace called {workspace!r}.")
        members = Membership.objects.filter(workspace=place).select_related("user")
        member = members.filter(**({"user__username": creator} if creator else {"role": Role.OWNER})).first()
        if member is None:
            raise CommandError(f"{creator!r} is no member of {workspace}.")
        if not member.user.is_active or place.suspended_at is not None:
            raise CommandError(
                f"The key would not work: {member.user if not member.user.is_active else place} is suspended."
            )
        if place.requires_second_factor and not member.user.has_second_factor():
            raise CommandError(
                f"{workspace} asks its members for a second factor, and {member.user} has none; name somebody else "
                "with --creator."
            )
        try:
            key, token = services.create_key(
                Actor(member.user, place, Role(member.role), client="create_api_key"), name=name
            )
        except ServiceError as error:
            raise CommandError(error.sentence) from None
        self.stdout.write(token)
        self.stderr.write(
            f"Made the key {key.name!r} ({key.prefix}…, id {key.pk}) in {workspace}, acting as {member.user}."
        )
