"""Invitations into a team: a link with a secret that is stored as a hash only, for two weeks, for one person."""

import hashlib
import secrets
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models.functions import Now

from config.errors import Conflict, Invalid, NotAllowed, NotFound
from config.redaction import refuse_keys
from workspaces import activity
from workspaces.access import Actor, Right, Role
from workspaces.members import may_manage
from workspaces.models import Invitation, Membership

VALID = timedelta(days=14)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


@transaction.atomic
def invite(actor: Actor, *, email: str, role: Role, only_this_address: bool) -> tuple[Invitation, str]:
    """Invite `email` as Viewer, Editor or Admin and return the invitation with the secret of its link.

    Somebody who has an open invitation gets a new one instead. Raises NotAllowed, Invalid for a bad address or role,
    Conflict for a personal workspace or somebody who is a member.
    """
    _lock_right(actor, role)
    if actor.workspace.is_personal:
        raise Conflict("A personal workspace has its owner alone; create a team")
    email = _clean_email(email)
    if Membership.objects.filter(workspace=actor.workspace, user__email__iexact=email).exists():
        raise Conflict("This person is a member already")
    _open(actor).filter(email=email).update(cancelled_at=Now())
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        workspace=actor.workspace,
        email=email,
        role=role,
        only_this_address=only_this_address,
        invited_by=actor.user,
        token_digest=digest_of(token),
        expires_at=Now() + VALID,
    )
    activity.record(actor, "invitation.sent", invitation, role=Role(role).label)
    invitation.refresh_from_db()
    return invitation, token


@transaction.atomic
def resend(actor: Actor, invitation_id: UUID) -> tuple[Invitation, str]:
    """Give an invitation a new secret and two more weeks; the old link is dead. Raises NotAllowed, NotFound."""
    invitation = _find(actor, invitation_id)
    _lock_right(actor, Role(invitation.role))
    token = secrets.token_urlsafe(32)
    Invitation.objects.filter(pk=invitation.pk).update(
        token_digest=digest_of(token), expires_at=Now() + VALID, invited_by=actor.user
    )
    activity.record(actor, "invitation.resent", invitation)
    invitation.refresh_from_db()
    return invitation, token


@transaction.atomic
def cancel(actor: Actor, invitation_id: UUID) -> None:
    """Make an invitation's link useless. Raises NotAllowed, NotFound."""
    invitation = _find(actor, invitation_id)
    _lock_right(actor, Role(invitation.role))
    Invitation.objects.filter(pk=invitation.pk).update(cancelled_at=Now())
    activity.record(actor, "invitation.cancelled", invitation)


def look_up(token: str) -> Invitation:
    """The open invitation of a link. Raises NotFound, or Conflict with a sentence that says why it is none any more."""
    invitation = (
        Invitation.objects.filter(token_digest=digest_of(token)).select_related("workspace", "invited_by").first()
    )
    if invitation is None:
        raise NotFound("This invitation does not exist; perhaps a newer one was sent")
    _require_open(invitation)
    return invitation


@transaction.atomic
def accept(user: Any, token: str, *, address: str = "", client: str = "") -> Actor:
    """Make `user` a member as the invitation says, once, and return them as an actor in the team.

    Somebody who is a member already keeps a higher role. Raises NotFound, Conflict where the invitation is no longer
    open, NotAllowed where it is for another address only.
    """
    invitation = look_up(token)
    memberships = Membership.objects.select_for_update(of=("self",)).filter(workspace=invitation.workspace)
    list(memberships.filter(user__in=[user.pk, invitation.invited_by_id]).order_by("pk"))
    invitation = Invitation.objects.select_for_update(of=("self",)).get(pk=invitation.pk)
    _require_open(invitation)
    if invitation.only_this_address and not _has_address(user, invitation.email):
        raise NotAllowed(f"This invitation is for {invitation.email} only")
    membership, is_new = Membership.objects.get_or_create(
        workspace=invitation.workspace, user=user, defaults={"role": invitation.role}
    )
    actor = Actor(user, invitation.workspace, Role(membership.role), address=address, client=client)
    if not is_new and membership.role < invitation.role:
        Membership.objects.filter(pk=membership.pk).update(role=invitation.role)
        actor.role = Role(invitation.role)
    Invitation.objects.filter(pk=invitation.pk).update(accepted_at=Now(), accepted_by=user)
    Membership.objects.filter(pk=membership.pk).update(chosen_at=Now())
    activity.record(actor, "member.joined", user, role=actor.role.label, email=invitation.email)
    return actor


def open_invitations(actor: Actor) -> Any:
    """The open invitations of the actor's workspace, newest first."""
    return _open(actor).select_related("invited_by").order_by("-created_at")


def _open(actor: Actor) -> Any:
    return Invitation.objects.open().filter(workspace=actor.workspace)


def _find(actor: Actor, invitation_id: UUID) -> Invitation:
    invitation = _open(actor).select_for_update(of=("self",)).filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound("Invitation not found")
    return invitation


def _lock_right(actor: Actor, role: Role) -> None:
    """Require the right to invite `role`, as it is now, until the transaction ends."""
    actor.require_still(Right.MANAGE_MEMBERS)
    if not may_manage(actor, role):
        raise NotAllowed


def _require_open(invitation: Invitation) -> None:
    if invitation.accepted_at is not None:
        raise Conflict("This invitation has been used already")
    if invitation.cancelled_at is not None:
        raise Conflict("This invitation was cancelled")
    if not Invitation.objects.open().filter(pk=invitation.pk).exists():
        raise Conflict("This invitation has expired; ask for a new one")
    sender = Membership.objects.filter(workspace=invitation.workspace_id, user=invitation.invited_by_id).first()
    if sender is None or not may_manage(Actor(None, None, Role(sender.role)), invitation.role):
        raise Conflict("Who sent this invitation may no longer invite people; ask for a new one")


def _has_address(user: Any, email: str) -> bool:
    return user.email.lower() == email


def _clean_email(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
        refuse_keys(email)
    except ValidationError:
        problem = "Enter an e-mail address such as alice@example.org."
        raise Invalid(f"email: {problem}", details={"email": [problem]}) from None
    return email
