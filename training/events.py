"""What training clients send, read and checked: one class for each kind of event.

The fields are those of the client contract, section 3. An event that is not as it says is refused as a whole, with a
sentence; fields that are not known are left out. Text comes without NUL, which PostgreSQL refuses, without lone
surrogates, which UTF-8 has no place for, and without the value of any API key.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from config.errors import Invalid
from config.redaction import redact
from training.models import NAME_LENGTH, SLUG_LENGTH, Task

MAX_INTEGER = 2**31 - 1
MAX_EPOCH = MAX_INTEGER - 1  # they count from 0, and the database keeps and sorts by how many there are
MAX_CHUNK_ID = 2**63 - 1
MAX_METRICS = 1000  # of one epoch
MAX_METRIC_NAME = 200
MAX_CONSOLE = 1_000_000  # characters of one chunk
MAX_DEPTH = 32
_UNFIT = re.compile("[\0\ud800-\udfff]")


@dataclass(slots=True)
class Event:
    """An event with what the envelope says. `model_id` wins over `project` and `name`, as the contract has it."""

    kind: ClassVar[str] = ""
    model_id: UUID | None = None
    project: str | None = None
    name: str | None = None


@dataclass(slots=True)
class TrainingStarted(Event):
    kind = "training_started"
    train_args: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    device: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    model_info: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        task = self.train_args.get("task")
        return task if task in Task.values else ""

    @property
    def base_model(self) -> str:
        return str(self.train_args.get("model") or "")[:NAME_LENGTH]


@dataclass(slots=True)
class EpochEnd(Event):
    kind = "epoch_end"
    epoch: int = 0
    metrics: dict[str, float | None] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    fitness: float | None = None
    best_fitness: float | None = None
    model_info: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None

    @property
    def is_validated(self) -> bool:
        """It comes with values on validation data; the repeated validation of the best weights does not."""
        return any(name.startswith("val/") for name in self.metrics)


@dataclass(slots=True)
class ConsoleOutput(Event):
    kind = "console_output"
    chunk_id: int = 0
    content: str = ""
    line_count: int = 0
    progress: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class SystemMetrics(Event):
    kind = "system_metrics"
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class TrainingProgress(Event):
    kind = "training_progress"


@dataclass(slots=True)
class CheckpointSaved(Event):
    kind = "checkpoint_saved"
    model_path: str = ""
    run_id: int | None = None


@dataclass(slots=True)
class TrainingComplete(Event):
    kind = "training_complete"
    results: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] | None = None
    plots: list[dict[str, Any]] = field(default_factory=list)
    run_id: int | None = None

    @property
    def model_path(self) -> str:
        path = self.results.get("modelPath")
        return path if isinstance(path, str) else ""


@dataclass(slots=True)
class TrainingFailed(Event):
    kind = "training_failed"
    message: str = ""
    code: str = ""
    run_id: int | None = None


def parse(body: Any) -> Event:
    """The event in a request's body, decoded from JSON. Raises Invalid with a sentence that names the field."""
    if not isinstance(body, dict):
        raise _invalid("", "Send a JSON object with `event` and `data`.")
    kind = body.get("event")
    if not isinstance(kind, str) or kind not in READERS:
        raise _invalid("event", f"Use one of {', '.join(READERS)}.")
    data = body.get("data")
    if not isinstance(data, dict):
        raise _invalid("data", "This must be an object.")
    event = READERS[kind](data)
    model_id = _text(body, "modelId", "", MAX_METRIC_NAME)
    if model_id:
        event.model_id = read_id(model_id)
    event.project = _text(body, "project", None, 1000)
    event.name = _text(body, "name", None, 1000)
    return event


def read_id(text: str) -> UUID:
    """A model's id. One that cannot be one is of no model: the nil UUID, which nothing bears."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)


def slugify(text: str) -> str:
    """As the clients do it: lower case, blanks to hyphens, only a-z, 0-9 and single hyphens inside, 128 at most."""
    text = re.sub(r"[^a-z0-9-]", "", re.sub(r"\s+", "-", text.lower()))
    return re.sub("-+", "-", text).strip("-")[:SLUG_LENGTH].strip("-")


def clean(value: Any, depth: int = 0) -> Any:
    """`value` as PostgreSQL can keep it: what no double holds is missing (None), text is without what it must not hold.

    Raises Invalid where it is nested too deep.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int | float):
        return _finite(value)
    if depth > MAX_DEPTH:
        raise _invalid("data", "This is nested too deep.")
    if isinstance(value, dict):
        return {clean_text(name): clean(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner, depth + 1) for inner in value]
    return value


def clean_text(text: str) -> str:
    """Without NUL and lone surrogates, and with the values of API keys blotted out."""
    return redact(_UNFIT.sub("\ufffd", text))


def _started(data: Mapping[str, Any]) -> TrainingStarted:
    return TrainingStarted(
        train_args=_map(data, "trainArgs"),
        epochs=_integer(data, "epochs", None, 1),
        device=(_text(data, "device", "") or "")[:100],
        environment=_map(data, "environment"),
        system=_map(data, "system"),
        model_info=_numbers(data, "modelInfo"),
    )


def _epoch(data: Mapping[str, Any]) -> EpochEnd:
    if "epoch" not in data:
        raise _invalid("data.epoch", "This field is required.")
    if "metrics" not in data:
        raise _invalid("data.metrics", "This field is required.")
    planned = "epochs_total" if "epochs_total" in data else "total_epochs"
    return EpochEnd(
        epoch=_integer(data, "epoch", 0, most=MAX_EPOCH) or 0,
        metrics=_numbers(data, "metrics"),
        system=_map(data, "system"),
        fitness=_number(data, "fitness"),
        best_fitness=_number(data, "best_fitness"),
        model_info=_numbers(data, "modelInfo"),
        epochs=_integer(data, planned, None, 1),
    )


def _console(data: Mapping[str, Any]) -> ConsoleOutput:
    if "chunkId" not in data:
        raise _invalid("data.chunkId", "This field is required.")
    progress = _map(data, "progress")
    if len(progress) > 100 or not all(isinstance(bar, str) for bar in progress.values()):
        raise _invalid("data.progress", "Use at most 100 texts by their id.")
    return ConsoleOutput(
        chunk_id=_integer(data, "chunkId", 0, 0, MAX_CHUNK_ID) or 0,
        content=_text(data, "content", "", MAX_CONSOLE) or "",
        line_count=_integer(data, "lineCount", 0) or 0,
        progress=progress,
    )


def _system(data: Mapping[str, Any]) -> SystemMetrics:
    return SystemMetrics(data=clean(dict(data)))


def _progress(data: Mapping[str, Any]) -> TrainingProgress:
    return TrainingProgress()


def _checkpoint(data: Mapping[str, Any]) -> CheckpointSaved:
    path = _text(data, "modelPath", "", 300)
    if not path:
        raise _invalid("data.modelPath", "This field is required.")
    return CheckpointSaved(model_path=path, run_id=_integer(data, "runId", None))


def _complete(data: Mapping[str, Any]) -> TrainingComplete:
    results = _map(data, "results")
    for name in ("metrics", "validation"):
        if not isinstance(results.get(name) or {}, dict):
            raise _invalid(f"data.results.{name}", "This must be an object.")
    results["metrics"] = _numbers(results, "metrics")
    results["bestEpoch"] = _integer(results, "bestEpoch", None)
    results["bestFitness"] = _number(results, "bestFitness")
    names = data.get("classNames")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise _invalid("data.classNames", "This must be a list of texts.")
    plots = data.get("plots") or []
    if not isinstance(plots, list) or not all(isinstance(plot, dict) for plot in plots) or len(plots) > 1000:
        raise _invalid("data.plots", "This must be a list of at most 1,000 objects.")
    return TrainingComplete(
        results={name: value for name, value in results.items() if value is not None},
        class_names=clean(names),
        plots=clean(plots),
        run_id=_integer(data, "runId", None),
    )


def _failed(data: Mapping[str, Any]) -> TrainingFailed:
    error = data.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    if error is not None and not isinstance(error, str):
        raise _invalid("data.error", "This must be a text.")
    return TrainingFailed(
        message=clean_text(error or "The training failed.")[:10_000],
        code=(_text(data, "code", "") or "")[:100],
        run_id=_integer(data, "runId", None),
    )


READERS: dict[str, Callable[[Mapping[str, Any]], Event]] = {
    "training_started": _started,
    "training_progress": _progress,
    "epoch_end": _epoch,
    "system_metrics": _system,
    "console_output": _console,
    "checkpoint_saved": _checkpoint,
    "training_complete": _complete,
    "training_failed": _failed,
}


def _map(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(f"data.{name}", "This must be an object.")
    return clean(value)


def _numbers(data: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """A map of numbers, with what is none of them (null, NaN, infinity) as None."""
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(f"data.{name}", "This must be an object.")
    if len(value) > MAX_METRICS:
        raise _invalid(f"data.{name}", f"Use at most {MAX_METRICS} of them.")
    numbers: dict[str, float | None] = {}
    for key, number in value.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise _invalid(f"data.{name}.{clean_text(key)[:100]}", "This must be a number or null.")
        if len(key) > MAX_METRIC_NAME:
            raise _invalid(f"data.{name}", f"Use names of at most {MAX_METRIC_NAME} characters.")
        numbers[clean_text(key)] = _finite(number)
    return numbers


def _number(data: Mapping[str, Any], name: str) -> float | None:
    value = data.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _invalid(f"data.{name}", "This must be a number or null.")
    return _finite(value)


def _finite(number: float | None) -> float | None:
    """The number if a double holds it, else None."""
    if number is None:
        return None
    try:
        return number if math.isfinite(number) else None
    except OverflowError:  # a whole number of more than 308 digits
        return None


def _integer(
    data: Mapping[str, Any], name: str, default: int | None, least: int = 0, most: int = MAX_INTEGER
) -> int | None:
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _invalid(f"data.{name}", f"This must be a whole number from {least} to {most}.")
    return value


def _text(data: Mapping[str, Any], name: str, default: str | None, longest: int = 1000) -> str | None:
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise _invalid(name, "This must be a text.")
    if len(value) > longest:
        raise _invalid(name, f"Use at most {longest} characters.")
    return clean_text(value)


def _invalid(where: str, problem: str) -> Invalid:
    return Invalid(f"{where}: {problem}" if where else problem, details={where: [problem]})
