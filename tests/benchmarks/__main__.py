"""What a request costs, as ratios measured in one run: CPU time of Python and PostgreSQL together.

Requests are made in this process through the WSGI application, so the whole chain counts and no client does. The
variants take turns in blocks; each ratio is the median over the rounds, beside it the middle half of them. The
databases are made in build/bench at first and kept: a million rows take some minutes and 3 GB, ten million about ten
minutes and 7 GB more. On a virtual machine with nothing else to do, waking PostgreSQL and Redis on a sleeping core is
charged to the caller, which makes each round trip dearer than under load; the middle half shows how steady it was.
"""

import argparse
import gc
import os
import shutil
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FEW, MANY = 1000, 1_000_000
LISTED = 1000
FOREIGN = ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "API_KEY_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL", "PUBLIC_URL")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--keys", type=int, default=MANY, help="rows of the largest table; the comparison is made with a million"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=500, help="of one variant before the next has its turn")
    parser.add_argument("--quick", action="store_true", help="10,000 rows and 5 short rounds, to see that it works")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "build" / "bench", help="for the databases")
    options = parser.parse_args()
    if options.quick:
        options.keys, options.rounds, options.requests = 10_000, 5, 200

    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        "DATA_DIR": str(options.data_dir),
        "LOG_LEVEL": "ERROR",
        "USAGE_FLUSH_SECONDS": "0",  # written, and measured, between the blocks
    }
    (options.data_dir / "static").mkdir(parents=True, exist_ok=True)  # whitenoise warns without it
    redis = None
    if shutil.which("redis-server"):
        from tests.live import Redis

        redis = Redis()
        os.environ["REDIS_URL"] = redis.url
    else:
        print("redis-server is not installed: what needs it is left out.")
    try:
        run(options, redis.process.pid if redis and redis.process else None)
    finally:
        if redis is not None:
            redis.stop()


def run(options: argparse.Namespace, redis_pid: int | None) -> None:
    import django

    django.setup()
    from tests.benchmarks.data import Database

    main_database = Database(min(options.keys, MANY), rivals=True)
    sizes = sorted({FEW, options.keys} - {main_database.keys})
    others = [Database(size, rivals=False) for size in sizes]
    for database in (*others, main_database):
        database.prepare()
    from config.wsgi import application  # tries the encryption keys on the database in use

    gc.collect()
    gc.freeze()  # as the server does
    compare(application, main_database, others, options, redis_pid)
    listing(application, main_database, options)


def compare(application: Any, database: Any, others: list[Any], options: argparse.Namespace, redis_pid: Any) -> None:
    from tests.benchmarks.measure import Variant, interleave, median, middle_half, ratios

    def variant(title: str, path: str, kind: str, used: Any = database, counters: str = "ratelimit") -> Variant:
        headers = [{"HTTP_AUTHORIZATION": credential} for credential in used.credentials(kind)]
        return Variant(title, f"/api/bench/{path}", headers, activate=lambda: activate(used, counters))

    floor = variant("no authentication", "floor", "key")
    for_all = variant("no authentication, on our ApiView", "ours-for-all", "key")
    files = variant("ours: authenticated and limited, in files", "ours", "key", counters="files")
    token = variant("TokenAuthentication, no limit", "token", "token")
    knox = variant("django-rest-knox, no limit", "knox", "knox")
    variants = [floor, for_all, files, token, knox]
    ours, counters = files, "files"
    if redis_pid is not None:
        ours, counters = variant("ours: authenticated and limited, in Redis", "ours", "key"), "ratelimit"
        throttled = variant("TokenAuthentication, DRF's throttle in Redis", "token-throttled", "token")
        variants = [floor, for_all, ours, files, token, throttled, knox]
    grown = [variant(f"ours, of {other.keys:,} keys", "ours", "key", other, counters) for other in others]
    interleave(application, [*variants, *grown], rounds=options.rounds, requests=options.requests, redis_pid=redis_pid)

    print(
        f"\n{database.keys:,} rows in each table, {len(database.numbers):,} of the keys in use; {options.rounds} "
        f"rounds of {options.requests} requests each.\nCPU time of one request in microseconds; Redis's own is not "
        f"in the sum.\n\n{'':46}{'Python':>8}{'PostgreSQL':>12}{'sum':>7}{'Redis':>7}{'x floor':>9}{'middle half':>14}"
    )
    for each in (*variants, *grown):
        parts = [median(column) for column in zip(*each.costs, strict=True)]
        low, high = middle_half(ratios(each, floor))
        print(
            f"{each.title:46}{parts[0]:8.0f}{parts[1]:12.0f}{median(each.totals()):7.0f}{parts[2]:7.0f}"
            f"{median(ratios(each, floor)):9.2f}{f'{low:.2f} - {high:.2f}':>14}"
        )
    print(f"\n{'Ours, authenticated and limited':46}{'ratio':>8}{'middle half':>14}   reach")
    report("to no authentication", ratios(ours, floor), 3.3)
    report("to django-rest-knox without a limit", ratios(ours, knox), 0.55)
    report("to TokenAuthentication without a limit", ratios(ours, token), 0.8)
    if redis_pid is not None:
        report("to TokenAuthentication with its throttle", ratios(ours, throttled))
    by_keys = {other.keys: each for other, each in zip(others, grown, strict=True)} | {database.keys: ours}
    for keys in sorted(by_keys.keys() - {FEW}):
        report(f"with {keys:,} keys, to {FEW:,} keys", ratios(by_keys[keys], by_keys[FEW]), 1.1)


def activate(database: Any, counters: str) -> None:
    """Let the next block talk to `database` and count limits in `counters`; what was counted for keys is dropped."""
    from django.conf import settings

    from apikeys import usage

    usage._recorder.requests.clear()
    database.use()
    settings.RATELIMIT_USE_CACHE = counters


def report(title: str, values: list[float], reach: float | None = None) -> None:
    from tests.benchmarks.measure import median, middle_half

    low, high = middle_half(values)
    verdict = ""
    if reach is not None:
        verdict = f"   at most {reach}: {'reached' if round(median(values), 3) <= reach else 'NOT reached'}"
    print(f"  {title:44}{median(values):8.2f}{f'{low:.2f} - {high:.2f}':>14}{verdict}")


def listing(application: Any, database: Any, options: argparse.Namespace) -> None:
    """A person who lists the keys of a team with their values; and what is written now and then for many keys."""
    from django.db import connection

    from apikeys import usage
    from tests.benchmarks.measure import Variant, block, median, on_cpu

    activate(database, "files")
    cookie, team = database.session_with_keys(LISTED)
    variant = Variant(
        "list", "/api/api-keys", [{"HTTP_COOKIE": cookie}], lambda: activate(database, "files"), f"workspace={team}"
    )
    costs = [block(application, variant, 3).total for _ in range(max(5, options.rounds // 2))]
    print(f"\nListing {LISTED:,} keys with their values, to a person: {median(costs) / LISTED:.0f} µs a key")

    costs = []
    keys = [{"HTTP_AUTHORIZATION": credential} for credential in database.credentials("key")]
    variant = Variant("use", "/api/bench/ours", keys, lambda: activate(database, "files"))
    backend = connection.connection.info.backend_pid
    for _ in range(5):
        block(application, variant, len(keys) - 1)
        before = time.process_time_ns() + on_cpu(backend)
        usage.flush()
        costs.append((time.process_time_ns() + on_cpu(backend) - before) / len(keys) / 1000)
    print(f"Writing their use, every few seconds and beside the requests: {median(costs):.0f} µs for each key in use\n")


if __name__ == "__main__":
    main()
