"""What training adds to lower apps, and what becomes of it when a team ends."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import Count, F, QuerySet, Window
from django.db.models.functions import Now, RowNumber
from django.dispatch import receiver
from django.urls import reverse
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from accounts.signals import summary_counts
from apikeys.signals import cleaning_up
from training import listing, services
from training.models import KeyRun, Project, Run
from workspaces.signals import team_ending

SHOWN_RUNS = 3


@receiver(summary_counts)
def count(sender: Any, workspace: Any, counts: dict[str, int], **kwargs: Any) -> None:
    """Fill in how many projects and models the workspace has."""
    counts["projects"] = Project.objects.kept().filter(workspace=workspace).count()
    counts["models"] = Run.objects.kept().filter(workspace=workspace, project__deleted_at=None).count()


@receiver(team_ending)
def delete_all(sender: Any, actor: Any, workspace: Any, **kwargs: Any) -> None:
    """Put all projects of a team that ends into the trash, whose files go after 30 days."""
    Project.objects.kept().filter(workspace=workspace).update(deleted_at=Now())


def collect() -> Iterable[Metric]:
    """For `/metrics`: how many runs are in which state."""
    runs = GaugeMetricFamily("keyhouse_runs", "Training runs.", labels=["status"])
    for status, number in (
        Run.objects.kept()
        .filter(project__deleted_at=None)
        .values_list("status")
        .annotate(number=Count("pk"))
        .order_by("status")
    ):
        runs.add_metric([status], number)
    yield runs


@receiver(cleaning_up)
def purge(sender: Any, done: dict[str, int], **kwargs: Any) -> None:
    """Remove what was deleted more than 30 days ago, and files that no run needs."""
    done |= services.purge_trash()


def runs_of_keys(actor: Any, key_ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """For the cards of keys: the three newest runs that each has streamed, and how many there are. One query."""
    return _first_of(actor, KeyRun.objects.filter(key__in=key_ids), "Streamed")


def running_with_keys(actor: Any, key_ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """The same of runs that each key streams at the moment: what is lost when the key ends."""
    return _first_of(
        actor, KeyRun.objects.filter(listing.is_running("run__"), run__key=F("key"), key__in=key_ids), "Training now"
    )


def _first_of(actor: Any, key_runs: QuerySet[KeyRun], label: str) -> dict[UUID, dict[str, Any]]:
    streamed = (
        key_runs.filter(run__deleted_at=None, run__project__deleted_at=None)
        .annotate(
            place=Window(RowNumber(), partition_by=F("key"), order_by=[F("first_at").desc(), F("pk").desc()]),
            total=Window(Count("pk"), partition_by=F("key")),
        )
        .filter(place__lte=SHOWN_RUNS)
        .order_by("place")
    )
    found: dict[UUID, dict[str, Any]] = {}
    for key_id, project, run, total in streamed.values_list("key", "run__project__slug", "run__slug", "total"):
        use = found.setdefault(key_id, {"label": label, "shown": [], "total": total, "more": total - SHOWN_RUNS})
        url = reverse("training:run-detail", args=[actor.workspace.slug, project, run])
        use["shown"].append({"label": f"{project}/{run}", "url": url})
    return found
