"""`python -m tests.benchmarks [--quick] [--keys N] [--rounds N]`: CPU time of Python and PostgreSQL, as ratios.

Requests are made in this process through the WSGI application, so that the whole chain counts and no client does.
The variants take turns in blocks; each figure is the median over the rounds, with the middle half of them.
"""

import argparse
import gc
import io
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="rows in each table")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block", type=int, default=400, help="requests of one variant before the next has its turn")
    parser.add_argument("--quick", action="store_true", help="10,000 rows, 5 rounds")
    options = parser.parse_args()
    if options.quick:
        options.keys, options.rounds = 10_000, 5

    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        "DATA_DIR": str(ROOT / "build" / "bench"),
        "LOG_LEVEL": "ERROR",
    }
    redis = None
    if shutil.which("redis-server"):
        from tests.live import Redis

        redis = Redis()
        os.environ["REDIS_URL"] = redis.url
    else:
        print("redis-server is not installed: limits are counted in files, DRF's throttle in the database.")
    try:
        run(options)
    finally:
        if redis is not None:
            redis.stop()


def run(options: argparse.Namespace) -> None:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from tests.benchmarks import data

    requests = data.prepare(options.keys)
    from config.wsgi import application

    gc.collect()
    gc.freeze()  # as the server does
    print(f"\n{options.keys:,} rows in each table, {options.rounds} rounds of {options.block} requests each\n")
    compare(application, requests, options)
    growth(application, options, data)
    listing(application, options, data)


def compare(application, requests, options) -> None:
    cost = measure(application, requests, options)
    floor = cost["floor"]
    print(f"{'':34}{'µs':>8}{'x floor':>10}{'middle half':>16}")
    labels = {
        "floor": "no authentication",
        "ours": "ours: authenticated and limited",
        "token": "TokenAuthentication, no limit",
        "token-throttled": "TokenAuthentication, throttled",
        "knox": "knox, no limit",
    }
    for name, values in cost.items():
        ratios = [value / base for value, base in zip(values, floor, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(f"{labels[name]:34}{median(values):8.0f}{median(ratios):10.2f}{f'{low:.2f} to {high:.2f}':>16}")
    ours = cost["ours"]
    print()
    for text, other, reach in (
        ("ours / no authentication", "floor", 3.3),
        ("ours / knox without a limit", "knox", 0.55),
        ("ours / TokenAuthentication without a limit", "token", 0.8),
        ("ours / TokenAuthentication with its throttle", "token-throttled", None),
    ):
        ratio = median([a / b for a, b in zip(ours, cost[other], strict=True)])
        verdict = "" if reach is None else f"  at most {reach}: {'reached' if ratio <= reach else 'NOT reached'}"
        print(f"{text:46}{ratio:6.2f}{verdict}")


def growth(application, options, data) -> None:
    """The same request with 1,000 keys in the table and with all of them, in turns."""
    small, large = data.two_tables(options.keys)
    cost = {"small": [], "large": []}
    for _ in range(max(5, options.rounds // 2)):
        for name, request in (("small", small), ("large", large)):
            request.activate()
            block(application, request, 50)
            cost[name].append(block(application, request, options.block))
    ratio = median([a / b for a, b in zip(cost["large"], cost["small"], strict=True)])
    verdict = "reached" if ratio <= 1.1 else "NOT reached"
    print(f"{f'ours, {options.keys:,} keys / 1,000 keys':46}{ratio:6.2f}  at most 1.1: {verdict}")
    large.activate()


def listing(application, options, data) -> None:
    """Listing and showing the 1,000 keys of one workspace to a person."""
    request = data.list_of_1000()
    block(application, request, 2)
    each = [block(application, request, 3) for _ in range(5)]
    print(
        f"{'listing 1,000 keys with their values':46}{median(each) / 1000:6.1f} ms, {median(each) / 1000:.1f} µs a key"
    )


def measure(application, requests, options) -> dict[str, list[float]]:
    cost: dict[str, list[float]] = {name: [] for name in requests}
    for request in requests.values():
        block(application, request, 200)
    for _ in range(options.rounds):
        for name, request in requests.items():
            cost[name].append(block(application, request, options.block))
    return cost


def block(application, request, count: int) -> float:
    """CPU microseconds per request, of this process and of PostgreSQL's."""
    statuses: list[str] = []

    def start_response(status, headers, exc_info=None):
        statuses.append(status)

    environ = request.environ()
    backend = request.backend()
    before = time.process_time_ns() + on_cpu(backend)
    for _ in range(count):
        body = application(environ | {"wsgi.input": io.BytesIO()}, start_response)
        for _ in body:
            pass
        body.close()
    after = time.process_time_ns() + on_cpu(backend)
    assert set(statuses) == {"200 OK"}, statuses[-1]
    return (after - before) / count / 1000


def on_cpu(pid: int) -> int:
    """Nanoseconds that a process has run, by the scheduler."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def median(values: list[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    sys.exit(main())
