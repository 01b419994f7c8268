from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from accounts.sessions import name_of
from accounts.signals import signup_asked, user_created, user_restored, user_suspended
from config.address import client_address
from config.clients import client_name
from workspaces import activity, invitations, links, services
from workspaces.access import Actor, Role
from workspaces.models import Membership


@receiver(user_created)
def give_personal_workspace(sender: Any, user: Any, **kwargs: Any) -> None:
    services.create_personal_workspace(user)


@receiver(user_suspended)
@receiver(user_restored)
def note_in_their_workspaces(
    sender: Any, signal: Any, user: Any, operator: Any, address: str, client: str, reason: str = "", **kwargs: Any
) -> None:
    """Each workspace's log says what the operator did to a member: its Admins wonder about the keys that stopped."""
    kind = "member.suspended" if signal is user_suspended else "member.restored"
    for membership in Membership.objects.filter(user=user).select_related("workspace").order_by("pk"):
        actor = Actor(operator, membership.workspace, Role.OWNER, address=address, client=client)
        activity.record(actor, kind, user, reason=reason, by="operator")


@receiver(user_logged_in)
def note_sign_in(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    origin = {"address": client_address(request), "client": client_name(request)}
    activity.record_sign_in(user, **origin, session=name_of(request.session))


@receiver(signup_asked)
def tell_invited_addresses(sender: Any, request: Any, **kwargs: Any) -> list[str]:
    return invitations.open_addresses(links.opened(request.session))
