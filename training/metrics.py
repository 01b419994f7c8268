"""What charts draw of a run: its values by epoch, thinned so that every peak stays."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, Func, JSONField, Q, TextField, Value
from django.db.models.functions import Left

from training.models import Epoch, Run

POINTS = 500  # of one curve; a chart is rarely wider in pixels
MOST_READINGS = 2000  # of the machine that a page of curves is made of; each is but a sample of an epoch
MOST_CHANGES = 500  # rows that one answer to `live` brings; with more the page loads all anew
MOST_CURVES = 200  # of a run, the client's own first
MOST_SHOWN = 20_000  # characters of one chunk of console; clients send five lines
GROUPS = (  # of the charts on a run's page: title, names of metrics
    ("Training loss", re.compile(r"train/")),
    ("Validation loss", re.compile(r"val/")),
    ("Precision and recall", re.compile(r"metrics/(precision|recall)")),
    ("mAP", re.compile(r"metrics/mAP")),
    ("Accuracy", re.compile(r"metrics/(accuracy|pixel_acc|mIoU|delta)")),
    ("Learning rate", re.compile(r"lr(/|$)")),
    ("Other metrics", re.compile(r"")),
)
SYSTEM_GROUPS = (
    ("Load in %", re.compile(r"(CPU|RAM|GPU .* (load|memory))$")),
    ("GPU temperature in °C", re.compile(r"GPU .* temperature")),
    ("GPU power in W", re.compile(r"GPU .* power")),
    ("Disk in MB/s", re.compile(r"Disk (read|write)")),
    ("Network in MB/s", re.compile(r"Network")),
    ("Disk space in GB", re.compile(r"Used on")),
)
# The client's order of columns, which PostgreSQL's jsonb does not keep: kinds, then names within a kind.
KINDS = ("train/", "metrics/", "val/", "lr")
LOSSES = ("box", "giou", "obj", "seg", "sem", "pose", "kobj", "rle", "cls", "dfl", "l1", "angle", "loss")
NAMES = (*LOSSES, "precision", "recall", "mAP50(", "mAP50-95(", "accuracy_top1", "accuracy_top5")
# The beginnings of the metric that tells best how good a run is, one for each task.
MAIN = ("metrics/mAP50-95(B)", "metrics/mAP50-95", "metrics/accuracy_top1", "metrics/mIoU", "metrics/delta1", "metrics")

Curve = tuple[list[float], list[float | None]]


def group_of(name: str, groups: Sequence[tuple[str, re.Pattern]] = GROUPS) -> str:
    """The title of the chart that a metric belongs to."""
    return next((title for title, pattern in groups if pattern.match(name)), "")


def rank(name: str) -> tuple[int, str, int, str]:
    """Sorts metrics as the client's results.csv has them: train, metrics, val, learning rate, others."""
    kind = next((place for place, prefix in enumerate(KINDS) if name.startswith(prefix)), len(KINDS))
    part = re.search(r"\(\w+\)$", name)  # (B) for boxes, (M) for masks, (P) for poses
    tail = name.partition("/")[2]
    place = next((place for place, known in enumerate(NAMES) if tail.startswith(known)), len(NAMES))
    return kind, part[0] if part else "", place, name


def names_in(rows: Any, column: str) -> list[str]:
    """The names of all metrics in a column of `rows`, in the client's order. One query."""
    found = rows.annotate(metric_name=Func(F(column), function="jsonb_object_keys", output_field=TextField()))
    return sorted(found.order_by().values_list("metric_name", flat=True).distinct(), key=rank)


def in_json(column: str, name: str, output_field: Any) -> Func:
    """The value called `name` in a column of JSON, as JSON or, for a TextField, as text.

    Clients choose the names: Django's own transforms take `__` and digits in them for something else.
    """
    function = "jsonb_extract_path_text" if isinstance(output_field, TextField) else "jsonb_extract_path"
    return Func(F(column), Value(name), function=function, output_field=output_field)


def main_of(names: Sequence[str]) -> str:
    """The metric that tells best how good a run is; empty if there is none."""
    wanted = (name for prefix in MAIN for name in names if name.startswith(prefix))
    return next(wanted, names[0] if names else "")


def short(name: str) -> str:
    """A metric's name without its kind, for the head of a column."""
    return name.removeprefix("metrics/")


def thin(xs: Sequence[float], ys: Sequence[float | None], points: int = POINTS) -> Curve:
    """At most `points` of the points, in their order: the first, the last, the lowest and highest of each part.

    What is missing in between stays missing where a whole part is.
    """
    if len(xs) <= points:
        return list(xs), list(ys)
    parts = max(1, (points - 2) // 2)
    chosen = {0, len(xs) - 1}
    for part in range(parts):
        begin, end = part * len(xs) // parts, (part + 1) * len(xs) // parts
        there: Any = range(begin, end)
        if None in ys[begin:end]:
            there = [index for index in there if ys[index] is not None]
        if there:
            chosen.add(min(there, key=ys.__getitem__))  # type: ignore[arg-type]
            chosen.add(max(there, key=ys.__getitem__))  # type: ignore[arg-type]
        else:
            chosen.add(begin)
    order = sorted(chosen)
    return [xs[index] for index in order], [ys[index] for index in order]


def end_of_epochs(run: Run) -> int | None:
    """The first number that is no epoch of `run`, if there may be one.

    After the last epoch the client validates the best weights once more and reports that as one more: its number is
    that of the planned epochs, or after an early end the highest, without values on validation data.
    """
    ends = [run.planned_epochs] if run.planned_epochs is not None else []
    if run.last_validated_epoch is not None and run.last_epoch is not None:
        if run.last_epoch > run.last_validated_epoch:
            ends.append(run.last_epoch)
    return min(ends, default=None)


def is_final(run: Run, number: int) -> bool:
    """Is this number the repeated validation of the best weights, which is no epoch?"""
    end = end_of_epochs(run)
    return end is not None and number >= end


def curves(run: Run, points: int = POINTS) -> dict[str, Any]:
    """All that the charts of a run draw: `metrics` and `system` as curves by name, in the client's order.

    The x of metrics is the epoch, from 1; of the system, seconds since the start. Three queries.
    """
    numbers: list[float] = []
    columns: dict[str, list[float | None]] = {}
    start, end = run.started_at or run.created_at, end_of_epochs(run)
    epochs = run.epochs.order_by("number").values_list("number", "metrics")
    for number, metrics in epochs if end is None else epochs.filter(number__lt=end):
        for name in metrics.keys() - columns.keys():
            columns[name] = [None] * len(numbers)
        numbers.append(number + 1)
        for name, column in columns.items():
            column.append(metrics.get(name))
    every = 1 + ((run.last_epoch or 0) - (run.first_epoch or 0)) // MOST_READINGS
    among = run.epochs.annotate(place=F("number") % every).filter(Q(place=0) | Q(number=run.last_epoch))
    # In their order already, as many may fall into one tenth of a second, and PostgreSQL's is any.
    found = (
        *among.order_by("number").values_list("system", "at"),
        *run.samples.order_by("at", "pk").values_list("data", "at"),
    )
    readings = [(seconds(start, at), flat(system)) for system, at in found if system]
    names = sorted(columns, key=rank)[:MOST_CURVES]
    system = list(by_name(readings).items())[:MOST_CURVES]
    return {
        "version": run.version,
        "order": [title for title, _ in GROUPS + SYSTEM_GROUPS],
        "metrics": {name: as_json(thin(numbers, columns[name], points), GROUPS, name) for name in names},
        "system": {name: as_json(thin(*curve, points), SYSTEM_GROUPS, name) for name, curve in system},
    }


def by_name(readings: list[tuple[float, dict[str, float]]]) -> dict[str, Curve]:
    """A curve for each name in readings of the machine, by time."""
    found: dict[str, Curve] = {}
    for at, values in sorted(readings, key=lambda reading: reading[0]):
        for name, value in values.items():
            xs, ys = found.setdefault(name, ([], []))
            xs.append(at)
            ys.append(value)
    return found


def as_json(curve: Curve, groups: Sequence[tuple[str, re.Pattern]], name: str) -> dict[str, Any]:
    return {"x": curve[0], "y": [rounded(y) for y in curve[1]], "group": group_of(name, groups)}


def rounded(value: float | None) -> float | None:
    """To six digits, as the client's results.csv: no chart shows more, and the answer is half as long."""
    return value if value is None else float(f"{value:.6g}")


def seconds(start: datetime, at: datetime) -> float:
    return round((at - start).total_seconds(), 1)


def one_metric(runs: Iterable[Run], name: str, points: int = POINTS) -> dict[str, dict[str, Any]]:
    """The curve of one metric for each run, by the run's id. One query, which reads nothing of the other metrics."""
    wanted = Q(pk__in=[])
    found: dict[Any, Curve] = {}
    for run in runs:
        end, found[run.pk] = end_of_epochs(run), ([], [])
        wanted |= Q(run=run.pk) if end is None else Q(run=run.pk, number__lt=end)
    rows = Epoch.objects.filter(wanted, metrics__has_key=name).annotate(value=in_json("metrics", name, JSONField()))
    for run_id, number, value in rows.order_by("run", "number").values_list("run", "number", "value"):
        xs, ys = found[run_id]
        xs.append(number + 1)
        ys.append(value)
    return {str(pk): as_json(thin(*curve, points), GROUPS, name) for pk, curve in found.items()}


def flat(system: dict[str, Any]) -> dict[str, float]:
    """A reading of the machine as numbers by name. Generations of the client differ in the shape of `disk`."""
    values: dict[str, Any] = {"CPU": system.get("cpu"), "RAM": system.get("ram", system.get("memory"))}
    gpus = system.get("gpus")
    for number, gpu in gpus.items() if isinstance(gpus, dict) else ():
        if isinstance(gpu, dict):
            for ours, theirs in (("load", "usage"), ("memory", "memory"), ("temperature", "temp"), ("power", "power")):
                values[f"GPU {number} {ours}"] = gpu.get(theirs)
    disk = system.get("disk")
    for mount in disk if isinstance(disk, list) else ():
        if isinstance(mount, dict):
            values[f"Used on {mount.get('mount', '/')}"] = mount.get("used_gb")
    if isinstance(disk, dict):
        values["Used on disk"] = disk.get("used_gb")
        values |= {"Disk read": disk.get("read_mbs"), "Disk write": disk.get("write_mbs")}
    for kind, ours in (("disk_io", "Disk"), ("diskIo", "Disk"), ("network", "Network")):
        rates = system.get(kind)
        if isinstance(rates, dict):
            for verb in ("read", "write", "recv", "sent"):
                if f"{verb}_mbs" in rates:
                    values[f"{ours} {verb}"] = rates[f"{verb}_mbs"]
    return {
        name: value for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def changes(run: Run, after: int) -> dict[str, Any] | None:
    """What was added or changed since version `after` of the run, for a page that has all before. Three queries.

    None if it is so much that the page had better load everything anew.
    """
    start, end = run.started_at or run.created_at, end_of_epochs(run)
    rows: list[list[Any]] = []
    for found in (run.epochs.order_by("number"), run.samples.order_by("at"), console(run)):
        rows.append(list(found.filter(version__gt=after)[: MOST_CHANGES + 1]))
        if len(rows[-1]) > MOST_CHANGES:
            return None
    epochs, samples, chunks = rows
    drawn = [epoch for epoch in epochs if end is None or epoch.number < end]
    readings = [(epoch.at, flat(epoch.system)) for epoch in epochs if epoch.system]
    readings += [(sample.at, flat(sample.data)) for sample in samples]
    names = {name: group_of(name) for epoch in drawn for name in epoch.metrics}
    names |= {name: group_of(name, SYSTEM_GROUPS) for _, values in readings for name in values}
    return {
        "groups": names,
        "epochs": [
            {"x": e.number + 1, "metrics": {name: rounded(e.metrics[name]) for name in sorted(e.metrics, key=rank)}}
            for e in drawn
        ],
        "system": [{"x": seconds(start, at), "values": values} for at, values in readings],
        "console": pieces(chunks),
    }


def console(run: Run) -> Any:
    """A run's console, newest chunk first, each without what is too long to show."""
    return run.console.annotate(text=Left("content", MOST_SHOWN)).defer("content").order_by("-chunk_id")


def pieces(chunks: Sequence[Any]) -> list[dict[str, Any]]:
    """Chunks as JSON, oldest first. Their ids are text: they need 64 bits, of which JavaScript has 53."""
    return [{"id": str(chunk.chunk_id), "text": chunk.text} for chunk in reversed(chunks)]
