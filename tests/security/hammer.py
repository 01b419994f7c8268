"""A program that uses a key without pause and says when each request started: for tests of revocation.

`python -m tests.security.hammer URL SECONDS`, the key on standard input; prints a line `start end status` per request,
times in nanoseconds of the machine's monotonic clock, which all processes share.
"""

import sys
import threading
import time

import httpx

THREADS = 3


def run(url: str, token: str, until: float, lines: list[str]) -> None:
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        while time.monotonic() < until:
            start = time.monotonic_ns()
            status = client.get(f"{url}/api/account/summary").status_code
            lines.append(f"{start} {time.monotonic_ns()} {status}")


def main() -> None:
    url, seconds, token = sys.argv[1], float(sys.argv[2]), sys.stdin.readline().strip()
    lines: list[str] = []
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=run, args=(url, token, until, lines)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
