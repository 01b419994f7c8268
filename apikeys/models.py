import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from apikeys import keyring, tokens
from config.clients import MAX_LENGTH as CLIENT_LENGTH
from workspaces.access import Role
from workspaces.models import Workspace

ROTATE_AFTER = timedelta(days=90)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def active(self) -> "ApiKeyQuerySet":
        """Neither revoked nor past a scheduled revocation, by the database's clock."""
        return self.filter(Q(revokes_at=None) | Q(revokes_at__gt=Now()), revoked_at=None)

    def due(self) -> "ApiKeyQuerySet":
        """Past their scheduled revocation, which is in force, but with the ciphertext still there."""
        return self.filter(revokes_at__lte=Now(), revoked_at=None)

    def newest_first(self) -> "ApiKeyQuerySet":
        return self.order_by("-created_at", "-pk")

    def named(self, text: str) -> "ApiKeyQuerySet":
        """Those whose name contains `text`, or whose prefix begins with it. A whole value finds by its prefix."""
        text = tokens.FORMAT.sub(lambda found: tokens.prefix(found[0]), text)  # no value goes into a statement
        return self.filter(Q(name__icontains=text) | Q(prefix__startswith=text)) if text else self


class ApiKey(models.Model):
    """A key of a workspace. Its value is only in `ciphertext`; rows are created and changed by services alone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="api_keys")
    creator = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=tokens.PREFIX_LENGTH)
    digest = models.BinaryField(unique=True, max_length=32)
    ciphertext = models.BinaryField(max_length=keyring.BLOB_BYTES)  # empty once revoked
    encryption_key_id = models.CharField(max_length=32)
    created_at = models.DateTimeField(db_default=Now())
    first_used_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    revoke_reason = models.CharField(max_length=200, blank=True)
    revokes_at = models.DateTimeField(null=True)  # scheduled by a rotation
    rotated_at = models.DateTimeField(null=True)  # when a successor was made
    replaces = models.ForeignKey("self", models.SET_NULL, null=True, related_name="successors")
    refused_at = models.DateTimeField(null=True)  # last use after it was revoked, noted at most hourly
    refused_address = models.CharField(max_length=45, blank=True)

    objects: ClassVar[ApiKeyQuerySet] = ApiKeyQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        indexes = [
            models.Index(fields=["workspace", "-created_at", "-id"], name="apikey_newest"),
            models.Index(fields=["prefix"], name="apikey_prefix", opclasses=["varchar_pattern_ops"]),
            models.Index(
                fields=["revokes_at"], name="apikey_due", condition=Q(revoked_at=None, revokes_at__isnull=False)
            ),
            models.Index(fields=["encryption_key_id", "id"], name="apikey_encrypted_by", condition=Q(revoked_at=None)),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(prefix__regex=r"^ul_[0-9a-f]{8}$"), name="apikey_prefix_format"),
            models.CheckConstraint(
                condition=Q(revoked_at=None) | Q(ciphertext=b""), name="apikey_revoked_has_no_ciphertext"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def binding(self) -> bytes:
        return keyring.binding(self.pk, self.workspace_id, self.creator_id, bytes(self.digest))

    def is_active(self, now: datetime | None = None) -> bool:
        """As `active()`, by this host's clock: for display, never for a decision."""
        return self.revoked_at is None and (self.revokes_at is None or self.revokes_at > (now or timezone.now()))

    @property
    def is_due_for_rotation(self) -> bool:
        return self.rotated_at is None and timezone.now() - self.created_at > ROTATE_AFTER


def active_keys_of_member() -> Any:
    """How many active keys a membership's person has in its workspace, as an expression on memberships."""
    keys = ApiKey.objects.active().filter(workspace=OuterRef("workspace_id"), creator=OuterRef("user_id"))
    counted = keys.order_by().values("creator").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted), 0)


class KeyReveal(models.Model):
    """Who has seen a key's value: first and last time, the latter written at most once an hour."""

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="reveals")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    first_at = models.DateTimeField(db_default=Now())
    last_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "person"], name="one_reveal_each")]


class KeyUsage(models.Model):
    """Requests of one key from one address with one client, in one period.

    The period is an hour; for a key that is being rotated, a second, so that use before and after the successor's
    first use can be told apart.
    """

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="usage", db_index=False)
    period_at = models.DateTimeField()
    address = models.CharField(max_length=45)
    client = models.CharField(max_length=CLIENT_LENGTH, blank=True)
    requests = models.PositiveBigIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "period_at", "address", "client"], name="one_usage_each")]


class Endpoint(models.Model):
    """A service of one's own whose requests this server checks: a proxy in front of it asks with each."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=100)
    upstream = models.CharField("Upstream address", max_length=200)
    required_role = models.PositiveSmallIntegerField(choices=[(Role.VIEWER, "Viewer"), (Role.EDITOR, "Editor")])
    creator = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name


class Decoy(models.Model):
    """A value that looks like a key and never was one: whoever uses it has found it where it was hidden."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="decoys")
    name = models.CharField(max_length=100)  # where it was put
    prefix = models.CharField(max_length=tokens.PREFIX_LENGTH)
    digest = models.BinaryField(unique=True, max_length=32)
    creator = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    used_at = models.DateTimeField(null=True)  # last, written at most once a minute
    used_address = models.CharField(max_length=45, blank=True)
    used_client = models.CharField(max_length=CLIENT_LENGTH, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class LeakReport(models.Model):
    """Values that somebody has reported as leaked, as digests, until they have been seen to."""

    digests = ArrayField(models.BinaryField(max_length=32))
    address = models.CharField(max_length=45)
    client = models.CharField(max_length=CLIENT_LENGTH, blank=True)
    at = models.DateTimeField(db_default=Now())


class KeyDay(models.Model):
    """What came of the requests of one key in one category on one day, in UTC."""

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="days", db_index=False)
    day = models.DateField()
    category = models.CharField(max_length=20)
    requests = models.PositiveBigIntegerField(default=0)  # all of them, the next two included
    errors = models.PositiveBigIntegerField(default=0)  # answered with 400 or more
    limited = models.PositiveBigIntegerField(default=0)  # answered with 429

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "day", "category"], name="one_day_each")]


class Total(models.Model):
    """How many requests the whole installation has answered; only ever grows."""

    category = models.CharField(max_length=20)
    outcome = models.CharField(max_length=10)  # ok, error, limited
    requests = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["category", "outcome"], name="one_total_each")]
