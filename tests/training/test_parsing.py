"""Whatever comes in: an answer in the documented format, never a crash."""

import json
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.errors import Invalid
from tests.training.stream import METRICS, WEIGHTS, event, path_of, send, start, upload
from training import analysis, events
from training.models import Run
from training.webhooks import byte_range

PLENTY = hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
FEWER = hypothesis_settings(PLENTY, max_examples=80)

texts = st.text(st.characters(exclude_categories=()), max_size=20)  # NUL and lone surrogates, too
scalars = st.none() | st.booleans() | st.integers() | st.integers(10**300, 10**320) | st.floats() | texts
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
FIELDS = (
    "trainArgs epochs device environment system modelInfo epoch metrics fitness best_fitness total_epochs chunkId "
    "content lineCount progress modelPath runId uploadPath results classNames plots error code cpu"
).split()
results = st.dictionaries(
    st.sampled_from(["metrics", "bestEpoch", "bestFitness", "modelPath", "validation"]), anything, max_size=4
)
numbers = st.dictionaries(texts, st.none() | st.integers() | st.floats(), max_size=4)
data = st.dictionaries(st.sampled_from(FIELDS), anything | results | numbers | st.integers(0, 9), max_size=8)
bodies = st.fixed_dictionaries(
    {"event": st.sampled_from(list(events.READERS)), "data": data},
    optional={"modelId": texts | anything, "project": texts | st.just("acme/p"), "name": texts | anything},
)
maps = st.dictionaries(texts, anything, max_size=4)
number = st.none() | st.integers() | st.floats()
whole = st.integers(0, 2**31 - 1)
valid = {  # what is probably taken, with anything inside
    "training_started": st.fixed_dictionaries({"trainArgs": maps, "epochs": whole, "environment": maps}),
    "epoch_end": st.fixed_dictionaries(
        {"epoch": whole, "metrics": numbers}, optional={"system": maps, "fitness": number, "modelInfo": numbers}
    ),
    "console_output": st.fixed_dictionaries(
        {"chunkId": st.integers(0, 2**63 - 1), "content": texts, "lineCount": whole},
        optional={"progress": st.dictionaries(texts, texts, max_size=3)},
    ),
    "system_metrics": maps,
    "training_complete": st.fixed_dictionaries(
        {"results": st.fixed_dictionaries({"metrics": numbers}, optional={"bestEpoch": whole, "validation": maps})},
        optional={"plots": st.lists(maps, max_size=3), "classNames": st.lists(texts, max_size=3)},
    ),
    "training_failed": st.fixed_dictionaries({"error": texts}),
}
likely = st.one_of(
    st.fixed_dictionaries({"event": st.just(kind), "data": data, "project": st.just("acme/p"), "name": texts})
    for kind, data in valid.items()
)


@pytest.fixture(autouse=True)
def _unlimited(settings):
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS)


@PLENTY
@given(anything | bodies | likely)
def test_an_event_is_read_or_refused_with_a_sentence(body):
    with suppress(Invalid):
        assert events.parse(body).kind == body["event"]


@FEWER
@given(body=bodies | likely | likely, of_the_run=st.booleans())
@pytest.mark.django_db
def test_an_event_that_can_be_read_can_be_stored_and_shown(call, browser, cast, edda_key, body, of_the_run):
    if of_the_run:
        body = body | {"modelId": start(call, edda_key)}
    answer = call(edda_key, METRICS, json.dumps(body).encode())
    assert answer.status_code in (200, 400, 404), answer.content
    if answer.status_code == 200 and answer.json().get("modelId"):
        for project in call(edda_key, "GET /api/projects/acme?limit=3").json()["projects"]:
            shown = call(edda_key, f"GET /api/projects/acme/{project['project']}")
            assert shown.status_code == 200
            for model in shown.json()["models"][:3]:
                path = f"/api/models/acme/{project['project']}/{model['model']}"
                for what in (path, path + "/training", path + "?analysis=1", path + "/files"):
                    assert call(edda_key, f"GET {what}").status_code == 200
        person = browser(cast.vera)
        run = Run.objects.select_related("project").get(pk=answer.json()["modelId"])
        overlay = [("run", run.pk), *(("metric", name) for name in list(run.last_metrics)[:1])]
        for path in (
            f"/acme/{run.project.slug}?sort=epochs",
            f"/acme/{run.project.slug}?sort=metric",
            f"/acme/{run.project.slug}/{run.slug}",
            *(f"/runs/{run.pk}/{what}" for what in ("curves", "console", "live?after=0", "export.csv", "export.json")),
            f"/projects/{run.project_id}/curves?{urlencode(overlay)}",
            f"/projects/{run.project_id}/export.csv",
        ):
            page = person.get(f"{path}{'&' if '?' in path else '?'}workspace=acme")
            assert page.status_code == 200, path
            if page.streaming:
                b"".join(page.streaming_content)


@PLENTY
@given(st.one_of(texts, st.from_regex(r"bytes=[0-9 ]*-[0-9, ]*")), st.integers(0, 2**60))
def test_a_range_is_in_the_file_or_not_heeded_or_refused(header, size):
    try:
        found = byte_range(header, size)
    except ValueError:
        return
    if found is not None:
        assert 0 <= found[0] <= found[1] < size


rows = st.lists(st.tuples(texts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)).map(list), max_size=4)
validations = st.fixed_dictionaries({"rows": rows | anything}, optional={"extremes": anything, "population": scalars})


@PLENTY
@given(anything | validations)
def test_the_analysis_of_anything_is_an_analysis_or_none(validation):
    found = analysis.analysis_of(validation)
    assert found is None or found["retained"] > 0


headers = st.dictionaries(
    st.sampled_from(["HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_ACCEPT_ENCODING", "CONTENT_LENGTH", "CONTENT_TYPE"]),
    st.from_regex(r"\A(bytes=[0-9]*-[0-9]*|[ -~]{0,20})\Z"),
)
queries = st.dictionaries(st.sampled_from(["expires", "by", "signature", "x"]), st.text(max_size=30) | st.just("1"))


@FEWER
@given(queries=queries, headers=headers, is_signed=st.booleans())
@pytest.mark.django_db
def test_an_address_with_anything_about_it_is_answered(call, edda_key, queries, headers, is_signed):
    model_id = start(call, edda_key)
    path = upload(call, edda_key, model_id)
    send(call, edda_key, event(model_id, "checkpoint_saved", modelPath=path, runId=1))
    body = {"modelId": model_id, "runId": 1, "filename": "best.pt"}
    addresses = [call(edda_key, "POST /api/webhooks/models/upload", body).json()["uploadUrl"]]
    found = call(edda_key, "GET /api/models/acme/my-project/exp1/files").json()
    addresses += [file["downloadUrl"] for file in found.get("files", [])]
    for method, address in zip(("PUT", "GET"), addresses, strict=False):
        path, _, query = path_of(address).partition("?")
        # The right signature comes last, where it counts, so that the headers are looked at.
        query = f"{urlencode(queries)}&{query}" if is_signed else urlencode(queries)
        extra = {name: value for name, value in headers.items() if method == "PUT" or name != "CONTENT_LENGTH"}
        answer = call(None, f"{method} {path}?{query}", WEIGHTS if method == "PUT" else None, **extra)
        assert answer.status_code in (200, 204, 206, 400, 403, 404, 413, 416), (answer.status_code, method, extra)
        if answer.streaming:
            assert len(b"".join(answer.streaming_content)) == int(answer["Content-Length"])
