"""Who may do what with keys, endpoints and decoys. See tests/roles.py."""

from apikeys import endpoints, leaks, services
from tests.conftest import actor_of, make_key
from tests.roles import Team, api, everybody, page
from workspaces.access import Role

API = {
    "GET /api/api-keys": api("editor", keys="editor"),
    "POST /api/api-keys": api("editor", 201),
    "DELETE /api/api-keys?keyId={key}": api("editor", 204, foreign=404),
    "GET /api/api-keys/{key}": api("editor"),
    "DELETE /api/api-keys/{key}": api("editor", 204, foreign=404),
    "POST /api/api-keys/{key}/rotate": api("editor"),
    "GET /api/api-keys/current": (401, 404, *[404] * 4, *[200] * 5, 403, 401),  # a browser has no key of its own
    "DELETE /api/api-keys/current": (401, 404, *[404] * 4, *[204] * 5, 403, 401),
    "POST /api/api-keys/current/rotate": (401, 404, 403, *[404] * 3, 403, *[200] * 4, 403, 401),
    "GET /api/leaks/range/00000": api("editor", keys="editor"),
    "POST /api/credentials/revoke": everybody(202),
    "POST /api/auth/introspect": api("viewer", 400, keys="viewer"),  # nothing is asked about
    # A proxy's question about a key, here for acme; the endpoint is for Editors.
    "GET /api/auth/verify": (*[401] * 6, *[204] * 4, 403, 401, 401),
    "POST /api/auth/verify": (*[401] * 6, *[204] * 4, 403, 401, 401),
    "GET /api/auth/verify/endpoints/{endpoint}": (*[401] * 6, 403, *[204] * 3, 403, 401, 401),
}
PAGES = {
    "GET /settings?tab=api-keys": page("viewer"),
    "GET /settings?tab=endpoints": page("editor"),
    "GET /settings/api-keys/create": page("editor"),
    "POST /settings/api-keys/create": page("editor", 302),
    "GET /settings/api-keys/{key}": page("editor"),
    "GET /settings/api-keys/{key}/usage": page("editor"),
    "GET /settings/api-keys/{key}/rotate": page("editor"),
    "POST /settings/api-keys/{key}/rotate": page("editor", 302),
    "GET /settings/api-keys/{successor}/rotation": page("editor"),
    "GET /settings/api-keys/{key}/revoke": page("editor"),
    "POST /settings/api-keys/{key}/revoke": page("editor", 302),
    "GET /settings/api-keys/decoys": page("editor"),
    "POST /settings/api-keys/decoys": page("editor"),
    "POST /settings/api-keys/decoys/{decoy}/delete": page("editor", 302),
    "GET /settings/api-keys/leaks": page("editor"),
    "GET /settings/endpoints/create": page("editor"),
    "POST /settings/endpoints/create": page("editor", 302),
    "GET /settings/endpoints/{endpoint}": page("editor"),
    "GET /settings/endpoints/{endpoint}/change": page("editor"),
    "POST /settings/endpoints/{endpoint}/change": page("editor", 302),
    "GET /settings/endpoints/{endpoint}/delete": page("editor"),
    "POST /settings/endpoints/{endpoint}/delete": page("editor", 302),
}
BODIES = {
    "POST /api/api-keys": {"name": "new"},
    "POST /api/api-keys/{key}/rotate": {},
    "POST /api/api-keys/current/rotate": {},
    "POST /api/credentials/revoke": {"credentials": ["nonsense"]},
    "POST /settings/api-keys/create": {"name": "new", "key_id": "7f4c5f0a-98c7-4c1b-9a52-3c1f9e1f3c11"},
    "POST /settings/api-keys/{key}/rotate": {"grace": "24h"},
    "POST /settings/api-keys/decoys": {"name": "hidden"},
    "POST /settings/endpoints/create": {"name": "x", "upstream": "http://10.0.0.1", "required_role": "1"},
    "POST /settings/endpoints/{endpoint}/change": {"name": "y", "upstream": "http://10.0.0.1", "required_role": "1"},
}
FOREIGN = [
    ("DELETE /api/api-keys", {"keyId": "{key}"}),
    ("GET /api/api-keys?search={key_prefix}", None),
    ("GET /settings?tab=api-keys&q={key_prefix}", None),
    ("GET /api/leaks/range/{digest_range}", None),
    ("GET /settings/api-keys/{own_key}/rotation", None),
]


def things(team: Team) -> None:
    editor = actor_of(team.editor, team.workspace)
    old = make_key(editor, "an old one")
    successor, _ = services.rotate_key(editor, old.row, grace="24h")
    service = {"name": "x", "upstream": "http://10.0.0.1", "required_role": Role.EDITOR}
    key = make_key(editor, "a key of the team")
    team.ids |= {
        "successor": successor.pk,
        "endpoint": endpoints.create_endpoint(editor, **service).pk,
        "decoy": leaks.create_decoy(editor, name="hidden")[0].pk,
        "key": key.id,
        "key_prefix": key.row.prefix,
        "digest_range": bytes(key.row.digest).hex()[:5],
    }
