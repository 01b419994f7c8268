"""What becomes of the events that training clients send.

Events come in any order, more than once and late (client contract, section 3.7). So everything that an event changes is
written such that the order does not matter: the highest number, the best value, one row per epoch and chunk. Each event
but the first and the last is one statement, which is on disk when it is acknowledged.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Q, Value
from django.db.models.fields.json import JSONField
from django.db.models.functions import Coalesce, Now

from config.errors import Invalid, NotAllowed, NotFound, PayloadTooLarge, Unavailable
from config.sql import Statement
from training import events, storage
from training.models import Checkpoint, KeyRun, Project, Run, Status
from workspaces import activity
from workspaces.access import Actor, Right
from workspaces.models import Workspace

REPEATED_WITHIN = timedelta(minutes=5)  # clients repeat a start whose answer they lost within seconds


@dataclass(slots=True)
class Outcome:
    """What the client is told: about which run, and whether it should stop."""

    run_id: UUID | None = None
    slug: str = ""
    project_slug: str = ""
    attempt: int = 0
    is_cancelled: bool = False
    warning: str = ""
    is_stale: bool = False


def take(actor: Actor, event: events.Event, body: bytes = b"") -> Outcome:
    """Store `event`, and return what to answer. `body` is what the client sent, to know a repeated start by.

    Raises NotAllowed, Invalid, or NotFound where the run is none of the workspace.
    """
    actor.require(Right.EDIT)
    match event:
        case events.TrainingStarted():
            digest = hashlib.sha256(body).digest()
            return resume(actor, event, digest) if event.model_id else start(actor, event, digest)
        case events.ConsoleOutput() if event.model_id is None:
            # The older client also sends what was printed before its start was answered, or when it was refused.
            _refuse_foreign_prefix(actor, event.project or "")
            return Outcome(warning="Console output without modelId is not kept")
    if event.model_id is None:
        raise Invalid("modelId: This field is required.", details={"modelId": ["This field is required."]})
    match event:
        case events.EpochEnd():
            return _keep_epoch(actor, event)
        case events.ConsoleOutput():
            return _keep_console(actor, event)
        case events.SystemMetrics():
            return _keep_system(actor, event)
        case events.CheckpointSaved():
            return _promote(actor, event)
        case events.TrainingComplete():
            return _complete(actor, event)
        case events.TrainingFailed():
            return _fail(actor, event)
    return _hear(actor, event)


# The start


@transaction.atomic
def start(actor: Actor, event: events.TrainingStarted, digest: bytes) -> Outcome:
    """Begin a run in the project that the client names, which is made if it is new.

    The same start again within five minutes, before anything else was said, is the same run. A name that is taken gets
    a number. Raises NotAllowed for another workspace's name in front, Invalid for a project without a name.
    """
    slug = project_slug(actor, event.project)
    project = _project(actor, slug, event.project)
    wanted = events.slugify(event.name or "") or "train"
    rows = list(
        project.runs.kept()
        .filter(slug__startswith=wanted[:100])
        .annotate(is_recent=_is_recent())
        .values_list("slug", "start_digest", "key_id", "version", "is_recent", "pk", "attempt")
    )
    for taken, start_digest, key_id, version, is_recent, pk, attempt in rows:
        if bytes(start_digest) == digest and key_id == actor.key_id and version == 1 and is_recent and digest:
            return Outcome(pk, taken, project.slug, attempt)
    slug, name = free_slug(wanted, {row[0] for row in rows}), events.clean_text(event.name or "")[:200]
    run = Run.objects.create(
        workspace=actor.workspace,
        project=project,
        slug=slug,
        name=name if name not in ("", wanted) else slug,  # the number is in sight wherever the run is
        creator=actor.user,
        status=Status.RUNNING,
        attempt=1,
        key=actor.key,
        start_digest=digest,
        started_at=Now(),
        attempt_started_at=Now(),
        heard_at=Now(),
        version=1,
        **_described(event),
    )
    if actor.key is not None:
        KeyRun.objects.create(key=actor.key, run=run)
    return Outcome(run.pk, run.slug, project.slug, 1)


@transaction.atomic
def resume(actor: Actor, event: events.TrainingStarted, digest: bytes) -> Outcome:
    """Go on with a run, as one more attempt. A cancelled one is not revived: the client starts another.

    The same start again within five minutes, before anything else was said, is the same attempt. Raises NotFound.
    """
    run = _locked(actor, event)
    outcome = Outcome(run.pk, run.slug, run.project.slug, run.attempt, is_cancelled=run.status == Status.CANCELLED)
    repeated = (
        bytes(run.start_digest) == digest
        and run.key_id == actor.key_id
        and run.attempt > 0
        and run.heard_at == run.attempt_started_at
        and Run.objects.filter(pk=run.pk).filter(_is_recent()).exists()
    )
    if outcome.is_cancelled or repeated:
        return outcome
    outcome.attempt = run.attempt + 1
    Run.objects.filter(pk=run.pk).update(
        status=Status.RUNNING,
        attempt=outcome.attempt,
        key=actor.key,
        start_digest=digest,
        started_at=Coalesce("started_at", Now()),
        attempt_started_at=Now(),
        heard_at=Now(),
        completed_at=None,
        error={},
        console_progress={},
        epochs_before=run.epochs_done,
        version=F("version") + 1,
        **{column: value for column, value in _described(event).items() if value},  # the rest is as it was
    )
    if actor.key is not None:
        KeyRun.objects.get_or_create(key=actor.key, run=run)
    return outcome


def project_slug(actor: Actor, path: str | None) -> str:
    """The project that `owner/project` means. What is in front counts if it is the name of a workspace.

    Raises NotAllowed if that is another than the actor's, Invalid if nothing is left.
    """
    path = path or ""
    _refuse_foreign_prefix(actor, path)
    _, slash, rest = path.partition("/")
    slug = events.slugify(rest.replace("/", "-") if slash else path)
    if not slug:
        problem = "Give the project a name of a-z, 0-9 and hyphens, as in project=owner/my-project."
        raise Invalid(f"project: {problem}", details={"project": [problem]})
    return slug


def _refuse_foreign_prefix(actor: Actor, path: str) -> None:
    prefix, slash, _ = path.partition("/")
    prefix = prefix.lower()
    if not slash or prefix == actor.workspace.slug:
        return
    if Workspace.objects.filter(slug=prefix, deleted_at=None).exists():
        raise NotAllowed


def _project(actor: Actor, slug: str, path: str | None) -> Project:
    """The project called `slug`, made if there is none, locked so that two runs do not take one name."""
    found = Project.objects.kept().filter(workspace=actor.workspace, slug=slug).select_for_update(of=("self",)).first()
    if found is not None:
        return found
    name = (path or "").rpartition("/")[2].strip() or slug
    try:
        with transaction.atomic():
            project = Project.objects.create(workspace=actor.workspace, slug=slug, name=name[:200], creator=actor.user)
    except IntegrityError:  # another run made it in the same moment
        return _project(actor, slug, path)
    activity.record(actor, "project.created", project)
    return project


def free_slug(wanted: str, taken: set[str]) -> str:
    """`wanted`, or the first of `wanted-2`, `wanted-3`, … that is free."""
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted[: 127 - len(str(number))]}-{number}" in taken:
        number += 1
    return f"{wanted[: 127 - len(str(number))]}-{number}"


def _described(event: events.TrainingStarted) -> dict[str, Any]:
    """The columns that a start fills."""
    described: dict[str, Any] = {
        "task": event.task,
        "base_model": event.base_model,
        "planned_epochs": event.epochs,
        "device": event.device,
        "train_args": event.train_args,
        "environment": event.environment,
    }
    return described | ({"model_info": event.model_info} if event.model_info else {})


def _is_recent() -> Any:
    return ExpressionWrapper(Q(attempt_started_at__gt=Now() - REPEATED_WITHIN), BooleanField())


# The middle: one statement each


def _statement(name: str, changes: str = "", kept: str = "", best: str = "SELECT 1") -> Statement:
    """A statement that finds the run in the workspace, and notes that it was heard of and by which key.

    `changes` are more columns of the run to set; `kept` is an INSERT for each row of `run`, which is the run if it was
    found; `best` is evaluated for the row as it was `before`.
    """
    changes, kept = changes and f", {changes}", kept and f", kept AS ({kept})"
    return Statement(
        name,
        f"""
        WITH before AS (
            SELECT * FROM training_run
            WHERE id = %(run)s::uuid AND workspace_id = %(workspace)s::uuid AND deleted_at IS NULL
                AND EXISTS (SELECT FROM training_project p WHERE p.id = project_id AND p.deleted_at IS NULL)
            FOR NO KEY UPDATE
        ), run AS (
            UPDATE training_run r SET heard_at = clock_timestamp(), version = r.version + 1,
                key_id = COALESCE(%(key)s::uuid, r.key_id),
                status = CASE WHEN r.status IN ('pending', 'untrained', 'starting') THEN 'running' ELSE r.status END
                {changes}
            FROM before, LATERAL ({best}) best WHERE r.id = before.id
            RETURNING r.id, r.version, r.status, before.key_id AS key_before
        ), linked AS (
            INSERT INTO training_keyrun (key_id, run_id) SELECT %(key)s::uuid, id FROM run
            WHERE %(key)s::uuid IS NOT NULL AND key_before IS DISTINCT FROM %(key)s::uuid ON CONFLICT DO NOTHING
        ){kept}
        SELECT status FROM run""",
    )


_EPOCH = _statement(
    "keep_epoch",
    """
    first_epoch = LEAST(r.first_epoch, %(number)s::int), last_epoch = GREATEST(r.last_epoch, %(number)s::int),
    last_validated_epoch = CASE WHEN %(validated)s::bool THEN GREATEST(r.last_validated_epoch, %(number)s::int)
        ELSE r.last_validated_epoch END,
    last_metrics = CASE WHEN %(number)s::int >= COALESCE(r.last_epoch, 0) THEN %(metrics)s::jsonb
        ELSE r.last_metrics END,
    planned_epochs = COALESCE(r.planned_epochs, %(planned)s::int), model_info = r.model_info || %(model_info)s::jsonb,
    best_fitness = CASE WHEN best.is_it THEN %(fitness)s::float8 ELSE r.best_fitness END,
    best_epoch = CASE WHEN best.is_it THEN %(number)s::int ELSE r.best_epoch END""",
    """
    INSERT INTO training_epoch (run_id, number, metrics, system, fitness, best_fitness, version)
    SELECT id, %(number)s::int, %(metrics)s::jsonb, %(system)s::jsonb, %(fitness)s::float8, %(best_fitness)s::float8,
        version FROM run
    ON CONFLICT (run_id, number) DO UPDATE SET metrics = excluded.metrics, system = excluded.system,
        fitness = excluded.fitness, best_fitness = excluded.best_fitness, version = excluded.version, at = now()""",
    # The repeated validation of the best weights is no epoch that could be the best.
    """
    SELECT %(fitness)s::float8 IS NOT NULL
        AND (before.planned_epochs IS NULL OR %(number)s::int < before.planned_epochs)
        AND (%(validated)s::bool OR before.last_validated_epoch IS NULL)
        AND (before.best_epoch IS NULL OR %(fitness)s::float8 > before.best_fitness
            OR (%(fitness)s::float8 = before.best_fitness AND %(number)s::int < before.best_epoch)) AS is_it""",
)
_CONSOLE = _statement(
    "keep_console",
    """
    console_progress = CASE WHEN %(chunk)s::bigint >= COALESCE(r.last_chunk, 0) THEN %(progress)s::jsonb
        ELSE r.console_progress END,
    last_chunk = GREATEST(r.last_chunk, %(chunk)s::bigint)""",
    """
    INSERT INTO training_consolechunk (run_id, chunk_id, content, line_count, version)
    SELECT id, %(chunk)s::bigint, %(content)s::text, %(lines)s::int, version FROM run WHERE %(content)s::text <> ''
    ON CONFLICT DO NOTHING""",
)
_SYSTEM = _statement(
    "keep_sample",
    kept="""
    INSERT INTO training_systemsample (run_id, digest, data, version)
    SELECT id, %(digest)s::bytea, %(data)s::jsonb, version FROM run ON CONFLICT DO NOTHING""",
)
_HEARD = _statement("hear")


def _keep_epoch(actor: Actor, event: events.EpochEnd) -> Outcome:
    return _execute(
        actor,
        event,
        _EPOCH,
        number=event.epoch,
        validated=event.is_validated,
        metrics=json.dumps(event.metrics),
        system=json.dumps(event.system),
        fitness=event.fitness,
        best_fitness=event.best_fitness,
        planned=event.epochs,
        model_info=json.dumps(event.model_info),
    )


def _keep_console(actor: Actor, event: events.ConsoleOutput) -> Outcome:
    return _execute(
        actor,
        event,
        _CONSOLE,
        chunk=event.chunk_id,
        content=event.content,
        lines=event.line_count,
        progress=json.dumps(event.progress),
    )


def _keep_system(actor: Actor, event: events.SystemMetrics) -> Outcome:
    data = json.dumps(event.data, sort_keys=True)
    return _execute(actor, event, _SYSTEM, data=data, digest=hashlib.sha256(data.encode()).digest())


def _hear(actor: Actor, event: events.Event) -> Outcome:
    return _execute(actor, event, _HEARD)


def _execute(actor: Actor, event: events.Event, statement: Statement, **values: Any) -> Outcome:
    """Run one of the statements above. Raises NotFound."""
    values |= {"run": event.model_id, "workspace": actor.workspace.pk, "key": actor.key_id}
    row = statement.fetch_one(values)
    if row is None:
        raise NotFound("Model not found")
    return Outcome(event.model_id, is_cancelled=row[0] == Status.CANCELLED)


# Weights and the end


def _promote(actor: Actor, event: events.CheckpointSaved) -> Outcome:
    """Make an uploaded file the run's weights.

    Raises NotFound, Invalid for a path that was not given for this run or where nothing is, PayloadTooLarge.
    """
    checkpoint = _checkpoint_at(actor, event, event.model_path)
    is_here = checkpoint is not None and storage.settle(checkpoint)
    with transaction.atomic():
        run = _locked(actor, event)
        if checkpoint is None or not is_here:
            given = "This path was not given out for this model and run."
            problem = given if checkpoint is None else "Nothing has been uploaded there."
            raise Invalid(f"modelPath: {problem}", details={"modelPath": [problem]})
        return _changed(actor, run, **storage.promote(run, checkpoint))


def _complete(actor: Actor, event: events.TrainingComplete) -> Outcome:
    """Keep the results. A cancelled run stays cancelled; an attempt that another one replaced changes nothing."""
    checkpoint, is_here = None, False
    if event.model_path:
        checkpoint = _checkpoint_at(actor, event, event.model_path)
        try:
            is_here = checkpoint is not None and storage.settle(checkpoint)
        except (PayloadTooLarge, Unavailable):
            is_here = False  # the results matter more
    return _keep_results(actor, event, checkpoint if is_here else None)


@transaction.atomic
def _keep_results(actor: Actor, event: events.TrainingComplete, checkpoint: Checkpoint | None) -> Outcome:
    run = _locked(actor, event)
    if event.run_id is not None and event.run_id < run.attempt:
        return Outcome(run.pk, is_stale=True)
    changes: dict[str, Any] = {"results": event.results, "console_progress": {}}
    if event.class_names is not None:
        changes["class_names"] = event.class_names
    if event.results.get("bestEpoch") is not None:
        changes["best_epoch"] = event.results["bestEpoch"]
    if event.results.get("bestFitness") is not None:
        changes["best_fitness"] = event.results["bestFitness"]
    if run.status != Status.CANCELLED:
        changes |= {"status": Status.COMPLETED, "error": {}}
    if run.completed_at is None:
        changes["completed_at"] = Now()
    if event.plots:
        _keep_plots(run, event.plots)
    warning = ""
    if checkpoint is not None:
        changes |= storage.promote(run, checkpoint)
    elif event.model_path:
        warning = "The weights that the results name are not here"
    return _changed(actor, run, warning=warning, **changes)


def _keep_plots(run: Run, plots: list[dict[str, Any]]) -> None:
    """Put `plots` in the place of what there was."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (DELETE FROM training_plot WHERE run_id = %(run)s AND position >= %(count)s)
            INSERT INTO training_plot (run_id, position, type, data)
            SELECT %(run)s, number - 1, left(COALESCE(plot->>'type', ''), 60), plot
            FROM jsonb_array_elements(%(plots)s::jsonb) WITH ORDINALITY AS given(plot, number)
            ON CONFLICT (run_id, position) DO UPDATE SET type = excluded.type, data = excluded.data""",
            {"run": run.pk, "count": len(plots), "plots": json.dumps(plots)},
        )


@transaction.atomic
def _fail(actor: Actor, event: events.TrainingFailed) -> Outcome:
    """End a run with the reason, unless it has ended in another way, or goes on in a later attempt."""
    run = _locked(actor, event)
    if event.run_id is not None and event.run_id < run.attempt:
        return Outcome(run.pk, is_stale=True)
    if run.status in (Status.CANCELLED, Status.COMPLETED):
        return _changed(actor, run)
    error: Any = Value({"message": event.message, "code": event.code}, JSONField())
    return _changed(actor, run, status=Status.FAILED, completed_at=Coalesce("completed_at", Now()), error=error)


def _locked(actor: Actor, event: events.Event) -> Run:
    run = (
        Run.objects.kept()
        .filter(workspace=actor.workspace, project__deleted_at=None, pk=event.model_id)
        .select_related("project")
        .select_for_update(of=("self",), no_key=True)
        .first()
    )
    if run is None:
        raise NotFound("Model not found")
    return run


def _changed(actor: Actor, run: Run, *, warning: str = "", **changes: Any) -> Outcome:
    Run.objects.filter(pk=run.pk).update(
        heard_at=Now(), version=F("version") + 1, key_id=actor.key_id or run.key_id, **changes
    )
    if actor.key is not None and actor.key_id != run.key_id:
        KeyRun.objects.get_or_create(key=actor.key, run=run)
    return Outcome(run.pk, is_cancelled=run.status == Status.CANCELLED, warning=warning)


def _checkpoint_at(actor: Actor, event: events.CheckpointSaved | events.TrainingComplete, path: str) -> Any:
    """The checkpoint that clients name by `path`, if it is of the event's run and attempt."""
    parts = path.split("/")
    if len(parts) != 4 or parts[:2] != ["models", str(event.model_id)]:
        return None
    try:
        found = Checkpoint.objects.filter(
            pk=UUID(parts[2]), filename=parts[3], run=event.model_id, run__workspace=actor.workspace
        )
    except ValueError:
        return None
    if event.run_id is not None:
        found = found.filter(Q(attempt=None) | Q(attempt=event.run_id))
    return found.select_related("run__workspace").first()
