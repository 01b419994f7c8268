"""The log of what was done in a workspace."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from config.redaction import redact
from workspaces.access import Actor, Right, Role
from workspaces.models import Activity, Membership

SHOWN_EVERY = timedelta(hours=1)
# Every kind, as people choose among them: the first part, what it is called, the second parts. Higher apps add theirs.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "key": ("Keys", ("created", "shown", "rotated", "revoked", "handed_over")),
    "member": ("Members", ("joined", "signed_in", "role_changed", "left", "removed", "suspended", "restored")),
    "invitation": ("Invitations", ("sent", "resent", "cancelled")),
    "team": (
        "The team",
        (
            *("created", "renamed", "handed_over", "deleted"),
            *("second_factor_required", "second_factor_optional"),
        ),
    ),
    "workspace": ("By the operator", ("suspended", "restored")),
}


def kind_choices() -> list[tuple[str, Any]]:
    """All kinds as the choices of a form, in groups of which each can be chosen as a whole."""
    return [
        ("", "Everything"),
        *(
            (label, [(first, f"{label}: all"), *((f"{first}.{second}",) * 2 for second in seconds)])
            for first, (label, seconds) in KINDS.items()
        ),
    ]


def record(actor: Actor, kind: str, target: Any = None, **details: Any) -> None:
    """Note that `actor` did `kind` (such as `key.revoked`) to `target`, in the transaction of the change."""
    entry(actor, kind, target, **details).save(force_insert=True)


def record_each(actor: Actor, kind: str, targets: Iterable[Any], **details: Any) -> None:
    """The same for many, in one statement."""
    Activity.objects.bulk_create((entry(actor, kind, target, **details) for target in targets), batch_size=1000)


def record_sign_in(user: Any, *, address: str, client: str, session: str) -> None:
    """Note in each workspace where `user` has a place that they have signed in. Two statements, however many."""
    places = Membership.objects.filter(user=user).select_related("workspace").order_by("pk")
    origin: dict[str, Any] = {"address": address, "client": client, "session": session}
    actors = [Actor(user, place.workspace, Role(place.role), **origin) for place in places]
    Activity.objects.bulk_create(entry(actor, "member.signed_in", user) for actor in actors)


def record_keys_shown(actor: Actor, keys: Sequence[Any]) -> None:
    """Note that the values of `keys` were shown to `actor`, unless that was noted here within the last hour.

    The row of the membership decides, so that of two tabs that are opened at once one writes.
    """
    own = Membership.objects.filter(workspace=actor.workspace, user=actor.user)
    due = own.filter(Q(keys_shown_at=None) | Q(keys_shown_at__lte=Now() - SHOWN_EVERY))
    with transaction.atomic(savepoint=False):
        if due.update(keys_shown_at=Now()):
            record(actor, "key.shown", keys[0] if len(keys) == 1 else None, keys=len(keys))


def entry(actor: Actor, kind: str, target: Any = None, **details: Any) -> Activity:
    return Activity(
        workspace=actor.workspace,
        kind=kind,
        user=actor.user,
        key_id=actor.key_id,
        key_name=str(actor.key)[:200] if actor.key is not None else "",
        address=actor.address,
        client=actor.client,
        session=actor.session,
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
    entries = Activity.objects.filter(workspace=actor.workspace).select_related("user").newest_first()
    if not actor.can(Right.MANAGE_MEMBERS):
        entries = entries.filter(user=actor.user)
    if person:
        # Looked up first: with a join PostgreSQL cannot tell rare people from frequent ones, and reads all of the log.
        user_id = User.objects.filter(username=person.lower()).values_list("pk", flat=True).first()
        entries = entries.filter(user=user_id) if user_id is not None else entries.none()
    if kind:
        entries = entries.filter(of_kind(kind))
    if since is not None:
        entries = entries.filter(at__gte=since)
    if until is not None:
        entries = entries.filter(at__lt=until)
    if before is not None:
        at = Activity.objects.filter(workspace=actor.workspace, pk=before).values_list("at", flat=True).first()
        entries = entries.filter(at__lte=at).exclude(at=at, pk__gte=before) if at is not None else entries.none()
    return entries


def of_kind(kind: str) -> Q:
    """Entries of a whole kind, such as `key.revoked`, or of all whose first part it is."""
    return Q(kind__in=[f"{kind}.{second}" for second in KINDS[kind][1]] if kind in KINDS else [kind])


def trim(older_than_days: int, *, batch: int = 5_000) -> int:
    """Delete entries older than so many days, by the database's clock, and return how many it were.

    Works in short transactions beside the running server; stopped in the middle, it has done what it has done. The
    table refuses every deletion but this one (migration 0005), which says so in each transaction.
    """
    old = Activity.objects.filter(at__lt=Now() - timedelta(days=older_than_days)).order_by("at")
    total = 0
    while True:
        with transaction.atomic():
            ids = list(old.values_list("pk", flat=True)[:batch])
            if not ids:
                return total
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL keyhouse.trims_activity = 'on'")
            total += Activity.objects.filter(pk__in=ids).delete()[0]
