"""What a training event costs: `make bench-training`, with `ARGS="--mlflow PROGRAM"` beside MLflow's `log-batch`.

A server with one process takes the events of eight connections over HTTP, each with 15 metrics, and so does an MLflow
server without authentication, in turns. Then one run grows to 10,000 epochs, and its first epochs are compared to its
last. Installing MLflow: in a virtual environment of its own, `pip install mlflow psycopg2-binary`.
"""

import argparse
import http.client
import json
import math
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import psutil

from tests.live import Server, WebSession, free_port, wait_for

CONNECTIONS = 8
SECONDS = 5.0
SYSTEM = {  # as the client reports it with each epoch
    "cpu": 98.6,
    "ram": 9.4,
    "disk": [{"mount": "/", "used_gb": 47.3, "total_gb": 270.5}],
    "disk_io": {"read_mbs": 0.5, "write_mbs": 10.5},
    "gpus": {"0": {"usage": 93.5, "memory": 71.5, "temp": 64, "power": 280.5}},
    "network": {"recv_mbs": 0.008, "sent_mbs": 0.008},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-training", description=__doc__)
    parser.add_argument("--mlflow", type=Path, help="the program `mlflow` of another environment")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyhouse-bench-") as folder:
        server = Server(
            Path(folder) / "data", WEB_CONCURRENCY="1", RATE_LIMIT_STREAM="unlimited", RATE_LIMIT_DEFAULT="unlimited"
        ).start()
        mlflow = None
        try:
            key = server.new_key("for the benchmark")
            ours = Ours(server.port, key)
            rivals: list[Any] = [ours]
            if options.mlflow:
                mlflow = MLflow(options.mlflow, Path(folder))
                rivals.append(mlflow)
            rates: dict[str, list[float]] = {type(rival).__name__: [] for rival in rivals}
            for number in range(options.rounds + 1):
                for rival in random.Random(number).sample(rivals, len(rivals)):
                    rate = events_per_second(rival)
                    if number:
                        rates[type(rival).__name__].append(rate)
            print(f"\nEvents a second, {CONNECTIONS} connections, one process of the server; {options.rounds} rounds:")
            for name, values in rates.items():
                print(f"  {name:10}{statistics.median(values):8.0f}   ({min(values):.0f} - {max(values):.0f})")
            if mlflow is not None:
                ratios = [a / b for a, b in zip(rates["Ours"], rates["MLflow"], strict=True)]
                print(
                    f"  ours / MLflow: {statistics.median(ratios):.1f} ({min(ratios):.1f} - {max(ratios):.1f}); reach 8"
                )
            long_run = growth(ours)
            pages(server, ours, long_run)
        finally:
            if mlflow is not None:
                mlflow.stop()
            server.stop()


class Ours:
    """One run for each connection."""

    path = "/api/webhooks/training/metrics"

    def __init__(self, port: int, key: str):
        self.port, self.headers = port, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def open(self, name: str = "run", **more: Any) -> tuple[Any, Callable[[int], bytes]]:
        """A connection, and what makes the body of its nth event, with `more` in its data."""
        link = http.client.HTTPConnection("127.0.0.1", self.port)
        model_id = self.begin(link, name)

        def body(n: int) -> bytes:
            data = {"epoch": n, "metrics": metrics(n), "fitness": 0.5} | more
            return json.dumps({"modelId": model_id, "event": "epoch_end", "data": data}).encode()

        return link, body

    def begin(self, link: Any, name: str) -> str:
        """Begin a run and return its id."""
        data = {"trainArgs": {"seed": str(random.random())}, "epochs": 10**6}
        start = {"event": "training_started", "project": "bench", "name": name, "data": data}
        return post(link, self.path, self.headers, json.dumps(start).encode())["modelId"]


class MLflow:
    """`mlflow server` on its default store, one worker, without authentication."""

    path = "/api/2.0/mlflow/runs/log-batch"
    headers = {"Content-Type": "application/json"}

    def __init__(self, program: Path, folder: Path):
        self.port = free_port()
        (folder / "mlflow").mkdir()
        self.process = subprocess.Popen(
            [program, "server", "--port", str(self.port), "--workers", "1", "--backend-store-uri", "sqlite:///runs.db"],
            cwd=folder / "mlflow",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.answers, 120, "mlflow did not start")

    def answers(self) -> bool:
        try:
            link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            link.request("GET", "/health")
            return link.getresponse().status == 200
        except OSError:
            return False

    def open(self) -> tuple[Any, Callable[[int], bytes]]:
        link = http.client.HTTPConnection("127.0.0.1", self.port)
        run = post(link, "/api/2.0/mlflow/runs/create", self.headers, b'{"experiment_id": "0"}')
        run_id, now = run["run"]["info"]["run_id"], int(time.time() * 1000)

        def body(n: int) -> bytes:
            values = [{"key": k, "value": v, "timestamp": now + n, "step": n} for k, v in metrics(n).items()]
            return json.dumps({"run_id": run_id, "metrics": values}).encode()

        return link, body

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def metrics(n: int) -> dict[str, float]:
    return {f"metrics/value-{i}": n / 1000 + i + math.sin(n * (i + 1)) for i in range(15)}  # each with peaks of its own


def post(link: Any, path: str, headers: dict[str, str], body: bytes) -> Any:
    link.request("POST", path, body, headers)
    response = link.getresponse()
    content = response.read()
    assert response.status == 200, (response.status, content[:300])
    return json.loads(content) if content else None


def events_per_second(rival: Any) -> float:
    """How many events the server takes with all connections busy."""
    opened = [rival.open() for _ in range(CONNECTIONS)]
    counts, end = [0] * CONNECTIONS, time.monotonic() + SECONDS

    def stream(which: int) -> None:
        link, body = opened[which]
        while time.monotonic() < end:
            post(link, rival.path, rival.headers, body(counts[which]))
            counts[which] += 1

    threads = [threading.Thread(target=stream, args=(n,)) for n in range(CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for link, _ in opened:
        link.close()
    return sum(counts) / (time.monotonic() - began)


def growth(ours: Ours) -> str:
    """The time of an event at the beginning of a run and at its 10,000th epoch, one connection. Returns its path."""
    link, body = ours.open("long", system=SYSTEM)
    times = []
    for n in range(10_200):
        began = time.perf_counter()
        post(link, ours.path, ours.headers, body(n))
        times.append((time.perf_counter() - began) * 1000)
    early, late = statistics.median(times[10:210]), statistics.median(times[-200:])
    print(f"\nOne event, over one connection: {early:.2f} ms from epoch 10, {late:.2f} ms from epoch 10,000", end="")
    print(f" ({late / early:.2f} times)")
    return "/operator/bench/long"


def pages(server: Server, ours: Ours, path: str) -> None:
    """The page of a run of 10,000 epochs with 15 metrics, drawn; that of its project with 1,000 runs; an idle poll."""
    link, _ = ours.open()
    for n in range(1000):
        ours.begin(link, f"run-{n}")
    session = server.sign_in()
    html = session.http.get(path).text
    addresses = {name: unescape(re.search(rf'data-{name}="([^"]+)"', html)[1]) for name in ("curves", "live")}  # type: ignore[index]
    version = session.http.get(addresses["curves"]).json()["version"]
    asked = {
        "its page": path,
        "its curves, thinned": addresses["curves"],
        "a poll that has nothing new": f"{addresses['live']}&after={version}&status=running",
        "the project's page of 1,000 runs": "/operator/bench",
    }
    print("\nA run of 10,000 epochs with 15 metrics, over HTTP:")
    for title, address in asked.items():
        times, answer = [], None
        for _ in range(15):
            began = time.perf_counter()
            answer = session.http.get(address)
            times.append((time.perf_counter() - began) * 1000)
        assert answer is not None
        size = len(answer.content) / 1000
        print(f"  {title:36}{statistics.median(times):7.0f} ms {size:8.0f} kB   {answer.status_code}")
    viewers(server, session, f"{addresses['live']}&after={version}&status=running")
    drawn(server, path)


def viewers(server: Server, session: WebSession, address: str) -> None:
    """What a thousand people cost who look at runs that say nothing: their pages ask once a minute (polling.js)."""
    polls, seconds = 300, time_on_cpu(server)
    for _ in range(polls):
        assert session.http.get(address).status_code == 204
    each = (time_on_cpu(server) - seconds) / polls
    print(
        f"  a thousand viewers of idle runs     {1000 / 60 * each * 100:7.1f} % of a core ({each * 1000:.1f} ms a poll)"
    )


def time_on_cpu(server: Server) -> float:
    """How many seconds of CPU the server and its PostgreSQL have used so far."""
    assert server.process is not None
    database = int((server.data_dir / "pg" / "postmaster.pid").read_text().split("\n", 1)[0])
    parents = [psutil.Process(pid) for pid in (server.process.pid, database)]
    processes = {*parents, *(child for parent in parents for child in parent.children(recursive=True))}
    return sum(sum(process.cpu_times()[:2]) for process in processes)


# The page itself takes the time, in milliseconds since it was asked for: Playwright looks every half second only.
TAKE_TIME = """
new MutationObserver((_, watcher) => {
  if (!document.querySelector(".uplot canvas")) return;
  watcher.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => (window.drawnAfter = performance.now())));
}).observe(document, { childList: true, subtree: true });
"""


def drawn(server: Server, path: str) -> None:
    """How long Chromium takes from the click until the charts are on the screen."""
    program = shutil.which("chromium")
    if program is None:
        print("  Chromium is not installed: drawing is left out.")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(base_url=server.url).new_page()
        page.goto("/accounts/login/")
        page.locator("[name=login]").fill("operator")
        page.locator("[name=password]").fill(server.password)
        page.keyboard.press("Enter")
        page.wait_for_url("**/settings**")
        page.add_init_script(TAKE_TIME)
        times = []
        for _ in range(7):
            page.goto(path)
            page.locator(".uplot canvas").first.wait_for()
            page.wait_for_timeout(100)
            times.append(page.evaluate("window.drawnAfter"))
        browser.close()
    least, most = min(times), max(times)
    print(f"  drawn in Chromium                   {statistics.median(times):7.0f} ms ({least:.0f} - {most:.0f})")


if __name__ == "__main__":
    main()
