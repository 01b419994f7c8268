"""Moving stored values from one encryption key to another, while the server runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from apikeys.checks import encryption_keys_in_use
from apikeys.keyring import Undecryptable, keyring
from apikeys.models import ApiKey, ApiKeyQuerySet


@dataclass
class Progress:
    encrypted: int = 0
    skipped: int = 0  # revoked, or encrypted anew by somebody else, in between
    failed: int = 0  # cannot be decrypted, left as they are

    @property
    def seen(self) -> int:
        return self.encrypted + self.skipped + self.failed


def remaining() -> int:
    """How many active keys are not encrypted with the first encryption key."""
    return _old().count()


def run(batch: int = 500) -> Iterator[Progress]:
    """Encrypt all of them anew, `batch` rows in a transaction; yields the progress after each."""
    progress = Progress()
    for key_id in encryption_keys_in_use():
        if key_id == keyring().current_id:
            continue
        # Along the index by encryption key and id. What is done lies behind the cursor, as does what failed: to go over
        # that at each batch would take longer with each.
        rows, last = ApiKey.objects.filter(revoked_at=None, encryption_key_id=key_id).order_by("pk"), UUID(int=0)
        while keys := list(rows.filter(pk__gt=last)[:batch]):
            last = keys[-1].pk
            _encrypt(keys, progress)
            yield progress


def _old() -> ApiKeyQuerySet:
    return ApiKey.objects.filter(revoked_at=None).exclude(encryption_key_id=keyring().current_id)


def _encrypt(keys: list[ApiKey], progress: Progress) -> None:
    ring = keyring()
    ids, old_blobs, new_blobs = [], [], []
    for key in keys:
        try:
            token = ring.decrypt(key.encryption_key_id, bytes(key.ciphertext), key.binding)
        except Undecryptable:
            progress.failed += 1
            continue
        ids.append(key.pk)
        old_blobs.append(bytes(key.ciphertext))
        new_blobs.append(ring.encrypt(token, key.binding)[1])
    if not ids:
        return
    # Compare and set: a key that was revoked meanwhile has no blob any more and stays without.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {ApiKey._meta.db_table} k SET ciphertext = new.blob, encryption_key_id = %s "
            "FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS new (id, old_blob, blob) "
            "WHERE k.id = new.id AND k.ciphertext = new.old_blob AND k.revoked_at IS NULL",
            [ring.current_id, ids, old_blobs, new_blobs],
        )
        changed = cursor.rowcount
    progress.encrypted += changed
    progress.skipped += len(ids) - changed
