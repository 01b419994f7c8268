"""Pages of a run, and what keeps them up to date."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from apikeys.models import ApiKey
from config.errors import Invalid, NotFound
from config.pages import PageRequest, page
from config.ratelimit import count
from training import export, listing, metrics, services, storage
from training.events import MAX_CHUNK_ID
from training.forms import RunForm
from training.models import TRASH, Project, Run
from training.webhooks import file_response
from workspaces.access import Actor, Right

CONSOLE_CHUNKS = 200  # of one piece of console
MOST_OTHERS = 200  # newest runs of the workspace that one can be compared with
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|[\0-\x08\x0b-\x1f\x7f]")
# What the page of a run and `live` read of it; the rest may be megabytes.
LIVE_COLUMNS = (
    *("version", "status", "heard_at", "planned_epochs", "first_epoch", "last_epoch", "last_validated_epoch"),
    *("epochs_before", "attempt", "attempt_started_at", "started_at", "created_at", "completed_at", "cancelled_at"),
    *("best_fitness", "best_epoch", "last_metrics", "console_progress", "weights_id"),
)


@page(Right.VIEW)
def run_detail(request: PageRequest, owner: str, project: str, run: str) -> HttpResponse:
    """A run: how far it is, its curves, its console, and what came of it."""
    actor = request.actor
    found = services.find_run(actor, project, run)
    metric = metrics.main_of(sorted(found.last_metrics, key=metrics.rank))
    results = found.results.get("metrics") or found.last_metrics
    chunks = metrics.pieces(metrics.console(found)[:CONSOLE_CHUNKS])
    context = {
        "tab": "projects",
        "run": found,
        "state": listing.state(found, metric),
        "metric": metrics.short(metric),
        "error": found.error.get("message", ""),
        "weights": storage.weights_of(found),
        "others": others(actor, found),
        "console": ANSI.sub("", "\n".join(chunk["text"] for chunk in chunks)),
        "keys": ApiKey.objects.filter(key_runs__run=found).order_by("-key_runs__first_at")[:20],
        "plots": found.plots.order_by("position").values("position", "type")[:100],
        "is_over": not found.is_live,
        "results": [(name, listing.number(results[name])) for name in sorted(results, key=metrics.rank)],
        "arguments": sorted(found.train_args.items()),
        "environment": sorted(found.environment.items()),
    }
    return render(request, "training/run.html", context)


def others(actor: Actor, run: Run) -> list[dict[str, Any]]:
    """The newest runs of the workspace that `run` can be compared with, those of its project first."""
    runs = Run.objects.kept().filter(workspace=actor.workspace, project__deleted_at=None).exclude(last_epoch=None)
    found = runs.exclude(pk=run.pk).newest_first().values("pk", "slug", "project_id", "project__slug")[:MOST_OTHERS]
    return sorted(found, key=lambda other: (other["project_id"] != run.project_id, other["project__slug"]))


@page(Right.VIEW)
def run_live(request: PageRequest, run_id: UUID) -> HttpResponse:
    """What has changed since the version `?after=`, as JSON; 204 if nothing has, which costs one query.

    `?status=` is the status that the page shows: a run that falls silent changes it without an event.
    """
    after = request.GET.get("after", "")
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise Invalid("after: Give the version that you have", details={"after": ["Give the version that you have."]})
    runs = Run.objects.kept().filter(workspace=request.actor.workspace, project__deleted_at=None, pk=run_id)
    run = runs.only(*LIVE_COLUMNS).first()
    if run is None:
        raise NotFound("Run not found")
    if run.version == int(after) and request.GET.get("status", run.shown_status) == run.shown_status:
        return HttpResponse(status=204)
    metric = metrics.main_of(sorted(run.last_metrics, key=metrics.rank))
    return JsonResponse({"state": listing.state(run, metric), "changes": metrics.changes(run, int(after))})


@page(Right.VIEW)
def run_curves(request: PageRequest, run_id: UUID) -> HttpResponse:
    """All curves of a run, thinned, as JSON."""
    run = services.find_run_by_id(request.actor, run_id)
    return JsonResponse(metrics.curves(run) | {"name": run.slug})


@page(Right.VIEW)
def run_console(request: PageRequest, run_id: UUID) -> HttpResponse:
    """A piece of the console as JSON: the newest chunks, or those before the chunk `?before=`."""
    run = services.find_run_by_id(request.actor, run_id)
    chunks = metrics.console(run)
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 20 and int(before) <= MAX_CHUNK_ID:
        chunks = chunks.filter(chunk_id__lt=int(before))
    found = list(chunks[: CONSOLE_CHUNKS + 1])
    pieces, bars = metrics.pieces(found[:CONSOLE_CHUNKS]), list(run.console_progress.values())
    return JsonResponse({"console": pieces, "hasMore": len(found) > CONSOLE_CHUNKS, "progress": bars})


@page(Right.VIEW)
def run_plot(request: PageRequest, run_id: UUID, position: int) -> HttpResponse:
    """The numbers of one of a run's plots, as JSON."""
    run = services.find_run_by_id(request.actor, run_id)
    plot = run.plots.filter(position=position).first() if position < 2**31 else None
    if plot is None:
        raise NotFound("Plot not found")
    return JsonResponse({"plot": plot.data, "classNames": run.class_names or []})


@page(Right.VIEW)
def run_export(request: PageRequest, run_id: UUID, kind: str) -> HttpResponseBase:
    """A run's values as CSV or JSON, or its console as text."""
    run = services.find_run_by_id(request.actor, run_id)
    write, content_type = {
        "csv": (export.run_csv, "text/csv"),
        "json": (export.run_json, "application/json"),
        "log": (export.run_log, "text/plain"),
    }[kind]
    return download(request, write(run), f"{run.project.slug}-{run.slug}.{kind}", content_type)


def download(request: PageRequest, lines: Iterator[str], name: str, content_type: str) -> HttpResponseBase:
    """A file that is written while it is sent. Counts as an export."""
    limits = count(request, "export")
    response = StreamingHttpResponse(lines, content_type=f"{content_type}; charset=utf-8", headers=limits)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@page(Right.VIEW)
def run_weights(request: PageRequest, run_id: UUID) -> HttpResponseBase:
    """The run's weights."""
    run = services.find_run_by_id(request.actor, run_id)
    weights = storage.weights_of(run)
    if weights is None:
        raise NotFound("This run has no weights")
    count(request, "download")
    if storage.bypasses():
        return redirect(storage.download_url(request.actor, weights))
    return file_response(request, weights)


@page(Right.EDIT, "GET", "POST")
def run_change(request: PageRequest, run_id: UUID) -> HttpResponse:
    run = services.find_run_by_id(request.actor, run_id)
    form = RunForm(request.POST or None, initial={"name": run.name, "description": run.description})
    if request.method == "POST" and form.is_valid():
        try:
            services.update_run(request.actor, run, **form.cleaned_data)
        except Invalid as error:
            form.add_error("name", next(iter(error.details.values())))
        else:
            return redirect(run_path(run))
    context = {"tab": "projects", "form": form, "run": run}
    return render(request, "training/run_form.html", context, status=400 if form.errors else 200)


@page(Right.EDIT, "GET", "POST")
def run_cancel(request: PageRequest, run_id: UUID) -> HttpResponse:
    """Say what happens, then ask the client to stop."""
    run = services.find_run_by_id(request.actor, run_id)
    if request.method == "POST":
        if warning := services.cancel_run(request.actor, run):
            messages.info(request, f"{warning}.")
        else:
            messages.success(request, "Cancelled. The client stops when it reports its next epoch.")
        return redirect(run_path(run))
    return render(request, "training/cancel.html", {"tab": "projects", "run": run, "back": run_path(run)})


@page(Right.EDIT, "GET", "POST")
def run_delete(request: PageRequest, run_id: UUID) -> HttpResponse:
    """Say what goes, then put it into the trash."""
    run = services.find_run_by_id(request.actor, run_id)
    if request.method == "POST":
        services.delete_run(request.actor, run)
        messages.success(request, f"“{run.name}” is in the trash. You can bring it back for {TRASH.days} days.")
        return redirect(project_path(run.project))
    context = {"tab": "projects", "thing": run, "runs": None, "back": run_path(run)}
    context["live"] = [run.slug] if run.is_live and not run.is_stalled() else []
    context["action"] = (
        f"{reverse('training:run-delete', args=[run.pk])}?{urlencode({'workspace': run.workspace.slug})}"
    )
    return render(request, "training/delete.html", context)


def address(actor: Actor, name: str, *args: Any) -> str:
    """A path of this app in the actor's workspace."""
    return f"{reverse(f'training:{name}', args=args)}?{urlencode({'workspace': actor.workspace.slug})}"


def run_path(run: Run) -> str:
    return reverse("training:run-detail", args=[run.workspace.slug, run.project.slug, run.slug])


def project_path(project: Project) -> str:
    return reverse("training:project-detail", args=[project.workspace.slug, project.slug])
