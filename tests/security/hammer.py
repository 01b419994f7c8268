"""A program that uses a key without pause and says when each request started: for tests of revocation.

`python -m tests.security.hammer URL`, the key as the first line of standard input; goes on until standard input ends
(two minutes at most) and then prints a line `start end status` per request. Status 0: no answer; times are nanoseconds
of the machine's monotonic clock, which all processes share.
"""

import subprocess
import sys
import threading
import time

import httpx

THREADS = 3
MAX_SECONDS = 120


class Hammers:
    """Some of these programs at once, on one key, until `requests` is called."""

    def __init__(self, url: str, token: str, processes: int = 3):
        command = [sys.executable, "-m", "tests.security.hammer", url]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for process in self.processes:
            process.stdin.write(token + "\n")
            process.stdin.flush()

    def requests(self) -> list[tuple[int, int, int]]:
        """Stop, and return (start, end, status) of all requests, by their start."""
        for process in self.processes:
            process.stdin.close()
            process.stdin = None
        lines = [line for process in self.processes for line in process.communicate(timeout=60)[0].splitlines()]
        return sorted(tuple(map(int, line.split())) for line in lines)


def run(url: str, token: str, stop: threading.Event, lines: list[str]) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        while not stop.is_set():
            start = time.monotonic_ns()
            try:
                status = client.get(f"{url}/api/account/summary").status_code
            except httpx.HTTPError:
                status = 0  # no answer
            lines.append(f"{start} {time.monotonic_ns()} {status}")


def main() -> None:
    url, token = sys.argv[1], sys.stdin.readline().strip()
    lines: list[str] = []
    stop = threading.Event()
    threads = [threading.Thread(target=run, args=(url, token, stop, lines)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    watch = threading.Timer(MAX_SECONDS, stop.set)
    watch.daemon = True
    watch.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
