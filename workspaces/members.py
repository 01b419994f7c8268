"""Who is in a team and as what: changes of membership, each in one transaction.

Locks are taken in one order everywhere: memberships by id, the workspace, invitations, keys by id. So a removal and the
making of a key, two handovers, or a demotion and a deletion wait for each other instead of meeting halfway.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from config.errors import Conflict, Invalid, NotAllowed, NotFound
from workspaces import activity
from workspaces.access import RIGHTS, Actor, Right, Role
from workspaces.models import Invitation, Membership, MembershipQuerySet, Workspace
from workspaces.signals import member_leaving, team_ending

# What higher apps tell of a member, as expressions on a membership; `apikeys` adds the number of active keys.
facts: dict[str, Any] = {}
# What they know of work that goes on with keys: called with the actor and the ids of keys, each gives for some of them
# `label`, `shown`, a list of {"label", "url"}, `total`, how many there are, and `more`, how many of them are not shown.
work: list[Callable[[Actor, list[UUID]], dict[UUID, dict[str, Any]]]] = []


def listed(actor: Actor) -> MembershipQuerySet:
    """The members of the actor's workspace, the Owner first, with what other apps know of them. One statement."""
    members = Membership.objects.filter(workspace=actor.workspace).select_related("user").annotate(**facts)
    return members.with_second_factor().order_by("-role", "user__username")


def who_may_take_over(actor: Actor, leaving: Membership) -> MembershipQuerySet:
    """The members to whom `leaving` may hand a key over: Editors and higher who stay."""
    members = Membership.objects.filter(workspace=actor.workspace, role__gte=Role.EDITOR, user__is_active=True)
    return members.exclude(pk=leaving.pk).select_related("user").order_by("-role", "user__username")


def may_manage(actor: Actor, role: int) -> bool:
    """May the actor invite, change or remove somebody who is or becomes `role`? Nobody manages an Owner or an equal."""
    return role < Role.OWNER and actor.can(_right_over(role))


def _right_over(role: int) -> Right:
    return Right.MANAGE_TEAM if role == Role.ADMIN else Right.MANAGE_MEMBERS


@transaction.atomic
def change_role(actor: Actor, user_id: UUID, role: Role) -> None:
    """Make a member Viewer, Editor or Admin; their keys follow from the next request on.

    Raises NotAllowed, NotFound for somebody who is no member, Conflict for the Owner, whose role is handed over.
    """
    _, member, _ = _lock(actor, user_id)
    if member.role == Role.OWNER or role == Role.OWNER:
        raise Conflict("The Owner's role cannot be changed; hand the team over instead")
    if not (may_manage(actor, member.role) and may_manage(actor, role)):
        raise NotAllowed
    before = Role(member.role)
    if before == role:
        return
    Membership.objects.filter(pk=member.pk).update(role=role)
    activity.record(actor, "member.role_changed", member.user, before=before.label, after=Role(role).label)
    _end_invitations(actor, member.user, role)


@transaction.atomic
def remove_member(actor: Actor, user_id: UUID, *, handovers: Mapping[UUID, UUID] | None = None) -> None:
    """End somebody's membership, or the actor's own (leaving), and every key that they made here.

    `handovers` maps ids of keys to the Editors who take them over; all others are revoked. Raises NotAllowed,
    NotFound, Conflict for the Owner, Invalid for a handover that cannot be.

    Leaving needs no second factor where the team asks for one; handing over on the way out, which shows who else is
    there, does, and it needs the right to manage keys.
    """
    handovers = dict(handovers or {})
    is_leaving = user_id == actor.user.pk
    right = Right.LEAVE if is_leaving else Right.VIEW
    _, member, others = _lock(actor, user_id, *handovers.values(), right=right)
    if member.role == Role.OWNER:
        raise Conflict("The Owner cannot leave; hand the team over or delete it")
    if not is_leaving and not may_manage(actor, member.role):
        raise NotAllowed
    if handovers:
        actor.require(Right.MANAGE_KEYS)  # a Viewer's key only reads, and would write again under an Editor
    takers = _takers(member, handovers, others)
    _end_invitations(actor, member.user)
    member_leaving.send(Membership, actor=actor, membership=member, handovers=takers)
    Membership.objects.filter(pk=member.pk).delete()
    activity.record(actor, "member.left" if is_leaving else "member.removed", member.user, role=Role(member.role).label)


@transaction.atomic
def transfer_ownership(actor: Actor, user_id: UUID, *, confirmation: str) -> None:
    """Hand the team over to a member; the actor becomes an Admin. `confirmation` must be the team's URL name.

    Raises NotAllowed, NotFound, Invalid for a wrong confirmation, Conflict for a personal workspace.
    """
    actor.require(Right.MANAGE_TEAM)
    if actor.workspace.is_personal:
        raise Conflict("A personal workspace cannot be handed over")
    if confirmation != actor.workspace.slug:
        raise Invalid("The name does not match", details={"confirmation": [f"Type {actor.workspace.slug} to confirm."]})
    own, member, _ = _lock(actor, user_id)
    if own.role != Role.OWNER:
        raise NotAllowed
    if own.pk == member.pk:
        raise Conflict("You are the Owner already")
    if not member.user.is_active:
        raise Conflict("This person's account is suspended")
    _hand_over(actor, own, member)
    actor.role = Role.ADMIN


@transaction.atomic
def appoint_owner(operator: Any, membership: Membership, *, address: str = "", client: str = "") -> None:
    """Hand a team over whose Owner does not: they have left the company, say. The former Owner becomes an Admin.

    For the admin, whose users run the server: the right to it is the admin's permission. Raises NotFound, Conflict for
    a personal workspace, the Owner themselves or somebody suspended.
    """
    rows = Membership.objects.select_for_update(of=("self",)).filter(workspace=membership.workspace_id).order_by("pk")
    members = {m.pk: m for m in rows.select_related("user", "workspace")}
    member = members.get(membership.pk)
    if member is None:
        raise NotFound("Member not found")
    if member.workspace.is_personal:
        raise Conflict("A personal workspace cannot be handed over")
    [owner] = (m for m in members.values() if m.role == Role.OWNER)
    if owner.pk == member.pk:
        raise Conflict("They are the Owner already")
    if not member.user.is_active:
        raise Conflict("This person's account is suspended")
    by = Actor(operator, member.workspace, Role.OWNER, address=address, client=client)
    _hand_over(by, owner, member, by="operator")


@transaction.atomic
def delete_team(actor: Actor, *, confirmation: str) -> None:
    """End a team: its keys stop at once, its members lose it; its log stays for the operator, its name stays taken.

    Raises NotAllowed, Invalid for a wrong confirmation, Conflict for a personal workspace.
    """
    actor.require(Right.MANAGE_TEAM)
    if actor.workspace.is_personal:
        raise Conflict("A personal workspace goes with its owner's account")
    if confirmation != actor.workspace.slug:
        raise Invalid("The name does not match", details={"confirmation": [f"Type {actor.workspace.slug} to confirm."]})
    rows = Membership.objects.select_for_update(of=("self",)).filter(workspace=actor.workspace).order_by("pk")
    memberships = {m.user_id: m for m in rows.select_related("workspace")}
    actor.become(memberships.get(actor.user.pk))
    actor.require(Right.MANAGE_TEAM)
    Workspace.objects.filter(pk=actor.workspace.pk).end()
    # Whoever was let in meanwhile was not among those locked: while they are a member they could make another key.
    Membership.objects.filter(workspace=actor.workspace).delete()
    team_ending.send(Workspace, actor=actor, workspace=actor.workspace)
    activity.record(actor, "team.deleted", actor.workspace, members=len(memberships))


def _hand_over(actor: Actor, owner: Membership, member: Membership, **details: Any) -> None:
    Membership.objects.filter(pk=owner.pk).update(role=Role.ADMIN)
    Membership.objects.filter(pk=member.pk).update(role=Role.OWNER)
    activity.record(actor, "team.handed_over", member.user, **details)
    _end_invitations(actor, owner.user, Role.ADMIN)


def _end_invitations(actor: Actor, sender: Any, role: Role | None = None) -> None:
    """Cancel the open invitations that `sender`, who is `role` from now on or no member, may no longer send.

    For good: a role that comes back brings none of them back.
    """
    sent = Invitation.objects.open().select_for_update(of=("self",)).filter(workspace=actor.workspace)
    for invitation in sent.filter(invited_by=sender).order_by("pk"):
        if role is None or role < RIGHTS[_right_over(invitation.role)][0]:
            Invitation.objects.filter(pk=invitation.pk).update(cancelled_at=Now())
            reason = "its sender may no longer invite"
            activity.record(actor, "invitation.cancelled", invitation, reason=reason)


def _lock(
    actor: Actor, user_id: UUID, *others: UUID, right: Right = Right.VIEW
) -> tuple[Membership, Membership, dict[UUID, Membership]]:
    """The actor's, the member's and all memberships concerned as they are now, locked in the order of their ids."""
    rows = {
        m.user_id: m
        for m in Membership.objects.select_for_update(of=("self",))
        .filter(workspace=actor.workspace, user__in={actor.user.pk, user_id, *others})
        .select_related("user", "workspace")
        .order_by("pk")
    }
    own, member = rows.get(actor.user.pk), rows.get(user_id)
    actor.become(own)
    actor.require(right)
    assert own is not None
    if member is None:
        raise NotFound("Member not found")
    return own, member, rows


def _takers(leaving: Membership, handovers: Mapping[UUID, UUID], members: Mapping[UUID, Membership]) -> dict[UUID, Any]:
    """The users who take things over, each an Editor or higher who stays. Raises Invalid."""
    takers: dict[UUID, Any] = {}
    for thing, user_id in handovers.items():
        taker = members.get(user_id)
        if taker is None or taker.role < Role.EDITOR or not taker.user.is_active or taker.pk == leaving.pk:
            problem = "A key can only be handed over to another Editor, Admin or the Owner of the team."
            raise Invalid(problem, details={"handOver": [problem]})
        takers[thing] = taker.user
    return takers
