"""What charts and exports are made of: thinned without losing a peak, silent runs, files that spreadsheets may open."""

import csv
import hashlib
import io
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests.training.stream import epoch, send, start
from training.metrics import thin
from training.models import Run

VALUES = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32))


@given(st.lists(VALUES, max_size=3000), st.integers(20, 600))
def test_a_thinned_curve_keeps_its_ends_its_order_and_every_peak(values, points):
    xs, ys = thin(list(range(1, len(values) + 1)), values, points)
    assert len(xs) == len(ys) <= max(points, 1)
    assert xs == sorted(set(xs))
    assert all(values[int(x) - 1] == y for x, y in zip(xs, ys, strict=True))
    there = [value for value in values if value is not None]
    if there:
        kept = [y for y in ys if y is not None]
        assert (min(kept), max(kept)) == (min(there), max(there))
    if values:
        assert (xs[0], xs[-1]) == (1, len(values))


def test_the_charting_library_is_the_one_that_its_author_published():
    digests = {
        "uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
        "uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    }
    for name, digest in digests.items():
        assert hashlib.sha256((settings.UPLOT / name).read_bytes()).hexdigest() == digest


def test_a_run_that_falls_silent_is_stalled_and_lives_again_when_it_speaks(call, browser, cast, edda_key):
    model_id = start(call, edda_key)
    page = lambda: browser(cast.vera).get("/acme/my-project/exp1").content.decode()  # noqa: E731
    assert ">Running<" in page()
    silent = timezone.now() - timedelta(seconds=settings.RUN_STALLED_SECONDS + 1)
    Run.objects.update(heard_at=silent)
    assert ">Stalled<" in page()
    assert ">Running<" not in page()
    send(call, edda_key, epoch(model_id, 0))
    assert ">Running<" in page()


def test_an_export_has_the_columns_of_the_clients_own_file_and_no_formula(call, browser, cast, edda_key):
    model_id = start(call, edda_key, epochs=2)
    for number in range(2):
        send(call, edda_key, epoch(model_id, number))
    final = epoch(model_id, 2, metrics={"metrics/mAP50-95(B)": 0.9, "=cmd()": 1})  # the repeated validation
    send(call, edda_key, final)
    evil = epoch(model_id, 1)
    evil["data"]["metrics"]["=1+1"] = 7
    send(call, edda_key, evil)
    run = Run.objects.get()
    answer = browser(cast.vera).get(f"/runs/{run.pk}/export.csv?workspace=acme")
    rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert rows[0][:2] == ["epoch", "time"]
    assert rows[0][2:5] == ["train/box_loss", "metrics/mAP50-95(B)", "val/box_loss"]
    assert [row[0] for row in rows[1:]] == ["1", "2"]
    assert not any(cell[:1] in "=+@" for row in rows for cell in row if cell)


@pytest.mark.django_db
def test_a_poll_of_a_run_that_says_nothing_writes_nothing_and_is_a_few_queries(call, browser, cast, edda_key):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    start(call, edda_key)
    run, person = Run.objects.get(), browser(cast.vera)
    path = f"/runs/{run.pk}/live?workspace=acme&after={run.version}&status=running"
    person.get(path)
    with CaptureQueriesContext(connection) as queries:
        answer = person.get(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert len(queries) <= 5
    assert all(query["sql"].startswith("SELECT") for query in queries)
