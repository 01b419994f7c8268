from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from accounts import names
from config.errors import Conflict, Invalid, NotAllowed, NotFound
from config.redaction import TOKEN, clean_reason
from workspaces import activity
from workspaces.access import Actor, Right, Role
from workspaces.models import Membership, Workspace


@transaction.atomic
def create_personal_workspace(user: Any) -> Workspace:
    """Make the workspace that bears `user`'s name, with them as its Owner. The name was claimed with the account."""
    workspace = Workspace.objects.create(slug=user.username, name=user.get_full_name(), is_personal=True)
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return workspace


@transaction.atomic
def create_team(actor: Actor, *, slug: str, name: str) -> Workspace:
    """Make a team with the actor's person as its Owner.

    Raises Invalid for a bad URL name or name, Conflict for a URL name that is taken, NotAllowed for a key.
    """
    if actor.key is not None:
        raise NotAllowed
    slug, name = clean_slug(slug), clean_name(name)
    workspace = Workspace(slug=slug, name=name)
    names.claim(slug, holder=workspace.pk)
    workspace.save(force_insert=True)
    Membership.objects.create(workspace=workspace, user=actor.user, role=Role.OWNER)
    activity.record(replace(actor, workspace=workspace, role=Role.OWNER), "team.created", workspace)
    return workspace


@transaction.atomic
def rename_team(actor: Actor, *, slug: str, name: str) -> None:
    """Give the team another name, or another URL name. The old URL name stays taken, so that it leads nowhere else, and
    the team may go back to it.

    Raises NotAllowed, Invalid, Conflict for a taken URL name or a personal workspace.
    """
    actor.require_still(Right.MANAGE_TEAM)
    if actor.workspace.is_personal:
        raise Conflict("A personal workspace bears its owner's name")
    name = clean_name(name)
    before = actor.workspace.slug
    if slug != before:
        slug = clean_slug(slug)
        names.claim(slug, holder=actor.workspace.pk)
    Workspace.objects.filter(pk=actor.workspace.pk).update(slug=slug, name=name)
    actor.workspace.slug, actor.workspace.name = slug, name
    activity.record(actor, "team.renamed", actor.workspace, before=before, after=slug, name=name)


@transaction.atomic
def require_second_factor(actor: Actor, *, is_required: bool) -> None:
    """Let nobody use the team in a session who has no second factor, or let everybody again. Twice is once.

    Keys go on either way. Raises NotAllowed, Conflict for a personal workspace or an Owner without a second factor, who
    would lock themselves out.
    """
    actor.require_still(Right.MANAGE_TEAM)
    if actor.workspace.is_personal:
        raise Conflict("Only a team can ask for a second factor; your own is set up in your profile")
    if is_required and not actor.user.has_second_factor():
        raise Conflict("Set up a second factor for yourself first, or you would lock yourself out")
    changed = Workspace.objects.filter(pk=actor.workspace.pk, requires_second_factor=not is_required).update(
        requires_second_factor=is_required
    )
    if changed:
        actor.workspace.requires_second_factor = is_required
        kind = "team.second_factor_required" if is_required else "team.second_factor_optional"
        activity.record(actor, kind, actor.workspace)


def clean_slug(slug: str) -> str:
    """`slug` if a team may be called so. Raises Invalid."""
    slug = slug.strip().lower()
    try:
        names.validate_name(slug)
    except ValidationError as error:
        raise Invalid(f"username: {error.messages[0]}", details={"username": error.messages}) from None
    return slug


def clean_name(name: str) -> str:
    """A team's name without outer and repeated blanks. Raises Invalid."""
    name = " ".join(name.split())
    if not name or len(name) > 100 or not name.isprintable() or TOKEN.search(name):
        problem = "Use 1 to 100 printable characters, and no value of a key."
        raise Invalid(f"name: {problem}", details={"name": [problem]})
    return name


@transaction.atomic
def suspend(operator: Any, workspace: Workspace, *, reason: str = "", address: str = "", client: str = "") -> bool:
    """Refuse a workspace's keys and members from the next request on; its pages say why.

    Twice is once: False if it was suspended before, and its reason stays. For the admin and the command line, whose
    users run the server: the right to it is the admin's permission or the shell.
    """
    reason = clean_reason(reason)
    changed = Workspace.objects.filter(pk=workspace.pk, suspended_at=None).update(
        suspended_at=Now(), suspended_reason=reason
    )
    if changed:
        by = Actor(operator, workspace, Role.OWNER, address=address, client=client)
        activity.record(by, "workspace.suspended", workspace, reason=reason, by="operator")
    return bool(changed)


@transaction.atomic
def restore(operator: Any, workspace: Workspace, *, address: str = "", client: str = "") -> bool:
    """Take a suspension back; keys that were not revoked work again. False if there was none."""
    changed = Workspace.objects.filter(pk=workspace.pk, suspended_at__isnull=False).update(
        suspended_at=None, suspended_reason=""
    )
    if changed:
        by = Actor(operator, workspace, Role.OWNER, address=address, client=client)
        activity.record(by, "workspace.restored", workspace, by="operator")
    return bool(changed)


def actor_in(
    user: Any,
    slug: str | None,
    *,
    address: str = "",
    client: str = "",
    session: str = "",
    proved_at: float = 0.0,
    is_visit: bool = False,
) -> Actor:
    """`user` in the workspace called `slug`, else in the one they chose last. Raises NotFound where they are none.

    A visit, which is what a browser makes, is noted: the list of members says when each was last seen.
    """
    if slug and not names.FORMAT.fullmatch(slug):
        raise NotFound("Workspace not found")
    memberships = Membership.objects.of(user)
    membership = (memberships.filter(workspace__slug=slug) if slug else memberships).first()
    if membership is None:
        raise NotFound("Workspace not found")
    if is_visit and not membership.is_seen_lately:
        Membership.objects.filter(pk=membership.pk).not_seen_lately().update(seen_at=Now())
    role = Role(membership.role)
    origin: dict[str, Any] = {"address": address, "client": client, "session": session, "proved_at": proved_at}
    return Actor(user, membership.workspace, role, **origin)


def choose_workspace(actor: Actor) -> None:
    """Make the actor's workspace the one that pages open with, also after signing in again."""
    Membership.objects.filter(workspace=actor.workspace, user=actor.user).update(chosen_at=Now())
