"""Changes that people and programs make to projects and runs, apart from the events of a training."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from config.errors import Conflict, Invalid, NotFound
from training import storage
from training.events import clean, clean_text, slugify
from training.ingest import free_slug
from training.models import NAME_LENGTH, Checkpoint, License, Project, Run, Status, Task, Visibility
from workspaces import activity
from workspaces.access import Actor, Right

PROJECT_EXISTS = "Project already exists"
# What may be changed, by the names of the columns; the rest of what clients send is refused by the serializers.
PROJECT_FIELDS = ("name", "description", "visibility", "tags", "license", "metadata", "is_archived")
RUN_FIELDS = ("name", "description", "license", "metadata", "color", "task", "planned_epochs", "train_args", "status")
CHOICES = {
    "visibility": Visibility.values,
    "status": Status.values,
    "task": ["", *Task.values],
    "license": ["", *License.values],
}
MAX_TEXT = 100_000
MAX_CLONED = 1000  # runs of one project


def find_project(actor: Actor, slug: str) -> Project:
    """A project of the actor's workspace. Raises NotFound."""
    project = Project.objects.kept().filter(workspace=actor.workspace, slug=slug).first()
    if project is None:
        raise NotFound("Project not found")
    project.workspace = actor.workspace
    return project


def find_run(actor: Actor, project_slug: str, slug: str) -> Run:
    """A run of the actor's workspace, with its project and weights. Raises NotFound."""
    run = (
        Run.objects.kept()
        .filter(workspace=actor.workspace, project__slug=project_slug, project__deleted_at=None, slug=slug)
        .select_related("project", "weights", "creator", "key")
        .first()
    )
    if run is None:
        raise NotFound("Model not found")
    run.workspace = run.project.workspace = actor.workspace
    return run


def find_run_by_id(actor: Actor, run_id: UUID) -> Run:
    """The same by id. Raises NotFound."""
    run = (
        Run.objects.kept()
        .filter(workspace=actor.workspace, project__deleted_at=None, pk=run_id)
        .select_related("project", "weights")
        .first()
    )
    if run is None:
        raise NotFound("Model not found")
    run.workspace = run.project.workspace = actor.workspace
    return run


@transaction.atomic
def create_project(actor: Actor, *, slug: str, name: str, **fields: Any) -> Project:
    """Make a project. Raises NotAllowed, Invalid for a slug or field that is no good, Conflict for one that exists."""
    actor.require_still(Right.EDIT)
    slug = clean_slug(slug, "project")
    if Project.objects.kept().filter(workspace=actor.workspace, slug=slug).exists():
        raise Conflict(PROJECT_EXISTS)
    try:
        with transaction.atomic():
            project = Project.objects.create(
                workspace=actor.workspace,
                slug=slug,
                creator=actor.user,
                **_cleaned({"name": name or slug} | fields, PROJECT_FIELDS),
            )
    except IntegrityError:
        raise Conflict(PROJECT_EXISTS) from None
    activity.record(actor, "project.created", project)
    return project


@transaction.atomic
def update_project(actor: Actor, project: Project, *, slug: str | None = None, **fields: Any) -> None:
    """Change what is given. Raises NotAllowed, Invalid, Conflict for a URL name that exists."""
    actor.require_still(Right.EDIT)
    changes = _cleaned(fields, PROJECT_FIELDS)
    if slug is not None and slug != project.slug:
        changes["slug"] = clean_slug(slug, "project")
    if not changes:
        return
    try:
        with transaction.atomic():
            Project.objects.kept().filter(pk=project.pk).update(updated_at=Now(), **changes)
    except IntegrityError:
        raise Conflict(PROJECT_EXISTS) from None
    _set(project, changes)
    activity.record(actor, "project.changed", project, fields=", ".join(sorted(changes)))


@transaction.atomic
def delete_project(actor: Actor, project: Project) -> int:
    """Put a project with its runs into the trash, and return how many runs that are. Raises NotAllowed."""
    actor.require_still(Right.EDIT)
    count = Run.objects.kept().filter(project=project).count()
    if Project.objects.kept().filter(pk=project.pk).update(deleted_at=Now()):
        activity.record(actor, "project.deleted", project, runs=count)
    return count


@transaction.atomic
def restore_project(actor: Actor, project_id: UUID) -> Project:
    """Bring a project back from the trash; if its URL name is taken by now, under another.

    Raises NotFound, Conflict where that name is taken in the same moment.
    """
    actor.require_still(Right.EDIT)
    project = _in_trash(Project, actor, project_id)
    if project is None:
        raise NotFound("Project not found")
    taken = set(Project.objects.kept().filter(workspace=actor.workspace).values_list("slug", flat=True))
    project.slug, project.deleted_at = free_slug(project.slug, taken), None
    try:
        with transaction.atomic():
            project.save(update_fields=["slug", "deleted_at"])
    except IntegrityError:  # another took the name in the same moment
        raise Conflict(PROJECT_EXISTS) from None
    activity.record(actor, "project.restored", project)
    return project


@transaction.atomic
def create_run(actor: Actor, project: Project, *, slug: str = "", name: str = "", **fields: Any) -> Run:
    """Make a model that no training has begun for yet. A slug that is taken gets a number.

    Raises NotAllowed, Invalid.
    """
    actor.require_still(Right.EDIT)
    wanted = clean_slug(slug, "model") if slug else slugify(name) or "model"
    _lock_names(project)
    taken = set(project.runs.kept().filter(slug__startswith=wanted[:100]).values_list("slug", flat=True))
    run = Run.objects.create(
        workspace=actor.workspace,
        project=project,
        slug=free_slug(wanted, taken),
        creator=actor.user,
        **_cleaned({"name": name or wanted} | fields, RUN_FIELDS),
    )
    run.refresh_from_db()
    activity.record(actor, "run.created", run, project=project.slug)
    return run


@transaction.atomic
def update_run(
    actor: Actor, run: Run, *, slug: str | None = None, project_id: UUID | None = None, **fields: Any
) -> None:
    """Change what is given; with `project_id` move to another project of the workspace.

    Raises NotAllowed, Invalid, NotFound for the project, Conflict for a URL name that exists there, and for cancelling
    what has ended.
    """
    actor.require_still(Right.EDIT)
    changes = _cleaned(fields, RUN_FIELDS)
    if changes.get("status") == Status.CANCELLED:
        del changes["status"]
        if (problem := cancel_run(actor, run)) and run.status != Status.CANCELLED:
            raise Conflict(problem)
    if slug is not None and slug != run.slug:
        changes["slug"] = clean_slug(slug, "model")
    if project_id is not None and project_id != run.project_id:
        project = Project.objects.kept().filter(workspace=actor.workspace, pk=project_id).first()
        if project is None:
            raise NotFound("Project not found")
        changes["project"] = project
    if not changes:
        return
    if "slug" in changes or "project" in changes:
        _lock_names(changes.get("project", run.project))
    try:
        with transaction.atomic():
            Run.objects.kept().filter(pk=run.pk).update(updated_at=Now(), version=F("version") + 1, **changes)
    except IntegrityError:
        raise Conflict("Model already exists") from None
    _set(run, changes)
    activity.record(actor, "run.changed", run, fields=", ".join(sorted(changes)))


@transaction.atomic
def delete_run(actor: Actor, run: Run) -> None:
    """Put a run into the trash; a client that still trains for it is told that it is gone. Raises NotAllowed."""
    actor.require_still(Right.EDIT)
    if Run.objects.kept().filter(pk=run.pk).update(deleted_at=Now()):
        activity.record(actor, "run.deleted", run, project=run.project.slug)


@transaction.atomic
def restore_run(actor: Actor, run_id: UUID) -> Run:
    """Bring a run back from the trash; if its URL name is taken by now, under another. Raises NotFound."""
    actor.require_still(Right.EDIT)
    run = _in_trash(Run, actor, run_id)
    if run is None or run.project.deleted_at is not None:
        raise NotFound("Model not found")
    _lock_names(run.project)
    taken = set(run.project.runs.kept().values_list("slug", flat=True))
    run.slug, run.deleted_at = free_slug(run.slug, taken), None
    run.save(update_fields=["slug", "deleted_at"])
    activity.record(actor, "run.restored", run, project=run.project.slug)
    return run


@transaction.atomic
def cancel_run(actor: Actor, run: Run) -> str:
    """End a run as cancelled; its client learns of it with its next event. Returns a warning where it had ended.

    Raises NotAllowed.
    """
    actor.require_still(Right.EDIT)
    cancelled = Run.objects.filter(
        pk=run.pk, status__in=[Status.PENDING, Status.UNTRAINED, Status.STARTING, Status.RUNNING]
    ).update(status=Status.CANCELLED, cancelled_at=Now(), version=F("version") + 1)
    if not cancelled:
        run.refresh_from_db(fields=["status"])
        return f"The training had ended already: {run.status}"
    run.status = Status.CANCELLED
    activity.record(actor, "run.cancelled", run, project=run.project.slug)
    return ""


def star(actor: Actor, thing: Project | Run, is_starred: bool) -> int:
    """Note that the actor's person likes a project or a run, or no longer; returns how many do. Raises NotAllowed."""
    actor.require(Right.VIEW)
    (thing.starred_by.add if is_starred else thing.starred_by.remove)(actor.user)
    return thing.starred_by.count()


@transaction.atomic
def clone_run(
    actor: Actor,
    run: Run,
    *,
    project: Project | None = None,
    slug: str = "",
    name: str = "",
    description: str | None = None,
) -> Run:
    """A copy of a run's description and arguments, without its history and weights. Raises NotAllowed, Invalid."""
    copied = _copied(run)
    if description is not None:
        copied["description"] = description
    return create_run(
        actor, project or run.project, slug=slug, name=name or f"{run.name[: NAME_LENGTH - 5]} copy", **copied
    )


def _copied(run: Run) -> dict[str, Any]:
    """What a copy of a run takes over."""
    names = ("description", "license", "color", "train_args", "task", "planned_epochs")
    return {name: getattr(run, name) for name in names} | {"metadata": run.metadata | {"clonedFrom": str(run.pk)}}


@transaction.atomic
def clone_project(
    actor: Actor, project: Project, *, slug: str = "", name: str = "", models: list[str] | None = None, **fields: Any
) -> tuple[Project, int]:
    """A copy of a project with copies of its runs' descriptions, or of those in `models` by their slugs or ids.

    `fields` are what the copy has of its own. Returns how many runs it has, too. Raises NotAllowed, Invalid, Conflict.
    """
    taken = set(Project.objects.kept().filter(workspace=actor.workspace).values_list("slug", flat=True))
    copied = {name: getattr(project, name) for name in ("description", "visibility", "tags", "license")}
    copy = create_project(
        actor,
        slug=slug or free_slug(f"{project.slug[:120]}-copy", taken),
        name=name or f"{project.name[: NAME_LENGTH - 5]} copy",
        metadata=project.metadata | {"clonedFrom": str(project.pk)},
        **copied | fields,
    )
    runs = project.runs.kept().newest_first()[:MAX_CLONED]
    wanted = [run for run in runs if models is None or run.slug in models or str(run.pk) in models]
    Run.objects.bulk_create(
        Run(
            workspace=actor.workspace,
            project=copy,
            slug=run.slug,
            name=run.name,
            creator=actor.user,
            **_copied(run),
        )
        for run in reversed(wanted)
    )
    return copy, len(wanted)


def purge_trash() -> dict[str, int]:
    """Remove for good what was deleted more than 30 days ago, and files that no run claimed. For the daily clean-up."""
    runs = Run.objects.past_trash() | Run.objects.filter(project__in=Project.objects.past_trash())
    with transaction.atomic():
        ids = list(runs.values_list("pk", flat=True)[:10_000])
        files = storage.remove(Checkpoint.objects.filter(run__in=ids))
        unclaimed = Checkpoint.objects.filter(created_at__lt=Now() - storage.KEEP_UNCLAIMED, superseded_at=None)
        claimed = Run.objects.exclude(weights=None).values("weights")
        files += storage.remove(unclaimed.exclude(pk__in=claimed))
        files += storage.remove(Checkpoint.objects.filter(superseded_at__lt=Now() - storage.KEEP_SUPERSEDED))
        Run.objects.filter(pk__in=ids).delete()
        projects = Project.objects.past_trash().filter(runs=None).delete()[1].get("training.Project", 0)
    return {"deleted runs": len(ids), "deleted projects": projects, "checkpoints": files + storage.sweep()}


def clean_slug(slug: str, field: str) -> str:
    """`slug` if clients would make the same of it. Raises Invalid."""
    if not slug or slugify(slug) != slug:
        problem = "Use a-z, 0-9 and single hyphens between them, at most 128 characters."
        raise Invalid(f"{field}: {problem}", details={field: [problem]})
    return slug


def _cleaned(fields: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """What may be kept of `fields`: known ones, without what PostgreSQL or security forbid. Raises Invalid."""
    changes = {name: clean(value) for name, value in fields.items() if name in known and value is not None}
    for name, value in changes.items():
        problem = ""
        if name == "name":
            changes[name] = value = " ".join(clean_text(value).split())
            if not value or len(value) > NAME_LENGTH or not value.isprintable():
                problem = f"Use 1 to {NAME_LENGTH} printable characters."
        elif isinstance(value, str) and len(value) > (MAX_TEXT if name == "description" else 100):
            problem = "This is too long."
        elif name in CHOICES and value not in CHOICES[name]:
            problem = f"Use one of {', '.join(filter(None, CHOICES[name]))}."
        if problem:
            raise Invalid(f"{name}: {problem}", details={name: [problem]})
    return changes


def _lock_names(project: Project) -> None:
    """Until the end of the transaction nobody else gives a run of `project` a name, nor does a client."""
    Project.objects.select_for_update(of=("self",)).get(pk=project.pk)


def _set(thing: Any, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(thing, name, value)


def _in_trash(model: Any, actor: Actor, pk: UUID) -> Any:
    found = model.objects.deleted().exclude(pk__in=model.objects.past_trash().values("pk"))
    return found.select_for_update(of=("self",)).filter(workspace=actor.workspace, pk=pk).first()
