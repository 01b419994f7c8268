"""Invitations into a team: a link with a secret that is stored as a hash only, for two weeks, for one person."""

import hmac
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models.functions import Now

from config import mail
from config.errors import Conflict, Invalid, NotAllowed, NotFound
from config.redaction import refuse_keys
from workspaces import activity
from workspaces.access import Actor, Right, Role
from workspaces.links import Link, link_of, new_token
from workspaces.members import may_manage
from workspaces.models import Invitation, Membership, Workspace

VALID = timedelta(days=14)


class NotOpen(Conflict):
    """An invitation that cannot be accepted, or not any more. `advice` says on the page what to do."""

    template = "workspaces/invite_closed.html"

    def __init__(self, sentence: str, advice: str):
        self.advice = advice
        super().__init__(sentence)


@transaction.atomic
def invite(
    actor: Actor, *, email: str, role: Role, only_this_address: bool, url_of: Callable[[str], str] | None = None
) -> tuple[Invitation, str]:
    """Invite `email` as Viewer, Editor or Admin and return the invitation with the secret of its link.

    Somebody who has an open invitation gets a new one instead. With `url_of`, which makes the link's address of the
    secret, it is mailed where this server sends mail; `was_mailed` of the invitation says whether that worked. Raises
    NotAllowed, Invalid for a bad address or role, Conflict for a personal workspace or somebody who is a member.
    """
    actor.require_still(Right.MANAGE_MEMBERS)
    if not may_manage(actor, role):
        raise NotAllowed
    if actor.workspace.is_personal:
        raise Conflict("A personal workspace has its owner alone; create a team")
    email = _clean_email(email)
    if Membership.objects.filter(workspace=actor.workspace, user__email__iexact=email).exists():
        raise Conflict("This person is a member already")
    Workspace.objects.select_for_update(no_key=True).get(pk=actor.workspace.pk)  # one after the other: one link is good
    _open(actor).filter(email=email).update(cancelled_at=Now())
    invitation_id = uuid4()
    token = new_token(invitation_id)
    invitation = Invitation.objects.create(
        pk=invitation_id,
        workspace=actor.workspace,
        email=email,
        role=role,
        only_this_address=only_this_address,
        invited_by=actor.user,
        token_digest=link_of(token).digest,
        expires_at=Now() + VALID,
    )
    activity.record(actor, "invitation.sent", invitation, role=Role(role).label)
    invitation.refresh_from_db()
    _mail(invitation, token, url_of)
    return invitation, token


@transaction.atomic
def resend(actor: Actor, invitation_id: UUID, *, url_of: Callable[[str], str] | None = None) -> tuple[Invitation, str]:
    """Give an invitation a new secret and two more weeks; the old link is dead. It is mailed as by `invite`.

    Raises NotAllowed, NotFound.
    """
    invitation = _find(actor, invitation_id)
    token = new_token(invitation.pk)
    Invitation.objects.filter(pk=invitation.pk).update(
        token_digest=link_of(token).digest, expires_at=Now() + VALID, invited_by=actor.user
    )
    activity.record(actor, "invitation.resent", invitation)
    invitation.refresh_from_db()
    _mail(invitation, token, url_of)
    return invitation, token


@transaction.atomic
def cancel(actor: Actor, invitation_id: UUID) -> None:
    """Make an invitation's link useless. Raises NotAllowed, NotFound."""
    invitation = _find(actor, invitation_id)
    Invitation.objects.filter(pk=invitation.pk).update(cancelled_at=Now())
    activity.record(actor, "invitation.cancelled", invitation)


def find(link: Link) -> Invitation:
    """The invitation that a link leads to, open or not. Raises NotFound, or NotOpen for a link that was replaced."""
    return _the_one(_with_all(), link)


def look_up(token: str) -> Invitation:
    """The open invitation of a link. Raises NotFound, or NotOpen, which says why it is none any more."""
    invitation = find(link_of(token))
    require_open(invitation)
    return invitation


@transaction.atomic
def accept(user: Any, link: Link | str, *, address: str = "", client: str = "", session: str = "") -> Actor:
    """Make `user` a member as the invitation says, once, and return them as an actor in the team.

    `link` may be given by its secret. A member may rise by it; to one who would not it is of no use, and stays good for
    whom it was meant. Raises NotFound, NotOpen, Conflict for such a member, NotAllowed where the invitation is for
    another address only.
    """
    link = link_of(link) if isinstance(link, str) else link
    invitation = find(link)
    require_open(invitation)
    memberships = Membership.objects.select_for_update(of=("self",)).filter(workspace=invitation.workspace)
    list(memberships.filter(user__in=[user.pk, invitation.invited_by_id]).order_by("pk"))
    invitation = _the_one(_with_all().select_for_update(of=("self",)), link)
    require_open(invitation)
    if invitation.only_this_address and not user.has_address(invitation.email):
        raise NotAllowed(f"This invitation is for {invitation.email} only")
    membership, is_new = Membership.objects.get_or_create(
        workspace=invitation.workspace, user=user, defaults={"role": invitation.role}
    )
    before, role = Role(membership.role), Role(invitation.role)
    if not is_new and before >= role:
        raise Conflict(f"You are in {invitation.workspace.name} already, as {before.label}")
    Invitation.objects.filter(pk=invitation.pk).update(accepted_at=Now(), accepted_by=user)
    Membership.objects.filter(pk=membership.pk).update(chosen_at=Now())
    actor = Actor(user, invitation.workspace, role, address=address, client=client, session=session)
    if is_new:
        activity.record(actor, "member.joined", user, role=role.label, email=invitation.email)
    else:
        Membership.objects.filter(pk=membership.pk, role__lt=role).update(role=role)
        activity.record(actor, "member.role_changed", user, before=before.label, after=role.label, by="invitation")
    return actor


def open_invitations(actor: Actor) -> Any:
    """The open invitations of the actor's workspace, newest first."""
    return _open(actor).select_related("invited_by").order_by("-created_at")


def open_addresses(links: Iterable[Link]) -> list[str]:
    """The addresses of those of `links` that lead to open invitations, in their order."""
    found = []
    for link in links:
        try:
            invitation = find(link)
            require_open(invitation)
        except (NotFound, NotOpen):
            continue
        found.append(invitation.email)
    return found


def _the_one(invitations: Any, link: Link) -> Invitation:
    invitation = invitations.filter(pk=link.invitation_id).first()
    if invitation is None:
        raise NotFound("This invitation does not exist")
    if not hmac.compare_digest(bytes(invitation.token_digest), link.digest):
        raise NotOpen("A newer link was sent for this invitation", "Use the one in the last mail or message you got.")
    return invitation


def _mail(invitation: Invitation, token: str, url_of: Callable[[str], str] | None) -> None:
    def note(was_sent: bool) -> None:
        invitation.was_mailed = was_sent

    if url_of is None:
        return
    sender, workspace = invitation.invited_by, invitation.workspace
    mail.send_later(
        [invitation.email],
        f"{sender.username} invites you into the team {workspace.name}",
        "workspaces/mail/invitation.txt",
        {"invitation": invitation, "sender": sender, "workspace": workspace, "url": url_of(token)},
        note,
    )


def _with_all() -> Any:
    return Invitation.objects.select_related("workspace", "invited_by")


def _open(actor: Actor) -> Any:
    return Invitation.objects.open().filter(workspace=actor.workspace)


def _find(actor: Actor, invitation_id: UUID) -> Invitation:
    """An open invitation that the actor may change, locked; their right first, as `accept` locks the two, too."""
    actor.require_still(Right.MANAGE_MEMBERS)
    invitation = _open(actor).select_for_update(of=("self",)).filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound("Invitation not found")
    if not may_manage(actor, invitation.role):
        raise NotAllowed
    return invitation


def require_open(invitation: Invitation) -> None:
    """Raise NotOpen where it was used, cancelled or replaced, is late, or its sender may not invite any more."""
    ask = f"ask {invitation.invited_by.get_full_name()} or an Admin of the team for a new one."
    if invitation.workspace.deleted_at is not None:
        raise NotOpen("The team of this invitation was deleted", "There is nothing left to join.")
    if invitation.accepted_at is not None:
        raise NotOpen("This invitation has been used already", f"Each works once. If it was not you, {ask}")
    if invitation.cancelled_at is not None:
        newer = Invitation.objects.open().filter(workspace=invitation.workspace_id, email=invitation.email)
        if newer.exists():
            advice = "Use the link in the last mail or message you got."
            raise NotOpen("This invitation was cancelled: a newer one was sent", advice)
        _require_sender(invitation)
        raise NotOpen("This invitation was cancelled", f"If you are still to join, {ask}")
    if not Invitation.objects.open().filter(pk=invitation.pk).exists():
        raise NotOpen("This invitation has expired", f"It was good for {VALID.days} days: {ask}")
    if invitation.workspace.suspended_at is not None:
        advice = "The link works again once the operator of this server has restored the team."
        raise NotOpen("This team is suspended, nobody can join it at the moment", advice)
    _require_sender(invitation)


def _require_sender(invitation: Invitation) -> None:
    """Raise NotOpen unless who sent it may still invite; a lost role has ended it for good (`members`)."""
    sender = Membership.objects.filter(workspace=invitation.workspace_id, user=invitation.invited_by_id).first()
    if (
        sender is None
        or not invitation.invited_by.is_active
        or not may_manage(Actor(invitation.invited_by, invitation.workspace, Role(sender.role)), invitation.role)
    ):
        raise NotOpen("Who sent this invitation may no longer invite people", "Ask an Admin of the team for a new one.")


def _clean_email(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
        refuse_keys(email)
    except ValidationError:
        problem = "Enter an e-mail address such as alice@example.org."
        raise Invalid(f"email: {problem}", details={"email": [problem]}) from None
    return email
