"""Four processes send a run's events shuffled, doubled and late, while the server is killed and started again."""

import json
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256

import httpx
import psutil

from tests.live import ROOT, wait_for
from tests.training.stream import epoch, event, started

EPOCHS, CHUNKS, SAMPLES = 150, 200, 20
WEIGHTS = bytes(range(256)) * 4000


class Senders:
    """Processes that send events until each is acknowledged."""

    def __init__(self, server, token, piles):
        self.acknowledged, self.resent, self.refused = 0, 0, []
        self.processes, self.threads = [], []
        for seed, pile in enumerate(piles):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.training.sender", server.url, str(seed)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            text = "\n".join([token, *(json.dumps(item) for item in pile)])
            self.processes.append(process)
            self.threads += [
                threading.Thread(target=self._write, args=(process, text), daemon=True),
                threading.Thread(target=self._read, args=(process,), daemon=True),
            ]
        for thread in self.threads:
            thread.start()

    def _write(self, process, text):
        process.stdin.write(text)
        process.stdin.close()

    def _read(self, process):
        for line in process.stdout:
            number, status, attempts = json.loads(line)
            self.acknowledged += 1
            self.resent += attempts > 1
            if status != 200:
                self.refused.append((number, status))

    def wait(self, seconds):
        for thread in self.threads:
            thread.join(seconds)
        assert [process.wait(seconds) for process in self.processes] == [0] * len(self.processes)

    def stop(self):
        for process in self.processes:
            process.kill()


def kill_workers(server):
    """The processes that answer; the master starts others."""
    for worker in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "postgres" not in worker.name():
                worker.kill()


def kill_everything(server):
    """kill -9 for the server and its PostgreSQL, and a new start on what is on the disk."""
    main = psutil.Process(server.process.pid)
    database = psutil.Process(int((server.data_dir / "pg" / "postmaster.pid").read_text().split("\n", 1)[0]))
    victims = {*main.children(recursive=True), main, *database.children(recursive=True), database}
    for victim in victims:
        with suppress(psutil.NoSuchProcess):  # it has ended with the one before
            victim.kill()
    psutil.wait_procs(victims, 10)
    server.process.wait(10)
    server.start()


def test_what_was_acknowledged_is_there_whatever_is_killed(new_server):
    server = new_server(RATE_LIMIT_STREAM="unlimited", RATE_LIMIT_DEFAULT="unlimited")
    token = server.new_key()
    headers = {"Authorization": f"Bearer {token}"}

    def post(path, body):
        return httpx.post(f"{server.url}/api/webhooks/{path}", json=body, headers=headers, timeout=30).json()

    # The answer to the start is lost, again and again: it is still one run.
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post("training/metrics", started(epochs=EPOCHS)), range(4)))
    assert len({answer["modelId"] for answer in answers}) == 1
    model_id = answers[0]["modelId"]

    address = post("models/upload", {"modelId": model_id, "runId": 1, "filename": "best.pt"})
    assert httpx.put(address["uploadUrl"], content=WEIGHTS).status_code == 204
    epochs = [epoch(model_id, number) for number in range(EPOCHS)]
    final = epoch(model_id, EPOCHS)  # the repeated validation of the best weights
    final["data"]["metrics"] = {"metrics/mAP50-95(B)": 0.7, "lr": 0.001}
    chunks = [
        event(model_id, "console_output", chunkId=10**12 + n, content=f"line {n} ☃", lineCount=1) for n in range(CHUNKS)
    ]
    samples = [event(model_id, "system_metrics", cpu=n / 2, memory=n) for n in range(SAMPLES)]
    ends = [
        event(model_id, "checkpoint_saved", modelPath=address["gcsPath"], uploadPath=address["uploadPath"], runId=1),
        event(model_id, "training_complete", results={"metrics": {"fitness": 0.7}, "bestEpoch": EPOCHS - 1}, runId=1),
    ]
    sent = [*epochs, final, *chunks, *samples, *ends]
    chance = random.Random(4)
    # Half come twice. The others must not get lost: nobody sends them again once they are acknowledged.
    numbers = [*range(len(sent)), *chance.sample(range(len(sent)), len(sent) // 2)]
    chance.shuffle(numbers)
    senders = Senders(server, token, [[(n, sent[n]) for n in numbers[offset::4]] for offset in range(4)])
    try:
        began = time.monotonic()
        for share, fault in ((0.2, kill_workers), (0.4, kill_everything), (0.7, kill_workers)):
            wait_for(lambda share=share: senders.acknowledged >= share * len(numbers), 90)
            assert senders.acknowledged < 0.95 * len(numbers), "too late to disturb anybody"
            fault(server)
        senders.wait(90)
        print(f"{len(numbers)} events in {time.monotonic() - began:.1f} s, {senders.resent} sent more than once")
    finally:
        senders.stop()

    assert senders.refused == []
    assert senders.acknowledged == len(numbers)
    assert senders.resent >= 3, "the faults have met events on their way"
    model = httpx.get(f"{server.url}/api/models/operator/my-project/exp1", headers=headers).json()["model"]
    stored = {row["epoch"]: (row["metrics"], row.get("fitness")) for row in model["trainResults"]}
    assert stored == {e["data"]["epoch"]: (e["data"]["metrics"], e["data"]["fitness"]) for e in [*epochs, final]}
    assert [(chunk["chunkId"], chunk["content"]) for chunk in model["consoleChunks"]] == [
        (chunk["data"]["chunkId"], chunk["data"]["content"]) for chunk in chunks
    ]
    assert (model["status"], model["epochs"], model["bestEpoch"]) == ("completed", EPOCHS, EPOCHS - 1)
    job = httpx.get(f"{server.url}/api/models/operator/my-project/exp1/training", headers=headers).json()["job"]
    assert (job["progress"]["currentEpoch"], job["progress"]["percentage"]) == (EPOCHS, 100)
    code = "from training.models import Run; run = Run.objects.get(); print(run.last_epoch, run.samples.count())"
    assert server.shell(code).split() == [str(EPOCHS), str(SAMPLES)]
    [file] = httpx.get(f"{server.url}/api/models/operator/my-project/exp1/files", headers=headers).json()["files"]
    assert sha256(httpx.get(file["downloadUrl"]).content).digest() == sha256(WEIGHTS).digest()
    listed = httpx.get(f"{server.url}/api/models/operator/my-project", headers=headers).json()["models"]
    assert [one["id"] for one in listed] == [model_id]
