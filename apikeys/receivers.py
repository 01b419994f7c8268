"""What becomes of keys when people and teams change. In the transaction of that change."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.dispatch import receiver

from apikeys import services
from apikeys.models import ApiKey
from config.errors import Invalid
from workspaces.access import Actor
from workspaces.signals import member_leaving, team_ending


@receiver(member_leaving)
def end_or_hand_over(sender: Any, actor: Actor, membership: Any, handovers: Mapping[UUID, Any], **kwargs: Any) -> None:
    """Each key that somebody made here goes to who takes it over, or is revoked. Raises Invalid for a foreign id."""
    keys = {key.pk: key for key in _made_by(actor, membership.user)}
    unknown = set(handovers) - set(keys)
    if unknown:
        problem = "One of these keys is not an active key that this member made."
        raise Invalid(problem, details={"handOver": [problem]})
    for key_id, key in keys.items():
        if key_id in handovers:
            services.hand_over_key(actor, key, handovers[key_id])
        else:
            services.end_key(actor, key, reason="its creator left the team")


@receiver(team_ending)
def end_all(sender: Any, actor: Actor, workspace: Any, **kwargs: Any) -> None:
    services.end_all_keys(actor, reason="the team was deleted")


def _made_by(actor: Actor, user: Any) -> list[ApiKey]:
    # By the time the membership is locked nobody can make another: making one needs that lock, too.
    return list(actor.workspace.api_keys.active().filter(creator=user).order_by("pk"))


def keep_revoked() -> Callable[[], str]:
    """Before a database is replaced by a backup: revoking is final, also for keys that were good in the backup."""
    if ApiKey._meta.db_table not in connection.introspection.table_names():
        return lambda: ""
    revoked = list(ApiKey.objects.filter(revoked_at__isnull=False).values_list("pk", flat=True))

    def finish() -> str:
        number = sum(
            services.revoke_as_operator(None, batch, reason="was revoked when a backup was restored", client="restore")
            for batch in (revoked[start : start + 1000] for start in range(0, len(revoked), 1000))
        )
        return f"{number} keys that were revoked after the backup stay revoked." if number else ""

    return finish
