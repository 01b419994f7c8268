"""Checkpoints: an address is good for one thing, a file is whole or not there, weights only get newer."""

import ast
import http.client
import json
import os
import random
import re
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import psutil
import pytest
from django.db.models.functions import Now

from accounts.models import User
from apikeys import services as key_services
from apikeys import usage
from tests.conftest import actor_of, assert_error, make_key
from tests.live import ROOT, Server, wait_for
from tests.training.stream import WEIGHTS, event, path_of, put, send, start, started, upload
from training import services
from training.models import Checkpoint, Project, Run
from workspaces import services as workspaces
from workspaces.access import Role
from workspaces.models import Membership

pytestmark = pytest.mark.django_db
OTHER = b"other bytes altogether" * 500
UPLOAD = "POST /api/webhooks/models/upload"


@pytest.fixture(autouse=True)
def folder(tmp_path, settings):
    """Where the checkpoints of a test are. Listed after each: what no checkpoint knows has been left behind."""
    place = tmp_path / "checkpoints"
    options = settings.STORAGES["checkpoints"]["OPTIONS"] | {"location": place}
    settings.STORAGES = settings.STORAGES | {"checkpoints": settings.STORAGES["checkpoints"] | {"OPTIONS": options}}
    yield place
    known = set(Checkpoint.objects.filter(removed_at=None).exclude(file="").values_list("file", flat=True))
    assert files_in(place) == known


def files_in(place):
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def call(call, django_capture_on_commit_callbacks):
    """What waits for the end of a transaction happens with the request, as it does outside tests."""

    def committed(*args, **kwargs):
        with django_capture_on_commit_callbacks(execute=True):
            return call(*args, **kwargs)

    return committed


@pytest.fixture
def model_id(call, edda_key):
    return start(call, edda_key)


def ask(call, who, model_id, run_id=1, filename="best.pt", **more):
    body = {"modelId": model_id, "filename": filename} | more
    answer = call(who, UPLOAD, body | ({"runId": run_id} if run_id else {}))
    assert answer.status_code == 200, answer.content
    return answer.json()


def saved(call, who, model_id, path, run_id=1, status=200):
    body = event(model_id, "checkpoint_saved", modelPath=path, uploadPath=path, runId=run_id)
    return send(call, who, body, status)


def weights(call, who, model="exp1"):
    """The bytes that a client would load, or None."""
    files = call(who, f"GET /api/models/acme/my-project/{model}/files").json()["files"]
    if not files:
        return None
    answer = call(None, f"GET {path_of(files[0]['downloadUrl'])}")
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


def download_address(call, who, model="exp1"):
    [file] = call(who, f"GET /api/models/acme/my-project/{model}/files").json()["files"]
    return file["downloadUrl"]


def get(call, address):
    return call(None, f"GET {path_of(address)}")


def with_weights(call, who, model_id, data=WEIGHTS):
    path = upload(call, who, model_id, data=data)
    saved(call, who, model_id, path)
    return path


# What an address is good for


def test_the_weights_are_those_that_were_uploaded_and_their_digest_is_kept(call, edda_key, model_id):
    assert weights(call, edda_key) is None
    path = upload(call, edda_key, model_id)
    assert weights(call, edda_key) is None, "only checkpoint_saved makes them the weights"
    saved(call, edda_key, model_id, path)
    assert weights(call, edda_key) == WEIGHTS
    checkpoint = Checkpoint.objects.get()
    assert bytes(checkpoint.sha256) == sha256(WEIGHTS).digest()
    assert checkpoint.size_bytes == len(WEIGHTS)
    path = urlsplit(download_address(call, edda_key)).path
    assert path.endswith(f"/best-{sha256(WEIGHTS).hexdigest()[:8]}.pt")


def test_an_address_names_nobody_and_is_kept_by_no_cache(call, edda_key, model_id):
    with_weights(call, edda_key, model_id)
    for what, body in (
        (UPLOAD, {"modelId": model_id, "runId": 1, "filename": "best.pt"}),
        ("GET /api/models/acme/my-project/exp1/files", None),
    ):
        answer = call(edda_key, what, body)
        assert answer["Cache-Control"] == "no-store"
        assert not re.search("ul_[0-9a-f]{8}|edda", answer.content.decode())
    assert "no-store" in get(call, download_address(call, edda_key))["Cache-Control"]


def revoke(call, edda, edda_key, team):
    key_services.revoke_key(actor_of(edda, team), edda_key.row)


def demote(call, edda, edda_key, team):
    Membership.objects.filter(user=edda, workspace=team).update(role=Role.VIEWER)


def remove(call, edda, edda_key, team):
    Membership.objects.filter(user=edda, workspace=team).delete()


def suspend(call, edda, edda_key, team):
    workspaces.suspend(None, team)


def deactivate(call, edda, edda_key, team):
    User.objects.filter(pk=edda.pk).update(is_active=False)


def delete_run(call, edda, edda_key, team):
    services.delete_run(actor_of(edda, team), Run.objects.get())


def delete_project(call, edda, edda_key, team):
    services.delete_project(actor_of(edda, team), Project.objects.get())


ENDS = {revoke: (403, 403), demote: (403, 200), remove: (403, 403), suspend: (403, 403), deactivate: (403, 403)}
ENDS |= {delete_run: (404, 404), delete_project: (404, 404)}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_an_address_dies_with_what_it_was_given_for(call, edda, edda_key, team, model_id, folder, end):
    with_weights(call, edda_key, model_id)
    put_there, get_there = ask(call, edda_key, model_id)["uploadUrl"], download_address(call, edda_key)
    before = files_in(folder)
    make_key(actor_of(edda, team), "goes on, and had nothing signed")
    end(call, edda, edda_key, team)
    for_put, for_get = ENDS[end]
    assert_error(put(call, put_there, status=for_put), for_put)
    answer = get(call, get_there)
    assert answer.status_code == for_get
    if for_get != 200:
        assert_error(answer, for_get)
    assert files_in(folder) == before


def test_an_address_that_a_person_asked_for_dies_with_their_place_in_the_workspace(
    call, edda, edda_key, team, model_id
):
    with_weights(call, edda_key, model_id)
    files = call(edda, "GET /api/models/acme/my-project/exp1/files").json()["files"]
    assert get(call, files[0]["downloadUrl"]).status_code == 200
    remove(call, edda, edda_key, team)
    assert_error(get(call, files[0]["downloadUrl"]), 403)


def test_an_address_expires(call, edda_key, model_id, settings, folder):
    with_weights(call, edda_key, model_id)
    before = files_in(folder)
    settings.SIGNED_URL_SECONDS = -1
    assert_error(put(call, ask(call, edda_key, model_id)["uploadUrl"], status=403), 403, "This address has expired")
    assert_error(get(call, download_address(call, edda_key)), 403, "This address has expired")
    assert files_in(folder) == before


def test_an_address_cannot_be_bent_to_anything_else(call, edda_key, stan_key, model_id, folder):
    with_weights(call, edda_key, model_id)
    other = start(call, edda_key, name="other")
    there, elsewhere = ask(call, edda_key, model_id), ask(call, edda_key, other)
    fetch = download_address(call, edda_key)
    before, rows = files_in(folder), list(Checkpoint.objects.order_by("pk").values())

    def bent(address, *, path=None, **query):
        parts = urlsplit(address)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()} | query
        given = {name: value for name, value in given.items() if value is not None}
        return f"http://testserver{path or parts.path}?{urlencode(given)}"

    def refused(method, address, *statuses):
        answer = call(None, f"{method} {path_of(address)}", OTHER if method == "PUT" else None)
        assert answer.status_code in statuses, (method, address, answer.content)
        assert_error(answer, answer.status_code)

    for method, address, foreign in (("PUT", there["uploadUrl"], elsewhere["uploadUrl"]), ("GET", fetch, None)):
        parts = urlsplit(address)
        query = parse_qs(parts.query)
        forged = "0" * len(query["signature"][0])
        changes = [{"expires": str(int(query["expires"][0]) + 1)}, {"expires": "9" * 12}, {"expires": "9" * 13}]
        changes += [{"expires": value} for value in ("", "-1", "1e9", "٣", "NaN", None)]
        changes += [{"signature": value} for value in ("", forged, query["signature"][0][:-1], "\0", "ü", None)]
        changes += [{"by": value} for value in ("", "key.", f"key.{stan_key.id}", "user.1", "admin", None)]
        for change in changes:
            refused(method, bent(address, **change), 403)
        for name in ("last.pt", "best.pt.pt", "..", "%2e%2e%2fbest.pt", "best.pt%00", "best-00000000.pt"):
            refused(method, bent(address, path=f"{parts.path.rpartition('/')[0]}/{name}"), 404)
        for pk in (elsewhere["gcsPath"].split("/")[2], "00000000-0000-0000-0000-000000000000"):
            refused(method, bent(address, path=re.sub("[0-9a-f-]{36}", pk, parts.path)), 403, 404)
        if foreign:  # the path of one with the signature of the other
            refused(method, bent(address, path=urlsplit(foreign).path), 403)
        # the one's signature for the other purpose
        swapped = ("downloads", "GET") if method == "PUT" else ("uploads", "PUT")
        path = re.sub("uploads|downloads", swapped[0], parts.path)
        refused(swapped[1], bent(address, path=path), 403)
        refused("POST", address, 405)
    refused("GET", there["uploadUrl"], 405)
    refused("PUT", fetch, 405)
    assert files_in(folder) == before
    assert list(Checkpoint.objects.order_by("pk").values()) == rows
    put(call, there["uploadUrl"])  # unbent it works


# Whose weights they become


def test_a_path_is_promoted_for_its_own_run_and_attempt_only(call, edda_key, stan_key, model_id):
    path = upload(call, edda_key, model_id)
    other = start(call, edda_key, name="other")
    theirs = start(call, stan_key)
    for who, run, given, attempt in (
        (edda_key, other, path, 1),
        (stan_key, theirs, path, 1),
        (edda_key, model_id, path, 2),
        (edda_key, model_id, path.replace("best", "last"), 1),
        (edda_key, model_id, path + "/x", 1),
        (edda_key, model_id, f"models/{model_id}/nonsense/best.pt", 1),
        (edda_key, model_id, upload(call, edda_key, other), 1),
    ):
        assert saved(call, who, run, given, attempt, status=400)["code"] == "VALIDATION_ERROR"
    saved(call, stan_key, model_id, path, status=404)
    assert not Run.objects.exclude(weights=None).exists()
    results = event(model_id, "training_complete", results={"modelPath": upload(call, edda_key, other)}, runId=1)
    assert send(call, edda_key, results)["warning"]
    assert not Run.objects.exclude(weights=None).exists()
    saved(call, edda_key, model_id, path)
    assert weights(call, edda_key) == WEIGHTS


def test_a_path_to_which_nothing_was_uploaded_is_refused(call, edda_key, model_id):
    path = ask(call, edda_key, model_id)["gcsPath"]
    answer = saved(call, edda_key, model_id, path, status=400)
    assert answer["error"] == "modelPath: Nothing has been uploaded there."
    complete = event(model_id, "training_complete", results={"modelPath": path}, runId=1)
    assert send(call, edda_key, complete)["warning"], "the results are kept without the weights"
    assert Run.objects.get().status == "completed"


def test_an_attempt_that_was_not_begun_gets_no_address(call, edda_key, model_id):
    for attempt in (2, 0, -1, "1", 1.5):
        body = {"modelId": model_id, "filename": "best.pt", "runId": attempt}
        answer = call(edda_key, UPLOAD, body)
        assert answer.status_code == (200 if attempt == "1" else 400), attempt


@pytest.mark.parametrize(
    "name", ["", "best.onnx", "../best.pt", "a/b.pt", ".pt", "best .pt", "best\0.pt", "ü.pt", "a" * 100 + ".pt", 1]
)
def test_a_file_is_called_as_weights_are(call, edda_key, model_id, name):
    body = {"modelId": model_id, "filename": name, "runId": 1}
    assert_error(call(edda_key, UPLOAD, body), 400, code="VALIDATION_ERROR")


def test_the_older_client_which_knows_no_attempts_promotes_by_uploading(call, edda_key, model_id):
    upload(call, edda_key, model_id, run_id=None)
    assert weights(call, edda_key) == WEIGHTS
    path = upload(call, edda_key, model_id, run_id=None, data=OTHER)
    assert weights(call, edda_key) == OTHER
    send(call, edda_key, event(model_id, "training_complete", results={"metrics": {}, "modelPath": path}))
    assert weights(call, edda_key) == OTHER


def test_the_same_upload_may_come_again_and_other_bytes_may_not(call, edda_key, model_id, folder):
    answer = ask(call, edda_key, model_id)
    put(call, answer["uploadUrl"], OTHER)
    put(call, answer["uploadUrl"])  # not promoted yet: the client's retry wins
    put(call, answer["uploadUrl"])
    assert len(files_in(folder)) == 1
    saved(call, edda_key, model_id, answer["gcsPath"])
    [kept] = files_in(folder)
    put(call, answer["uploadUrl"])  # whose answer got lost
    assert files_in(folder) == {kept}, "somebody may be reading it"
    assert_error(put(call, answer["uploadUrl"], OTHER, status=409), 409)
    assert weights(call, edda_key) == WEIGHTS
    with_weights(call, edda_key, model_id, data=OTHER)
    assert_error(put(call, answer["uploadUrl"], OTHER, status=409), 409)  # former weights stay what they were
    assert (folder / kept).read_bytes() == WEIGHTS


def test_the_news_of_an_older_checkpoint_does_not_replace_newer_weights(call, edda_key, model_id):
    older = upload(call, edda_key, model_id)
    with_weights(call, edda_key, model_id, data=OTHER)
    saved(call, edda_key, model_id, older)
    assert weights(call, edda_key) == OTHER


def test_a_process_of_an_earlier_attempt_does_not_replace_the_weights_of_a_later_one(call, edda_key, model_id):
    send(call, edda_key, event(model_id, "training_progress"))
    assert send(call, edda_key, started() | {"modelId": model_id})["runId"] == 2
    path = upload(call, edda_key, model_id, run_id=2, data=OTHER)
    saved(call, edda_key, model_id, path, 2)
    late = upload(call, edda_key, model_id, run_id=1)
    saved(call, edda_key, model_id, late, 1)
    assert weights(call, edda_key) == OTHER


def test_an_earlier_attempts_checkpoint_is_better_than_none(call, edda_key, model_id):
    path = upload(call, edda_key, model_id)
    send(call, edda_key, started() | {"modelId": model_id})
    saved(call, edda_key, model_id, path, 1)
    assert weights(call, edda_key) == WEIGHTS


# Which files are there


def test_superseded_files_are_removed_two_hours_later(call, edda_key, model_id, folder):
    for number in range(3):
        with_weights(call, edda_key, model_id, data=OTHER + bytes([number]))
    assert len(files_in(folder)) == 3
    Checkpoint.objects.exclude(superseded_at=None).update(superseded_at=Now() - timedelta(hours=3))
    ask(call, edda_key, model_id)
    assert len(files_in(folder)) == 1
    assert weights(call, edda_key) == OTHER + b"\2"


def test_the_clean_up_removes_what_nobody_claimed_and_what_a_crash_left(
    call, edda_key, model_id, folder, django_capture_on_commit_callbacks
):
    with_weights(call, edda_key, model_id)
    Checkpoint.objects.update(created_at=Now() - timedelta(days=2))
    upload(call, edda_key, model_id, data=OTHER)
    unclaimed = upload(call, edda_key, model_id, data=OTHER + b"!")
    Checkpoint.objects.filter(pk=unclaimed.split("/")[2]).update(
        created_at=Checkpoint.objects.earliest("created_at").created_at
    )
    crashed, incoming = folder / "x" / "weights-crashed.pt", folder / "weights-incoming.pt"
    crashed.parent.mkdir()
    for file in (crashed, incoming):
        file.write_bytes(b"half")
    for file in (path for path in folder.rglob("*.pt") if path != incoming):
        os.utime(file, (time.time() - 2 * 86400,) * 2)
    with django_capture_on_commit_callbacks(execute=True):
        usage.clean_up()
    assert not crashed.exists()
    assert incoming.exists(), "it may just be coming in"
    incoming.unlink()
    assert weights(call, edda_key) == WEIGHTS
    assert len(files_in(folder)) == 2


def test_a_deleted_run_keeps_its_file_for_as_long_as_it_can_come_back(
    call, edda, edda_key, team, model_id, folder, django_capture_on_commit_callbacks
):
    with_weights(call, edda_key, model_id)
    delete_run(call, edda, edda_key, team)
    with django_capture_on_commit_callbacks(execute=True):
        usage.clean_up()
    assert len(files_in(folder)) == 1
    services.restore_run(actor_of(edda, team), Run.objects.get().pk)
    assert weights(call, edda_key) == WEIGHTS
    delete_run(call, edda, edda_key, team)
    Run.objects.update(deleted_at=Now() - timedelta(days=31))
    with django_capture_on_commit_callbacks(execute=True):
        usage.clean_up()
    assert files_in(folder) == set()
    assert not Run.objects.exists()


# How large they may be


def test_a_file_that_is_too_large_is_refused_before_it_is_sent_and_when_it_comes(
    call, edda_key, model_id, settings, folder
):
    settings.CHECKPOINT_MAX_BYTES = len(WEIGHTS)
    body = {"modelId": model_id, "filename": "best.pt", "runId": 1}
    assert_error(call(edda_key, UPLOAD, body | {"size": len(WEIGHTS) + 1}), 413)
    address = ask(call, edda_key, model_id, size=len(WEIGHTS))["uploadUrl"]
    assert_error(put(call, address, WEIGHTS + b"!", status=413), 413)
    assert files_in(folder) == set()
    put(call, address)


def test_a_disk_that_is_full_costs_the_upload_alone_which_works_once_there_is_room(
    call, edda_key, model_id, folder, caplog
):
    with_weights(call, edda_key, model_id)
    answer, before, large = ask(call, edda_key, model_id), files_in(folder), bytes(33 << 20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 << 20, limits[1]))  # the system refuses to write what is beyond
    try:
        refused = put(call, answer["uploadUrl"], large, status=507)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_error(refused, 507, "The server has no room for this at the moment")
    assert "could not be stored" in caplog.text
    assert files_in(folder) == before
    assert weights(call, edda_key) == WEIGHTS
    put(call, answer["uploadUrl"], large)  # clients send it again
    saved(call, edda_key, model_id, answer["gcsPath"])
    assert weights(call, edda_key) == large


def test_a_workspace_stores_no_more_than_its_quota(call, edda_key, model_id, settings, folder):
    settings.WORKSPACE_STORAGE_BYTES = 2 * len(WEIGHTS)
    answer = ask(call, edda_key, model_id)
    put(call, answer["uploadUrl"])
    saved(call, edda_key, model_id, answer["gcsPath"])
    second = ask(call, edda_key, model_id)["uploadUrl"]
    put(call, second)
    put(call, second)  # again: it takes its own place
    third = ask(call, edda_key, model_id)["uploadUrl"]
    sentence = "The workspace's storage is full; delete models that are no longer needed"
    assert_error(put(call, third, b"!", status=413), 413, sentence)
    assert_error(put(call, second, WEIGHTS + b"!", status=413), 413, sentence)
    assert len(files_in(folder)) == 2


@pytest.mark.parametrize("length", ["", "-1", "x", "²", "1" * 30, "0"])
def test_a_file_without_a_usable_length_is_refused(call, edda_key, model_id, folder, length):
    address = ask(call, edda_key, model_id)["uploadUrl"]
    answer = call(None, f"PUT {path_of(address)}", WEIGHTS, CONTENT_LENGTH=length)
    assert_error(answer, 400)
    assert files_in(folder) == set()


def test_weights_are_bytes_and_nothing_here_reads_them():
    for file in (ROOT / "training").rglob("*.py"):
        tree = ast.parse(file.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        roots = {name.partition(".")[0] for name in imported}
        assert not roots & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "torch", "ultralytics", "numpy"}
        assert not re.search(r"\b(eval|exec|__import__)\(", file.read_text()), file


# On the wire


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    server = Server(
        tmp_path_factory.mktemp("transfers") / "data", TRANSFER_SILENCE_SECONDS="1", CHECKPOINT_MAX_BYTES=str(300 << 20)
    ).start()
    server.token = server.new_key("uploads")
    yield server
    assert "Traceback" not in server.output, server.output[-3000:]
    server.stop()


class Upload:
    """A run on the live server with an address for a checkpoint."""

    def __init__(self, live):
        self.live, self.headers = live, {"Authorization": f"Bearer {live.token}"}
        begun = self.post("training/metrics", started(seed=random.random()))
        self.model_id, self.name = begun["modelId"], begun["modelSlug"]
        answer = self.post("models/upload", {"modelId": self.model_id, "filename": "best.pt", "runId": 1})
        self.url, self.path = answer["uploadUrl"], answer["gcsPath"]

    def post(self, path, body):
        answer = httpx.post(f"{self.live.url}/api/webhooks/{path}", json=body, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def files(self):
        return [path for path in (self.live.data_dir / "checkpoints").rglob("*.pt") if self.model_id in str(path)]

    def downloads(self):
        self.post("training/metrics", event(self.model_id, "checkpoint_saved", modelPath=self.path, runId=1))
        url = f"{self.live.url}/api/models/operator/my-project/{self.name}/files"
        return httpx.get(url, headers=self.headers).json()["files"][0]["downloadUrl"]

    def raw(self, length, body=b"", *, finish=False, seconds=20):
        """What the server answers to a PUT that says `length` and sends `body`."""
        parts = urlsplit(self.url)
        with socket.create_connection(("127.0.0.1", self.live.port), timeout=seconds) as connection:
            head = (
                f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {length}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, json.loads(answer.read())["error"]


def test_a_body_that_ends_early_leaves_nothing(live):
    upload = Upload(live)
    refused = (400, "The upload ended early; please send it again")
    assert upload.raw(len(WEIGHTS), WEIGHTS[:-1], finish=True) == refused
    assert upload.files() == []


def test_a_body_that_stops_is_given_up_and_leaves_nothing(live):
    upload = Upload(live)
    began = time.monotonic()
    assert upload.raw(len(WEIGHTS), WEIGHTS[:-1])[0] == 400
    assert 0.9 < time.monotonic() - began < 10
    assert upload.files() == []


def test_a_connection_that_breaks_leaves_nothing(live):
    upload = Upload(live)
    parts = urlsplit(upload.url)
    connection = socket.create_connection(("127.0.0.1", live.port))
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 9999999\r\n\r\n"
    connection.sendall(head.encode() + WEIGHTS)
    wait_for(upload.files, 10, "nothing has begun")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, no goodbye
    connection.close()
    wait_for(lambda: upload.files() == [], 10, "half a file stays")
    assert httpx.put(upload.url, content=WEIGHTS).status_code == 204
    assert len(upload.files()) == 1


def test_a_file_that_is_too_large_is_refused_without_being_read(live):
    upload = Upload(live)
    assert upload.raw(10**12)[0] == 413
    assert upload.files() == []


def test_a_body_of_unknown_length_is_refused(live):
    upload = Upload(live)
    answer = httpx.put(upload.url, content=iter([WEIGHTS]))
    assert answer.status_code in (400, 411)
    assert answer.json()["error"] == "Send the file with its length in Content-Length"
    assert upload.files() == []


def test_uploads_to_one_address_at_the_same_time_leave_one_whole_file(live):
    upload = Upload(live)
    bodies = [bytes([number]) * 3_000_000 for number in range(3)] * 3
    with ThreadPoolExecutor(len(bodies)) as pool:
        statuses = list(pool.map(lambda body: httpx.put(upload.url, content=body, timeout=60).status_code, bodies))
    assert statuses == [204] * len(bodies)
    [file] = upload.files()
    assert file.read_bytes() in bodies
    fetched = httpx.get(upload.downloads())
    assert fetched.content == file.read_bytes()
    assert sha256(fetched.content).hexdigest()[:8] in str(fetched.url)


def test_the_servers_memory_does_not_grow_with_a_file(live):
    upload, block = Upload(live), os.urandom(1 << 20)
    size = 200 << 20
    workers = [p for p in psutil.Process(live.process.pid).children() if "postgres" not in p.name()]
    assert len(workers) == 2
    httpx.put(Upload(live).url, content=WEIGHTS)  # what is loaded once is loaded
    before, most, is_over = {p.pid: p.memory_info().rss for p in workers}, [0], threading.Event()

    def watch():
        while not is_over.wait(0.02):
            most[0] = max(most[0], *(p.memory_info().rss - before[p.pid] for p in workers))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        blocks = (block for _ in range(200))
        answer = httpx.put(upload.url, content=blocks, headers={"Content-Length": str(size)}, timeout=120)
        assert answer.status_code == 204
        digest = sha256()
        with httpx.stream("GET", upload.downloads(), timeout=120) as fetched:
            for part in fetched.iter_raw():
                digest.update(part)
    finally:
        is_over.set()
        watcher.join()
    assert digest.digest() == sha256(block * 200).digest()
    print(f"{most[0] / 2**20:.1f} MB more at the most, for a file of {size >> 20} MB")
    assert most[0] < 30 << 20
    httpx.delete(f"{live.url}/api/models/operator/my-project/{upload.name}", headers=upload.headers)


def test_a_revoked_key_ends_its_addresses_on_the_live_server(live):
    upload = Upload(live)
    token = live.new_key("will be revoked")
    headers = {"Authorization": f"Bearer {token}"}
    body = {"modelId": upload.model_id, "filename": "best.pt", "runId": 1}
    url = httpx.post(f"{live.url}/api/webhooks/models/upload", json=body, headers=headers).json()["uploadUrl"]
    assert httpx.put(url, content=WEIGHTS).status_code == 204
    live.manage("revoke_api_key", "--value", text=token)
    assert httpx.put(url, content=WEIGHTS).status_code == 403
    assert httpx.put(upload.url, content=WEIGHTS).status_code == 204, "another key's address lives on"


def test_files_are_for_the_servers_account_only(live):
    upload = Upload(live)
    assert httpx.put(upload.url, content=WEIGHTS).status_code == 204
    [file] = upload.files()
    assert file.stat().st_mode & 0o077 == 0
    assert Path(live.data_dir / "checkpoints").stat().st_mode & 0o077 == 0
