"""What `manage.py check` and the start of the server look at."""

from typing import Any

from django.core.checks import Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import Count

from apikeys import second_factors
from apikeys.keyring import WARN_ENCRYPTIONS, Undecryptable, keyring
from apikeys.models import ApiKey


@register("keyring")
def keyring_can_be_read(app_configs: Any, **kwargs: Any) -> list[Any]:
    try:
        keyring()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="keyhouse.E001")]
    return []


@register("database", "keyring")
def keyring_opens_what_is_stored(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[Any]:
    if not databases or ApiKey._meta.db_table not in connection.introspection.table_names():
        return []  # not asked for, or before the first `migrate`, which runs these checks, too
    problem = stored_keys_problem()
    found: list[Any] = [Error(problem, id="keyhouse.E002")] if problem else []
    return found + [
        Warning(
            f"The encryption key {key_id} has encrypted {count:,} values.",
            hint="Random nonces are safe to 2^32 (NIST SP 800-38D). Put a new key first and run rotate_encryption_key.",
            id="keyhouse.W001",
        )
        for key_id, count in encryptions_by_key().items()
        if count >= WARN_ENCRYPTIONS
    ]


@register("database")
def what_each_encryption_key_holds(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[Any]:
    """A line for each encryption key, for `check --database default`; it reads the whole index."""
    if not databases or ApiKey._meta.db_table not in connection.introspection.table_names():
        return []
    held, seeds = rows_by_key(), second_factors.held_by_key()
    return [
        Info(
            f"The encryption key {key_id} holds {held.get(key_id, 0):,} API keys and {seeds[key_id]:,} second factors.",
            id="keyhouse.I001",
        )
        for key_id in keyring().ids
    ]


def rows_by_key() -> dict[str, int]:
    """How many API keys that have not ended each encryption key holds, exactly."""
    active = ApiKey.objects.filter(revoked_at=None).order_by()
    return dict(active.values_list("encryption_key_id").annotate(count=Count("pk")))


def stored_keys_problem() -> str | None:
    """Why the configured encryption keys do not open what is stored, as one sentence; None if they do.

    Looks at one row for each encryption key that is in use, however many keys there are.
    """
    ring = keyring()
    for key_id in encryption_keys_in_use():
        if key_id not in ring.ids:
            return (
                f"There are API keys encrypted with the encryption key {key_id!r}, which API_KEY_ENCRYPTION_KEYS "
                "does not contain: put it back, or they cannot be used."
            )
        # Only the columns of the first migration: `migrate` asks before it adds others.
        sample = ApiKey.objects.only("workspace", "creator", "digest", "ciphertext", "encryption_key_id")
        sample = sample.filter(revoked_at=None, encryption_key_id=key_id).order_by("pk")[:3]
        if not any(_opens(key) for key in sample):
            return (
                f"The encryption key {key_id!r} in API_KEY_ENCRYPTION_KEYS does not open the API keys stored under "
                "that id: it is not the key that they were encrypted with."
            )
    for key_id in sorted(second_factors.held_by_key().keys() - {"", *ring.ids}):
        return (
            f"There are second factors encrypted with the encryption key {key_id!r}, which API_KEY_ENCRYPTION_KEYS "
            "does not contain: put it back, or nobody can sign in with them."
        )
    return None


def encryptions_by_key() -> dict[str, int]:
    """How many values each encryption key holds, by PostgreSQL's estimate."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = %s::regclass", [ApiKey._meta.db_table]
        )
        total = cursor.fetchone()[0]
    return {keyring().current_id: total}


def _opens(key: ApiKey) -> bool:
    try:
        keyring().decrypt(key.encryption_key_id, bytes(key.ciphertext), key.binding)
    except Undecryptable:
        return False
    return True


def encryption_keys_in_use() -> list[str]:
    """The ids of the encryption keys that API keys are encrypted with which have not ended."""
    # A walk from one id to the next along the index: DISTINCT would read every row.
    table = ApiKey._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE ids AS ((SELECT encryption_key_id AS id FROM {table} WHERE revoked_at IS NULL "
            f"ORDER BY encryption_key_id LIMIT 1) UNION ALL SELECT (SELECT encryption_key_id FROM {table} WHERE "
            "revoked_at IS NULL AND encryption_key_id > ids.id ORDER BY encryption_key_id LIMIT 1) FROM ids "
            "WHERE ids.id IS NOT NULL) SELECT id FROM ids WHERE id IS NOT NULL"
        )
        return [row[0] for row in cursor.fetchall()]
