"""Who may do what with keys: role x endpoint x workspace, each cell asserted."""

import pytest

from tests.conftest import actor_of, assert_error, make_key

# What each caller gets. `key` is edda's own key, `viewer key` belongs to vera who was demoted, `foreign` is stan's.
WHO = ("nobody", "stan", "vera", "edda", "adam", "olga", "key", "viewer key", "foreign key")
ACCESS = {
    "GET /api/api-keys": (401, 404, 403, 200, 200, 200, 200, 403, 200),
    "POST /api/api-keys": (401, 404, 403, 201, 201, 201, 403, 403, 403),
    "DELETE /api/api-keys?keyId={key}": (401, 404, 403, 204, 204, 204, 403, 403, 403),
    "GET /api/api-keys/{key}": (401, 404, 403, 200, 200, 200, 403, 403, 403),
    "DELETE /api/api-keys/{key}": (401, 404, 403, 204, 204, 204, 403, 403, 403),
    "POST /api/api-keys/{key}/rotate": (401, 404, 403, 200, 200, 200, 403, 403, 403),
    "GET /api/api-keys/current": (401, 404, 404, 404, 404, 404, 200, 200, 200),
    "DELETE /api/api-keys/current": (401, 404, 404, 404, 404, 404, 204, 204, 204),
    "POST /api/api-keys/current/rotate": (401, 404, 403, 404, 404, 404, 200, 403, 200),
    "GET /api/account/summary": (401, 404, 200, 200, 200, 200, 200, 200, 200),
}
CELLS = [(what, who, status) for what, row in ACCESS.items() for who, status in zip(WHO, row, strict=True)]


@pytest.mark.parametrize(("what", "who", "status"), CELLS)
def test_each_caller_gets_what_the_table_says(call, cast, edda_key, vera_key, stan_key, what, who, status):
    other = make_key(actor_of(cast.olga, cast.team), "olga's")
    callers = {"nobody": None, "key": edda_key, "viewer key": vera_key, "foreign key": stan_key}
    caller = callers[who] if who in callers else getattr(cast, who)
    body = {"POST /api/api-keys": {"name": "new"}, "POST /api/api-keys/{key}/rotate": {}}.get(what)
    if what == "POST /api/api-keys/current/rotate":
        body = {}
    workspace = cast.team.slug if who in ("stan", "vera", "edda", "adam", "olga") else None
    before = set(cast.team.api_keys.active())

    response = call(caller, what.format(key=other.id), body, workspace=workspace)

    assert response.status_code == status, response.content
    after = set(cast.team.api_keys.active())
    if status >= 400:
        assert_error(response, status)
        assert after == before
    shows_value = what != "GET /api/account/summary" and "ul_" in response.content.decode().replace(other[:11], "")
    if isinstance(caller, str) and not what.endswith("rotate"):
        assert str(caller) not in response.content.decode()
    if shows_value and status < 300 and not isinstance(caller, str):
        assert response["Cache-Control"] == "no-store"


def test_every_key_endpoint_is_in_the_table():
    from config.checks import handlers

    ours = {
        (path, name.rsplit(".", 1)[1].upper())
        for path, name, _ in handlers()
        if path.startswith("api/") and name.startswith(("apikeys.", "accounts."))
    }
    listed = set()
    for what in ACCESS:
        method, path = what.split(" ")
        listed.add((path.partition("?")[0].lstrip("/").replace("{key}", "<uuid:key_id>"), method))
    assert ours == listed
