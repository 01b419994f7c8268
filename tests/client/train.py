"""Trains with the real `ultralytics` package against a Keyhouse of its own, and checks what has become of it.

    python -m tests.client.train build/clients/newest/bin/python build/clients/oldest/bin/python

Each argument is a Python that has the package. `tests/client/install` makes these two, generations that share nothing
but their name, with Debian's PyTorch; any other environment with `ultralytics` will do as well. A processor is enough.
No data set is fetched, the script draws four pictures, and models are built from their YAML. Clients do not report from
inside pytest and GitHub Actions, so they run as processes with an environment of their own.

For each client: a whole training, stored as the client's own results.csv has it; its weights, which `ul://` loads byte
for byte; a training that is cancelled through the API while it runs; one that is killed and resumed.
"""

import argparse
import csv
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from tests.live import Server, wait_for

PROJECT = "my-project"
FIRST_WITH_RESUME = (8, 4, 100)  # older ones begin another run instead
TRAIN_SECONDS = 300


class Client:
    """One installation of the package, with settings and folders of its own."""

    def __init__(self, python: str, folder: Path, server: Server, token: str):
        self.python = os.path.abspath(python)  # as it is: what a link leads to has not the packages of its environment
        self.folder, self.server, self.token = folder, server, token
        self.folder.mkdir()
        told = self.run("-c", "import torch, ultralytics; print(ultralytics.__version__, torch.__version__)").split()
        self.version, self.torch = told[-2:]
        # It would take the repository that it is installed in for its user's own, and write there.
        folders = {name: str(folder / name[:-4]) for name in ("runs_dir", "weights_dir", "datasets_dir")}
        self.run("-c", f"from ultralytics import settings; settings.update({folders!r})")
        self.data = draw_data(folder / "data")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "YOLO_CONFIG_DIR": str(self.folder),
            "ULTRALYTICS_PLATFORM_URL": self.server.url,
            "ULTRALYTICS_API_KEY": self.token,
            "OMP_NUM_THREADS": "2",
        }

    def start(self, *arguments: str) -> subprocess.Popen:
        log = open(self.folder / "log.txt", "a")  # noqa: SIM115
        return subprocess.Popen(
            [self.python, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str) -> str:
        """What a program printed. Raises AssertionError if it failed."""
        log = self.folder / "log.txt"
        before = log.stat().st_size if log.exists() else 0
        status = self.start(*arguments).wait(TRAIN_SECONDS)
        printed = log.read_bytes()[before:].decode(errors="replace")
        assert status == 0, f"{arguments} ended with {status}:\n{printed[-3000:]}"
        return printed

    def yolo(self, *arguments: str) -> tuple[str, ...]:
        return "-c", "from ultralytics.cfg import entrypoint; entrypoint()", *arguments

    def training(self, name: str, epochs: int, **settings: Any) -> tuple[str, ...]:
        model = "yolo26n.yaml" if self.has_yolo26 else "yolo11n.yaml"
        chosen = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "amp": False, "plots": False} | settings
        chosen |= {"data": self.data, "model": model, "epochs": epochs, "project": f"operator/{PROJECT}", "name": name}
        return self.yolo("train", *(f"{key}={value}" for key, value in chosen.items()))

    @property
    def has_yolo26(self) -> bool:
        code = "import ultralytics, pathlib; print(*pathlib.Path(ultralytics.__file__).parent.rglob('yolo26.yaml'))"
        return "yolo26.yaml" in self.run("-c", code)

    def can_resume(self) -> bool:
        return tuple(int(part) for part in self.version.split(".")[:3]) >= FIRST_WITH_RESUME

    def output(self, name: str) -> Path:
        """The folder in which the client keeps a run; its versions differ in where that is."""
        found = [path for path in self.folder.rglob(name) if (path / "weights").is_dir()]
        assert len(found) == 1, found
        return found[0]

    def get(self, path: str) -> Any:
        """What the API answers, or None for what is not there."""
        answer = httpx.get(f"{self.server.url}/api/{path}", headers=self.headers, timeout=30)
        return answer.raise_for_status().json() if answer.status_code != 404 else None

    def model(self, name: str) -> Any:
        answer = self.get(f"models/operator/{PROJECT}/{name}")
        return answer and answer["model"]

    def epochs(self, name: str) -> list[int]:
        return [row["epoch"] for row in (self.model(name) or {}).get("trainResults", [])]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def draw_data(folder: Path) -> Path:
    """Four pictures of 64 pixels with a square or a disc in each. Returns the file that describes them."""
    chance = random.Random(0)
    for number in range(4):
        kind, x, y, size = number % 2, chance.randint(20, 44), chance.randint(20, 44), chance.randint(10, 18)
        rows = b""
        for row in range(64):
            pixels = [
                abs(column - x) < size and abs(row - y) < size
                if kind == 0
                else (column - x) ** 2 + (row - y) ** 2 < size**2
                for column in range(64)
            ]
            rows += b"\0" + b"".join(bytes((230, 60, 30)) if inside else bytes((40, 90, 60)) for inside in pixels)
        header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
        image, label = folder / "images" / f"{number}.png", folder / "labels" / f"{number}.txt"
        for file in (image, label):
            file.parent.mkdir(parents=True, exist_ok=True)
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
        image.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
        label.write_text(f"{kind} {x / 64} {y / 64} {2 * size / 64} {2 * size / 64}\n")
    described = folder / "data.yaml"
    described.write_text(f"path: {folder}\ntrain: images\nval: images\nnames:\n  0: square\n  1: disc\n")
    return described


def say(client: Client, sentence: str) -> None:
    print(f"{client.version}: {sentence}", flush=True)


def check_a_whole_training(client: Client, name: str = "exp1", epochs: int = 3) -> None:
    """Every epoch is stored with the numbers of results.csv, the console, the plots, the weights byte for byte."""
    began = time.monotonic()
    printed = client.run(*client.training(name, epochs, plots=True))
    page = f"{client.server.url}/operator/{PROJECT}/{name}"
    assert page in printed, "the client links to the run's page"
    model = client.model(name)
    assert (model["status"], model["task"], model["epochs"]) == ("completed", "detect", epochs)
    assert model["environment"]["ultralyticsVersion"] == client.version
    assert model["trainArgs"]["imgsz"] == "64"

    # One row for each epoch, and one more for the repeated validation of the best weights.
    stored = {row["epoch"]: row["metrics"] for row in model["trainResults"]}
    assert sorted(stored) == list(range(epochs + 1))
    with open(client.output(name) / "results.csv") as file:
        table = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(table) == epochs
    compared = 0
    for number, row in enumerate(table):
        for metric, value in row.items():
            if metric in stored[number]:
                assert abs(stored[number][metric] - float(value)) <= 1e-4 * max(1, abs(float(value))), (number, metric)
                compared += 1
    assert compared >= 9 * epochs, "three losses on each side and four metrics"
    job = client.get(f"models/operator/{PROJECT}/{name}/training")["job"]
    assert (job["progress"]["currentEpoch"], job["progress"]["percentage"]) == (epochs, 100)
    console = "\n".join(chunk["content"] for chunk in model["consoleChunks"])
    assert f"{epochs} epochs completed" in console
    kinds = [plot["type"] for plot in model["plots"]]
    assert {"confusion_matrix", "pr_curve"} <= set(kinds)
    assert model["classNames"] == ["square", "disc"]

    weights = (client.output(name) / "weights" / "best.pt").read_bytes()
    [file] = client.get(f"models/operator/{PROJECT}/{name}/files")["files"]
    assert httpx.get(file["downloadUrl"]).content == weights
    say(
        client,
        f"trained {epochs} epochs in {time.monotonic() - began:.0f} s; {compared} numbers equal results.csv, "
        f"{len(model['consoleChunks'])} chunks of console, plots {', '.join(sorted(set(kinds)))}, "
        f"weights of {len(weights):,} bytes with SHA-256 {sha256(weights).hexdigest()[:12]}…",
    )


def check_loading(client: Client, name: str = "exp1") -> None:
    """`YOLO("ul://…")` loads the very bytes that the training wrote, and predicts with them."""
    local = (client.output(name) / "weights" / "best.pt").read_bytes()
    code = f"""
import json
from ultralytics import YOLO
model = YOLO("ul://operator/{PROJECT}/{name}")
found = model.predict({str(client.data.parent / "images" / "0.png")!r}, imgsz=64, verbose=False)
print(json.dumps([str(model.ckpt_path), model.names, len(found)]))
"""
    path, names, count = json.loads(client.run("-c", code).strip().splitlines()[-1])
    assert (client.folder / path).read_bytes() == local
    assert sorted(names.values()) == ["disc", "square"]
    assert count == 1
    say(client, f'YOLO("ul://operator/{PROJECT}/{name}") loaded {Path(path).name}: the same bytes')


def check_cancelling(client: Client, name: str = "cancelled") -> None:
    """A cancelled training stops by itself, keeps what it has reached and its weights, and stays cancelled."""
    process = client.start(*client.training(name, 500))
    try:
        wait_for(lambda: len(client.epochs(name)) >= 2, TRAIN_SECONDS, "no epoch was reported")
        began = time.monotonic()
        answer = httpx.delete(
            f"{client.server.url}/api/models/operator/{PROJECT}/{name}/training", headers=client.headers
        )
        assert answer.json()["status"] == "cancelled", answer.text
        status = process.wait(TRAIN_SECONDS)
    finally:
        process.kill()
    took = time.monotonic() - began
    assert status == 0, "the client ends as after a training"
    model = client.model(name)
    assert model["status"] == "cancelled"
    assert model["hasWeights"]
    count = len(client.epochs(name))
    assert count < 500
    say(client, f"cancelled through the API: the client stopped {took:.1f} s later, after {count - 1} of 500 epochs")


def check_resuming(client: Client, name: str = "resumed", epochs: int = 25) -> None:
    """A killed training goes on where it was: in the same model for the new client, in another one for the old."""
    process = client.start(*client.training(name, epochs))
    try:
        wait_for(lambda: len(client.epochs(name)) >= 4, TRAIN_SECONDS, "no epoch was reported")
        wait_for((client.output(name) / "weights" / "last.pt").exists, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = client.epochs(name)
    assert client.model(name)["status"] == "running", (before, client.model(name)["status"])
    client.run(*client.yolo("train", "resume", f"model={client.output(name) / 'weights' / 'last.pt'}"))
    models = [model["model"] for model in client.get(f"models/operator/{PROJECT}")["models"]]
    if client.can_resume():
        assert f"{name}-2" not in models
        model, after = client.model(name), client.epochs(name)
        assert model["status"] == "completed"
        assert set(range(len(before) - 1, epochs + 1)) <= set(after), "what the killed process still had in its queue"
        assert set(before) <= set(after)
        missing = sorted(set(range(epochs + 1)) - set(after))
        say(
            client,
            f"killed after epoch {before[-1]} and resumed in the same model; epochs missing: {missing or 'none'}",
        )
    else:
        assert client.model(name)["status"] == "running"
        assert client.model(f"{name}-2")["status"] == "completed"
        after = client.epochs(f"{name}-2")
        assert after[0] > 0
        say(client, f"killed after epoch {before[-1]}; resuming began {name}-2 at epoch {after[0]}, to {after[-1]}")
    assert client.model(name if client.can_resume() else f"{name}-2")["hasWeights"]


def check_refusal(client: Client) -> None:
    """With a key that is no good the training itself goes on to its end."""
    token, client.token = client.token, "ul_" + "0" * 40
    try:
        printed = client.run(*client.training("refused", 1))
    finally:
        client.token = token
    assert client.model("refused") is None
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed.splitlines()]
    told = next((line for line in lines if "401" in line or "Invalid API key" in line), "nothing")
    say(client, f"with a wrong key the training ended well and untracked; it printed: {told}")


CHECKS = (check_a_whole_training, check_loading, check_cancelling, check_resuming, check_refusal)


def check(python: str, folder: Path) -> None:
    """All checks with one client and a new server. Raises AssertionError."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder / "data", RATE_LIMIT_DEFAULT="unlimited").start()  # what is watched here changes quickly
    try:
        client = Client(python, folder / "client", server, server.new_key("trains"))
        say(client, f"ultralytics {client.version} with torch {client.torch}")
        for one in CHECKS:
            one(client)
        assert "Traceback" not in server.output, server.output[-3000:]
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", nargs="+", help="a Python that has the package")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyhouse-client-") as folder:
        for number, python in enumerate(arguments.python):
            check(python, Path(folder) / str(number))
    print("All is as it should be.")


if __name__ == "__main__":
    sys.exit(main())
