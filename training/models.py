import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from apikeys.models import ApiKey
from workspaces.models import Workspace

SLUG_LENGTH = 128
NAME_LENGTH = 200
TRASH = timedelta(days=30)  # how long a deletion can be undone


class Status(models.TextChoices):
    """What the clients know; `stalled` is not among them, it is only shown."""

    PENDING = "pending", "Pending"
    UNTRAINED = "untrained", "Untrained"
    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class Task(models.TextChoices):
    DETECT = "detect"
    SEGMENT = "segment"
    SEMANTIC = "semantic"
    DEPTH = "depth"
    CLASSIFY = "classify"
    POSE = "pose"
    OBB = "obb"


class License(models.TextChoices):
    """What the SDK's types allow."""

    NONE = "None"
    APACHE = "Apache-2.0"
    MIT = "MIT"
    BSD = "BSD-3-Clause"
    AGPL = "AGPL-3.0"
    GPL = "GPL-3.0"
    LGPL = "LGPL-3.0"
    MPL = "MPL-2.0"
    EUPL = "EUPL-1.1"
    UNLICENSE = "Unlicense"
    CC0 = "CC0-1.0"
    ENTERPRISE = "Ultralytics-Enterprise"
    OTHER = "Other"


class Visibility(models.TextChoices):
    PRIVATE = "private"
    PUBLIC = "public"


class Kept(models.QuerySet):
    """Things that can be deleted and brought back for 30 days."""

    def kept(self) -> Any:
        return self.filter(deleted_at=None)

    def deleted(self) -> Any:
        return self.exclude(deleted_at=None)

    def past_trash(self) -> Any:
        """Deleted so long ago that nobody can bring them back."""
        return self.filter(deleted_at__lt=Now() - TRASH)


class Project(models.Model):
    """A folder of runs in a workspace."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="projects")
    slug = models.CharField("URL name", max_length=SLUG_LENGTH)
    name = models.CharField(max_length=NAME_LENGTH)
    description = models.TextField(blank=True)
    visibility = models.CharField(max_length=7, choices=Visibility.choices, default=Visibility.PRIVATE)
    tags = models.JSONField(default=list)
    license = models.CharField(max_length=100, blank=True)
    metadata = models.JSONField(default=dict)
    is_archived = models.BooleanField(default=False)
    starred_by: Any = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    creator = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True)

    objects: ClassVar[Any] = Kept.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "slug"], condition=Q(deleted_at=None), name="one_project_of_a_slug"
            )
        ]

    def __str__(self) -> str:
        return self.slug


class RunQuerySet(Kept):
    def newest_first(self) -> Any:
        return self.order_by("-created_at", "-pk")

    def light(self) -> Any:
        """Without the columns that may be megabytes, which lists and polls do not show."""
        return self.defer("train_args", "environment", "results", "class_names", "metadata", "description")


class Run(models.Model):
    """One training run, which clients call a model: what was to be trained, how far it is, what came of it.

    The columns that each event changes have no index, so that PostgreSQL updates them in place.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="runs")
    project = models.ForeignKey(Project, models.CASCADE, related_name="runs", db_index=False)
    slug = models.CharField("URL name", max_length=SLUG_LENGTH)
    name = models.CharField(max_length=NAME_LENGTH)
    description = models.TextField(blank=True)
    color = models.CharField(max_length=20, blank=True)
    license = models.CharField(max_length=100, blank=True)
    metadata = models.JSONField(default=dict)
    starred_by: Any = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    creator = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())  # by a person; events change heard_at
    deleted_at = models.DateTimeField(null=True)

    # Of the start
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.UNTRAINED)
    attempt = models.PositiveIntegerField(default=0)  # the clients' runId: 1, and one more with each resume
    key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, related_name="+", db_index=False)  # that spoke last
    start_digest = models.BinaryField(max_length=32, default=b"")  # of the body, to know a repeated start
    task = models.CharField(max_length=8, choices=Task.choices, blank=True)
    base_model = models.CharField(max_length=NAME_LENGTH, blank=True)
    planned_epochs = models.PositiveIntegerField(null=True)
    device = models.CharField(max_length=100, blank=True)
    train_args = models.JSONField(default=dict)
    environment = models.JSONField(default=dict)
    started_at = models.DateTimeField(null=True)
    attempt_started_at = models.DateTimeField(null=True)
    epochs_before = models.PositiveIntegerField(default=0)  # that had ended when this attempt began

    # Of each event
    heard_at = models.DateTimeField(null=True)
    version = models.BigIntegerField(default=0)  # of all that is shown: each event makes it one more
    first_epoch = models.IntegerField(null=True)  # lowest number heard of
    last_epoch = models.IntegerField(null=True)  # highest number, the final validation's included
    last_validated_epoch = models.IntegerField(null=True)  # highest number that came with values on validation data
    last_metrics = models.JSONField(default=dict)  # of the highest number
    best_fitness = models.FloatField(null=True)
    best_epoch = models.IntegerField(null=True)
    model_info = models.JSONField(default=dict)  # parameters, gflops, speedMs
    console_progress = models.JSONField(default=dict)  # live progress bars by their id
    last_chunk = models.BigIntegerField(null=True)

    # Of the end
    completed_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    error = models.JSONField(default=dict)  # message, code, timestamp
    results = models.JSONField(default=dict)  # metrics, bestEpoch, bestFitness and what else the client reports
    class_names = models.JSONField(null=True)
    weights = models.ForeignKey("Checkpoint", models.SET_NULL, null=True, related_name="+", db_index=False)

    objects: ClassVar[Any] = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "slug"], condition=Q(deleted_at=None), name="one_run_of_a_slug")
        ]
        indexes = [models.Index(fields=["project", "-created_at", "-id"], name="run_newest")]

    def __str__(self) -> str:
        return self.slug

    @property
    def is_live(self) -> bool:
        """A client may still speak for it."""
        return self.status in (Status.PENDING, Status.STARTING, Status.RUNNING)

    def is_stalled(self, now: datetime | None = None) -> bool:
        """It should be running and has been silent for too long: nobody reports a crash."""
        if not self.is_live or self.heard_at is None:
            return False
        return (now or timezone.now()) - self.heard_at > timedelta(seconds=settings.RUN_STALLED_SECONDS)

    @property
    def shown_status(self) -> str:
        return "stalled" if self.is_stalled() else self.status

    @property
    def epochs_done(self) -> int:
        """How many epochs have ended. The client reports one more, the final validation, which is none."""
        last = self.last_epoch if self.last_validated_epoch is None else self.last_validated_epoch
        done = 0 if last is None else last + 1
        return min(done, self.planned_epochs) if self.planned_epochs else done

    @property
    def percentage(self) -> float:
        if self.status == Status.COMPLETED:
            return 100.0
        return round(100 * self.epochs_done / self.planned_epochs, 1) if self.planned_epochs else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the run will take by what this attempt's epochs took; None while nothing is known or it is over."""
        if not self.is_live or not self.planned_epochs or not self.attempt_started_at or not self.heard_at:
            return None
        done_here = self.epochs_done - max(self.epochs_before, self.first_epoch or 0)
        if done_here <= 0:
            return None
        elapsed = (self.heard_at - self.attempt_started_at).total_seconds()
        return elapsed / done_here * (self.planned_epochs - self.epochs_done)


class KeyRun(models.Model):
    """A key has streamed a run."""

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="key_runs", db_index=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="key_runs")
    first_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "run"], name="one_of_key_and_run")]


class Epoch(models.Model):
    """What a run reported at the end of an epoch. What arrived last counts."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="epochs", db_index=False)
    number = models.IntegerField()  # from 0
    metrics = models.JSONField()
    system = models.JSONField(default=dict)
    fitness = models.FloatField(null=True)
    best_fitness = models.FloatField(null=True)
    at = models.DateTimeField(db_default=Now())
    version = models.BigIntegerField()  # of the run when this was written

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_epoch_of_a_number")]
        indexes = [models.Index(fields=["run", "version"], name="epoch_by_version")]


class ConsoleChunk(models.Model):
    """Some lines of a run's console, with its ANSI colours."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="console", db_index=False)
    chunk_id = models.BigIntegerField()  # the client's, ascending
    content = models.TextField()
    line_count = models.IntegerField()
    at = models.DateTimeField(db_default=Now())
    version = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "chunk_id"], name="one_chunk_of_an_id")]
        indexes = [models.Index(fields=["run", "version"], name="chunk_by_version")]


class SystemSample(models.Model):
    """A reading of the machine between two epochs, as cloud workers send it."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="samples", db_index=False)
    digest = models.BinaryField(max_length=32)  # the same reading twice is one
    data = models.JSONField()
    at = models.DateTimeField(db_default=Now())
    version = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "digest"], name="one_sample_each")]
        indexes = [models.Index(fields=["run", "version"], name="sample_by_version")]


class Plot(models.Model):
    """A chart that the client drew at the end of a run, as its numbers."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="plots", db_index=False)
    position = models.PositiveIntegerField()
    type = models.CharField(max_length=60)
    data = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "position"], name="one_plot_at_a_position")]


class CheckpointQuerySet(models.QuerySet["Checkpoint"]):
    def stored(self) -> "CheckpointQuerySet":
        """Those whose bytes are here."""
        return self.filter(stored_at__isnull=False, removed_at=None)


class Checkpoint(models.Model):
    """A file of weights: asked for, then uploaded, then perhaps the run's weights. Only bytes to this server."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="checkpoints")
    attempt = models.PositiveIntegerField(null=True)  # None: asked for without one, which promotes at once
    filename = models.CharField(max_length=100)
    creator = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    file = models.CharField(max_length=200, blank=True)  # its name in the storage
    size_bytes = models.BigIntegerField(null=True)
    sha256 = models.BinaryField(max_length=32, null=True)  # None where the bytes bypass this server
    stored_at = models.DateTimeField(null=True)
    superseded_at = models.DateTimeField(null=True)  # by newer weights of its run
    removed_at = models.DateTimeField(null=True)  # its bytes are gone

    objects: ClassVar[CheckpointQuerySet] = CheckpointQuerySet.as_manager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.download_name

    @property
    def path(self) -> str:
        """How clients name it: the `gcsPath` of the upload answer."""
        return f"models/{self.run_id}/{self.pk}/{self.filename}"

    @property
    def download_name(self) -> str:
        """With part of the digest: clients use a file of the same name that they have without downloading."""
        stem = self.filename.removesuffix(".pt")
        return f"{stem}-{(bytes(self.sha256) if self.sha256 else self.pk.bytes).hex()[:8]}.pt"


def stored_bytes(workspace: Workspace, *, besides: Checkpoint | None = None) -> int:
    """How many bytes of checkpoints a workspace keeps, what is in the trash included, but not `besides`."""
    found = Checkpoint.objects.stored().filter(run__workspace=workspace)
    if besides is not None:
        found = found.exclude(pk=besides.pk)
    return found.aggregate(total=Coalesce(Sum("size_bytes"), 0))["total"]


def bytes_of_project() -> Any:
    """The same for a project, as an expression on projects."""
    found = Checkpoint.objects.stored().filter(run__project=OuterRef("pk"), run__deleted_at=None).order_by()
    return Coalesce(Subquery(found.values("run__project").annotate(total=Sum("size_bytes")).values("total")), 0)
