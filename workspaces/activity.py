"""The log of what was done in a workspace."""

from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from config.redaction import redact
from workspaces.access import Actor, Right
from workspaces.models import Activity


def record(actor: Actor, kind: str, target: Any = None, **details: Any) -> None:
    """Note that `actor` did `kind` (such as `key.revoked`) to `target`, in the transaction of the change."""
    Activity.objects.create(
        workspace=actor.workspace,
        kind=kind,
        user=actor.user,
        key_id=actor.key_id,
        address=actor.address,
        client=actor.client,
        target_id=str(target.pk) if target is not None else "",
        target_name=str(target)[:200] if target is not None else "",
        details={name: _clean(value) for name, value in details.items() if value not in (None, "")},
    )


def _clean(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value


def visible_to(
    actor: Actor,
    *,
    person: str = "",
    kind: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
) -> QuerySet[Activity]:
    """Entries of the actor's workspace, newest first: all for Admins and the Owner, else their own.

    `person` is a username, `kind` a whole kind or its first part, `before` the id of an entry.
    """
    entries = Activity.objects.filter(workspace=actor.workspace).select_related("user").order_by("-pk")
    if not actor.can(Right.MANAGE_MEMBERS):
        entries = entries.filter(user=actor.user)
    if person:
        entries = entries.filter(user__username=person)
    if kind:
        entries = entries.filter(Q(kind=kind) | Q(kind__startswith=f"{kind}."))
    if since is not None:
        entries = entries.filter(at__gte=since)
    if until is not None:
        entries = entries.filter(at__lt=until)
    if before is not None:
        entries = entries.filter(pk__lt=before)
    return entries
