"""Two instances under mixed load, with faults: `python -m tests.security.soak --minutes 5`, or `make soak`.

Two servers of four processes each on one PostgreSQL and one Redis. Keys are made, rotated and revoked throughout, by
keys themselves and by a person in the browser; Redis and PostgreSQL are stopped and started in between. It prints
figures, and ends with status 1 if a request that started after the answer to its key's revocation was accepted, if
there was a 5xx other than a 503 around an outage of PostgreSQL, if a key that is good was called bad, or if something
that was acknowledged is not there in the end.
"""

import argparse
import collections
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.cluster import PASSWORD, Cluster, TlsSession
from tests.live import wait_for

KEYS, READERS = 12, 8
PATHS = ("/api/account/summary", "/api/auth/verify", "/api/auth/verify/v1/models")  # of reads: the API, a proxy's check
GRACE_SECONDS = 6.0  # after PostgreSQL is back, in which a process may still find out


class Key:
    """What the test knows of a key. Times are of the monotonic clock, 0: not yet."""

    def __init__(self, token: str, key_id: str, name: str):
        self.token, self.id, self.name = token, key_id, name
        self.ending_at = 0.0  # when the request that revokes it was sent
        self.ended_at = 0.0  # when its answer was there: from now on nothing may pass
        self.accepted = 0


class Soak:
    def __init__(self, cluster: Cluster, seconds: float):
        self.cluster, self.started_at = cluster, time.monotonic()
        self.end_at = self.started_at + seconds
        self.lock = threading.Lock()
        self.keys: list[Key] = []
        self.ended: collections.deque[Key] = collections.deque(maxlen=200)
        self.everything: list[Key] = []
        self.outages: list[list[float]] = []  # of PostgreSQL: from, until
        self.counts: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self.writes: list[str] = []  # names of projects whose creation was acknowledged

    # What happens

    def run(self) -> None:
        self.person = TlsSession(self.cluster.servers[0].url).sign_in("operator", PASSWORD)
        self.csrf = self.person.token(self.person.http.get("/settings?tab=profile").text)
        while len(self.keys) < KEYS:
            self.make_key(self.cluster.servers[0].url, httpx.Client(timeout=30))
        work: list[Any] = [self.read] * READERS + [self.try_ended, self.write, self.change, self.change]
        threads = [threading.Thread(target=self.repeat, args=(one, n)) for n, one in enumerate(work)]
        threads.append(threading.Thread(target=self.disturb))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.settle()

    def stop(self, *_: Any) -> None:
        self.end_at = time.monotonic()

    def repeat(self, work: Any, number: int) -> None:
        chance = random.Random(number)
        with httpx.Client(timeout=30, headers={"X-Forwarded-For": f"203.0.113.{number}"}) as client:
            while time.monotonic() < self.end_at:
                work(chance.choice(self.cluster.servers).url, client, chance)

    def read(self, url: str, client: httpx.Client, chance: random.Random) -> None:
        key, path = chance.choice(self.keys), chance.choice(PATHS)
        self.judge(key, lambda: client.get(url + path, headers=bearer(key)))

    def try_ended(self, url: str, client: httpx.Client, chance: random.Random) -> None:
        if not self.ended:
            time.sleep(0.05)
            return
        # The newest ones most of all: a cache that is too old would betray itself here.
        key = self.ended[-1] if chance.random() < 0.7 else chance.choice(list(self.ended))
        path = chance.choice(PATHS)
        self.judge(key, lambda: client.get(url + path, headers=bearer(key)))

    def write(self, url: str, client: httpx.Client, chance: random.Random) -> None:
        key, name = chance.choice(self.keys), f"project-{chance.getrandbits(64):x}"
        answer = self.judge(
            key, lambda: client.post(f"{url}/api/projects", headers=bearer(key), json={"project": name})
        )
        if answer is not None and answer.status_code in (200, 201):
            self.writes.append(name)
        time.sleep(0.05)

    def change(self, url: str, client: httpx.Client, chance: random.Random) -> None:
        """Make a key; rotate one and end the old; end one by itself, or as a person."""
        time.sleep(0.1)
        if len(self.keys) < KEYS:
            self.make_key(url, client)
            return
        with self.lock:
            key = self.keys.pop(chance.randrange(len(self.keys)))
        if chance.random() < 0.5:
            answer = self.judge(
                key,
                lambda: client.post(
                    f"{url}/api/api-keys/current/rotate", headers=bearer(key), json={"grace": "manual"}
                ),
            )
            if answer is not None and answer.status_code == 200:
                self.counts["rotated"] += 1
                self.add(answer.json()["key"])
        other = chance.choice(self.cluster.servers).url
        by_person = chance.random() < 0.3
        while not key.ended_at and time.monotonic() < self.end_at + 30:
            key.ending_at = key.ending_at or time.monotonic()
            try:
                if by_person:
                    answer = self.as_person(client, "DELETE", f"{other}/api/api-keys/{key.id}")
                else:
                    answer = client.delete(f"{other}/api/api-keys/current", headers=bearer(key))
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            # 401 and 404: an attempt without an answer had done it.
            if answer.status_code in (204, 401, 404):
                key.ended_at = time.monotonic()
                self.ended.append(key)
                self.counts["revoked"] += 1
            else:
                self.judge_server_error(answer)
                time.sleep(0.2)

    def make_key(self, url: str, client: httpx.Client) -> None:
        name = f"soak {len(self.everything)} {time.monotonic_ns()}"
        try:
            answer = self.as_person(client, "POST", f"{url}/api/api-keys", json={"name": name})
        except httpx.HTTPError:
            time.sleep(0.2)
            return
        if answer.status_code == 201:
            self.counts["made"] += 1
            self.add(answer.json())
        else:
            self.judge_server_error(answer)
            time.sleep(0.2)

    def add(self, made: dict[str, Any]) -> None:
        key = Key(made["key"], made["keyId"], made["name"])
        with self.lock:
            self.keys.append(key)
            self.everything.append(key)

    def as_person(self, client: httpx.Client, method: str, url: str, **body: Any) -> httpx.Response:
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.person.http.cookies.jar)
        origin = url.replace("http:", "https:").partition("/api/")[0]
        headers = {"Cookie": cookies, "X-CSRFToken": self.csrf, "X-Forwarded-Proto": "https", "Origin": origin}
        return client.request(method, url, headers=headers, **body)

    def disturb(self) -> None:
        """Redis and PostgreSQL by turns, six times or every 25 seconds, with room to recover at the end."""
        pause = max(2.5, min(25.0, (self.end_at - time.monotonic()) / 7))
        number = 0
        while time.monotonic() + pause + GRACE_SECONDS < self.end_at:
            time.sleep(pause)
            number += 1
            if number % 2:
                self.cluster.redis.stop()
                time.sleep(1)
                self.cluster.redis.start()
                self.counts["restarts of Redis"] += 1
            else:
                outage = [time.monotonic(), float("inf")]
                self.outages.append(outage)
                self.cluster.postgres.stop("immediate" if number % 4 == 0 else "fast")
                self.cluster.postgres.start()
                outage[1] = time.monotonic()
                self.counts["restarts of PostgreSQL"] += 1

    # What is right

    def judge(self, key: Key, ask: Any) -> httpx.Response | None:
        started = time.monotonic()
        was_ended = key.ended_at and key.ended_at < started
        try:
            answer = ask()
        except httpx.HTTPError as error:
            self.problems.append(f"no answer: {error!r}")
            return None
        status = answer.status_code
        self.counts[str(status)] += 1
        if status < 300:
            with self.lock:
                key.accepted += 1
            if was_ended:
                self.problems.append(f"{key.name}: accepted {started - key.ended_at:.3f} s after its revocation")
        elif status == 401:
            if was_ended:
                self.counts["refused after revocation"] += 1
            elif not key.ending_at:
                self.problems.append(f"{key.name}: a good key was refused")
        else:
            self.judge_server_error(answer, started)
        return answer

    def judge_server_error(self, answer: httpx.Response, started: float | None = None) -> None:
        now = time.monotonic()
        in_outage = any(a <= now and (started or now) <= b + GRACE_SECONDS for a, b in self.outages)
        if answer.status_code == 503 and in_outage:
            self.counts["503 around an outage"] += 1
        else:
            self.problems.append(f"{answer.status_code} for {answer.request.method} {answer.request.url.path}")

    def settle(self) -> None:
        """Everything that was acknowledged is there: keys, ends of keys, projects, and what was counted."""
        query = self.cluster.postgres.query
        live = {str(row[0]) for row in query("SELECT id FROM apikeys_apikey WHERE revoked_at IS NULL")}
        all_ids = {str(row[0]) for row in query("SELECT id FROM apikeys_apikey")}
        for key in self.everything:
            if key.id not in all_ids:
                self.problems.append(f"{key.name}: was made and is not there")
            elif key.ended_at and key.id in live:
                self.problems.append(f"{key.name}: was revoked and is not")
            elif not key.ending_at and key.id not in live:
                self.problems.append(f"{key.name}: was never revoked and is")
        projects = {row[0] for row in query("SELECT slug FROM training_project")}
        self.counts["projects"] = len(self.writes)
        self.problems += [f"{name}: was created and is not there" for name in self.writes if name not in projects]
        accepted = sum(key.accepted for key in self.everything)
        count = "SELECT coalesce(sum(requests), 0) FROM apikeys_keyusage"
        try:
            wait_for(lambda: query(count)[0][0] >= accepted, 15)
        except AssertionError:
            self.problems.append(f"{accepted} requests were accepted, {query(count)[0][0]} were counted")
        self.counts["accepted"], self.counts["counted"] = accepted, int(query(count)[0][0])


def bearer(key: Key) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.token}"}


def soak(folder: Path, seconds: float, processes: int) -> Soak:
    """Run it and return what was seen; SIGTERM and Ctrl-C end the load early, and what there is by then is returned."""
    cluster = Cluster(
        folder,
        WEB_CONCURRENCY=str(processes),
        RATE_LIMIT_DEFAULT="1000000/m",  # Redis is asked, and says yes
        RATE_LIMIT_FAILED="1000000/m",
        LOG_LEVEL="WARNING",
    )
    try:
        run = Soak(cluster, seconds)
        before = {number: signal.signal(number, run.stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            run.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    finally:
        cluster.stop()
    return run


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--logs", type=Path, help="a folder for what the servers have logged")
    parser.add_argument("--processes", type=int, default=4, help="of each of the two servers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyhouse-soak-") as folder:
        run = soak(Path(folder), options.minutes * 60, options.processes)
        if options.logs:
            for log in Path(folder).glob("*.log"):
                shutil.copy(log, options.logs)
    print(f"{run.end_at - run.started_at:.0f} seconds of load")
    for name, number in sorted(run.counts.items()):
        print(f"{number:>9,}  {name}")
    outages = ", ".join(f"{until - start:.1f} s" for start, until in run.outages)
    print(f"outages of PostgreSQL: {outages or 'none'}\n{len(run.problems)} problems")
    for problem, times in collections.Counter(run.problems).most_common(20):
        print(f"{times:>6} x {problem}")
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(main())
