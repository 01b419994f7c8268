"""Two servers on one PostgreSQL and one Redis, as on two machines, are one Keyhouse."""

import json
import subprocess
import sys
import time

import httpx
import pytest

from tests.cluster import PASSWORD, Cluster, TlsSession
from tests.live import ROOT, wait_for
from tests.security.hammer import Hammers


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(
        tmp_path_factory.mktemp("two"),
        RATE_LIMIT_DEFAULT="100/10m",
        RATE_LIMIT_FAILED="1000000/m",  # hammers go on after their key is revoked
    )
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def one(cluster):
    return cluster.servers[0]


@pytest.fixture(scope="module")
def two(cluster):
    return cluster.servers[1]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_what_one_server_revokes_the_other_refuses_at_the_very_next_request(one, two):
    token = one.new_key()
    for n in range(8):
        here, there = (one, two) if n % 2 else (two, one)
        answer = httpx.post(f"{here.url}/api/api-keys/current/rotate", headers=bearer(token), json={"grace": "manual"})
        successor = answer.json()["key"]["key"]
        assert there.get(successor).status_code == 200, "a key is known everywhere at once"
        assert there.get(token).status_code == 200, "while it is being rotated both work"
        again = httpx.post(f"{there.url}/api/api-keys/current/rotate", headers=bearer(token), json={"grace": "manual"})
        assert again.json()["key"]["key"] == successor, "asking the other server makes no third key"
        assert httpx.delete(f"{here.url}/api/api-keys/current", headers=bearer(token)).status_code == 204
        assert there.get(token).status_code == 401
        assert there.get(successor).status_code == 200
        token = successor


def test_under_load_nothing_is_accepted_by_the_other_after_the_revocation_was_acknowledged(one, two):
    person = TlsSession(one.url).sign_in("operator", PASSWORD)
    made = person.api("POST", "/api/api-keys", {"name": "hammered"}).json()
    csrf = person.token(person.http.get("/settings?tab=profile").text)
    hammers = Hammers(two.url, made["key"], processes=1)
    time.sleep(2)
    answer = person.http.delete(f"/api/api-keys/{made['keyId']}", headers={"X-CSRFToken": csrf})
    assert answer.status_code == 204, answer.text
    moment = time.monotonic_ns()
    time.sleep(0.7)
    requests = hammers.requests()
    before = [status for _, end, status in requests if end < moment]
    after = [status for start, _, status in requests if start > moment]
    assert 200 in before
    assert set(after) == {401}


def test_of_three_hundred_requests_to_both_exactly_a_hundred_pass(one, two):
    token = one.new_key()
    first = [server.get(token).status_code for server in (one, two) * 5]  # so that both have their share
    assert first == [200] * 10
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.load", server.url, "145"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for server in (one, two)
    ]
    for program in programs:
        program.stdin.write(token + "\n")
        program.stdin.flush()
    lines = [line for program in programs for line in program.communicate(timeout=60)[0].splitlines()]
    statuses = first + [json.loads(line)[0] for line in lines]
    assert len(statuses) == 300
    assert statuses.count(200) == 100
    assert statuses.count(429) == 200


def test_a_session_is_one_on_both_and_ends_on_both(one, two):
    here = TlsSession(one.url).sign_in("operator", PASSWORD)
    there = here.at(two.url)
    made = there.api("POST", "/api/api-keys", {"name": "made there"})
    assert made.status_code == 201, made.text
    assert one.get(made.json()["key"]).status_code == 200
    assert here.api("DELETE", f"/api/api-keys/{made.json()['keyId']}").status_code == 204
    assert two.get(made.json()["key"]).status_code == 401
    there.post("/accounts/logout/", {})
    assert here.http.get("/settings", follow_redirects=False).status_code == 302


def test_use_is_counted_once_wherever_a_request_went(one, two, cluster):
    token = one.new_key("counted")
    for _ in range(20):
        one.get(token)
    for _ in range(13):
        two.get(token)
    counted = (
        "SELECT coalesce(sum(u.requests), 0) FROM apikeys_keyusage u JOIN apikeys_apikey k ON k.id = u.key_id "
        "WHERE k.name = 'counted'"
    )
    wait_for(lambda: cluster.postgres.query(counted)[0][0] >= 33, 10, lambda: str(cluster.postgres.query(counted)))
    time.sleep(1.2)  # another round of writing
    assert cluster.postgres.query(counted)[0][0] == 33


def test_sign_in_attempts_are_counted_across_both(one, two):
    """An attacker who is sent from server to server has no more attempts than at one."""
    refused = 0
    for n in range(14):
        server = (one, two)[n % 2]
        session = TlsSession(server.url)
        page = session.post("/accounts/login/", {"login": "operator", "password": f"wrong phrase {n}"})
        refused += "Too many" in page.text or page.status_code == 429
    assert refused >= 2
