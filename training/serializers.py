"""JSON of training, in and out. Field names are the clients': camelCase, and projects and models go by their slugs."""

import math
import re
from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers

from config.serializers import StrictSerializer, StringField
from training.events import READERS, clean
from training.models import NAME_LENGTH, SLUG_LENGTH, License, Project, Run, Status, Task, Visibility

REGION = "eu"  # clients require one of us, eu, ap; this server has a single place
UNLIMITED_BYTES = 2**50  # clients require a number
OPTIONAL: Any = {"required": False, "allow_blank": True, "allow_null": True}
MODEL_ID: Any = {"help_text": "The model, as `training_started` answered it."}


def without_none(data: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that clients want left out when there is nothing to say."""
    return {name: value for name, value in data.items() if value not in (None, "")}


def numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics without those that are missing."""
    return {name: value for name, value in metrics.items() if value is not None}


# Events and checkpoints


class EventSerializer(serializers.Serializer):
    """For the documentation; `training.events` reads events."""

    event = serializers.ChoiceField(choices=list(READERS))
    data = serializers.DictField()  # type: ignore[assignment]
    modelId = serializers.CharField(**OPTIONAL, **MODEL_ID)
    project = serializers.CharField(**OPTIONAL, help_text="`project` or `workspace/project`, at the start.")
    name = serializers.CharField(**OPTIONAL, help_text="Of the run, at the start; `train` if there is none.")


class ReceivedSerializer(serializers.Serializer):
    received = serializers.BooleanField()
    event = serializers.CharField()
    mode = serializers.CharField()
    modelId = serializers.CharField(required=False, **MODEL_ID)
    runId = serializers.IntegerField(required=False, help_text="The attempt: 1, and one more with each resume.")
    modelSlug = serializers.CharField(required=False)
    modelUrl = serializers.CharField(required=False, help_text="Where people can watch it.")
    cancelled = serializers.BooleanField(required=False, help_text="The client is asked to stop.")
    warning = serializers.CharField(required=False)
    ignored = serializers.CharField(required=False)


class UploadSerializer(serializers.Serializer):
    filename = StringField(max_length=100)
    modelId = StringField(source="model_id", required=False, **MODEL_ID)
    project = StringField(required=False, max_length=300)
    name = StringField(required=False, max_length=300)
    runId = serializers.IntegerField(source="run_id", required=False, allow_null=True, min_value=1)
    size = serializers.FloatField(
        required=False, allow_null=True, min_value=0, max_value=2.0**53, help_text="In bytes."
    )

    def validate_filename(self, filename: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,90}\.pt", filename):
            raise serializers.ValidationError("Use a name such as best.pt, of a-z, 0-9, dots, hyphens and underscores.")
        return filename

    def validate_size(self, size: float | None) -> int | None:
        return int(size) if size is not None else None


class UploadAddressSerializer(serializers.Serializer):
    uploadUrl = serializers.CharField(help_text="PUT the bytes there.")
    gcsPath = serializers.CharField(help_text="What `checkpoint_saved` sends as its `modelPath`.")
    uploadPath = serializers.CharField()
    modelId = serializers.CharField()


class FileSerializer(serializers.Serializer):
    name = serializers.CharField()
    size = serializers.IntegerField()
    downloadUrl = serializers.CharField()


class FileListSerializer(serializers.Serializer):
    files = FileSerializer(many=True)


# Projects and models, out


class ProjectSerializer(serializers.Serializer):
    """`Project` with `model_count`, `star_count`, `is_starred` and `total_bytes` from `api.annotated_projects`."""

    id = serializers.CharField()
    owner = serializers.CharField(source="workspace.slug")
    project = serializers.CharField(source="slug")
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    visibility = serializers.ChoiceField(choices=Visibility.choices)
    tags = serializers.ListField(child=serializers.CharField())
    license = serializers.CharField(required=False)
    modelCount = serializers.IntegerField(source="model_count")
    starCount = serializers.IntegerField(source="star_count")
    isStarred = serializers.BooleanField(source="is_starred")
    totalBytes = serializers.IntegerField(source="total_bytes")
    archived = serializers.BooleanField(source="is_archived")
    region = serializers.CharField(default=REGION)
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    def to_representation(self, project: Project) -> dict[str, Any]:
        return without_none(super().to_representation(project) | {"region": REGION})


class ProjectDetailSerializer(ProjectSerializer):
    metadata = serializers.DictField()


class ProjectListSerializer(serializers.Serializer):
    projects = ProjectSerializer(many=True)
    total = serializers.IntegerField()
    region = serializers.CharField()


class SizeSerializer(serializers.Serializer):
    size = serializers.IntegerField(help_text="In bytes.")


class ShortModelSerializer(serializers.Serializer):
    id = serializers.CharField()
    model = serializers.CharField(source="slug")
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=Status.choices, required=False)
    task = serializers.ChoiceField(choices=Task.choices, required=False)
    color = serializers.CharField(required=False)
    epochs = serializers.IntegerField(source="planned_epochs", required=False)
    epochCount = serializers.IntegerField(source="epochs_done")
    bestEpoch = serializers.IntegerField(source="best_epoch", required=False)
    bestFitness = serializers.FloatField(source="best_fitness", required=False)
    hasWeights = serializers.SerializerMethodField()
    metrics = serializers.SerializerMethodField()
    trainArgs = serializers.DictField(source="train_args")
    file = SizeSerializer(required=False)
    startedAt = serializers.DateTimeField(source="started_at", required=False)
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")

    def get_hasWeights(self, run: Run) -> bool:
        return run.weights is not None and run.weights.removed_at is None

    def get_metrics(self, run: Run) -> dict[str, float]:
        return numbers(run.results.get("metrics") or run.last_metrics)

    def to_representation(self, run: Run) -> dict[str, Any]:
        run.file = {"size": run.weights.size_bytes} if self.get_hasWeights(run) else None  # type: ignore[attr-defined, union-attr]
        return without_none(super().to_representation(run))


class ProjectWithModelsSerializer(serializers.Serializer):
    project = ProjectDetailSerializer()
    models = ShortModelSerializer(many=True)
    isOwner = serializers.BooleanField()


class TrainResultSerializer(serializers.Serializer):
    epoch = serializers.IntegerField(source="number")
    metrics = serializers.SerializerMethodField()
    fitness = serializers.FloatField(required=False)
    timestamp = serializers.DateTimeField(source="at")

    def get_metrics(self, epoch: Any) -> dict[str, float]:
        return numbers(epoch.metrics)

    def to_representation(self, epoch: Any) -> dict[str, Any]:
        return without_none(super().to_representation(epoch))


class ConsoleChunkSerializer(serializers.Serializer):
    chunkId = serializers.IntegerField(source="chunk_id")
    lineCount = serializers.IntegerField(source="line_count")
    content = serializers.CharField()
    timestamp = serializers.DateTimeField(source="at")


class TrainingErrorSerializer(serializers.Serializer):
    message = serializers.CharField()
    timestamp = serializers.CharField()
    code = serializers.CharField(required=False)


class ModelSerializer(ShortModelSerializer):
    owner = serializers.CharField(source="workspace.slug")
    project = serializers.CharField(source="project.slug")
    projectName = serializers.CharField(source="project.name")
    description = serializers.CharField(required=False)
    license = serializers.CharField(required=False)
    visibility = serializers.ChoiceField(source="project.visibility", choices=Visibility.choices)
    baseModel = serializers.CharField(source="base_model", required=False)
    starCount = serializers.IntegerField(source="star_count")
    isStarred = serializers.BooleanField(source="is_starred")
    completedAt = serializers.DateTimeField(source="completed_at", required=False)
    classNames = serializers.ListField(source="class_names", child=serializers.CharField(), required=False)
    trainingError = TrainingErrorSerializer(source="training_error", required=False)
    environment = serializers.DictField(required=False)


class ModelListSerializer(serializers.Serializer):
    models = ModelSerializer(many=True)
    region = serializers.CharField()


class ModelDetailSerializer(ModelSerializer):
    metadata = serializers.DictField()
    plots = serializers.ListField(source="plot_data", child=serializers.DictField(), required=False)
    trainResults = TrainResultSerializer(source="train_results", many=True, required=False)
    consoleChunks = ConsoleChunkSerializer(source="console_chunks", many=True, required=False)


class ModelRetrievedSerializer(serializers.Serializer):
    model = ModelDetailSerializer(required=False)
    isOwner = serializers.BooleanField(required=False)
    analysis = serializers.DictField(
        required=False, allow_null=True, help_text="With `analysis=1`, instead of the rest."
    )


# Projects and models, in


class TextMapField(serializers.DictField):
    """A JSON object of any values, without what PostgreSQL cannot keep."""

    def to_internal_value(self, data: Any) -> Any:
        return clean(super().to_internal_value(data))


class ClearableField(StringField):
    """Text that null clears."""

    def __init__(self, **kwargs: Any):
        super().__init__(required=False, allow_blank=True, allow_null=True, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation("" if data is None else data)


class LicenseField(serializers.ChoiceField):
    """One of the licences that the clients' types allow; empty or null for none."""

    def __init__(self, **kwargs: Any):
        super().__init__(choices=License.choices, required=False, allow_blank=True, allow_null=True, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return super().run_validation("" if data is None else data)


class IgnoredField(serializers.JSONField):
    """Taken, because the SDK may send it, and not kept."""

    def __init__(self, **kwargs: Any):
        super().__init__(required=False, allow_null=True, **kwargs)


class ProjectFieldsSerializer(StrictSerializer):
    name = StringField(required=False, max_length=NAME_LENGTH)
    description = ClearableField(max_length=100_000)
    visibility = serializers.ChoiceField(choices=Visibility.choices, required=False)
    tags = serializers.ListField(child=StringField(max_length=50), required=False, max_length=50)
    license = LicenseField()
    metadata = TextMapField(required=False)


class NewProjectSerializer(ProjectFieldsSerializer):
    project = StringField(source="slug", max_length=SLUG_LENGTH, help_text="The URL name.")
    owner = StringField(required=False, help_text="The workspace; the key's own if there is none.")


class ProjectChangeSerializer(ProjectFieldsSerializer):
    project = StringField(source="slug", required=False, max_length=SLUG_LENGTH)
    archived = serializers.BooleanField(source="is_archived", required=False)
    starred = serializers.BooleanField(required=False)
    iconColor = IgnoredField(help_text="Taken and not kept, as the next two.")
    iconLetter = IgnoredField()
    viewPreferences = IgnoredField()


class ModelFieldsSerializer(StrictSerializer):
    name = StringField(required=False, allow_blank=True, max_length=NAME_LENGTH)
    description = ClearableField(max_length=100_000)
    license = LicenseField()
    metadata = TextMapField(required=False)
    color = ClearableField(max_length=20)
    task = serializers.ChoiceField(choices=Task.choices, required=False)
    epochs = serializers.IntegerField(source="planned_epochs", required=False, min_value=1, max_value=2**31 - 1)
    trainArgs = TextMapField(source="train_args", required=False)
    trainResults = IgnoredField(help_text="Taken and not kept, as the next two: they are known from the events.")
    metrics = IgnoredField()
    version = IgnoredField()


class NewModelSerializer(ModelFieldsSerializer):
    project = StringField(max_length=SLUG_LENGTH, help_text="The URL name of an existing project.")
    owner = StringField(required=False, help_text="The workspace; the key's own if there is none.")
    model = StringField(source="slug", required=False, max_length=SLUG_LENGTH, help_text="The URL name.")
    environment = IgnoredField()
    docs = IgnoredField()
    completedAt = IgnoredField()


class ModelChangeSerializer(ModelFieldsSerializer):
    model = StringField(source="slug", required=False, max_length=SLUG_LENGTH)
    status = serializers.ChoiceField(choices=Status.choices, required=False)
    projectId = serializers.UUIDField(source="project_id", required=False)
    starred = serializers.BooleanField(required=False)
    datasetSlug = IgnoredField()
    bestEpoch = IgnoredField()
    bestFitness = IgnoredField()
    trainingError = IgnoredField()


class ProjectCloneSerializer(StrictSerializer):
    project = StringField(source="slug", required=False, max_length=SLUG_LENGTH, help_text="The URL name of the copy.")
    name = StringField(required=False, max_length=NAME_LENGTH)
    description = ClearableField(max_length=100_000)
    visibility = serializers.ChoiceField(choices=Visibility.choices, required=False)
    license = LicenseField()
    owner = StringField(required=False, help_text="Copies stay in their workspace.")
    models = serializers.ListField(
        child=StringField(), required=False, max_length=1000, help_text="URL names or ids; all if there is no list."
    )


class ModelCloneSerializer(StrictSerializer):
    project = StringField(required=False, max_length=SLUG_LENGTH, help_text="Where to; the same if there is none.")
    model = StringField(source="slug", required=False, max_length=SLUG_LENGTH, help_text="The URL name of the copy.")
    name = StringField(required=False, max_length=NAME_LENGTH)
    description = ClearableField(max_length=100_000)
    owner = StringField(required=False, help_text="Copies stay in their workspace.")


class LimitSerializer(serializers.Serializer):
    limit = serializers.IntegerField(required=False, default=1000, min_value=1, max_value=1000)
    search = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)
    analysis = serializers.CharField(required=False)
    workspace = serializers.CharField(required=False)


# Short answers


class CreatedSerializer(serializers.Serializer):
    id = serializers.CharField()
    owner = serializers.CharField()
    project = serializers.CharField()
    model = serializers.CharField(required=False)
    name = serializers.CharField(required=False)
    modelCount = serializers.IntegerField(required=False, help_text="Of a copied project.")
    region = serializers.CharField()


class ChangedSerializer(serializers.Serializer):
    success = serializers.BooleanField(required=False)
    project = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    starred = serializers.BooleanField(required=False)
    starCount = serializers.IntegerField(required=False)


class DeletedSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    cascadedModels = serializers.IntegerField(required=False)


class CancelledSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    status = serializers.CharField()
    warning = serializers.CharField(required=False)


class JobSerializer(serializers.Serializer):
    id = serializers.CharField()
    status = serializers.CharField()
    progress = serializers.DictField()
    timing = serializers.DictField()
    compute = serializers.DictField(allow_null=True)
    trainArgs = serializers.DictField(allow_null=True)
    epochMetrics = serializers.DictField(allow_null=True)
    error = serializers.DictField(allow_null=True)
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()


class JobAnswerSerializer(serializers.Serializer):
    job = JobSerializer(allow_null=True)


class StorageSerializer(serializers.Serializer):
    tier = serializers.CharField()
    usage = serializers.DictField()
    updatedAt = serializers.DateTimeField(allow_null=True)
    breakdown = serializers.DictField()
    region = serializers.CharField()
    username = serializers.CharField()


class UserAnswerSerializer(serializers.Serializer):
    user = serializers.DictField()


def job_of(run: Run) -> dict[str, Any]:
    """The state of a training, as `ul cloud download` watches it. Numbers among the arguments arrive as text."""
    done, now = run.epochs_done, timezone.now()
    began, ended = run.attempt_started_at, run.completed_at or run.cancelled_at
    until = ended or run.heard_at or now
    elapsed = max(0.0, (until - began).total_seconds() * 1000) if began else 0.0
    here = max(1, done - max(run.epochs_before, run.first_epoch or 0))
    args: dict[str, Any] = {}
    for name in ("epochs", "batch", "imgsz"):
        try:
            number = float(run.train_args[name])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(number):
            args[name] = int(number) if number.is_integer() else number
    if run.base_model:
        args["model"] = run.base_model
    gpu = run.environment.get("gpuType")
    progress = without_none(
        {
            "currentEpoch": done,
            "totalEpochs": run.planned_epochs or done,
            "percentage": run.percentage,
            "startedAt": run.started_at.isoformat() if run.started_at else None,
            "completedAt": run.completed_at.isoformat() if run.completed_at else None,
        }
    )
    return {
        "id": str(run.pk),
        "status": run.status,
        "progress": progress,
        "timing": {
            "elapsedMs": round(elapsed),
            "timePerEpochMs": round(elapsed / here) if done else 0,
            "etaMs": round((run.seconds_left or 0) * 1000),
        },
        "compute": {"gpuType": gpu, "gpuDisplayName": gpu, "gpuMemoryGb": 0} if isinstance(gpu, str) and gpu else None,
        "trainArgs": args or None,
        "epochMetrics": numbers(run.last_metrics) or None,
        "error": training_error(run),
        "createdAt": run.created_at,
        "updatedAt": run.heard_at or run.updated_at,
    }


def training_error(run: Run) -> dict[str, str] | None:
    """Why the run failed, or None."""
    if not run.error:
        return None
    at = run.completed_at or run.heard_at or run.updated_at
    return without_none(
        {"message": run.error.get("message"), "code": run.error.get("code"), "timestamp": at.isoformat()}
    )


def storage_limit() -> int:
    return settings.WORKSPACE_STORAGE_BYTES or UNLIMITED_BYTES
