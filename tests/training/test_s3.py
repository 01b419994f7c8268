"""Checkpoints in a real S3-compatible storage: the bytes go between client and storage, past this server."""

import time
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.config import Config
from django.db.models.functions import Now
from django.test import override_settings

from apikeys import services as key_services
from apikeys import usage
from tests.conftest import actor_of, assert_error
from tests.live import Server, free_port
from tests.training.seaweed import BUCKET, KEY_ID, SECRET, Seaweed
from tests.training.stream import WEIGHTS, event, send, start, started
from training import services, storage
from training.models import Checkpoint, Run

pytestmark = pytest.mark.django_db
OTHER = b"other bytes altogether" * 500
UPLOAD = "POST /api/webhooks/models/upload"


@pytest.fixture(scope="module")
def weed(tmp_path_factory):
    weed = Seaweed(tmp_path_factory.mktemp("weed") / "data")
    yield weed
    weed.stop()


def settings_of(url, settings, *, secret=SECRET):
    """The settings that S3_BUCKET and the rest make."""
    options = {
        "bucket_name": BUCKET,
        "endpoint_url": url,
        "region_name": "us-east-1",
        "access_key": KEY_ID,
        "secret_key": secret,
        "client_config": Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, connect_timeout=1, retries={"max_attempts": 1}
        ),
    }
    checkpoints = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    return {"S3_BUCKET": BUCKET, "STORAGES": settings.STORAGES | {"checkpoints": checkpoints}}


@pytest.fixture(autouse=True)
def bucket(weed, settings):
    for name, value in settings_of(weed.url, settings).items():
        setattr(settings, name, value)
    yield weed
    for key in weed.keys():  # noqa: SIM118
        weed.client.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def call(call, django_capture_on_commit_callbacks):
    def committed(*args, **kwargs):
        with django_capture_on_commit_callbacks(execute=True):
            return call(*args, **kwargs)

    return committed


@pytest.fixture
def model_id(call, edda_key):
    return start(call, edda_key)


def ask(call, who, model_id, run_id=1, **more):
    body = {"modelId": model_id, "filename": "best.pt"} | ({"runId": run_id} if run_id else {}) | more
    answer = call(who, UPLOAD, body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def put(address, data=WEIGHTS, status=200):
    """As the client does it."""
    answer = httpx.put(address, content=data, headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == status, answer.text
    return answer


def saved(call, who, model_id, path, run_id=1, status=200):
    return send(call, who, event(model_id, "checkpoint_saved", modelPath=path, runId=run_id, uploadPath=path), status)


def with_weights(call, who, model_id, data=WEIGHTS):
    answer = ask(call, who, model_id)
    put(answer["uploadUrl"], data)
    saved(call, who, model_id, answer["gcsPath"])
    return answer


def files(call, who):
    return call(who, "GET /api/models/acme/my-project/exp1/files").json()["files"]


def weights(call, who):
    """The bytes that a client would load, or None."""
    found = files(call, who)
    return httpx.get(found[0]["downloadUrl"]).content if found else None


def test_bytes_go_past_this_server_and_become_the_weights_when_the_client_says_so(call, edda_key, model_id, bucket):
    answer = ask(call, edda_key, model_id)
    assert answer["uploadUrl"].startswith(bucket.url)
    assert saved(call, edda_key, model_id, answer["gcsPath"], status=400)["error"].endswith("uploaded there.")
    put(answer["uploadUrl"])
    assert files(call, edda_key) == []
    saved(call, edda_key, model_id, answer["gcsPath"])
    [file] = files(call, edda_key)
    assert (file["name"], file["size"]) == ("best.pt", len(WEIGHTS))
    assert file["downloadUrl"].startswith(bucket.url)
    assert urlsplit(file["downloadUrl"]).path.endswith(".pt")
    fetched = httpx.get(file["downloadUrl"], headers={"Accept-Encoding": "identity"})
    assert (fetched.content, fetched.headers["Content-Length"]) == (WEIGHTS, str(len(WEIGHTS)))
    rest = httpx.get(file["downloadUrl"], headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.content) == (206, WEIGHTS[1000:])
    redirect = call(edda_key, "GET /api/webhooks/models/acme/my-project/exp1/download")
    assert redirect["Location"].startswith(bucket.url)
    assert len(bucket.keys()) == 1


def test_an_upload_may_be_repeated_until_the_client_says_so_and_changes_nothing_later(
    call, edda, edda_key, team, model_id, bucket
):
    answer = ask(call, edda_key, model_id)
    put(answer["uploadUrl"], OTHER)
    put(answer["uploadUrl"])
    saved(call, edda_key, model_id, answer["gcsPath"])
    saved(call, edda_key, model_id, answer["gcsPath"])
    # The storage does not know that the key is revoked: its address takes bytes, which become nobody's weights.
    key_services.revoke_key(actor_of(edda, team), edda_key.row)
    put(answer["uploadUrl"], OTHER)
    assert call(edda_key, UPLOAD, {"modelId": model_id, "filename": "best.pt"}).status_code == 401
    assert weights(call, edda) == WEIGHTS


def test_an_address_of_the_storage_cannot_be_bent(call, edda_key, model_id, bucket):
    with_weights(call, edda_key, model_id)
    [file] = files(call, edda_key)
    address, other = ask(call, edda_key, model_id)["uploadUrl"], ask(call, edda_key, model_id)["uploadUrl"]
    before = bucket.keys()
    put(address.replace(urlsplit(address).path, urlsplit(other).path), OTHER, status=403)
    put(address.replace(urlsplit(address).path, urlsplit(file["downloadUrl"]).path), OTHER, status=403)
    put(file["downloadUrl"], OTHER, status=403)
    assert httpx.get(address).status_code == 403
    assert httpx.delete(file["downloadUrl"]).status_code == 403
    assert httpx.get(bucket.url + urlsplit(file["downloadUrl"]).path).status_code == 403
    assert bucket.keys() == before
    assert weights(call, edda_key) == WEIGHTS


def test_an_address_of_the_storage_expires(call, edda_key, model_id, settings, bucket):
    settings.SIGNED_URL_SECONDS = 1
    address = ask(call, edda_key, model_id)["uploadUrl"]
    time.sleep(2.1)
    put(address, status=403)
    assert bucket.keys() == set()


@pytest.mark.parametrize("limit", ["CHECKPOINT_MAX_BYTES", "WORKSPACE_STORAGE_BYTES"])
def test_what_is_too_large_is_seen_when_it_is_to_become_the_weights(call, edda_key, model_id, settings, bucket, limit):
    setattr(settings, limit, len(WEIGHTS) - 1)
    answer = ask(call, edda_key, model_id)
    assert_error(call(edda_key, UPLOAD, {"modelId": model_id, "filename": "best.pt", "size": len(WEIGHTS)}), 413)
    put(answer["uploadUrl"])
    assert saved(call, edda_key, model_id, answer["gcsPath"], status=413)["code"] == "PAYLOAD_TOO_LARGE"
    assert bucket.keys() == set()
    put(answer["uploadUrl"])
    results = event(model_id, "training_complete", results={"modelPath": answer["gcsPath"]}, runId=1)
    assert send(call, edda_key, results)["warning"]
    assert Run.objects.get().status == "completed", "the results are kept without the weights"
    assert bucket.keys() == set()
    old = ask(call, edda_key, model_id, run_id=None)
    put(old["uploadUrl"])
    assert files(call, edda_key) == []
    put(answer["uploadUrl"], WEIGHTS[1:])
    saved(call, edda_key, model_id, answer["gcsPath"])
    assert weights(call, edda_key) == WEIGHTS[1:]


def test_uploads_of_the_older_client_are_found_when_somebody_asks_for_them(call, edda_key, model_id, bucket):
    first, second = ask(call, edda_key, model_id, run_id=None), ask(call, edda_key, model_id, run_id=None)
    put(first["uploadUrl"], OTHER)
    assert weights(call, edda_key) == OTHER
    put(second["uploadUrl"])
    assert weights(call, edda_key) == WEIGHTS
    put(first["uploadUrl"], b"late")
    assert weights(call, edda_key) == WEIGHTS
    third = ask(call, edda_key, model_id, run_id=None)
    put(third["uploadUrl"], OTHER)
    complete = event(model_id, "training_complete", results={"metrics": {}, "modelPath": third["gcsPath"]})
    assert "warning" not in send(call, edda_key, complete)
    assert Run.objects.get().weights.size_bytes == len(OTHER)
    assert weights(call, edda_key) == OTHER


def test_an_older_upload_that_is_found_late_is_not_given_out(call, edda_key, model_id, bucket):
    older = ask(call, edda_key, model_id, run_id=None)
    with_weights(call, edda_key, model_id)
    put(older["uploadUrl"], OTHER)
    assert weights(call, edda_key) == WEIGHTS
    assert weights(call, edda_key) == WEIGHTS


def test_former_weights_and_what_nobody_claimed_are_removed_from_the_storage(
    call, edda, edda_key, team, model_id, bucket, django_capture_on_commit_callbacks
):
    first = with_weights(call, edda_key, model_id, OTHER)
    with_weights(call, edda_key, model_id)
    put(first["uploadUrl"], OTHER)  # too late: in nobody's way, and removed with the former weights
    unclaimed = ask(call, edda_key, model_id)
    put(unclaimed["uploadUrl"])
    assert len(bucket.keys()) == 4
    Checkpoint.objects.exclude(superseded_at=None).update(superseded_at=Now() - timedelta(hours=3))
    Checkpoint.objects.filter(stored_at=None).update(created_at=Now() - timedelta(days=2))
    with django_capture_on_commit_callbacks(execute=True):
        usage.clean_up()
    assert len(bucket.keys()) == 1
    assert weights(call, edda_key) == WEIGHTS

    services.delete_run(actor_of(edda, team), Run.objects.get())
    Run.objects.update(deleted_at=Now() - timedelta(days=31))
    with django_capture_on_commit_callbacks(execute=True):
        usage.clean_up()
    assert bucket.keys() == set()


def test_the_sweep_leaves_what_may_just_be_coming_in(call, edda_key, model_id, bucket, monkeypatch):
    bucket.client.put_object(Bucket=BUCKET, Key="staged/of-nobody.pt", Body=b"x")
    assert storage.sweep() == 0
    monkeypatch.setattr(storage, "KEEP_UNCLAIMED", timedelta(0))
    time.sleep(1.1)  # the storage knows whole seconds
    assert storage.sweep() == 1
    assert bucket.keys() == set()


def test_a_storage_that_is_away_is_no_ones_fault_and_costs_no_results(call, edda_key, model_id, bucket, settings):
    answer = ask(call, edda_key, model_id)
    put(answer["uploadUrl"])
    with override_settings(**settings_of(f"http://127.0.0.1:{free_port()}", settings)):
        assert saved(call, edda_key, model_id, answer["gcsPath"], status=503)["code"] == "UNAVAILABLE"
        complete = event(model_id, "training_complete", results={"modelPath": answer["gcsPath"]}, runId=1)
        assert send(call, edda_key, complete)["warning"]
    saved(call, edda_key, model_id, answer["gcsPath"])
    assert weights(call, edda_key) == WEIGHTS


def test_credentials_that_are_no_good_are_the_servers_trouble(call, edda_key, model_id, bucket, settings, caplog):
    answer = ask(call, edda_key, model_id)
    put(answer["uploadUrl"])
    with override_settings(**settings_of(bucket.url, settings, secret="wrong")):
        assert saved(call, edda_key, model_id, answer["gcsPath"], status=503)["code"] == "UNAVAILABLE"
    assert "The storage of checkpoints refuses" in caplog.text


def test_a_server_that_is_configured_by_variables_hands_out_addresses_of_the_storage(weed, tmp_path):
    server = Server(tmp_path / "data", **weed.variables).start()
    try:
        headers = {"Authorization": f"Bearer {server.new_key()}"}

        def post(path, body):
            answer = httpx.post(f"{server.url}/api/webhooks/{path}", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.json()

        model_id = post("training/metrics", started())["modelId"]
        answer = post("models/upload", {"modelId": model_id, "runId": 1, "filename": "best.pt"})
        put(answer["uploadUrl"])
        post("training/metrics", event(model_id, "checkpoint_saved", modelPath=answer["gcsPath"], runId=1))
        found = httpx.get(f"{server.url}/api/models/operator/my-project/exp1/files", headers=headers).json()["files"]
        assert httpx.get(found[0]["downloadUrl"]).content == WEIGHTS
        assert found[0]["downloadUrl"].startswith(weed.url)
        assert not (server.data_dir / "checkpoints").exists()
        assert SECRET not in server.output
    finally:
        server.stop()
