"""The log of what was done in a workspace."""

from typing import Any

from config.redaction import redact
from workspaces.access import Actor
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
