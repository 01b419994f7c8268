"""The OpenAPI document, held against the server by schemathesis: as a key, as a signed-in person, as nobody."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import jsonschema
import pytest

from tests.conftest import openapi
from tests.live import Server


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    server = Server(
        tmp_path_factory.mktemp("schema") / "data",
        **{f"RATE_LIMIT_{category}": "unlimited" for category in ("DEFAULT", "FAILED", "STREAM", "DOWNLOAD")},
    ).start()
    yield server
    server.stop()


def credentials(server, who):
    if who == "a key":
        return {"Authorization": f"Bearer {server.new_key()}"}
    if who == "a person":
        session = server.sign_in()
        csrf = session.token(session.http.get("/settings?tab=profile").text)
        cookies = "; ".join(f"{name}={value}" for name, value in session.http.cookies.items())
        return {"Cookie": cookies, "X-CSRFToken": csrf}
    return {}


@pytest.mark.parametrize(("who", "examples"), [("a key", 25), ("a person", 25), ("nobody", 5)])
def test_answers_are_as_documented_whatever_is_sent(target, who, examples):
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{target.url}/openapi.json",
        *(f"--header={name}: {value}" for name, value in credentials(target, who).items()),
        f"--max-examples={examples}",
        "--suppress-health-check=all",
        "--exclude-operation-id=revokeCurrentApiKey",  # the key is needed to the end
        "--exclude-checks=positive_data_acceptance,ignored_auth",  # names have rules that a schema cannot say
        "--generation-deterministic",
        "--warnings=off",
        "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "No issues found" in done.stdout
    assert "Traceback" not in target.output


def test_the_document_is_the_same_at_both_addresses_with_and_without_a_key(target):
    key = {"Authorization": f"Bearer {target.new_key()}"}
    documents = [
        httpx.get(target.url + path, headers=headers).json()
        for path in ("/openapi.json", "/api/openapi.json")
        for headers in ({}, key)
    ]
    assert all(document == documents[0] for document in documents)
    assert documents[0]["openapi"].startswith("3.1")


def test_the_document_travels_small_and_only_when_it_is_new(target):
    first = httpx.get(f"{target.url}/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert (first.headers["Content-Type"], first.headers["Content-Encoding"]) == ("application/json", "gzip")
    assert int(first.headers["Content-Length"]) < len(first.content) / 5
    again = httpx.get(f"{target.url}/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_every_operation_has_a_summary_error_answers_and_examples():
    document = openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation.get("summary"), name
            assert operation["operationId"], name
            answers = operation["responses"]
            assert "503" in answers, name
            assert "403" in answers or path == "/api/credentials/revoke", name  # which is for everybody
            assert "401" in answers or not operation.get("security"), name  # a signed address is its own credential
            assert "429" in answers or path == "/api/auth/introspect", name
            for status, answer in answers.items():
                if status >= "400" and status != "416":
                    content = answer["content"]["application/json"]
                    assert content["schema"]["$ref"].endswith("/Error"), (name, status)
                    [example] = content["examples"].values()
                    assert set(example["value"]) <= {"error", "code", "details"}


def test_every_operation_about_teams_shows_what_is_asked_and_answered():
    """Each with examples of its body and of its answer, and these are as the schemas say."""
    document, seen = openapi(), 0

    def check(content, name):
        schema = content["schema"] | {"components": document["components"]}
        assert content.get("examples"), f"{name} has no example"
        for example in content["examples"].values():
            jsonschema.validate(example["value"], schema)

    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not {"Teams", "Members", "Activity"} & set(operation["tags"]):
                continue
            seen += 1
            name = f"{method} {path}"
            for content in operation.get("requestBody", {}).get("content", {}).values():
                check(content, name)
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    check(content, f"{name} {status}")
    assert seen == 12


def test_the_document_is_made_without_a_warning():
    """Two serializers of one name, for one, would be one component, and one of them documented wrongly."""
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator

    GENERATOR_STATS.reset()
    SchemaGenerator().get_schema(public=True)
    assert not GENERATOR_STATS, [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]


def test_unknown_paths_under_api_are_json_and_never_redirects(target):
    for path in ("/api", "/api/", "/api/nope", "/api/api-keys/", "/api/account/summary/", "/api/../admin/", "/api/%00"):
        for method in ("GET", "POST", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "NONSENSE"):
            answer = httpx.request(method, target.url + path)
            if path in ("/api", "/api/../admin/"):
                continue
            assert answer.status_code in (400, 404, 405), (method, path)
            assert not answer.is_redirect
            if method != "HEAD":
                assert answer.headers["Content-Type"] == "application/json", (method, path)
                assert set(answer.json()) <= {"error", "code", "details"}


def test_the_document_is_valid_json_schema():
    for schema in openapi()["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert json.dumps(openapi())
