"""Checkpoints: where their bytes are, and the signed addresses under which clients bring and fetch them.

Weights are bytes to this server: nothing ever reads what is in them. The bytes are in the storage `checkpoints` of the
settings: a local folder, streamed through this server, or S3, which clients then talk to themselves.

A signed address names one file, one purpose, whom it was given to and until when. It is good for nothing else, and
dies with the key (or the membership) that asked for it. S3 knows no keys of ours, so its addresses live to their end:
what is uploaded there is copied before it becomes a run's weights, to where no address leads that could change it.
"""

import hashlib
import logging
import math
import os
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core import signing
from django.core.files.base import File
from django.core.files.storage import storages
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.http import urlencode

from apikeys.authentication import actor_of_key
from config.errors import Conflict, Invalid, NotAllowed, NotFound, PayloadTooLarge, StorageFull, Unavailable
from training.models import Checkpoint, Run, stored_bytes
from workspaces.access import Actor, Right
from workspaces.models import Workspace
from workspaces.services import actor_in

log = logging.getLogger(__name__)

CHUNK_BYTES = 1024 * 1024
# Longer than any address that was given out for it
KEEP_SUPERSEDED = timedelta(seconds=max(2 * 60 * 60, settings.SIGNED_URL_SECONDS))
KEEP_UNCLAIMED = timedelta(seconds=max(24 * 60 * 60, settings.SIGNED_URL_SECONDS))
STAGED = "staged/"  # where uploads that bypass this server arrive
UPLOAD, DOWNLOAD = "upload", "download"


def bypasses() -> bool:
    """Do bytes go between client and storage without passing this server?"""
    return bool(settings.S3_BUCKET)


# Uploads


def ask_upload(
    actor: Actor, run: Run, *, filename: str, attempt: int | None, size: int | None
) -> tuple[Checkpoint, str]:
    """A place for a file of weights and the address to PUT it to: a path of this server, or one of the storage.

    Raises NotAllowed, Invalid for a bad name, PayloadTooLarge if `size` is more than is allowed or left.
    """
    actor.require(Right.EDIT)
    if attempt is not None and not 1 <= attempt <= run.attempt:
        problem = "This run has no such attempt."
        raise Invalid(f"runId: {problem}", details={"runId": [problem]})
    _require_room(actor.workspace, size or 0)
    with transaction.atomic():
        remove(Checkpoint.objects.filter(run=run, superseded_at__lt=Now() - KEEP_SUPERSEDED))
    checkpoint = Checkpoint.objects.create(run=run, attempt=attempt, filename=filename, creator=actor.user)
    if bypasses():
        return checkpoint, _presigned("put_object", _staged(checkpoint))
    path = reverse("training-api:upload", args=[checkpoint.pk, filename])
    return checkpoint, f"{path}?{_signature(UPLOAD, checkpoint.pk, actor)}"


def receive(checkpoint: Checkpoint, stream: Any, length: int) -> None:
    """Store `length` bytes of `stream` as the checkpoint's file, whole or not at all.

    The same may come again. Raises PayloadTooLarge, Invalid if nothing comes or the stream ends early, StorageFull,
    Conflict where other bytes have been the run's weights already, NotFound if the run is removed meanwhile.
    """
    workspace = checkpoint.run.workspace
    if not length:
        raise Invalid("The file is empty")
    _require_room(workspace, length, besides=checkpoint)
    storage, name, incoming = storages["checkpoints"], _new_name(checkpoint), Incoming(stream, length)
    is_kept = False
    try:
        storage.save(name, incoming)
        if incoming.received != length:
            raise Invalid("The upload ended early; please send it again")
        _sync(storage, name)
        is_kept = _keep(checkpoint, name, incoming)
    except OSError as error:
        log.error("A checkpoint could not be stored: %s", error)
        raise StorageFull from None
    finally:
        if not is_kept:
            _delete(name)


@transaction.atomic
def _keep(checkpoint: Checkpoint, name: str, incoming: "Incoming") -> bool:
    """Note that the file is there; without a run's id in its upload it is the run's weights at once.

    False if the very same bytes were there before: they stay where they are, somebody may be reading them.
    """
    try:
        run = Run.objects.select_for_update(of=("self",), no_key=True).get(pk=checkpoint.run_id)
        current = Checkpoint.objects.select_for_update(of=("self",)).get(pk=checkpoint.pk)
    except (Run.DoesNotExist, Checkpoint.DoesNotExist):
        raise NotFound("Model not found") from None
    digest, is_stored = incoming.digest.digest(), current.stored_at is not None and current.removed_at is None
    if is_stored and bytes(current.sha256 or b"") == digest:
        return False
    if run.weights_id == current.pk or current.superseded_at is not None:
        raise Conflict("Other bytes have become the model's weights already")
    if settings.WORKSPACE_STORAGE_BYTES:  # others may have filled it while these bytes came in
        Workspace.objects.select_for_update(of=("self",), no_key=True).get(pk=run.workspace_id)
        _require_room(checkpoint.run.workspace, incoming.received, besides=current)
    before = current.file
    current.file, current.size_bytes, current.sha256 = name, incoming.received, digest
    Checkpoint.objects.filter(pk=current.pk).update(
        file=name, size_bytes=current.size_bytes, sha256=digest, stored_at=Now(), removed_at=None
    )
    if before:
        transaction.on_commit(lambda: _delete(before))
    if current.attempt is None:
        _claim(run, current)
    return True


def _claim(run: Run, checkpoint: Checkpoint) -> bool:
    """Make the checkpoint the run's weights, unless newer ones are."""
    changes = promote(run, checkpoint)
    if changes:
        Run.objects.filter(pk=run.pk).update(version=F("version") + 1, **changes)
    return bool(changes)


class Incoming(File):
    """A request's body as a file that a storage can save, measured and hashed as it goes by."""

    def __init__(self, stream: Any, length: int):
        super().__init__(stream, name="incoming")
        self.stream, self.size = stream, length
        self.received, self.digest = 0, hashlib.sha256()

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        while self.received < self.size:
            try:
                chunk = self.stream.read(min(CHUNK_BYTES, self.size - self.received))
            except OSError:  # the client has gone, or has been silent for too long
                return
            if not chunk:
                return
            self.received += len(chunk)
            self.digest.update(chunk)
            yield chunk

    def multiple_chunks(self, chunk_size: int | None = None) -> bool:
        return True


def settle(checkpoint: Checkpoint) -> bool:
    """Are the bytes here? Where they bypass this server this copies them from where clients can write.

    Raises PayloadTooLarge, having removed them, if they are more than is allowed or left; Unavailable while the storage
    is away. Takes as long as the storage needs for a copy: not for a transaction that holds what others wait for.
    """
    if checkpoint.stored_at is not None:
        return checkpoint.removed_at is None
    if not bypasses():
        return False
    client, bucket = _s3()
    staged, name = _staged(checkpoint), _new_name(checkpoint)
    try:
        try:
            _require_room(checkpoint.run.workspace, client.head_object(Bucket=bucket, Key=staged)["ContentLength"])
            client.copy({"Bucket": bucket, "Key": staged}, bucket, name)
            size = client.head_object(Bucket=bucket, Key=name)["ContentLength"]
            _require_room(checkpoint.run.workspace, size)  # others may have been uploaded since
        except PayloadTooLarge:
            _delete(staged, name)
            raise
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("404", "NoSuchKey"):
            log.error("The storage of checkpoints refuses: %s", error)
            raise Unavailable from None
        checkpoint.refresh_from_db()  # another request may have settled it in this moment
        return checkpoint.stored_at is not None and checkpoint.removed_at is None
    except BotoCoreError as error:
        log.error("The storage of checkpoints does not answer: %s", error)
        raise Unavailable from None
    settled = Checkpoint.objects.filter(pk=checkpoint.pk, stored_at=None)
    if settled.update(file=name, size_bytes=size, stored_at=Now()):
        _delete(staged)
    else:
        _delete(name)
    checkpoint.refresh_from_db()
    return checkpoint.removed_at is None


def promote(run: Run, checkpoint: Checkpoint) -> dict[str, Any]:
    """The change that makes a stored checkpoint the run's weights; none if it is, or if newer ones are.

    Newer is what a later attempt asked for, or the same attempt later. The former weights stay for KEEP_SUPERSEDED.
    Call in a transaction that has locked the run.
    """
    if run.weights_id == checkpoint.pk:
        return {}
    if run.weights_id is not None:
        older = Q(created_at__lte=checkpoint.created_at)
        if checkpoint.attempt is not None:
            older = Q(attempt__lt=checkpoint.attempt) | (older & (Q(attempt=None) | Q(attempt=checkpoint.attempt)))
        if not Checkpoint.objects.filter(older, pk=run.weights_id).update(superseded_at=Now()):
            Checkpoint.objects.filter(pk=checkpoint.pk, superseded_at=None).update(superseded_at=Now())
            return {}
    return {"weights": checkpoint}


def remove(checkpoints: Any) -> int:
    """Give up the bytes of `checkpoints` once the transaction has succeeded. Returns how many there were."""
    rows = checkpoints.filter(removed_at=None)
    doomed = dict((rows if bypasses() else rows.exclude(file="")).values_list("pk", "file"))
    if not doomed:
        return 0
    Checkpoint.objects.filter(pk__in=doomed).update(removed_at=Now())
    names = [name for name in doomed.values() if name]
    if bypasses():
        names += [f"{STAGED}{pk}.pt" for pk in doomed]
    transaction.on_commit(lambda: _delete(*names))
    return len(doomed)


def sweep() -> int:
    """Remove files that no checkpoint knows: of uploads that a crash cut off, or that came too late.

    Only those older than a day, so nothing that is just coming in. Returns how many.
    """
    storage: Any = storages["checkpoints"]
    if bypasses():
        before = datetime.now(UTC) - KEEP_UNCLAIMED
        old = [found.key for found in storage.bucket.objects.filter(Prefix=STAGED) if found.last_modified < before]
        _delete(*old)
        return len(old)
    root, before_seconds = Path(storage.location), time.time() - KEEP_UNCLAIMED.total_seconds()
    names = {str(path.relative_to(root)) for path in root.rglob("*") if _changed_at(path) < before_seconds}
    known = set(Checkpoint.objects.filter(file__in=names, removed_at=None).values_list("file", flat=True))
    _delete(*names - known)
    return len(names - known)


def weights_of(run: Run) -> Checkpoint | None:
    """The run's weights, if there are any."""
    if bypasses():  # nobody tells when a client that knows no attempts has uploaded
        waiting = Checkpoint.objects.filter(run=run, attempt=None, stored_at=None, superseded_at=None, removed_at=None)
        for checkpoint in waiting.select_related("run__workspace").order_by("-created_at")[:3]:
            try:
                is_here = settle(checkpoint)
            except PayloadTooLarge:
                continue
            if is_here:
                with transaction.atomic():
                    locked = Run.objects.select_for_update(of=("self",), no_key=True).get(pk=run.pk)
                    if _claim(locked, checkpoint):
                        return checkpoint
    weights = run.weights
    return weights if weights is not None and weights.removed_at is None else None


# Downloads


def download_url(actor: Actor, checkpoint: Checkpoint) -> str:
    """An address, of this server or of the storage, that gives the bytes without any other credential.

    Its path ends in `.pt`, and changes with the bytes: clients use a file of that name that they have.
    """
    actor.require(Right.VIEW)
    if bypasses():
        return _presigned("get_object", checkpoint.file)
    path = reverse("training-api:download", args=[checkpoint.pk, checkpoint.download_name])
    return f"{path}?{_signature(DOWNLOAD, checkpoint.pk, actor)}"


def open_file(checkpoint: Checkpoint) -> Any:
    """The stored file, open for reading. Raises NotFound if its bytes are gone."""
    try:
        return storages["checkpoints"].open(checkpoint.file)
    except FileNotFoundError:
        raise NotFound("The file is no longer here") from None


# Signed addresses


def _signature(purpose: str, checkpoint_id: UUID, actor: Actor) -> str:
    by = f"key.{actor.key_id}" if actor.key is not None else f"user.{actor.user.pk}"
    expires = int(time.time()) + settings.SIGNED_URL_SECONDS
    return urlencode({"expires": str(expires), "by": by, "signature": _sign(purpose, checkpoint_id, by, expires)})


def _sign(purpose: str, checkpoint_id: UUID, by: str, expires: int) -> str:
    signer = signing.Signer(salt=f"training.storage.{purpose}")
    return signer.signature(f"{checkpoint_id}.{by}.{expires}")


def find_signed(
    purpose: str, checkpoint_id: UUID, query: Any, *, address: str = "", client: str = ""
) -> tuple[Checkpoint, Actor]:
    """The checkpoint of a signed address, and whom the address was given to, with the rights that they have now.

    Raises NotAllowed for an address that is forged or expired, or whose key or person may no longer do it; NotFound
    where the run is gone.
    """
    by, expires, signature = query.get("by", ""), query.get("expires", ""), query.get("signature", "")
    if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
        raise NotAllowed("This address is not valid")
    if not constant_time_compare(_sign(purpose, checkpoint_id, by, int(expires)), signature):
        raise NotAllowed("This address is not valid")
    if int(expires) < time.time():
        raise NotAllowed("This address has expired")
    checkpoint = (
        Checkpoint.objects.filter(pk=checkpoint_id, run__deleted_at=None, run__project__deleted_at=None)
        .select_related("run__workspace")
        .first()
    )
    if checkpoint is None:
        raise NotFound("Model not found")
    actor = _holder(by, checkpoint, address, client)
    actor.require(Right.EDIT if purpose == UPLOAD else Right.VIEW)
    return checkpoint, actor


def _holder(by: str, checkpoint: Checkpoint, address: str, client: str) -> Actor:
    kind, _, pk = by.partition(".")
    workspace = checkpoint.run.workspace
    actor: Actor | None
    if kind == "key":
        actor = actor_of_key(UUID(pk), address=address, client=client)
    else:
        from accounts.models import User

        user = User.objects.filter(pk=pk, is_active=True).first()
        try:
            actor = actor_in(user, workspace.slug, address=address, client=client) if user else None
        except NotFound:
            actor = None
    if actor is None or actor.workspace.pk != workspace.pk:
        raise NotAllowed("Whoever asked for this address may no longer use it")
    return actor


def _presigned(operation: str, name: str) -> str:
    client, bucket = _s3()
    return client.generate_presigned_url(
        operation, Params={"Bucket": bucket, "Key": name}, ExpiresIn=settings.SIGNED_URL_SECONDS
    )


def _s3() -> tuple[Any, str]:
    """The client of the storage, one for all threads, and the bucket's name."""
    storage: Any = storages["checkpoints"]
    return storage.bucket.meta.client, storage.bucket_name


def _staged(checkpoint: Checkpoint) -> str:
    """Where an upload that bypasses this server arrives. Each checkpoint has one such place."""
    return f"{STAGED}{checkpoint.pk}.pt"


# Files


def _require_room(workspace: Workspace, size: int, *, besides: Checkpoint | None = None) -> None:
    """Raise PayloadTooLarge unless a file of `size` bytes may be stored, in the place of what `besides` has."""
    if size > settings.CHECKPOINT_MAX_BYTES:
        raise PayloadTooLarge(f"A checkpoint may have at most {settings.CHECKPOINT_MAX_BYTES:,} bytes")
    limit = settings.WORKSPACE_STORAGE_BYTES
    if limit and stored_bytes(workspace, besides=besides) + size > limit:
        raise PayloadTooLarge("The workspace's storage is full; delete models that are no longer needed")


def _new_name(checkpoint: Checkpoint) -> str:
    """A name that no other upload has. Nothing of it comes from the client."""
    unique = f"{checkpoint.pk.hex[:8]}{secrets.token_hex(4)}"
    return f"{checkpoint.run.workspace_id}/{checkpoint.run_id}/weights-{unique}.pt"


def _sync(storage: Any, name: str) -> None:
    """Have a local file and its name on the disk, not only in the system's memory, before it is acknowledged."""
    path = Path(storage.path(name))
    for inode in (path, path.parent):
        descriptor = os.open(inode, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _changed_at(path: Path) -> float:
    """When a file was written last, in seconds; never for what is no file, or has just been deleted."""
    try:
        return path.stat().st_mtime if path.is_file() else math.inf
    except FileNotFoundError:
        return math.inf


def _delete(*names: str) -> None:
    for name in names:
        try:
            storages["checkpoints"].delete(name)
        except (OSError, BotoCoreError, ClientError) as error:
            log.error("A checkpoint's file could not be deleted: %s", error)
