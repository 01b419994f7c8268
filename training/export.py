"""A run's values as files: CSV as the client's own results.csv has it, and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from training.metrics import end_of_epochs, is_final, names_in
from training.models import Epoch, Project, Run

RUNS_AT_ONCE = 20  # whose epochs one statement reads and sorts
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets take for the begin of one
LEARNING_RATE = "lr/pg0"  # what results.csv calls what events call `lr`


def run_csv(run: Run) -> Iterator[str]:
    """A line for each epoch: `epoch` from 1, `time` in seconds since the start, then the metrics in the client's order.

    It differs from results.csv in that `time` ends when the server heard of the epoch, and in the learning rate, of
    which the client reports the first parameter group only: `lr/pg0` stands there alone. An epoch that was never
    reported has no line, a value that was not a number is empty. The repeated validation of the best weights, which
    the client reports as one more epoch, has no line here nor there.
    """
    names = names_in(Epoch.objects.filter(run=run), "metrics")
    yield line(["epoch", "time", *heads(names)])
    for _, cells in rows([run], names):
        yield line(cells)


def project_csv(project: Project) -> Iterator[str]:
    """The same for all runs of a project, with the run's URL name in front. Newest run first."""
    runs = list(project.runs.kept().newest_first().light())
    names = names_in(Epoch.objects.filter(run__in=project.runs.kept()), "metrics")
    yield line(["run", "epoch", "time", *heads(names)])
    for first in range(0, len(runs), RUNS_AT_ONCE):
        for run, cells in rows(runs[first : first + RUNS_AT_ONCE], names):
            yield line([run.slug, *cells])


def run_json(run: Run) -> Iterator[str]:
    """Everything about the run's course: its arguments, its epochs, the final validation and the results.

    Epochs count from 0 here, as in the events of the client.
    """
    about = {
        "project": run.project.slug,
        "run": run.slug,
        "name": run.name,
        "status": run.shown_status,
        "attempt": run.attempt,
        "trainArgs": run.train_args,
        "environment": run.environment,
        "startedAt": run.started_at and run.started_at.isoformat(),
        "completedAt": run.completed_at and run.completed_at.isoformat(),
        "bestEpoch": run.best_epoch,
        "bestFitness": run.best_fitness,
        "results": run.results,
    }
    yield json.dumps(about)[:-1] + ', "epochs": ['
    final: dict[str, Any] | None = None
    between = ""
    for epoch in run.epochs.order_by("number").iterator():
        if is_final(run, epoch.number):
            final = epoch.metrics
            continue
        row = {"epoch": epoch.number, "metrics": epoch.metrics, "fitness": epoch.fitness, "at": epoch.at.isoformat()}
        yield between + json.dumps(row | {"system": epoch.system})
        between = ",\n"
    yield f'], "finalValidation": {json.dumps(final)}}}\n'


def run_log(run: Run) -> Iterator[str]:
    """The whole console, with its colours."""
    for content in run.console.order_by("chunk_id").values_list("content", flat=True).iterator():
        yield f"{content}\n"


def heads(names: list[str]) -> list[str]:
    return [LEARNING_RATE if name == "lr" and LEARNING_RATE not in names else name for name in names]


def rows(runs: Iterable[Run], names: list[str]) -> Iterator[tuple[Run, list[Any]]]:
    """The epochs of `runs` as cells, in the order of `runs`. One query."""
    by_id = {run.pk: run for run in runs}
    ends = {pk: end_of_epochs(run) for pk, run in by_id.items()}
    found = Epoch.objects.filter(run__in=by_id).order_by("-run__created_at", "-run_id", "number")
    for pk, number, metrics, at in found.values_list("run", "number", "metrics", "at").iterator():
        run, end = by_id[pk], ends[pk]
        if end is None or number < end:
            seconds = (at - (run.started_at or run.created_at)).total_seconds()
            yield run, [number + 1, round(seconds, 3), *(metrics.get(name) for name in names)]


def line(cells: Iterable[Any]) -> str:
    """One line of CSV (RFC 4180). Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    out = io.StringIO()
    csv.writer(out).writerow(f"'{cell}" if isinstance(cell, str) and cell[:1] in FORMULA else cell for cell in cells)
    return out.getvalue()
