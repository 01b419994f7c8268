"""Who had access to what at a moment in the past: memberships that were in force and keys that worked."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from apikeys.models import ApiKey
from workspaces.models import MembershipPeriod


def members_at(moment: datetime, *, workspace: Any = None, person: Any = None) -> QuerySet[MembershipPeriod]:
    """Memberships with the role that they had at `moment`, of one workspace, one person, or both."""
    periods = MembershipPeriod.objects.filter(Q(until_at=None) | Q(until_at__gt=moment), from_at__lte=moment)
    if workspace is not None:
        periods = periods.filter(workspace=workspace)
    if person is not None:
        periods = periods.filter(user=person)
    return periods.select_related("workspace", "user").order_by("workspace__slug", "-role", "user__username")


def keys_at(moment: datetime, *, workspace: Any = None, person: Any = None) -> QuerySet[ApiKey]:
    """Keys that were neither revoked nor past a scheduled revocation at `moment`, in the same workspaces."""
    keys = ApiKey.objects.filter(
        Q(revoked_at=None) | Q(revoked_at__gt=moment),
        Q(revokes_at=None) | Q(revokes_at__gt=moment),
        created_at__lte=moment,
    )
    if person is not None:
        theirs = members_at(moment, workspace=workspace, person=person)
        keys = keys.filter(workspace__in=theirs.order_by().values("workspace"))
    elif workspace is not None:
        keys = keys.filter(workspace=workspace)
    return (
        keys.defer("digest", "ciphertext")
        .select_related("workspace", "creator")
        .order_by("workspace__slug", "created_at", "pk")
    )


HEADER = ("what", "workspace", "person", "role", "from", "until", "key", "key name")


def rows(members: QuerySet[MembershipPeriod], keys: QuerySet[ApiKey]) -> Iterator[tuple[Any, ...]]:
    """All of both as lines under HEADER, read while they are sent."""
    for m in members.iterator(chunk_size=1000):
        yield "member", m.workspace.slug, m.user.username, m.get_role_display(), m.from_at, m.until_at, "", ""
    for k in keys.iterator(chunk_size=1000):
        until = min((at for at in (k.revoked_at, k.revokes_at) if at is not None), default=None)
        yield "key", k.workspace.slug, k.creator.username, "", k.created_at, until, f"{k.prefix}…", k.name
