from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts import names
from config.errors import NotFound
from workspaces import activity
from workspaces.access import Actor, Role
from workspaces.models import Membership, Workspace


@transaction.atomic
def create_personal_workspace(user: Any) -> Workspace:
    """Make the workspace that bears `user`'s name, with them as its Owner. The name was claimed with the account."""
    workspace = Workspace.objects.create(slug=user.username, name=user.get_full_name(), is_personal=True)
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return workspace


@transaction.atomic
def create_team(user: Any, *, slug: str, name: str) -> Workspace:
    """Make a team with `user` as its Owner. Raises ValidationError for a bad slug, Conflict for one that is taken."""
    names.validate_name(slug)
    names.claim(slug)
    workspace = Workspace.objects.create(slug=slug, name=name)
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    activity.record(Actor(user, workspace, Role.OWNER), "team.created", workspace)
    return workspace


def actor_in(user: Any, slug: str | None, *, address: str = "", client: str = "") -> Actor:
    """`user` in the workspace called `slug`, else in the one they chose last. Raises NotFound where they are none."""
    if slug and not names.FORMAT.fullmatch(slug):
        raise NotFound("Workspace not found")
    memberships = Membership.objects.of(user)
    membership = (memberships.filter(workspace__slug=slug) if slug else memberships).first()
    if membership is None:
        raise NotFound("Workspace not found")
    return Actor(user, membership.workspace, Role(membership.role), address=address, client=client)


def choose_workspace(actor: Actor) -> None:
    """Make the actor's workspace the one that pages open with, also after signing in again."""
    Membership.objects.filter(workspace=actor.workspace, user=actor.user).update(chosen_at=Now())
