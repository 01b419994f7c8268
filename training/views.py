"""Pages of projects, of what was deleted, and what the charts on them ask for."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F, Max, OuterRef, Subquery
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from config.context import base_url
from config.errors import Conflict, Invalid, NotFound
from config.pages import PageRequest, page
from training import export, listing, metrics, services
from training.api import annotated_projects, one_project
from training.forms import ProjectForm
from training.models import TRASH, Project, Run
from training.run_views import address, download, project_path, run_path
from workspaces.access import Actor, Right

RUNS_PER_PAGE = 50
PROJECTS_PER_PAGE = 50
OVERLAID = 8  # runs whose curves a project's page shows at first
MOST_OVERLAID = 50
MOST_COMPARED = 8
NOT_COMPARED = ("name", "project", "save_dir", "session", "model_id")  # arguments that differ in any two runs


@page(Right.VIEW)
def projects(request: PageRequest) -> HttpResponse:
    """The way to the projects of the workspace that was chosen last."""
    return redirect(reverse("training:project-list", args=[request.actor.workspace.slug]))


@page(Right.VIEW)
def project_list(request: PageRequest, owner: str) -> HttpResponse:
    """The projects of a workspace, the one heard of last first, and how to begin where there are none."""
    runs = Run.objects.kept().filter(project=OuterRef("pk")).order_by().values("project")
    found = listing.with_live(annotated_projects(request.actor))
    found = found.annotate(heard_at=Subquery(runs.annotate(at=Max("heard_at")).values("at")))
    found = found.order_by(F("heard_at").desc(nulls_last=True), "-updated_at", "-pk")
    shown = Paginator(found, PROJECTS_PER_PAGE).get_page(request.GET.get("page"))
    context = {"tab": "projects", "page": shown, "projects": shown.object_list, "command": command(request)}
    return render(request, "training/projects.html", context)


def command(request: PageRequest, project: str = "my-project") -> str:
    """What to type on a training machine, without the key's value."""
    exports = f"export ULTRALYTICS_PLATFORM_URL={base_url(request)}\nexport ULTRALYTICS_API_KEY=ul_…\n"
    return exports + train_command(request.actor, project)


def train_command(actor: Actor, project: str = "my-project") -> str:
    return f"yolo train model=yolo26n.yaml data=coco8.yaml project={actor.workspace.slug}/{project} name=exp1"


@page(Right.EDIT, "GET", "POST")
def project_create(request: PageRequest) -> HttpResponse:
    return _project_form(request, None)


@page(Right.EDIT, "GET", "POST")
def project_change(request: PageRequest, project_id: UUID) -> HttpResponse:
    return _project_form(request, find_project(request.actor, project_id))


def _project_form(request: PageRequest, project: Project | None) -> HttpResponse:
    initial: Any = {n: getattr(project, n) for n in ("name", "slug", "description")} if project is not None else None
    form = ProjectForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            if project is None:
                project = services.create_project(request.actor, **form.cleaned_data)
                project.workspace = request.actor.workspace
            else:
                services.update_project(request.actor, project, **form.cleaned_data)
        except Conflict as error:
            form.add_error("slug", error.sentence)
        except Invalid as error:
            for problems in error.details.values():
                form.add_error("slug" if "project" in error.details else "name", problems)
        else:
            return redirect(project_path(project))
    context = {"tab": "projects", "form": form, "project": project}
    return render(request, "training/project_form.html", context, status=400 if form.errors else 200)


@page(Right.VIEW)
def project_detail(request: PageRequest, owner: str, project: str) -> HttpResponse:
    """A project: its runs in a table that can be sorted, and the curves of some of them laid over each other."""
    actor = request.actor
    found = one_project(actor, project)
    runs = Run.objects.kept().filter(project=found)
    names = metrics.names_in(runs, "last_metrics")
    metric = request.GET.get("metric", "")
    metric = metric if metric in names else metrics.main_of(names)
    sort = listing.chosen_sort(request.GET.get("sort", ""))
    search = request.GET.get("q", "").replace("\0", "").strip()[:100]
    if search:
        runs = runs.filter(slug__icontains=search) | runs.filter(name__icontains=search)
    runs = listing.sorted_runs(runs.select_related("creator").light(), sort, metric)
    shown = Paginator(runs, RUNS_PER_PAGE).get_page(request.GET.get("page"))
    rows = [{"run": run, "state": listing.state(run, metric)} for run in shown.object_list]
    newest = sorted((row["run"] for row in rows), key=lambda run: (run.created_at, run.pk), reverse=True)
    context = {
        "tab": "projects",
        "project": found,
        "page": shown,
        "rows": rows,
        "sort": sort,
        "search": search,
        "columns": listing.heads(sort, metric),
        "metrics": names,
        "metric": metric,
        "overlaid": {run.pk for run in newest[:OVERLAID]},
        "command": command(request, found.slug),
    }
    return render(request, "training/project.html", context)


@page(Right.VIEW)
def project_curves(request: PageRequest, project_id: UUID) -> HttpResponse:
    """As JSON: the curves of one metric for the runs that `?run=` names, and how they and those in `?row=` stand.

    204 if nothing has changed since the answer with the stamp `?seen=`.
    """
    project = find_project(request.actor, project_id)
    drawn = _ids(request, "run", MOST_OVERLAID)
    rows = _ids(request, "row", RUNS_PER_PAGE)
    runs = list(Run.objects.kept().filter(project=project, pk__in={*drawn, *rows}).order_by("pk").light())
    stamp = " ".join(f"{run.version}{run.shown_status[:2]}" for run in runs)
    if request.GET.get("seen") == stamp:
        return HttpResponse(status=204)
    name = request.GET.get("metric", "").replace("\0", "")[:200]
    found = {"stamp": stamp, "curves": metrics.one_metric([run for run in runs if run.pk in drawn], name)}
    return JsonResponse(found | {"states": {str(run.pk): listing.state(run, name) for run in runs}})


@page(Right.VIEW)
def project_compare(request: PageRequest, project_id: UUID) -> HttpResponse:
    """Some runs of a project beside each other: what they were given, what came of it, and all their curves."""
    project = find_project(request.actor, project_id)
    found = Run.objects.kept().filter(project=project, pk__in=_ids(request, "run", MOST_COMPARED))
    runs = list(found.select_related("creator").order_by("created_at", "pk"))
    if len(runs) < 2:
        messages.info(request, f"Choose two to {MOST_COMPARED} runs to compare.")
        return redirect(project_path(project))
    for run in runs:
        run.workspace, run.project = request.actor.workspace, project
    values = [run.last_metrics | (run.results.get("metrics") or {}) for run in runs]
    context = {
        "tab": "projects",
        "project": project,
        "columns": [{"run": run, "state": listing.state(run)} for run in runs],
        "results": [
            {"name": name, "values": marked(name, [found.get(name) for found in values])}
            for name in sorted({name for found in values for name in found}, key=metrics.rank)
        ],
        "arguments": differing([run.train_args for run in runs], NOT_COMPARED),
        "environment": differing([run.environment for run in runs], ("command",)),
    }
    return render(request, "training/compare.html", context)


def marked(name: str, values: list[Any]) -> list[dict[str, Any]]:
    """Values of one metric as text, the best marked where one is best: losses are better the lower they are."""
    known = [value for value in values if isinstance(value, int | float)]
    best = (min if "loss" in name else max)(known, default=None)
    is_ranked = len(set(known)) > 1 and not name.startswith("lr")
    return [{"text": listing.number(value), "is_best": is_ranked and value == best} for value in values]


def differing(maps: list[dict[str, Any]], without: tuple[str, ...]) -> list[dict[str, Any]]:
    """What is not the same in all of `maps`, as rows of a table."""
    names = sorted({name for one in maps for name in one if name not in without})
    rows = [{"name": name, "values": [one.get(name) for one in maps]} for name in names]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"])]


def _ids(request: PageRequest, name: str, most: int) -> list[UUID]:
    """The ids that `?name=` gives; what is none is of nothing."""
    found = []
    for text in request.GET.getlist(name)[:most]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


@page(Right.EDIT, "GET", "POST")
def project_delete(request: PageRequest, project_id: UUID) -> HttpResponse:
    """Say what goes, then put it into the trash."""
    project = find_project(request.actor, project_id)
    if request.method == "POST":
        services.delete_project(request.actor, project)
        messages.success(request, f"“{project.name}” is in the trash. You can bring it back for {TRASH.days} days.")
        return redirect(reverse("training:project-list", args=[project.workspace.slug]))
    runs = Run.objects.kept().filter(project=project)
    context = {"tab": "projects", "thing": project, "runs": runs.count(), "back": project_path(project)}
    context["live"] = [run.slug for run in runs.filter(status__in=listing.LIVE).light()[:20] if not run.is_stalled()]
    context["action"] = address(request.actor, "project-delete", project.pk)
    return render(request, "training/delete.html", context)


@page(Right.VIEW)
def project_export(request: PageRequest, project_id: UUID) -> HttpResponseBase:
    """All runs of a project as one CSV."""
    project = find_project(request.actor, project_id)
    return download(request, export.project_csv(project), f"{project.slug}.csv", "text/csv")


# The trash


@page(Right.VIEW)
def trash(request: PageRequest) -> HttpResponse:
    """What was deleted within 30 days."""
    actor = request.actor
    gone = Project.objects.deleted().exclude(pk__in=Project.objects.past_trash().values("pk"))
    runs = Run.objects.deleted().exclude(pk__in=Run.objects.past_trash().values("pk")).light()
    runs = runs.filter(workspace=actor.workspace, project__deleted_at=None).select_related("project")
    things: list[Any] = list(gone.filter(workspace=actor.workspace).order_by("-deleted_at")[:200])
    things = sorted([*things, *runs.order_by("-deleted_at")[:200]], key=lambda thing: thing.deleted_at, reverse=True)
    rows = [
        {
            "thing": thing,
            "what": f"Run of {thing.project.slug}" if isinstance(thing, Run) else "Project",
            "until": thing.deleted_at + TRASH,
            "action": address(actor, "run-restore" if isinstance(thing, Run) else "project-restore", thing.pk),
        }
        for thing in things
    ]
    return render(request, "training/trash.html", {"tab": "projects", "rows": rows, "days": TRASH.days})


@page(Right.EDIT, "POST")
def project_restore(request: PageRequest, project_id: UUID) -> HttpResponse:
    project = services.restore_project(request.actor, project_id)
    project.workspace = request.actor.workspace
    messages.success(request, f"“{project.name}” is back.")
    return redirect(project_path(project))


@page(Right.EDIT, "POST")
def run_restore(request: PageRequest, run_id: UUID) -> HttpResponse:
    run = services.restore_run(request.actor, run_id)
    run.workspace = run.project.workspace = request.actor.workspace
    messages.success(request, f"“{run.name}” is back.")
    return redirect(run_path(run))


def find_project(actor: Actor, project_id: UUID) -> Project:
    """A project of the actor's workspace. Raises NotFound."""
    project = Project.objects.kept().filter(workspace=actor.workspace, pk=project_id).first()
    if project is None:
        raise NotFound("Project not found")
    project.workspace = actor.workspace
    return project
