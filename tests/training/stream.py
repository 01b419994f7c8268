"""Training as clients stream it, for tests: recorded runs, and what the server has made of them."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl"))
METRICS = "POST /api/webhooks/training/metrics"
WEIGHTS = b"weights of a model" * 1000


def recorded(path: Path) -> list[dict[str, Any]]:
    """The requests of a recorded run: seconds, method, path, json, bytes, status, response."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def started(project: str = "my-project", name: str = "exp1", epochs: int = 3, **args: Any) -> dict[str, Any]:
    """A `training_started` as the client sends it."""
    texts = {"task": "detect", "model": "yolo26n.yaml", "epochs": str(epochs), "batch": "4", "imgsz": "64"}
    return {
        "event": "training_started",
        "project": project,
        "name": name,
        "data": {
            "trainArgs": texts | {key: str(value) for key, value in args.items()},
            "epochs": epochs,
            "device": "cpu",
            "environment": {"hostname": "gpu-1", "pythonVersion": "3.11.7", "cpuCount": 2, "command": "yolo train"},
            "system": None,
        },
    }


def epoch(model_id: str, number: int, **fields: Any) -> dict[str, Any]:
    """An `epoch_end` as the client sends it, with values that tell the epoch."""
    metrics = {
        "train/box_loss": 4.0 - number / 100,
        "val/box_loss": 4.5 - number / 100,
        "metrics/mAP50-95(B)": number / 1000,
        "lr": 0.001,
    }
    data = {"epoch": number, "metrics": metrics, "system": {"cpu": 90.5, "ram": 9.4}, "fitness": number / 1000}
    return {"event": "epoch_end", "modelId": model_id, "data": data | {"best_fitness": number / 1000} | fields}


def event(model_id: str, kind: str, **data: Any) -> dict[str, Any]:
    return {"event": kind, "modelId": model_id, "data": data}


def start(call: Any, who: Any, **fields: Any) -> str:
    """Begin a run and return its modelId."""
    response = call(who, METRICS, started(**fields))
    assert response.status_code == 200, response.content
    return response.json()["modelId"]


def send(call: Any, who: Any, body: Any, status: int = 200) -> dict[str, Any]:
    response = call(who, METRICS, body)
    assert response.status_code == status, response.content
    return response.json()


def upload(
    call: Any, who: Any, model_id: str, *, run_id: int | None = 1, data: bytes = WEIGHTS, status: int = 204
) -> str:
    """Upload a checkpoint and return its path, which `checkpoint_saved` names."""
    body = {"modelId": model_id, "filename": "best.pt"} | ({"runId": run_id} if run_id else {})
    answer = call(who, "POST /api/webhooks/models/upload", body).json()
    put(call, answer["uploadUrl"], data, status)
    return answer["gcsPath"]


def put(call: Any, address: str, data: bytes = WEIGHTS, status: int = 204) -> Any:
    """PUT bytes to an address as the client does, which sends no key with it."""
    response = call(None, f"PUT {path_of(address)}", data, content_type="application/octet-stream")
    assert response.status_code == status, response.content
    return response


def path_of(address: str) -> str:
    parts = urlsplit(address)
    assert parts.scheme in ("http", "https")
    return f"{parts.path}?{parts.query}"


def replay(call: Any, who: Any, requests: list[dict[str, Any]]) -> str:
    """Send a recorded run, with the ids and paths that this server gives out, and return its modelId."""
    ids: dict[str, str] = {}
    address = model_id = ""
    for request in requests:
        text = json.dumps(request["json"])
        for theirs, ours in sorted(ids.items(), key=lambda pair: -len(pair[0])):  # a path has the id in it
            text = text.replace(json.dumps(theirs)[1:-1], ours)
        if request["method"] == "PUT":
            put(call, address)
            continue
        response = call(who, f"POST {request['path']}", json.loads(text))
        assert response.status_code == request["status"], (request["path"], response.content)
        theirs, ours = request["response"], response.json()
        for name in ("modelId", "gcsPath", "uploadPath"):
            if theirs.get(name) and name in ours:
                ids[theirs[name]] = ours[name]
        address = ours.get("uploadUrl", address)
        model_id = ours.get("modelId") or model_id
    return model_id
