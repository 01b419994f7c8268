"""A program that sends requests as fast as it can: `python -m tests.load URL COUNT`, the key on standard input.

Prints a line of JSON for each answer: its status, and its headers in small letters. Without Django, so that it starts
at once.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx


def main() -> None:
    url, count, token = sys.argv[1], int(sys.argv[2]), sys.stdin.readline().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=60) as client, ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: client.get(f"{url}/api/account/summary"), range(count)):
            print(json.dumps([answer.status_code, dict(answer.headers)]))


if __name__ == "__main__":
    main()
