"""The official SDK, unmodified, against the live server: both of its clients, each answer of the type it declares."""

import re
from hashlib import sha256
from itertools import chain
from typing import Any, Literal, NotRequired, TypedDict

import httpx
import pytest
from ultralytics_platform import APIError
from ultralytics_platform.types import ModelsRetrieveResponseVariant2Analysis

from tests.training.sdk import Checked, assert_conforms, find_problem

WEIGHTS = bytes(range(256)) * 2000
MAKE = """
from accounts.models import User
from apikeys.services import create_key
from workspaces.access import Actor, Role
from workspaces.models import Membership
from workspaces.services import actor_in, create_team
operator = User.objects.get(username='operator')
team = create_team(actor_in(operator, 'operator'), slug='sdk-team', name='SDK team')
stranger = User.objects.create_user('sdk-stranger')
viewer = User.objects.create_user('sdk-viewer')
membership = Membership.objects.create(workspace=team, user=viewer, role=Role.EDITOR)
places = [(operator, 'operator')] * 60 + [(operator, 'sdk-team'), (viewer, 'sdk-team'), (stranger, 'sdk-stranger')]
for who, slug in places:
    print(create_key(actor_in(who, slug), name='for the SDK')[1])
Membership.objects.filter(pk=membership.pk).update(role=Role.VIEWER)
"""


@pytest.fixture(scope="module")
def keys(server):
    """Many of the operator's, as limits count per key, one for a team and one of a Viewer in it, and a stranger's."""
    values = server.shell(MAKE).split()
    return {"operator": values[:-3]} | dict(zip(("team", "viewer", "stranger"), values[-3:], strict=True))


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


@pytest.fixture
def connect(server, kind):
    clients = []

    def open_client(token: str) -> Checked:
        clients.append(Checked(kind, token, server.url))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def sdk(connect, keys):
    return connect(keys["operator"].pop())


@pytest.fixture
def project(sdk, request):
    """A project of the test's own."""
    slug = re.sub("[^a-z]+", "-", request.node.name.removeprefix("test_")).strip("-")[:120]
    sdk.projects.create(project=slug, name="A project", tags=["one", "two"], license="MIT", metadata={"a": [1, None]})
    return slug


def begin(sdk, project, name="exp1", epochs=3, owner="operator", **args):
    """Start a run as a training does; returns the answer."""
    return sdk.training.metrics(
        event="training_started",
        project=f"{owner}/{project}",
        name=name,
        data={
            "trainArgs": {"task": "detect", "model": "yolo26n.pt", "epochs": str(epochs), "batch": "16"} | args,
            "epochs": epochs,
            "device": "cuda:0",
            "environment": {"hostname": "gpu-1", "gpuType": "NVIDIA L4", "gpuCount": 1},
            "modelInfo": {"parameters": 2504580, "gflops": 5.8},
        },
    )


def train(sdk, project, name="exp1", epochs=3, owner="operator"):
    """A whole run with all eight kinds of events but `training_failed`. Returns its modelId."""
    started = begin(sdk, project, name, epochs, owner)
    model_id, run_id = started["modelId"], started["runId"]

    def send(event: str, **data: Any) -> Any:
        return sdk.training.metrics(event=event, model_id=model_id, data=data)

    send("training_progress")
    send("system_metrics", cpu=50.0, memory=4.5, disk={"used": 1}, gpus={"0": {"usage": 99}})
    send("console_output", chunkId=1, content="\x1b[1mtraining\x1b[0m", lineCount=1, progress={"1": "33%"})
    for number in range(epochs):
        metrics = {"train/box_loss": 3 - number, "val/box_loss": 2.5, "metrics/mAP50(B)": number / 10, "lr": None}
        send("epoch_end", epoch=number, metrics=metrics, system={}, fitness=number / 10, total_epochs=epochs)
    path = upload(sdk, model_id, run_id)
    send("checkpoint_saved", runId=run_id, modelPath=path, uploadPath=path)
    rows = [["a.jpg", 9, 1, 0], ["b.jpg", 1, 3, 2]]
    validation = {"population": 2, "sampling": "f1_rank", "rows": rows, "extremes": {"worst": rows[::-1], "best": rows}}
    results = {"metrics": {"fitness": 0.2, "lr": None}, "bestEpoch": 2, "bestFitness": 0.2, "modelPath": path}
    send(
        "training_complete",
        runId=run_id,
        results=results | {"validation": validation},
        classNames=["a", "b"],
        plots=[{"type": "pr_curve", "x": [0, 1], "y": [[1, 0]], "ap": [0.5]}],
    )
    return model_id


def upload(sdk, model_id, run_id, content=WEIGHTS):
    answer = sdk.models.upload_checkpoint(filename="best.pt", model_id=model_id, run_id=run_id, size=len(content))
    put = httpx.put(answer["uploadUrl"], content=content, headers={"Content-Type": "application/octet-stream"})
    assert put.status_code == 204, put.text
    return answer["gcsPath"]


def test_a_training_and_all_that_is_known_of_it(sdk, project):
    before = sdk.account.summary()["counts"]
    model_id = train(sdk, project)

    model = sdk.models.retrieve("operator", project, "exp1")["model"]
    assert model["id"] == model_id
    assert (model["status"], model["task"], model["epochs"], model["hasWeights"]) == ("completed", "detect", 3, True)
    assert model["file"] == {"size": len(WEIGHTS)}
    assert [(row["epoch"], row["fitness"]) for row in model["trainResults"]] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert model["trainResults"][2]["metrics"] == {"train/box_loss": 1, "val/box_loss": 2.5, "metrics/mAP50(B)": 0.2}
    assert [chunk["content"] for chunk in model["consoleChunks"]] == ["\x1b[1mtraining\x1b[0m"]
    assert model["plots"] == [{"type": "pr_curve", "x": [0, 1], "y": [[1, 0]], "ap": [0.5]}]
    assert (model["classNames"], model["bestEpoch"], model["bestFitness"]) == (["a", "b"], 2, 0.2)
    assert model["metrics"] == {"fitness": 0.2}
    assert model["trainArgs"]["batch"] == "16"
    assert model["environment"]["hostname"] == "gpu-1"

    job = sdk.models.training("operator", project, "exp1")["job"]
    assert (job["status"], job["progress"]["currentEpoch"], job["progress"]["percentage"]) == ("completed", 3, 100)
    assert job["compute"]["gpuType"] == "NVIDIA L4"
    assert job["trainArgs"] == {"model": "yolo26n.pt", "epochs": 3, "batch": 16}

    [listed] = sdk.models.list("operator", project)["models"]
    assert listed["id"] == model_id
    assert "plots" not in listed
    retrieved = sdk.projects.retrieve("operator", project)
    assert retrieved["project"]["modelCount"] == 1
    assert retrieved["project"]["totalBytes"] == len(WEIGHTS)
    assert [(short["model"], short["epochCount"]) for short in retrieved["models"]] == [("exp1", 3)]
    assert sdk.projects.retrieve("operator", project, search="nothing like it")["models"] == []

    after = sdk.account.summary()["counts"]
    assert after == before | {"models": before["models"] + 1}
    storage = sdk.account.storage(details="true")
    assert storage["usage"]["storage"]["current"] >= len(WEIGHTS)
    assert storage["breakdown"]["topItems"][0]["sizeBytes"] >= len(WEIGHTS)
    assert sdk.account.storage()["breakdown"]["topItems"] == []


def test_the_analysis_of_a_validation(sdk, project):
    train(sdk, project)
    analysis = sdk.models.retrieve("operator", project, "exp1", analysis="1")["analysis"]
    assert_conforms(analysis, ModelsRetrieveResponseVariant2Analysis)
    assert (analysis["population"], analysis["retained"], analysis["matched"]) == (2, 2, 0)
    begin(sdk, project, "exp2")
    assert sdk.models.retrieve("operator", project, "exp2", analysis="1") == {"analysis": None}


def test_the_weights_are_downloaded_as_they_were_uploaded_also_in_parts(sdk, project):
    train(sdk, project)
    [file] = sdk.models.files("operator", project, "exp1")["files"]
    assert (file["name"], file["size"]) == ("best.pt", len(WEIGHTS))
    whole = httpx.get(file["downloadUrl"], headers={"Accept-Encoding": "identity"})
    assert (whole.status_code, whole.headers["Content-Length"]) == (200, str(len(WEIGHTS)))
    assert "Content-Encoding" not in whole.headers
    assert whole.content == WEIGHTS
    first = httpx.get(file["downloadUrl"], headers={"Range": "bytes=0-99999"})
    rest = httpx.get(file["downloadUrl"], headers={"Range": "bytes=100000-"})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert rest.headers["Content-Range"] == f"bytes 100000-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"
    assert first.content + rest.content == WEIGHTS
    with httpx.Client() as client:  # an answer to HEAD with a body would spoil the connection for the next request
        for _ in range(2):
            head = client.head(file["downloadUrl"])
            assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(WEIGHTS)), b"")
        assert client.get(file["downloadUrl"]).content == WEIGHTS
    assert sha256(WEIGHTS).hexdigest()[:8] in file["downloadUrl"], "the name changes with the bytes"


def test_a_run_without_weights_has_no_files(sdk, project):
    begin(sdk, project)
    assert sdk.models.files("operator", project, "exp1") == {"files": []}
    assert sdk.models.retrieve("operator", project, "exp1")["model"]["hasWeights"] is False


def test_a_failed_training_says_why(sdk, project):
    model_id = begin(sdk, project)["modelId"]
    sdk.training.metrics(
        event="training_failed", model_id=model_id, data={"error": "CUDA out of memory", "code": "OOM"}
    )
    error = sdk.models.retrieve("operator", project, "exp1")["model"]["trainingError"]
    assert (error["message"], error["code"]) == ("CUDA out of memory", "OOM")
    job = sdk.models.training("operator", project, "exp1")["job"]
    assert (job["status"], job["error"]["message"]) == ("failed", "CUDA out of memory")


def test_a_project_from_its_creation_to_its_end(sdk, kind, connect):
    slug = f"from-creation-to-end-{kind}"
    created = sdk.projects.create(project=slug, name="Life", description="of a project", visibility="private")
    assert (created["owner"], created["project"]) == ("operator", slug)
    assert slug in [one["project"] for one in sdk.projects.list("operator")["projects"]]
    assert len(sdk.projects.list("operator", limit=1)["projects"]) == 1
    assert sdk.projects.list("operator", limit=1)["total"] > 1

    sdk.projects.update("operator", slug, name="New name", description="", tags=["a"], license="AGPL-3.0")
    sdk.projects.update("operator", slug, metadata={"nested": {"x": [1, "☃"]}}, visibility="public", archived=True)
    sdk.projects.update("operator", slug, icon_color="#fff", icon_letter=None, view_preferences={"sortBy": "newest"})
    stars = sdk.projects.update("operator", slug, starred=True)
    assert (stars["starred"], stars["starCount"]) == (True, 1)
    project = sdk.projects.retrieve("operator", slug)["project"]
    assert (project["id"], project["name"], project["tags"]) == (created["id"], "New name", ["a"])
    assert (project["license"], project["visibility"], project["archived"]) == ("AGPL-3.0", "public", True)
    assert project["metadata"] == {"nested": {"x": [1, "☃"]}}
    assert (project["isStarred"], project["starCount"]) == (True, 1)
    assert sdk.projects.update("operator", slug, starred=False)["starCount"] == 0

    train(sdk, slug)
    begin(sdk, slug, "exp2")
    copy = sdk.projects.clone("operator", slug, name="Twin", project_body=f"{slug}-twin", models=["exp1"])
    assert (copy["project"], copy["modelCount"]) == (f"{slug}-twin", 1)
    twin = sdk.projects.retrieve("operator", f"{slug}-twin")
    assert [model["model"] for model in twin["models"]] == ["exp1"]
    other = sdk.projects.clone("operator", slug, description="described", visibility="private", license="MIT")
    described = sdk.projects.retrieve("operator", other["project"])["project"]
    assert (described["description"], described["visibility"], described["license"]) == ("described", "private", "MIT")
    assert other["modelCount"] == 2

    deleted = sdk.projects.delete("operator", slug)
    assert deleted["cascadedModels"] == 2
    assert_refused(404, sdk.projects.retrieve, "operator", slug)
    assert_refused(404, sdk.models.retrieve, "operator", slug, "exp1")
    sdk.projects.create(project=slug, name="Again")


def test_a_model_from_its_creation_to_its_end(sdk, project, kind):
    created = sdk.models.create(
        body={"project": project, "name": "Exp 1", "task": "segment", "epochs": 10, "trainArgs": {"imgsz": 640}}
    )
    assert (created["model"], created["name"]) == ("exp-1", "Exp 1")
    model = sdk.models.retrieve("operator", project, "exp-1")["model"]
    assert (model["status"], model["task"], model["epochs"]) == ("untrained", "segment", 10)
    assert sdk.models.training("operator", project, "exp-1") == {"job": None}
    assert sdk.models.create(body={"project": project, "name": "Exp 1"})["model"] == "exp-1-2"

    update = {"name": "Renamed", "color": "#00f", "description": "x", "metadata": {"a": 1}, "license": "Other"}
    sdk.models.update("operator", project, "exp-1", **update, epochs=20.0, train_args={"imgsz": 320})
    sdk.models.update("operator", project, "exp-1", color=None, dataset_slug=None, best_epoch=1, version="2")
    assert sdk.models.update("operator", project, "exp-1", starred=True)["starCount"] == 1
    model = sdk.models.retrieve("operator", project, "exp-1")["model"]
    assert {name: model[name] for name in ("name", "description", "metadata", "license")} == {
        name: update[name] for name in ("name", "description", "metadata", "license")
    }
    assert (model["epochs"], model["trainArgs"], model["isStarred"]) == (20, {"imgsz": 320}, True)

    elsewhere = sdk.projects.create(project=f"elsewhere-{kind}", name="Elsewhere")
    sdk.models.update("operator", project, "exp-1", project_id=elsewhere["id"])
    assert_refused(404, sdk.models.retrieve, "operator", project, "exp-1")
    assert sdk.models.retrieve("operator", f"elsewhere-{kind}", "exp-1")["model"]["projectName"] == "Elsewhere"
    copy = sdk.models.clone("operator", f"elsewhere-{kind}", "exp-1", project_body=project, description="a copy")
    assert (copy["project"], copy["model"]) == (project, "renamed-copy")
    cloned = sdk.models.retrieve("operator", project, copy["model"])["model"]
    assert (cloned["description"], cloned["license"], cloned["trainArgs"]) == ("a copy", "Other", {"imgsz": 320})

    sdk.models.delete("operator", project, copy["model"])
    assert_refused(404, sdk.models.retrieve, "operator", project, copy["model"])
    assert len(sdk.models.list("operator", project, limit=1)["models"]) == 1


@pytest.mark.parametrize("how", ["delete_training", "update"])
def test_cancelling_reaches_the_next_event_and_is_final(sdk, project, how):
    model_id = begin(sdk, project)["modelId"]
    event = {"event": "epoch_end", "model_id": model_id, "data": {"epoch": 0, "metrics": {}}}
    assert "cancelled" not in sdk.training.metrics(**event)
    if how == "update":
        sdk.models.update("operator", project, "exp1", status="cancelled")
    else:
        assert sdk.models.delete_training("operator", project, "exp1")["status"] == "cancelled"
    assert sdk.training.metrics(**event)["cancelled"] is True
    complete = {"event": "training_complete", "model_id": model_id, "data": {"results": {}, "runId": 1}}
    assert sdk.training.metrics(**complete)["cancelled"] is True
    job = sdk.models.training("operator", project, "exp1")["job"]
    assert job["status"] == "cancelled"
    assert sdk.models.delete_training("operator", project, "exp1")["warning"]


@pytest.mark.parametrize("how", ["delete_training", "update"])
def test_what_has_ended_is_not_cancelled_any_more(sdk, project, how):
    train(sdk, project)
    arguments = {"status": "cancelled"} if how == "update" else {}
    refused = assert_refused(409, getattr(sdk.models, how), "operator", project, "exp1", **arguments)
    assert refused.json["error"] == "The training had ended already: completed"
    assert sdk.models.retrieve("operator", project, "exp1")["model"]["status"] == "completed"


def test_who_is_a_user(sdk):
    assert sdk.account.profile(username="Operator")["user"]["accountType"] == "personal"
    assert sdk.account.profile(username="sdk-team")["user"]["accountType"] == "team"
    assert_refused(404, sdk.account.profile, username="nobody-of-this-name")


def assert_refused(status: int, method: Any, /, *args: Any, **kwargs: Any) -> APIError:
    with pytest.raises(APIError) as refused:
        method(*args, **kwargs)
    assert refused.value.status_code == status, refused.value.body
    assert isinstance(refused.value.json["error"], str)
    return refused.value


def calls(sdk, owner, project):
    """Every call about a project and its model, the reading ones first."""
    place, model = (owner, project), (owner, project, "exp1")
    reading = [
        (sdk.projects.list, (owner,), {}),
        (sdk.projects.retrieve, place, {}),
        (sdk.models.list, place, {}),
        (sdk.models.retrieve, model, {}),
        (sdk.models.files, model, {}),
        (sdk.models.training, model, {}),
    ]
    writing = [
        (sdk.projects.create, (), {"project": "made-by-others", "name": "x", "owner": owner}),
        (sdk.projects.update, place, {"name": "x"}),
        (sdk.projects.clone, place, {}),
        (sdk.projects.delete, place, {}),
        (sdk.models.create, (), {"body": {"project": project, "owner": owner, "name": "x"}}),
        (sdk.models.update, model, {"name": "x"}),
        (sdk.models.clone, model, {"project_body": project}),
        (sdk.models.delete_training, model, {}),
        (sdk.models.delete, model, {}),
    ]
    return reading, writing


def test_a_viewers_key_reads_and_changes_nothing(connect, keys, kind):
    project = f"seen-by-viewers-{kind}"
    editor, viewer = connect(keys["team"]), connect(keys["viewer"])
    editor.projects.create(project=project, name="x")
    model_id = train(editor, project, owner="sdk-team")
    seen = [editor.projects.retrieve("sdk-team", project), editor.models.retrieve("sdk-team", project, "exp1")]
    reading, writing = calls(viewer, "sdk-team", project)
    for method, args, kwargs in reading:
        method(*args, **kwargs)
    for method, args, kwargs in writing:
        assert_refused(403, method, *args, **kwargs)
    assert_refused(403, viewer.training.metrics, event="training_started", project=project, data={})
    assert_refused(403, viewer.training.metrics, event="training_progress", model_id=model_id, data={})
    assert_refused(403, viewer.models.upload_checkpoint, filename="best.pt", project=project, name="exp1")
    seen[0]["isOwner"] = seen[1]["isOwner"] = False  # what an Editor is told
    assert seen == [viewer.projects.retrieve("sdk-team", project), viewer.models.retrieve("sdk-team", project, "exp1")]


def test_a_stranger_learns_nothing_of_a_workspace_and_its_names(sdk, connect, keys, project):
    train(sdk, project)
    stranger = connect(keys["stranger"])
    reading, writing = calls(stranger, "operator", project)
    for method, args, kwargs in chain(reading, writing):
        refused = assert_refused(403, method, *args, **kwargs)
        assert refused.json == {"error": "Permission denied for this operation", "code": "FORBIDDEN"}
    model_id = sdk.models.retrieve("operator", project, "exp1")["model"]["id"]
    assert_refused(404, stranger.training.metrics, event="training_progress", model_id=model_id, data={})
    assert_refused(404, stranger.models.upload_checkpoint, filename="best.pt", model_id=model_id)
    assert_refused(403, stranger.training.metrics, event="training_started", project=f"operator/{project}", data={})
    own = stranger.projects.list("sdk-stranger")
    assert own["projects"] == []
    assert stranger.account.summary()["counts"]["models"] == 0


def test_what_is_not_there_is_not_found(sdk, project):
    for method, args, kwargs in chain(*calls(sdk, "no-such-owner", project)):
        assert_refused(404, method, *args, **kwargs)
    for method, args, kwargs in chain(*calls(sdk, "operator", "no-such-project")):
        if args != ("operator",) and "owner" not in kwargs:
            assert_refused(404, method, *args, **kwargs)
    reading, writing = calls(sdk, "operator", project)
    for method, args, kwargs in chain(reading, writing):
        if "exp1" in args:
            assert assert_refused(404, method, *args, **kwargs).json["error"] == "Model not found"
    assert_refused(404, sdk.models.create, body={"project": "no-such-project", "name": "x"})


def test_a_project_is_not_made_twice(sdk, project):
    refused = assert_refused(409, sdk.projects.create, project=project, name="Other")
    assert refused.json["error"] == "Project already exists"
    assert sdk.projects.retrieve("operator", project)["project"]["name"] == "A project"


@pytest.mark.parametrize(
    "fields",
    [
        {"project": "No Slug"},
        {"name": ""},
        {"license": "My own licence"},
        {"visibility": "secret"},
        {"tags": "no list"},
        {"metadata": ["no map"]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_cannot_be_used_is_refused_with_the_name_of_the_field(sdk, kind, fields):
    given = {"project": f"refused-{kind}", "name": "x"} | fields
    refused = assert_refused(400, sdk.projects.create, **given)
    assert next(iter(fields)) in refused.json["error"]
    if "project" not in fields:
        assert_refused(404, sdk.projects.retrieve, "operator", f"refused-{kind}")


def test_a_revoked_key_is_refused_everywhere(server, connect, keys):
    token = keys["operator"].pop()
    sdk = connect(token)
    sdk.projects.list("operator")
    server.manage("revoke_api_key", "--value", text=token)
    for method, args, kwargs in chain(*calls(sdk, "operator", "any")):
        assert assert_refused(401, method, *args, **kwargs).json["error"] == "Invalid API key"
    assert_refused(401, sdk.training.metrics, event="training_started", project="any", data={})
    assert_refused(401, sdk.models.upload_checkpoint, filename="best.pt", model_id="x")


class Answer(TypedDict):
    kind: Literal["a", True]
    size: float
    count: NotRequired[int | None]
    rows: NotRequired[list[dict[str, int]]]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"kind": "a"},
        {"kind": "b", "size": 1},
        {"kind": 1, "size": 1},
        {"kind": "a", "size": True},
        {"kind": "a", "size": "1"},
        {"kind": "a", "size": None},
        {"kind": "a", "size": 1, "count": 1.5},
        {"kind": "a", "size": 1, "rows": None},
        {"kind": "a", "size": 1, "rows": {}},
        {"kind": "a", "size": 1, "rows": [{"x": None}]},
        {"kind": "a", "size": 1, "rows": [{"x": True}]},
    ],
    ids=str,
)
def test_the_check_of_types_sees_what_is_wrong(wrong):
    assert find_problem(wrong, Answer, "answer")


@pytest.mark.parametrize(
    "right",
    [{"kind": "a", "size": 1}, {"kind": True, "size": 1.5, "count": None, "more": 1, "rows": [{"x": 1}, {}]}],
    ids=str,
)
def test_the_check_of_types_passes_what_is_right(right):
    assert_conforms(right, Answer)
