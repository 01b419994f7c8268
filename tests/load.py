"""A program that sends requests as fast as it can: `python -m tests.load URL COUNT`, the key on standard input.

Prints the status of each answer. Without Django, so that it starts at once.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import httpx


def main() -> None:
    url, count, token = sys.argv[1], int(sys.argv[2]), sys.stdin.readline().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=60) as client, ThreadPoolExecutor(4) as pool:
        statuses = pool.map(lambda _: client.get(f"{url}/api/account/summary").status_code, range(count))
        print(*statuses)


if __name__ == "__main__":
    main()
