"""A training client that does not give up: `python -m tests.training.sender URL SEED`.

Reads the key from the first line of standard input and events from the others, sends each until it is acknowledged, and
prints a line for each: its number and the status, and how often it was sent. Without Django, so that it starts at once.
"""

import json
import random
import sys
import time

import httpx


def main() -> None:
    url, chance = sys.argv[1], random.Random(int(sys.argv[2]))
    headers = {"Authorization": f"Bearer {sys.stdin.readline().strip()}"}
    with httpx.Client(headers=headers, timeout=10) as client:
        for line in sys.stdin:
            number, event = json.loads(line)
            time.sleep(chance.uniform(0, 0.02))
            status = attempts = 0
            while status in (0, 429) or status >= 500:
                time.sleep(chance.uniform(0.05, 0.2) if attempts else 0)
                attempts += 1
                try:
                    status = client.post(f"{url}/api/webhooks/training/metrics", json=event).status_code
                except httpx.HTTPError:  # not acknowledged, whatever has become of it
                    status = 0
            print(json.dumps([number, status, attempts]), flush=True)


if __name__ == "__main__":
    main()
