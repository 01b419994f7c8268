"""Events of a training: in any order, repeated, late, malformed. What is acknowledged is what is stored."""

import json
import random

import pytest

from tests.conftest import assert_error
from tests.training.stream import METRICS, RECORDINGS, epoch, event, recorded, replay, send, start, started, upload
from training.models import ConsoleChunk, Epoch, Plot, Project, Run, SystemSample

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recorded_run_of_the_client_is_stored_as_it_was_sent(call, edda_key, recording):
    requests = recorded(recording)
    model_id = replay(call, edda_key, requests)

    sent = [r["json"] for r in requests if r["path"].endswith("metrics")]
    run = Run.objects.get(pk=model_id)
    epochs = {e["data"]["epoch"]: e["data"] for e in sent if e["event"] == "epoch_end"}
    assert {e.number: e.metrics for e in run.epochs.all()} == {n: data["metrics"] for n, data in epochs.items()}
    chunks = {e["data"]["chunkId"]: e["data"]["content"] for e in sent if e["event"] == "console_output"}
    assert dict(run.console.values_list("chunk_id", "content")) == {n: text for n, text in chunks.items() if text}
    final = next(e["data"] for e in sent if e["event"] == "training_complete")
    assert run.status == "completed"
    assert run.results["metrics"] == final["results"]["metrics"]
    assert run.best_epoch == final["results"]["bestEpoch"]
    assert [p.data for p in run.plots.order_by("position")] == final["plots"]
    assert run.weights is not None
    assert run.results["modelPath"] == run.weights.path
    # n epochs give n + 1 epoch_ends: the last is the repeated validation of the best weights.
    planned = sent[0]["data"]["epochs"]
    assert (run.planned_epochs, run.last_epoch, run.epochs_done, run.percentage) == (planned, planned, planned, 100.0)
    assert run.task == "detect"
    assert run.environment["hostname"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_events_does_not_matter_and_twice_is_once(call, edda_key, seed):
    model_id = start(call, edda_key, epochs=20)
    events = [epoch(model_id, n) for n in range(20)]
    events += [
        event(model_id, "console_output", chunkId=10**12 + n, content=f"line {n}", lineCount=1) for n in range(20)
    ]
    events += [event(model_id, "system_metrics", cpu=n, memory=5) for n in range(5)]
    events.append(event(model_id, "training_progress"))
    events.append(event(model_id, "training_complete", results={"metrics": {"fitness": 0.5}, "bestEpoch": 19}, runId=1))
    events *= 2
    random.Random(seed).shuffle(events)
    for body in events:
        send(call, edda_key, body)

    run = Run.objects.get(pk=model_id)
    assert list(run.epochs.order_by("number").values_list("number", flat=True)) == list(range(20))
    assert run.console.count() == 20
    assert run.samples.count() == 5
    assert (run.status, run.epochs_done, run.first_epoch, run.last_epoch) == ("completed", 20, 0, 19)
    assert (run.best_epoch, run.best_fitness) == (19, 0.019)
    assert run.last_metrics == epoch(model_id, 19)["data"]["metrics"]


def test_an_epoch_after_the_end_is_kept_and_does_not_reopen_the_run(call, edda_key):
    model_id = start(call, edda_key)
    send(call, edda_key, event(model_id, "training_complete", results={"metrics": {}}))
    send(call, edda_key, epoch(model_id, 1))
    run = Run.objects.get(pk=model_id)
    assert run.status == "completed"
    assert run.epochs.get().number == 1


def test_what_arrived_last_of_an_epoch_counts(call, edda_key):
    model_id = start(call, edda_key)
    send(call, edda_key, epoch(model_id, 0, metrics={"lr": 1}))
    send(call, edda_key, epoch(model_id, 0, metrics={"lr": 2}))
    assert Run.objects.get(pk=model_id).epochs.get().metrics == {"lr": 2}


def test_nan_and_infinity_are_missing(call, edda_key):
    model_id = start(call, edda_key)
    body = (
        json.dumps(epoch(model_id, 0)).replace("0.001", "NaN").replace("4.5", "Infinity").replace("90.5", "-Infinity")
    )
    body = body.replace('"fitness": 0.0', '"fitness": 1e999')
    assert call(edda_key, METRICS, body.encode()).status_code == 200
    stored = Epoch.objects.get()
    assert (stored.metrics["lr"], stored.metrics["val/box_loss"], stored.system["cpu"]) == (None, None, None)
    assert stored.metrics["train/box_loss"] == 4.0
    assert stored.fitness is None


def test_what_no_double_holds_is_missing_and_the_largest_epoch_can_be_resumed(call, browser, cast, edda_key):
    body = started()
    del body["data"]["epochs"]
    model_id = send(call, edda_key, body)["modelId"]
    send(call, edda_key, epoch(model_id, 2**31 - 2, system={"cpu": 10**400, "ram": -(10**400)}))
    assert Epoch.objects.get().system == {"cpu": None, "ram": None}
    assert send(call, edda_key, body | {"modelId": model_id})["runId"] == 2
    for path in ("/acme/my-project?sort=-epochs", f"/runs/{model_id}/curves?workspace=acme"):
        assert browser(cast.vera).get(path).status_code == 200


def test_text_comes_without_what_postgresql_refuses_and_without_keys(call, edda_key):
    token = str.__str__(edda_key)
    model_id = start(call, edda_key, command=f"yolo login {token}")
    content = f"\x1b[31mred\x1b[0m \0 \\ud800 ☃ {token}"
    body = json.dumps(event(model_id, "console_output", chunkId=1, content="C", lineCount=1)).replace(
        '"C"', '"' + content.replace("\x1b", "\\u001b").replace("\0", "\\u0000") + '"'
    )
    assert call(edda_key, METRICS, body.encode()).status_code == 200
    stored = ConsoleChunk.objects.get().content
    assert stored.startswith("\x1b[31mred\x1b[0m \ufffd \ufffd ☃ ul_")
    assert token not in stored
    assert token not in json.dumps(Run.objects.get().train_args)


NONSENSE = {
    "no object": [],
    "null": None,
    "no event": {"data": {}},
    "unknown kind": {"event": "training_paused", "data": {}},
    "kind is a number": {"event": 1, "data": {}},
    "no data": {"event": "epoch_end"},
    "data is a list": {"event": "epoch_end", "data": []},
    "no modelId": {"event": "epoch_end", "data": {"epoch": 0, "metrics": {}}},
    "modelId is a number": {"event": "epoch_end", "modelId": 1, "data": {"epoch": 0, "metrics": {}}},
    "no epoch": {"event": "epoch_end", "modelId": "M", "data": {"metrics": {}}},
    "negative epoch": {"event": "epoch_end", "modelId": "M", "data": {"epoch": -1, "metrics": {}}},
    "epoch is text": {"event": "epoch_end", "modelId": "M", "data": {"epoch": "1", "metrics": {}}},
    "epoch is true": {"event": "epoch_end", "modelId": "M", "data": {"epoch": True, "metrics": {}}},
    "epoch is huge": {"event": "epoch_end", "modelId": "M", "data": {"epoch": 2**31 - 1, "metrics": {}}},
    "no metrics": {"event": "epoch_end", "modelId": "M", "data": {"epoch": 1}},
    "metrics is a list": {"event": "epoch_end", "modelId": "M", "data": {"epoch": 1, "metrics": [1]}},
    "a metric is text": {"event": "epoch_end", "modelId": "M", "data": {"epoch": 1, "metrics": {"lr": "1"}}},
    "too many metrics": {
        "event": "epoch_end",
        "modelId": "M",
        "data": {"epoch": 1, "metrics": {str(n): n for n in range(2000)}},
    },
    "fitness is text": {"event": "epoch_end", "modelId": "M", "data": {"epoch": 1, "metrics": {}, "fitness": "1"}},
    "system is text": {"event": "epoch_end", "modelId": "M", "data": {"epoch": 1, "metrics": {}, "system": "x"}},
    "no chunkId": {"event": "console_output", "modelId": "M", "data": {"content": "x"}},
    "content is a number": {"event": "console_output", "modelId": "M", "data": {"chunkId": 1, "content": 1}},
    "progress is a list": {"event": "console_output", "modelId": "M", "data": {"chunkId": 1, "progress": [1]}},
    "no modelPath": {"event": "checkpoint_saved", "modelId": "M", "data": {}},
    "another modelPath": {"event": "checkpoint_saved", "modelId": "M", "data": {"modelPath": "models/a/b/best.pt"}},
    "results is text": {"event": "training_complete", "modelId": "M", "data": {"results": "x"}},
    "plots are numbers": {"event": "training_complete", "modelId": "M", "data": {"results": {}, "plots": [1]}},
    "classNames are numbers": {"event": "training_complete", "modelId": "M", "data": {"classNames": [1]}},
    "no project": {"event": "training_started", "data": {}},
    "empty project": {"event": "training_started", "project": "acme/экс", "name": "", "data": {}},
    "epochs is text": {"event": "training_started", "project": "p", "data": {"epochs": "3"}},
    "trainArgs is a list": {"event": "training_started", "project": "p", "data": {"trainArgs": []}},
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_with_a_sentence_and_changes_nothing(call, edda_key, body):
    model_id = start(call, edda_key)
    before = contents()
    if isinstance(body, dict) and body.get("modelId") == "M":
        body = body | {"modelId": model_id}
    assert_error(call(edda_key, METRICS, body), 400, code="VALIDATION_ERROR")
    assert contents() == before


@pytest.mark.parametrize("body", [b"", b"{", b'{"event": "epoch_end", "data": ' + b"[" * 5000, b"\xff\xfe"])
def test_a_body_that_is_no_json_is_refused(call, edda_key, body):
    assert_error(call(edda_key, METRICS, body), 400, code="VALIDATION_ERROR")


def contents():
    tables = (Project, Run, Epoch, ConsoleChunk, SystemSample, Plot)
    return [list(table.objects.order_by("pk").values()) for table in tables]


def every_event(model_id):
    """One of each kind for a model, resuming included."""
    return [
        epoch(model_id, 0),
        event(model_id, "console_output", chunkId=1, content="x"),
        event(model_id, "system_metrics", cpu=1),
        event(model_id, "training_progress"),
        event(model_id, "training_complete", results={}),
        event(model_id, "training_failed", error="x"),
        event(model_id, "checkpoint_saved", modelPath="models/a/b/best.pt"),
        started() | {"modelId": model_id},
    ]


def test_an_event_of_an_unknown_model_or_of_another_workspace_is_404(call, edda_key, stan_key):
    theirs = start(call, stan_key)
    for model_id in (theirs, "6745c0ffee0000000000a001", "00000000-0000-0000-0000-000000000000", "nonsense"):
        for body in every_event(model_id):
            assert_error(call(edda_key, METRICS, body), 404, "Model not found")
    assert not Epoch.objects.exists()
    assert not Run.objects.filter(workspace__slug="acme").exists()


def test_a_viewers_key_may_not_stream(call, vera_key):
    assert_error(call(vera_key, METRICS, started()), 403)
    assert not Project.objects.exists()


PATHS = {
    # what the client sends as project: the project it means, for a key of acme; None is refused with 403
    "my-project": "my-project",
    "acme/my-project": "my-project",
    "Acme/my-project": "my-project",
    "runs/foo": "foo",
    "acme/my-project-sub-dir": "my-project-sub-dir",
    "acme/My Project/sub dir": "my-project-sub-dir",
    "/data-abs-pp": "data-abs-pp",
    "nobody-here/foo": "foo",
    "stan/foo": None,
    "STAN/foo": None,
}


@pytest.mark.parametrize(("path", "slug"), PATHS.items())
def test_what_stands_before_the_slash_is_a_workspace_or_nothing(call, edda_key, stan, path, slug):
    response = call(edda_key, METRICS, started(project=path))
    if slug is None:
        assert_error(response, 403, "Permission denied for this operation")
        assert not Project.objects.exists()
    else:
        assert response.status_code == 200
        assert Project.objects.get().slug == slug
        assert Project.objects.get().workspace.slug == "acme"


def test_a_second_run_of_a_name_gets_a_number(call, edda_key):
    answers = [call(edda_key, METRICS, started(seed=n)).json() for n in range(3)]
    assert [a["modelSlug"] for a in answers] == ["exp1", "exp1-2", "exp1-3"]
    assert [a["runId"] for a in answers] == [1, 1, 1]
    assert answers[1]["modelUrl"] == "http://testserver/acme/my-project/exp1-2"
    assert call(edda_key, METRICS, started(name="")).json()["modelSlug"] == "train"
    for name in ("Exp 1!", "exp1"):
        call(edda_key, METRICS, started(name=name, seed=name))
    names = dict(Run.objects.values_list("slug", "name"))
    assert names == {slug: slug for slug in names} | {"exp-1": "Exp 1!"}


def test_a_start_whose_answer_was_lost_is_the_same_run(call, edda_key):
    first, second = start(call, edda_key), start(call, edda_key)
    assert first == second
    send(call, edda_key, epoch(first, 0))
    assert start(call, edda_key) != first


def test_resuming_goes_on_in_the_same_model_as_one_more_attempt(call, edda_key):
    model_id = start(call, edda_key)
    send(call, edda_key, epoch(model_id, 0))
    body = started() | {"modelId": model_id}
    del body["project"], body["name"]
    answer = send(call, edda_key, body)
    assert (answer["modelId"], answer["runId"], answer["modelSlug"]) == (model_id, 2, "exp1")
    assert send(call, edda_key, body)["runId"] == 2  # the answer had got lost
    send(call, edda_key, epoch(model_id, 1))
    late = event(model_id, "training_complete", results={"metrics": {}}, runId=1)
    assert send(call, edda_key, late)["ignored"] == "stale_instance"
    run = Run.objects.get()
    assert (run.status, run.attempt, run.epochs_done) == ("running", 2, 2)
    assert send(call, edda_key, event(model_id, "training_started", device="cuda:0"))["runId"] == 3
    run = Run.objects.get()  # what a start does not say stays as it was
    assert (run.device, run.planned_epochs, run.task, run.train_args["batch"]) == ("cuda:0", 3, "detect", "4")


def test_a_cancelled_run_is_told_so_and_its_late_events_are_kept(call, edda, edda_key):
    model_id = start(call, edda_key)
    assert "cancelled" not in send(call, edda_key, epoch(model_id, 0))
    assert call(edda, "DELETE /api/models/acme/my-project/exp1/training").json()["status"] == "cancelled"
    assert send(call, edda_key, epoch(model_id, 1))["cancelled"] is True
    path = upload(call, edda_key, model_id)
    send(call, edda_key, event(model_id, "checkpoint_saved", modelPath=path, runId=1, uploadPath=path))
    send(call, edda_key, event(model_id, "training_complete", results={"metrics": {"fitness": 1}}, runId=1))
    run = Run.objects.get()
    assert run.status == "cancelled"
    assert run.results["metrics"] == {"fitness": 1}
    assert run.weights is not None
    assert run.epochs.count() == 2
    assert send(call, edda_key, started() | {"modelId": model_id})["cancelled"] is True
    assert Run.objects.get().attempt == 1


def test_a_failed_run_says_why_and_lives_again_when_resumed(call, edda_key):
    model_id = start(call, edda_key)
    send(call, edda_key, event(model_id, "training_failed", error="CUDA out of memory", code="OOM"))
    run = Run.objects.get()
    assert (run.status, run.error["message"]) == ("failed", "CUDA out of memory")
    send(call, edda_key, started() | {"modelId": model_id})
    run = Run.objects.get()
    assert (run.status, run.error, run.attempt) == ("running", {}, 2)


def test_console_of_a_refused_start_is_answered_and_kept_nowhere(call, edda_key, stan):
    body = {"event": "console_output", "project": "my-project", "name": "exp1", "data": {"chunkId": 1, "content": "x"}}
    assert send(call, edda_key, body)["warning"]
    assert not Project.objects.exists()
    assert_error(call(edda_key, METRICS, body | {"project": "stan/my-project"}), 403)


def test_model_id_wins_over_project_and_name(call, edda_key):
    model_id = start(call, edda_key)
    start(call, edda_key, name="exp2")
    send(call, edda_key, epoch(model_id, 0) | {"project": "my-project", "name": "exp2"})
    assert Epoch.objects.get().run.slug == "exp1"


@pytest.mark.parametrize("deleted", ["models/acme/my-project/exp1", "projects/acme/my-project"])
def test_a_run_in_the_trash_is_gone_for_its_client(call, edda, edda_key, deleted):
    model_id = start(call, edda_key)
    assert call(edda, f"DELETE /api/{deleted}").status_code == 200
    for body in every_event(model_id):
        assert_error(call(edda_key, METRICS, body), 404, "Model not found")
    assert not Epoch.objects.exists()
    assert Run.objects.get().attempt == 1
    second = send(call, edda_key, started())  # what clients do where resuming is answered with 404
    assert (second["modelId"] != model_id, second["modelSlug"]) == (True, "exp1")


def test_progress_counts_no_epoch_twice_with_early_stopping(call, edda_key):
    model_id = start(call, edda_key, epochs=100)
    for number in range(5):
        send(call, edda_key, epoch(model_id, number))
    final = epoch(model_id, 5)
    final["data"]["metrics"] = {"metrics/mAP50-95(B)": 0.9}  # the repeated validation has no val/ values
    final["data"]["fitness"] = 0.9
    send(call, edda_key, final)
    run = Run.objects.get()
    assert (run.epochs_done, run.percentage, run.best_epoch) == (5, 5.0, 4)


def test_the_plots_of_the_last_report_are_kept(call, edda_key):
    model_id = start(call, edda_key)
    for count in (3, 1, 2):
        plots = [{"type": f"curve-{count}", "x": [n]} for n in range(count)]
        send(call, edda_key, event(model_id, "training_complete", results={}, plots=plots))
        assert [plot.data for plot in Plot.objects.order_by("position")] == plots
    assert set(Plot.objects.values_list("type", flat=True)) == {"curve-2"}


def test_the_card_of_a_key_names_the_runs_that_it_streamed_in_one_query(call, browser, cast, edda_key):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    person, path = browser(cast.edda), "/settings?tab=api-keys&workspace=acme"
    person.get(path)
    queries = []
    for count in (1, 5):
        for number in range(count):
            start(call, edda_key, name=f"run-{count}-{number}")
        with CaptureQueriesContext(connection) as captured:
            page = person.get(path).content.decode()
        queries.append(len(captured))
        assert f'href="/acme/my-project/run-{count}-{count - 1}"' in page
    assert queries[0] == queries[1]
    assert "and 3 more" in page
    assert (
        "yolo train model=yolo26n.yaml"
        in person.get(f"/settings/api-keys/{edda_key.id}?workspace=acme").content.decode()
    )
