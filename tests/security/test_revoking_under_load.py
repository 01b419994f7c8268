"""Revoking works at once: with processes and threads hammering, nothing that starts after the answer is accepted."""

import time

import pytest

from tests.live import Server
from tests.security.hammer import Hammers

BEFORE, AFTER = 2.5, 1.5  # seconds; the programs need some to start
ALL = "unlimited"


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("busy") / "data", RATE_LIMIT_DEFAULT=ALL, RATE_LIMIT_FAILED=ALL).start()
    yield server
    server.stop()


def assert_ended_at(requests, moment):
    """Requests were accepted before, and none that started after `moment` was."""
    before = [r for r in requests if r[1] < moment]
    after = [r for r in requests if r[0] > moment]
    assert any(r[2] == 200 for r in before)
    assert {r[2] for r in after} == {401}, [r for r in after if r[2] != 401][:3]


def during(server, token, act):
    """Hammer the key, do `act` after a while, and return the requests and the moment its answer was there."""
    hammers = Hammers(server.url, token)
    time.sleep(BEFORE)
    act()
    moment = time.monotonic_ns()
    time.sleep(AFTER)
    return hammers.requests(), moment


def key_id(server, token):
    return server.get(token, "/api/api-keys/current").json()["keyId"]


def test_a_key_that_a_person_revokes(busy):
    token = busy.new_key()
    person, which = busy.sign_in(), key_id(busy, token)
    csrf = person.token(person.http.get("/settings?tab=profile").text)

    def revoke():
        answer = person.http.delete(f"/api/api-keys/{which}", headers={"X-CSRFToken": csrf})
        assert answer.status_code == 204

    assert_ended_at(*during(busy, token, revoke))


def test_a_key_that_revokes_itself(busy):
    import httpx

    token = busy.new_key()

    def revoke():
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.delete(f"{busy.url}/api/api-keys/current", headers=headers).status_code == 204

    assert_ended_at(*during(busy, token, revoke))


def test_a_person_who_is_deactivated(busy):
    busy.shell(
        "from accounts.models import User; from workspaces.models import *; u = User.objects.create_user('leaver')"
    )
    token = busy.new_key(workspace="leaver")
    deactivate = "from accounts.models import User; User.objects.filter(username='leaver').update(is_active=False)"
    assert_ended_at(*during(busy, token, lambda: busy.shell(deactivate)))


def test_a_member_who_is_removed(busy):
    busy.shell(
        "from accounts.models import User; from workspaces.services import actor_in, create_team\n"
        "from workspaces.models import Membership; from workspaces.access import Role\n"
        "o = User.objects.create_user('ownerr'); m = User.objects.create_user('memberr')\n"
        "t = create_team(actor_in(o, 'ownerr'), slug='a-team', name='A')\n"
        "Membership.objects.create(workspace=t, user=m, role=Role.EDITOR)"
    )
    command = ("create_api_key", "--workspace", "a-team", "--name", "x", "--creator", "memberr")
    token = busy.manage(*command).stdout.strip()
    remove = (
        "from workspaces.models import Membership as M\n"
        "M.objects.filter(user__username='memberr', workspace__slug='a-team').delete()"
    )
    assert_ended_at(*during(busy, token, lambda: busy.shell(remove)))


def test_of_a_member_who_is_removed_each_key_ends_or_goes_on_without_a_gap(busy):
    busy.shell(
        "from accounts.models import User; from workspaces.services import actor_in, create_team\n"
        "from workspaces.models import Membership; from workspaces.access import Role\n"
        "o = User.objects.get(username='operator'); m = User.objects.create_user('mover')\n"
        "t = create_team(actor_in(o, 'operator'), slug='b-team', name='B')\n"
        "Membership.objects.create(workspace=t, user=m, role=Role.EDITOR)"
    )
    make = ("create_api_key", "--workspace", "b-team", "--creator", "mover", "--name")
    ending, staying = (busy.manage(*make, name).stdout.strip() for name in ("ending", "staying"))
    which, person = key_id(busy, staying), busy.sign_in()
    people = person.api("GET", "/api/members?workspace=b-team").json()["members"]
    ids = {member["username"]: member["userId"] for member in people}
    csrf = person.token(person.http.get("/settings?tab=profile").text)
    others = Hammers(busy.url, staying, processes=1)

    def remove():
        answer = person.http.request(
            "DELETE",
            f"/api/members/{ids['mover']}?workspace=b-team",
            json={"handOver": {which: ids["operator"]}},
            headers={"X-CSRFToken": csrf},
        )
        assert answer.status_code == 204, answer.text

    assert_ended_at(*during(busy, ending, remove))
    assert {status for _, _, status in others.requests()} == {200}
    assert busy.get(staying, "/api/api-keys/current").json()["createdBy"] == "operator"


def test_a_scheduled_revocation_takes_effect_at_its_second(busy):
    token = busy.new_key()
    which = key_id(busy, token)
    # The clock of the database and the one of the requests are of one machine here; both are read at once.
    planned = busy.shell(
        "import time\n"
        "from datetime import timedelta; from django.db import connection; from django.db.models.functions import Now\n"
        "from apikeys.models import ApiKey\n"
        f"ApiKey.objects.filter(pk='{which}').update(revokes_at=Now() + timedelta(seconds=5))\n"
        f"end = ApiKey.objects.get(pk='{which}').revokes_at.timestamp()\n"
        "print(time.monotonic_ns() + int((end - time.time()) * 1e9))"
    )
    moment = int(planned)
    hammers = Hammers(busy.url, token)
    time.sleep(max(0.0, (moment - time.monotonic_ns()) / 1e9) + AFTER)
    requests = hammers.requests()
    assert_ended_at(requests, moment + 2_000_000)  # two clocks are read one after the other
    late = [r for r in requests if moment - 500_000_000 < r[1] < moment - 2_000_000]
    assert {r[2] for r in late} == {200}, "it works until its second"
