"""What the operator does to people: suspend and restore. In one transaction; the admin calls it."""

from collections.abc import Iterable
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User
from accounts.signals import user_restored, user_suspended
from config.errors import Conflict, NotAllowed
from config.redaction import clean_reason


@transaction.atomic
def suspend_users(
    operator: User | None, user_ids: Iterable[UUID], *, reason: str = "", address: str = "", client: str = ""
) -> int:
    """Refuse these people and their keys from the next request on, end their sessions, and return how many it were.

    Those who are suspended already stay as they are. Memberships stay. `operator` is None on the command line. Raises
    NotAllowed where somebody other than a superuser would suspend one, Conflict for the operator themselves and where
    no active superuser would be left; nobody is suspended then.
    """
    ids = set(user_ids)
    if operator is not None and operator.pk in ids:
        raise Conflict("You cannot suspend yourself; ask another superuser to do it")
    locked = _lock(ids)
    users = [user for user in locked if user.pk in ids and user.is_active]
    _require_may_change(operator, users)
    superusers = [user.pk for user in locked if user.is_superuser and user.is_active]
    if superusers and ids.issuperset(superusers):
        raise Conflict("This would suspend the last superuser, and nobody could restore anybody any more")
    reason = clean_reason(reason)
    changes = {"is_active": False, "suspended_at": Now(), "suspended_reason": reason}
    User.objects.filter(pk__in=[user.pk for user in users]).update(**changes)
    for user in users:
        _end_sessions(user)
        user_suspended.send(User, user=user, operator=operator, reason=reason, address=address, client=client)
    return len(users)


@transaction.atomic
def restore_users(operator: User | None, user_ids: Iterable[UUID], *, address: str = "", client: str = "") -> int:
    """Take suspensions back: these people can sign in again, their unrevoked keys work. Returns how many it were.

    Raises NotAllowed where somebody other than a superuser would restore one.
    """
    ids = set(user_ids)
    users = [user for user in _lock(ids) if user.pk in ids and not user.is_active]
    _require_may_change(operator, users)
    changes = {"is_active": True, "suspended_at": None, "suspended_reason": ""}
    User.objects.filter(pk__in=[user.pk for user in users]).update(**changes)
    for user in users:
        _end_sessions(user)  # of a sign-in that was under way when they were suspended
        user_restored.send(User, user=user, operator=operator, address=address, client=client)
    return len(users)


def _lock(ids: set[UUID]) -> list[User]:
    """The people with these ids and all active superusers, so that two of these cannot suspend each other at once."""
    rows = User.objects.select_for_update(no_key=True).filter(Q(pk__in=ids) | Q(is_superuser=True, is_active=True))
    return list(rows.order_by("pk"))


def _require_may_change(operator: User | None, users: list[User]) -> None:
    if operator is not None and not operator.is_superuser and any(user.is_superuser for user in users):
        raise NotAllowed("Only a superuser can suspend or restore a superuser")


def _end_sessions(user: User) -> None:
    for session in UserSession.objects.filter(user=user):
        session.end()
