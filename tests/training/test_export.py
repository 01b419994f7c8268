"""What is exported is what the client sent, as its own results.csv has it."""

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.conftest import CSRF
from tests.training.stream import RECORDINGS, epoch, event, recorded, replay, send, start
from training.models import Epoch, Project, Run

pytestmark = pytest.mark.django_db
COLUMNS = (
    "epoch,time,train/box_loss,train/cls_loss,train/{}_loss,metrics/precision(B),metrics/recall(B),metrics/mAP50(B),"
    "metrics/mAP50-95(B),val/box_loss,val/cls_loss,val/{}_loss,lr/pg0"
)


@pytest.fixture
def export(browser, cast):
    """`export("runs/…/export.csv")`: the file as vera gets it."""
    vera = browser(cast.vera)

    def get(path):
        answer = vera.get(f"/{path}?workspace=acme")
        assert answer.status_code == 200
        assert answer.streaming
        return b"".join(answer.streaming_content).decode()

    return get


def table(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recorded_run_comes_out_with_the_columns_of_results_csv_and_the_values_that_were_sent(
    call, edda_key, export, path
):
    requests = recorded(path)
    pk = replay(call, edda_key, requests)
    text = export(f"runs/{pk}/export.csv")
    third = "l1" if "8.4.190" in path.name else "dfl"
    assert text.splitlines()[0] == COLUMNS.format(third, third)
    events = [request["json"] or {} for request in requests]
    sent = [e["data"]["metrics"] for e in events if e.get("event") == "epoch_end"]
    found = table(text)
    assert [row["epoch"] for row in found] == [str(n + 1) for n in range(len(sent) - 1)]  # the last is no epoch
    for row, metrics in zip(found, sent[:-1], strict=True):
        assert float(row.pop("lr/pg0")) == metrics.pop("lr")
        assert {name: float(row[name]) for name in metrics} == metrics
        assert float(row["time"]) >= 0

    whole = json.loads(export(f"runs/{pk}/export.json"))
    assert [epoch["epoch"] for epoch in whole["epochs"]] == list(range(len(sent) - 1))
    assert whole["finalValidation"] == sent[-1]
    assert whole["trainArgs"]["task"] == "detect"
    assert (whole["run"], whole["status"]) == (Run.objects.get().slug, "completed")


def test_gaps_and_what_was_no_number_are_empty(call, edda_key, export):
    pk = start(call, edda_key, epochs=10)
    send(call, edda_key, epoch(pk, 0, metrics={"train/box_loss": 1.5, "val/box_loss": None}))
    send(call, edda_key, epoch(pk, 4, metrics={"train/box_loss": 1, "val/box_loss": 2, "own": -3}))
    found = table(export(f"runs/{pk}/export.csv"))
    assert [(r["epoch"], r["train/box_loss"], r["val/box_loss"], r["own"]) for r in found] == [
        ("1", "1.5", "", ""),
        ("5", "1", "2", "-3"),
    ]


def test_a_name_that_a_spreadsheet_would_run_is_text(call, edda_key, export):
    pk = start(call, edda_key)
    names = ['=cmd|"/c calc"!A1', "+1", "-1", "@x", "\tx", "ok=1"]
    send(call, edda_key, epoch(pk, 0, metrics=dict.fromkeys(names, -1)))
    head, row = csv.reader(io.StringIO(export(f"runs/{pk}/export.csv"), newline=""))
    assert set(head[2:]) == {f"'{name}" for name in names[:-1]} | {"ok=1"}
    assert row[2:] == ["-1"] * 6  # numbers stay numbers


def test_a_project_is_one_table_of_all_its_runs_the_newest_first(call, edda_key, export):
    for name, numbers in (("first", 2), ("second", 3)):
        pk = start(call, edda_key, name=name, epochs=10)
        for number in range(numbers):
            send(call, edda_key, epoch(pk, number))
    gone = start(call, edda_key, name="gone")
    send(call, edda_key, epoch(gone, 0, metrics={"of the deleted": 1}))
    Run.objects.filter(pk=gone).update(deleted_at=timezone.now())
    text = export(f"projects/{Project.objects.get().pk}/export.csv")
    assert text.splitlines()[0] == "run,epoch,time,train/box_loss,metrics/mAP50-95(B),val/box_loss,lr/pg0"
    assert [(row["run"], row["epoch"]) for row in table(text)] == [
        *[("second", str(n)) for n in (1, 2, 3)],
        *[("first", str(n)) for n in (1, 2)],
    ]


def test_the_statements_of_an_export_grow_with_every_twentieth_run_at_most(cast, call, edda_key, export):
    run = Run.objects.get(pk=start(call, edda_key))

    def statements():
        with CaptureQueriesContext(connection) as captured:
            export(f"projects/{run.project_id}/export.csv")
        return [query["sql"] for query in captured if "training_" in query["sql"]]

    few = len(statements())
    fields = {"workspace": cast.team, "project": run.project, "creator": cast.edda, "planned_epochs": 10}
    runs = Run.objects.bulk_create(Run(slug=f"run{n}", name="x", **fields) for n in range(59))
    for run_ in runs:
        run_.created_at = timezone.now() - timedelta(hours=1)
    Epoch.objects.bulk_create(Epoch(run=r, number=n, metrics={"lr": n}, version=1) for r in runs for n in range(3))
    assert len(statements()) == few + 2
    assert len(table(export(f"projects/{run.project_id}/export.csv"))) == 177


def test_the_console_comes_out_whole_and_in_order(call, edda_key, export):
    pk = start(call, edda_key)
    for chunk in (3, 1, 2):
        content = f"\x1b[34mline {chunk}\x1b[0m"
        send(call, edda_key, event(pk, "console_output", chunkId=chunk, content=content, lineCount=1))
    assert export(f"runs/{pk}/console.log") == "".join(f"\x1b[34mline {n}\x1b[0m\n" for n in (1, 2, 3))


def test_files_are_named_and_kept_by_no_cache_and_exports_are_counted(browser, cast, call, edda_key, settings):
    pk = start(call, edda_key)
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"export": (2, 60)}
    vera = browser(cast.vera)
    answer = vera.get(f"/runs/{pk}/export.csv?workspace=acme")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="my-project-exp1.csv"'
    assert "no-store" in answer["Cache-Control"]
    assert answer["X-RateLimit-Remaining"] == "1"
    assert vera.get(f"/runs/{pk}/export.json?workspace=acme").status_code == 200
    limited = vera.get(f"/runs/{pk}/export.csv?workspace=acme")
    assert limited.status_code == 429
    assert re.fullmatch("[1-9][0-9]?", limited["Retry-After"])
    assert browser().get(f"/runs/{pk}/export.csv", HTTP_X_CSRFTOKEN=CSRF).status_code == 302
