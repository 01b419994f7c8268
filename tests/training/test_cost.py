"""What an event costs in statements: constant, whatever the length of the run."""

import pytest

from tests.apikeys.test_lookup import statements_sent
from tests.training.stream import METRICS, epoch, event, start, started, upload

pytestmark = pytest.mark.django_db
MOST = 6  # statements of one event, the authentication included


def count(call, who, what, body):
    from django.db import connection

    def act():
        assert call(who, what, body).status_code == 200

    sent = statements_sent(connection.connection, act)
    return len([s for s in sent if "SAVEPOINT" not in s[-1]])


@pytest.mark.parametrize("length", [1, 300])
def test_no_event_takes_more_than_six_statements_however_long_the_run(call, edda_key, length):
    model_id = start(call, edda_key, epochs=1000)
    for number in range(length):
        call(edda_key, METRICS, epoch(model_id, number))
        call(edda_key, METRICS, event(model_id, "console_output", chunkId=number, content="x", lineCount=1))
    path = upload(call, edda_key, model_id)
    newer, newest = upload(call, edda_key, model_id), upload(call, edda_key, model_id)
    results = {"modelPath": newest}
    plots = [{"type": "pr_curve", "x": [0, 1], "y": [[1, 0]]}] * length
    counts = {
        "again": count(call, edda_key, METRICS, epoch(model_id, 0)),
        "epoch": count(call, edda_key, METRICS, epoch(model_id, length)),
        "console": count(call, edda_key, METRICS, event(model_id, "console_output", chunkId=length, content="x")),
        "system": count(call, edda_key, METRICS, event(model_id, "system_metrics", cpu=1)),
        "progress": count(call, edda_key, METRICS, event(model_id, "training_progress")),
        "saved": count(call, edda_key, METRICS, event(model_id, "checkpoint_saved", modelPath=path, runId=1)),
        "upload": count(
            call, edda_key, "POST /api/webhooks/models/upload", {"modelId": model_id, "runId": 1, "filename": "best.pt"}
        ),
        "saved again": count(call, edda_key, METRICS, event(model_id, "checkpoint_saved", modelPath=newer, runId=1)),
        "failed": count(call, edda_key, METRICS, event(model_id, "training_failed", error="x")),
        "complete": count(call, edda_key, METRICS, event(model_id, "training_complete", results=results, plots=plots)),
        "resume": count(call, edda_key, METRICS, started() | {"modelId": model_id}),
        "second run": count(call, edda_key, METRICS, started(seed=1)),
        "elsewhere": count(call, edda_key, METRICS, started(project="nobody-here/my-project", seed=2)),
    }
    print(counts)
    assert {name: n for name, n in counts.items() if n > MOST} == {}
    assert [counts[name] for name in ("again", "epoch", "console", "system", "progress")] == [2] * 5
