"""The life of a key: made, shown, rotated, revoked. Every interface calls these and nothing else changes a key."""

import time
import unicodedata
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Least, Now
from django.utils import timezone

from accounts.reauthentication import ReauthenticationRequired
from apikeys import tokens
from apikeys.keyring import Undecryptable, keyring
from apikeys.models import ApiKey, ApiKeyQuerySet, KeyReveal
from config.errors import Conflict, Invalid, NotFound
from config.redaction import redact
from workspaces import activity
from workspaces.access import Actor, Right, Role

NAME_LENGTH = 100
JUST_MADE = timedelta(minutes=5)  # so long who made a key sees its value without proving again who they are
# How long the old key may go on after a rotation, in seconds; None: until somebody revokes it.
GRACES: dict[str, int | None] = {"now": 0, "1h": 3600, "24h": 86400, "7d": 604800, "manual": None}


def clean_name(name: str) -> str:
    """`name` without outer and repeated blanks. Raises Invalid when empty, too long, unprintable or a key itself."""
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name:
        problem = "Give the key a name."
    elif len(name) > NAME_LENGTH:
        problem = f"Use at most {NAME_LENGTH} characters."
    elif not name.isprintable():
        problem = "Use printable characters only."
    elif tokens.contains_token(name):
        problem = "This is the value of an API key. A name is shown to everybody in the workspace."
    else:
        return name
    raise Invalid(f"name: {problem}", details={"name": [problem]})


@transaction.atomic
def create_key(actor: Actor, *, name: str, key_id: uuid.UUID | None = None) -> tuple[ApiKey, str]:
    """Make a key in the actor's workspace and return it with its value.

    A form that is sent twice carries the same `key_id` and gets the key of the first time again. Raises NotAllowed,
    Invalid for a bad name, Conflict if the id belongs to another key.
    """
    actor.require_still(Right.MANAGE_KEYS)
    name = clean_name(name)
    _finish_due(actor)
    if key_id is not None:
        existing = ApiKey.objects.filter(pk=key_id).first()
        if existing is not None:
            if existing.workspace_id != actor.workspace.pk or existing.creator_id != actor.user.pk:
                raise Conflict
            return existing, reveal(actor, existing)
    key, token = _insert(actor, name=name, creator_id=actor.user.pk, key_id=key_id)
    activity.record(actor, "key.created", key)
    return key, token


def reveal(actor: Actor, key: ApiKey) -> str:
    """The value of one key, noted as seen. Raises as `reveal_all`, and Conflict where there is no value (any more)."""
    token = reveal_all(actor, [key])[key.pk]
    if token is None:
        raise Conflict("This key has no value to show: it was revoked, or it was encrypted with another encryption key")
    return token


def reveal_all(actor: Actor, keys: Iterable[ApiKey]) -> dict[uuid.UUID, str | None]:
    """The values of `keys` by id, None for those that have none, noted as seen by the actor.

    Raises NotAllowed, ReauthenticationRequired where the actor's last sign-in is too long ago.

    Constant number of statements; the note is written at most once an hour for each key and person, and in the log at
    most once an hour for each person in a workspace.
    """
    actor.require(Right.MANAGE_KEYS)
    keys = [key for key in keys if key.workspace_id == actor.workspace.pk]
    _require_recent_sign_in(actor, keys)
    values = {key.pk: _value(key) for key in keys}
    _note_seen(actor, [key for key in keys if values[key.pk] is not None])
    return values


@transaction.atomic
def revoke_key(actor: Actor, key: ApiKey, *, reason: str = "") -> bool:
    """End `key` from the next request on and destroy its ciphertext. Twice is once: False if it had ended before.

    Raises NotAllowed. A key may always end itself.
    """
    if actor.key_id != key.pk:
        actor.require(Right.MANAGE_KEYS)
    _finish_due(actor)
    return end_key(actor, key, reason=reason)


def end_key(actor: Actor, key: ApiKey, *, reason: str) -> bool:
    """`revoke_key` without asking for the right: for changes that were allowed on other grounds, such as leaving."""
    ended = ApiKey.objects.filter(pk=key.pk, workspace=actor.workspace, revoked_at=None).update(
        revoked_at=Now(), revoked_by=actor.user, revoke_reason=redact(reason)[:200], ciphertext=b""
    )
    if ended:
        activity.record(actor, "key.revoked", key, reason=reason)
    return bool(ended)


def end_all_keys(actor: Actor, *, reason: str) -> int:
    """End every key of the actor's workspace, and return how many there were. Three statements."""
    keys = actor.workspace.api_keys.filter(revoked_at=None)
    ended = list(keys.select_for_update(of=("self",)).order_by("pk").only("name", "prefix"))  # as all who lock several
    keys.update(revoked_at=Now(), revoked_by=actor.user, revoke_reason=reason, ciphertext=b"")
    activity.record_each(actor, "key.revoked", ended, reason=reason)
    return len(ended)


@transaction.atomic
def revoke_as_operator(
    operator: Any, key_ids: Iterable[uuid.UUID], *, reason: str = "", address: str = "", client: str = ""
) -> int:
    """End the keys with these ids, in whatever workspace, and return how many there were to end.

    For the admin and the command line, whose users run the server: the right to it is the admin's permission or the
    shell. `operator` is the person in the log, None on the command line.
    """
    keys = ApiKey.objects.select_for_update(of=("self",)).filter(pk__in=list(key_ids), revoked_at=None)
    ended = list(keys.select_related("workspace").order_by("pk"))
    ApiKey.objects.filter(pk__in=[key.pk for key in ended]).update(
        revoked_at=Now(), revoked_by=operator, revoke_reason=redact(reason)[:200], ciphertext=b""
    )
    for key in ended:
        actor = Actor(operator, key.workspace, Role.OWNER, address=address, client=client)
        activity.record(actor, "key.revoked", key, reason=reason, by="operator")
    return len(ended)


@transaction.atomic
def hand_over_key(actor: Actor, key: ApiKey, to: Any) -> None:
    """Bind `key` to another creator, with the same value: encrypted anew, because the creator is part of the binding.

    One that has ended stays as it is; one that cannot be decrypted is revoked. The caller has seen to the rights.
    """
    row = ApiKey.objects.active().select_for_update(of=("self",)).filter(pk=key.pk, workspace=actor.workspace).first()
    if row is None:
        return
    token = _value(row)
    if token is None:
        end_key(actor, row, reason="could not be handed over")
        return
    before = row.creator_id
    row.creator_id = to.pk
    key_id, blob = keyring().encrypt(token, row.binding)
    ApiKey.objects.filter(pk=row.pk).update(creator=to, encryption_key_id=key_id, ciphertext=blob)
    activity.record(actor, "key.handed_over", row, before=str(before), after=to.username)


@transaction.atomic
def rotate_key(actor: Actor, key: ApiKey, *, grace: str = "24h") -> tuple[ApiKey, str]:
    """Make a successor of the same name and let the old key end after `grace` (one of GRACES).

    As long as the old key works, a second call returns the same successor, value included, so an answer that got
    lost loses nothing; a shorter grace than the first one's is obeyed, a longer one is not. Raises NotAllowed,
    Conflict when the old key has ended, Invalid for an unknown grace, ReauthenticationRequired as `reveal_all` for a
    successor that was made before.
    """
    if grace not in GRACES:
        problem = f"Choose one of: {', '.join(GRACES)}."
        raise Invalid(f"grace: {problem}", details={"grace": [problem]})
    is_own = actor.key_id == key.pk
    actor.require_still(Right.ROTATE_ITSELF if is_own else Right.MANAGE_KEYS)
    old = ApiKey.objects.select_for_update(of=("self",)).filter(pk=key.pk, workspace=actor.workspace).first()
    if old is None:
        raise NotFound("API key not found")
    if not ApiKey.objects.active().filter(pk=old.pk).exists():
        raise Conflict("This key has been revoked, create a new one instead")
    # Of this workspace: a row of another one that was made to point here must not be shown.
    successor = actor.workspace.api_keys.active().filter(replaces=old).first()
    if successor is None:
        successor, token = _insert(actor, name=old.name, creator_id=actor.user.pk, replaces=old)
        activity.record(actor, "key.rotated", old, successor=str(successor.pk), grace=grace)
    else:
        _require_recent_sign_in(actor, [successor])
        value = _value(successor)
        if value is None:
            raise Conflict("The successor of this key cannot be decrypted")
        token = value
    if actor.key is None:
        _note_seen(actor, [successor])
    _schedule_end(actor, old, grace)
    _finish_due(actor)
    return successor, token


def finish_due_revocations() -> int:
    """Destroy the ciphertext of all keys past their scheduled revocation, and return how many there were.

    They are refused from their second on without this; it is for the daily clean-up.
    """
    with transaction.atomic():
        return _destroy_due(ApiKey.objects.all())


def _insert(
    actor: Actor, *, name: str, creator_id: uuid.UUID, key_id: uuid.UUID | None = None, replaces: ApiKey | None = None
) -> tuple[ApiKey, str]:
    token = tokens.new_token()
    key = ApiKey(
        id=key_id or uuid.uuid4(),
        workspace=actor.workspace,
        creator_id=creator_id,
        name=name,
        prefix=tokens.prefix(token),
        digest=tokens.digest(token),
        replaces=replaces,
    )
    key.encryption_key_id, key.ciphertext = keyring().encrypt(token, key.binding)
    key.save(force_insert=True)
    return key, token


def _require_recent_sign_in(actor: Actor, keys: Iterable[ApiKey]) -> None:
    """Raise ReauthenticationRequired if the person at a browser may see values only after a more recent sign-in.

    Not for keys that have none, nor for those that they have just made: they could make another.
    """
    minutes = settings.REVEAL_REAUTH_MINUTES
    if not minutes or actor.key is not None or time.time() - actor.proved_at < minutes * 60:
        return
    since = timezone.now() - JUST_MADE
    if any(key.is_active() and not (key.creator_id == actor.user.pk and key.created_at > since) for key in keys):
        raise ReauthenticationRequired


def _value(key: ApiKey) -> str | None:
    if not key.is_active():
        return None
    try:
        return keyring().decrypt(key.encryption_key_id, bytes(key.ciphertext), key.binding)
    except Undecryptable:
        return None


def _schedule_end(actor: Actor, old: ApiKey, grace: str) -> None:
    ApiKey.objects.filter(pk=old.pk, rotated_at=None).update(rotated_at=Now())
    seconds = GRACES[grace]
    if seconds == 0:
        revoke_key(actor, old, reason="rotated")
    elif seconds is not None:
        end = Now() + timedelta(seconds=seconds)
        ApiKey.objects.filter(pk=old.pk).update(revokes_at=Least(Coalesce("revokes_at", end), end))


def _finish_due(actor: Actor) -> None:
    _destroy_due(actor.workspace.api_keys.all())


def _destroy_due(keys: ApiKeyQuerySet) -> int:
    # What somebody else is working on is left to the next time: nobody ever waits here.
    due = keys.due().select_for_update(of=("self",), skip_locked=True).select_related("workspace")
    ended = list(due.defer("digest", "ciphertext"))
    if not ended:
        return 0
    ids = [key.pk for key in ended]
    ApiKey.objects.filter(pk__in=ids).update(revoked_at=F("revokes_at"), ciphertext=b"", revoke_reason="rotated")
    for key in ended:
        assert key.revokes_at is not None  # or it would not be due
        end = key.revokes_at.isoformat(timespec="seconds")
        activity.record(Actor(None, key.workspace, Role.OWNER), "key.revoked", key, reason="rotated", ended_at=end)
    return len(ended)


def _note_seen(actor: Actor, keys: list[ApiKey]) -> None:
    if not keys:
        return
    activity.record_keys_shown(actor, keys)
    # Sorted, so that two people who open the same page never wait for each other in a circle.
    table = KeyReveal._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (key_id, person_id) SELECT unnest(%s::uuid[]), %s "
            f"ON CONFLICT (key_id, person_id) DO UPDATE SET last_at = statement_timestamp() "
            f"WHERE {table}.last_at < statement_timestamp() - interval '1 hour'",
            [sorted(key.pk for key in keys), actor.user.pk],
        )
