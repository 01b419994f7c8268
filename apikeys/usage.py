"""Who uses a key: added up in the memory of each process and written in one go every few seconds.

No request waits for it and none writes. A process that is killed loses what it had not written: at most
`USAGE_FLUSH_SECONDS` of statistics, and nothing else.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Max, Min, QuerySet, Sum
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from apikeys.models import ApiKey, KeyDay, KeyUsage, Total
from apikeys.signals import cleaning_up

log = logging.getLogger(__name__)

HOUR = 3600
MAX_ENTRIES = 20_000  # a client that makes up addresses or names must not fill the memory
OTHER = "other"
KEEP = timedelta(days=90)
KEEP_DAYS = timedelta(days=400)  # a row for each key, day and category
DAY = 86400
EXIT_ATTEMPTS = 5

Entry = tuple[UUID, int, str, str]  # key, start of the period in seconds since 1970, address, client
Day = tuple[UUID, int, str]  # key, days since 1970, category


class Recorder:
    """What one process has seen since it last wrote."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flushing = threading.Lock()
        self.requests: dict[Entry, list[float]] = {}  # count, first time, last time
        self.refused: dict[UUID, tuple[str, float]] = {}
        self.days: dict[Day, list[int]] = {}  # requests, errors, limited
        self.totals: dict[tuple[str, str], int] = {}
        self.thread: threading.Thread | None = None
        self.housekeeping_at = time.monotonic() + HOUR

    def add(self, key: ApiKey, address: str, client: str) -> None:
        now = time.time()
        period = int(now) if key.rotated_at is not None else int(now // HOUR) * HOUR
        entry: Entry = (key.pk, period, address, client)
        with self.lock:
            seen = self.requests.get(entry)
            if seen is None:
                if len(self.requests) >= MAX_ENTRIES:
                    entry = (key.pk, period, OTHER, "")
                seen = self.requests.setdefault(entry, [0, now, now])
            seen[0] += 1
            seen[2] = now
        if self.thread is None:
            self._start()

    def add_refused(self, key_id: UUID, address: str) -> None:
        with self.lock:
            if len(self.refused) < MAX_ENTRIES:
                self.refused[key_id] = (address, time.time())
        if self.thread is None:
            self._start()

    def add_outcome(self, key_id: UUID | None, category: str, status: int) -> None:
        outcome = "ok" if status < 400 else "limited" if status == 429 else "error"
        with self.lock:
            self.totals[category, outcome] = self.totals.get((category, outcome), 0) + 1
            if key_id is not None:
                day = self.days.setdefault((key_id, int(time.time() // DAY), category), [0, 0, 0])
                day[0] += 1
                if status >= 400:
                    day[1] += 1
                    day[2] += status == 429
        if self.thread is None:
            self._start()

    def _start(self) -> None:
        if settings.USAGE_FLUSH_SECONDS <= 0:
            return
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name="key-usage", daemon=True)
                self.thread.start()
                atexit.register(self.flush)

    def _run(self) -> None:
        while True:
            time.sleep(settings.USAGE_FLUSH_SECONDS)
            self.flush()
            if time.monotonic() > self.housekeeping_at:
                self.housekeeping_at = time.monotonic() + HOUR
                self._guarded(clean_up)

    def flush(self) -> bool:
        """Write what was added up. False if the database is away: it is kept for the next time then."""
        with self.flushing:
            with self.lock:
                requests, self.requests = self.requests, {}
                refused, self.refused = self.refused, {}
                days, self.days = self.days, {}
                totals, self.totals = self.totals, {}
            anything = requests or refused or totals
            if anything and not self._guarded(lambda: _write(requests, refused, days, totals)):
                with self.lock:
                    for outcome, number in totals.items():
                        self.totals[outcome] = self.totals.get(outcome, 0) + number
                    for day, counts in days.items():
                        self.days[day] = [a + b for a, b in zip(counts, self.days.get(day, (0, 0, 0)), strict=True)]
                    for entry, (count, first, last) in requests.items():
                        seen = self.requests.setdefault(entry, [0, first, last])
                        seen[0] += count
                        seen[1] = min(seen[1], first)
                    self.refused = refused | self.refused
                return False
        return True

    def _guarded(self, work: Any) -> bool:
        try:
            work()
        except (OperationalError, InterfaceError):
            log.warning("The use of keys could not be written; trying again in a moment", exc_info=False)
            if not connection.in_atomic_block:
                connection.close()
            return False
        except Exception:
            log.exception("The use of keys could not be written; it is lost")
        return True


_recorder = Recorder()


def _after_fork() -> None:
    global _recorder
    _recorder = Recorder()  # what the parent has added up, the parent writes


os.register_at_fork(after_in_child=_after_fork)


def note_request(key: ApiKey, address: str, client: str) -> None:
    """Count one accepted request. Takes about a microsecond and never fails."""
    _recorder.add(key, address, client)


def note_answer(request: Any, category: str, status: int) -> None:
    """Count what came of an API request: for its key, if it had a good one, and for all."""
    actor = getattr(request, "actor", None)
    _recorder.add_outcome(actor.key_id if actor is not None else None, "failed" if actor is None else category, status)


def note_outcome(key_id: UUID | None, category: str, status: int) -> None:
    """The same for views that are not the API's."""
    _recorder.add_outcome(key_id, category, status)


def note_refused(key_id: UUID, address: str) -> None:
    """Remember that a revoked key was tried; written at most once an hour for each key."""
    _recorder.add_refused(key_id, address)


def flush() -> None:
    """Write what this process has added up, now."""
    _recorder.flush()


def flush_at_exit() -> None:
    """The same for a process that ends: a database that is busy for a moment must not cost the counts."""
    for _ in range(EXIT_ATTEMPTS):
        if _recorder.flush():
            return
        time.sleep(0.5)


def clean_up() -> dict[str, int]:
    """Destroy what scheduled revocations left, drop statistics older than 90 days, and what higher apps have to drop.

    Returns how many of each.
    """
    from apikeys.leaks import see_to_reports
    from apikeys.services import finish_due_revocations

    see_to_reports()  # those whose process died
    now = datetime.now(UTC)
    dropped, _ = KeyUsage.objects.filter(period_at__lt=now - KEEP).delete()
    dropped += KeyDay.objects.filter(day__lt=(now - KEEP_DAYS).date()).delete()[0]
    done = {"revoked": finish_due_revocations(), "usage rows": dropped}
    cleaning_up.send(sender=None, done=done)
    return done


def recent(key: ApiKey, hours: int = 24) -> QuerySet[KeyUsage, Any]:
    """Requests of the last `hours`, a row for each address and client, busiest first."""
    return _by_origin(KeyUsage.objects.filter(key=key, last_at__gt=datetime.now(UTC) - timedelta(hours=hours)))


def since(key: ApiKey, moment: datetime) -> QuerySet[KeyUsage, Any]:
    """Requests since `moment`, exact to the second for a key that is being rotated."""
    return _by_origin(KeyUsage.objects.filter(key=key, last_at__gt=moment))


def by_address(key: ApiKey, days: int) -> QuerySet[KeyUsage, Any]:
    """From where a key was used in the last `days` days, at most 90, busiest first."""
    return _totals(key, days, "address")


def by_client(key: ApiKey, days: int) -> QuerySet[KeyUsage, Any]:
    """With which clients, by their User-Agent; the same otherwise."""
    return _totals(key, days, "client")


def _totals(key: ApiKey, days: int, what: str) -> QuerySet[KeyUsage, Any]:
    rows = KeyUsage.objects.filter(key=key, last_at__gt=datetime.now(UTC) - timedelta(days=days)).values(what)
    return rows.annotate(total=Sum("requests"), first=Min("period_at"), last=Max("last_at")).order_by("-total", what)


def _by_origin(rows: QuerySet[KeyUsage]) -> QuerySet[KeyUsage, Any]:
    return (
        rows.values("address", "client")
        .annotate(total=Sum("requests"), first=Min("period_at"), last=Max("last_at"))
        .order_by("-total", "address", "client")
    )


def daily(keys: Iterable[UUID], days: int) -> dict[UUID, list[dict[str, Any]]]:
    """For each key, oldest first, each of the last `days` days with `requests`, `errors` and `limited`. One query."""
    today = datetime.now(UTC).date()
    first = today - timedelta(days=days - 1)
    rows = KeyDay.objects.filter(key__in=list(keys), day__gte=first).values("key", "day")
    counted: dict[UUID, dict[Any, Any]] = {key: {} for key in keys}
    for row in rows.annotate(r=Sum("requests"), e=Sum("errors"), n=Sum("limited")):
        counted[row["key"]][row["day"]] = (row["r"], row["e"], row["n"])
    dates = [first + timedelta(days=number) for number in range(days)]
    names = ("requests", "errors", "limited")
    return {
        key: [{"day": day} | dict(zip(names, found.get(day, (0, 0, 0)), strict=True)) for day in dates]
        for key, found in counted.items()
    }


def by_category(key: ApiKey, days: int) -> QuerySet[KeyDay, Any]:
    """What came of a key's requests in the last `days` days, a row for each category, busiest first."""
    first = datetime.now(UTC).date() - timedelta(days=days - 1)
    rows = KeyDay.objects.filter(key=key, day__gte=first).values("category")
    return rows.annotate(total=Sum("requests"), total_errors=Sum("errors"), total_limited=Sum("limited")).order_by(
        "-total", "category"
    )


def collect() -> Iterable[Metric]:
    """For `/metrics`: requests of the whole installation, and how many rows the table of keys has."""
    requests = CounterMetricFamily(
        "keyhouse_requests", "Requests answered by all processes; some seconds late.", labels=["category", "outcome"]
    )
    for category, outcome, number in Total.objects.values_list("category", "outcome", "requests"):
        requests.add_metric([category, outcome], number)
    yield requests
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = %s::regclass", [_KEYS])
        yield GaugeMetricFamily("keyhouse_key_rows", "Keys, ended ones included; an estimate.", cursor.fetchone()[0])


def _write(
    requests: dict[Entry, list[float]],
    refused: dict[UUID, tuple[str, float]],
    days: dict[Day, list[int]],
    totals: dict[tuple[str, str], int],
) -> None:
    # All rows of keys first and in the order of their ids, and in the order of ids throughout, so that processes that
    # write at once never wait for each other in a circle.
    with transaction.atomic(), connection.cursor() as cursor:
        if touched := sorted({key_id for key_id, *_ in requests} | set(refused)):
            cursor.execute(_LOCK, [touched])
        if requests:
            by_key: dict[UUID, list[float]] = {}
            for (key_id, *_), (_, first, last) in requests.items():
                span = by_key.setdefault(key_id, [first, last])
                span[0], span[1] = min(span[0], first), max(span[1], last)
            ids = sorted(by_key)
            cursor.execute(_USED, [ids, [_time(by_key[pk][0]) for pk in ids], [_time(by_key[pk][1]) for pk in ids]])
            entries = sorted(requests)
            cursor.execute(
                _COUNTED,
                [
                    *_columns(entries),
                    [int(requests[entry][0]) for entry in entries],
                    [_time(requests[entry][2]) for entry in entries],
                ],
            )
        if days:
            those = sorted(days)
            columns: list[list[Any]] = [list(column) for column in zip(*those, strict=True)]
            columns[1] = [date(1970, 1, 1) + timedelta(days=number) for number in columns[1]]
            cursor.execute(_DAYS, [*columns, *([days[day][n] for day in those] for n in range(3))])
        if totals:
            pairs = sorted(totals)
            cursor.execute(_TOTALS, [[a for a, _ in pairs], [b for _, b in pairs], [totals[pair] for pair in pairs]])
        if refused:
            ids = sorted(refused)
            cursor.execute(_REFUSED, [ids, [refused[pk][0] for pk in ids], [_time(refused[pk][1]) for pk in ids]])


def _columns(entries: Iterable[Entry]) -> list[list[Any]]:
    keys, periods, addresses, clients = zip(*entries, strict=True)
    return [list(keys), [_time(period) for period in periods], list(addresses), list(clients)]


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_KEYS, _ROWS = ApiKey._meta.db_table, KeyUsage._meta.db_table
_LOCK = f"SELECT 1 FROM {_KEYS} WHERE id = ANY(%s::uuid[]) ORDER BY id FOR NO KEY UPDATE"
_USED = (
    f"UPDATE {_KEYS} k SET last_used_at = GREATEST(k.last_used_at, new.last), "
    "first_used_at = LEAST(k.first_used_at, new.first) "
    "FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[]) AS new (id, first, last) WHERE k.id = new.id"
)
_COUNTED = (
    f"INSERT INTO {_ROWS} AS u (key_id, period_at, address, client, requests, last_at) SELECT new.* FROM "
    "unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::bigint[], %s::timestamptz[]) "
    f"AS new (key_id, period_at, address, client, requests, last_at) JOIN {_KEYS} k ON k.id = new.key_id "
    "ON CONFLICT (key_id, period_at, address, client) DO UPDATE "
    "SET requests = u.requests + excluded.requests, last_at = GREATEST(u.last_at, excluded.last_at)"
)
_DAYS = (
    f"INSERT INTO {KeyDay._meta.db_table} AS d (key_id, day, category, requests, errors, limited) SELECT new.* FROM "
    "unnest(%s::uuid[], %s::date[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) "
    f"AS new (key_id, day, category, requests, errors, limited) JOIN {_KEYS} k ON k.id = new.key_id "
    "ON CONFLICT (key_id, day, category) DO UPDATE SET requests = d.requests + excluded.requests, "
    "errors = d.errors + excluded.errors, limited = d.limited + excluded.limited"
)
_TOTALS = (
    f"INSERT INTO {Total._meta.db_table} AS t (category, outcome, requests) "
    "SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[]) "
    "ON CONFLICT (category, outcome) DO UPDATE SET requests = t.requests + excluded.requests"
)
_REFUSED = (
    f"UPDATE {_KEYS} k SET refused_at = new.at, refused_address = new.address "
    "FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS new (id, address, at) "
    "WHERE k.id = new.id AND (k.refused_at IS NULL OR k.refused_at < new.at - interval '1 hour')"
)
