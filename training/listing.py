"""Runs in a table that can be sorted by every column, and how one run stands in words."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import (
    Case,
    Count,
    DateTimeField,
    ExpressionWrapper,
    F,
    FloatField,
    IntegerField,
    OuterRef,
    Q,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Least, Now

from training import metrics
from training.models import Run, Status

LIVE = (Status.PENDING, Status.STARTING, Status.RUNNING)
NEWEST_FIRST = "-started"


@dataclass(frozen=True)
class Column:
    """A column of the table: its name in `?sort=`, its head, and whether its largest values come first."""

    slug: str
    label: str
    is_number: bool = False
    is_ascending: bool = False


COLUMNS = (
    Column("name", "Run", is_ascending=True),
    Column("status", "Status", is_ascending=True),
    Column("epochs", "Epochs", is_number=True),
    Column("fitness", "Best fitness", is_number=True),
    Column("metric", "", is_number=True),  # its head is the metric's name
    Column("duration", "Duration", is_number=True),
    Column("started", "Started"),
    Column("by", "By", is_ascending=True),
)


def sorted_runs(runs: Any, sort: str, metric: str) -> Any:
    """`runs` in the order of a column, `-` before its name for descending; what has no value there comes last."""
    slug = sort.lstrip("-")
    done = Coalesce(Coalesce("last_validated_epoch", "last_epoch") + 1, 0)
    key: Any = {
        "name": F("slug"),
        "status": _shown_status(),
        "epochs": Least(done, "planned_epochs", output_field=IntegerField()),
        "fitness": F("best_fitness"),
        "metric": Cast(metrics.in_json("last_metrics", metric, TextField()), FloatField()),
        "duration": Coalesce("completed_at", "cancelled_at", "heard_at") - F("attempt_started_at"),
        "started": F("started_at"),
        "by": F("creator__username"),
    }[slug]
    if not isinstance(key, F):
        runs, key = runs.annotate(sort_key=key), F("sort_key")
    order = key.desc(nulls_last=True) if sort.startswith("-") else key.asc(nulls_last=True)
    return runs.order_by(order, "-created_at", "-pk")


def chosen_sort(text: str) -> str:
    """`text` if it names a column, else the newest first."""
    return text if text.removeprefix("-") in {column.slug for column in COLUMNS} else NEWEST_FIRST


def heads(sort: str, metric: str) -> list[dict[str, Any]]:
    """The heads of the table: what a click on each sorts by, and which way it is sorted now."""
    found = []
    for column in COLUMNS:
        is_now, is_descending = sort.removeprefix("-") == column.slug, sort.startswith("-")
        ascending_next = (not is_now and column.is_ascending) or (is_now and is_descending)
        found.append(
            {
                "label": column.label or metrics.short(metric) or "Metric",
                "title": column.label or metric,
                "sort": column.slug if ascending_next else f"-{column.slug}",
                "state": ("descending" if is_descending else "ascending") if is_now else "none",
                "is_number": column.is_number,
            }
        )
    return found


def with_live(projects: Any) -> Any:
    """`projects` with `live_count`: how many of their runs are training and were heard of lately."""
    runs = Run.objects.kept().filter(is_running(), project=OuterRef("pk"))
    counted = runs.order_by().values("project").annotate(n=Count("pk")).values("n")
    return projects.annotate(live_count=Coalesce(Subquery(counted), 0))


def is_running(path: str = "") -> Q:
    """Runs that are under way and were heard of lately; `path` leads to them, such as `run__`."""
    return Q(**{f"{path}status__in": LIVE, f"{path}heard_at__gt": _silence_begins()})


def _silence_begins() -> Any:
    silence = timedelta(seconds=settings.RUN_STALLED_SECONDS)
    return ExpressionWrapper(Now() - silence, output_field=DateTimeField())


def _shown_status() -> Any:
    """What is going on first, then what needs somebody, then what is over."""
    order: tuple[str, ...] = (Status.RUNNING, Status.STARTING, Status.PENDING, "stalled", Status.FAILED)
    order += (Status.CANCELLED, Status.COMPLETED, Status.UNTRAINED)
    stalled = When(Q(status__in=LIVE) & Q(heard_at__lt=_silence_begins()), then=Value(order.index("stalled")))
    whens = [When(status=status, then=Value(place)) for place, status in enumerate(order) if status != "stalled"]
    return Case(stalled, *whens, output_field=IntegerField())


# One run in words


def state(run: Run, metric: str = "") -> dict[str, Any]:
    """What pages say of a run and keep up to date: as text, so that server and script say the same.

    `stage` is another where more than these texts is: the page then asks for its actions, facts and results anew.
    """
    left = run.seconds_left
    return {
        "version": run.version,
        "status": run.shown_status,
        "label": run.shown_status.capitalize(),
        "epochs": f"{run.epochs_done} / {run.planned_epochs}" if run.planned_epochs else str(run.epochs_done),
        "percentage": run.percentage,
        "left": duration(left) if left is not None and not run.is_stalled() else "",
        "elapsed": duration(elapsed(run)) if run.attempt_started_at else "",
        "best": number(run.best_fitness),
        "bestEpoch": f"epoch {run.best_epoch + 1}" if run.best_epoch is not None else "",
        "metric": number(run.last_metrics.get(metric)) if metric else "",
        "progress": list(run.console_progress.values()),
        "stage": f"{run.shown_status} {run.attempt} {run.last_epoch is not None} {run.weights_id or ''}",
    }


def elapsed(run: Run) -> float:
    """How many seconds the last attempt has been running, or ran."""
    end = run.completed_at or run.cancelled_at or run.heard_at
    return max(0.0, (end - run.attempt_started_at).total_seconds()) if end and run.attempt_started_at else 0.0


def duration(seconds: float) -> str:
    """As people say it: `2 d 4 h`, `3 h 12 min`, `4 min 5 s`, `8 s`."""
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60, whole % 60
    parts = ((days, "d", hours, "h"), (hours, "h", minutes, "min"), (minutes, "min", rest, "s"))
    return next((f"{a} {unit} {b} {less}" for a, unit, b, less in parts if a), f"{rest} s")


def number(value: Any) -> str:
    """With five digits, as tables show it; empty for what is none."""
    return f"{value:.5g}" if isinstance(value, int | float) else ""
