"""Services of one's own behind a proxy that asks this server about the key of each request."""

import re
from typing import Any
from uuid import UUID

from django.db import transaction

from apikeys import tokens
from apikeys.models import Endpoint
from apikeys.services import NAME_LENGTH
from config.errors import Invalid, NotFound
from workspaces import activity
from workspaces.access import Actor, Right, Role

# What can stand in the configuration of a proxy without meaning anything there: no quotes, blanks, braces, semicolons.
UPSTREAM = re.compile(
    r"https?://(?:[A-Za-z0-9.-]{1,120}|\[[0-9A-Fa-f:]{2,45}\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]{0,80})?"
)
ROLES = (Role.VIEWER, Role.EDITOR)  # a key never has more


def find_endpoint(actor: Actor, endpoint_id: UUID) -> Endpoint:
    """An endpoint of the actor's workspace. Raises NotFound."""
    found = Endpoint.objects.filter(workspace=actor.workspace, pk=endpoint_id).select_related("creator").first()
    if found is None:
        raise NotFound("Endpoint not found")
    return found


@transaction.atomic
def create_endpoint(actor: Actor, *, name: str, upstream: str, required_role: Role) -> Endpoint:
    """Register a service. Raises NotAllowed, Invalid for a name or address that is no good."""
    actor.require_still(Right.MANAGE_KEYS)
    endpoint = Endpoint.objects.create(
        workspace=actor.workspace, creator=actor.user, **_cleaned(name, upstream, required_role)
    )
    activity.record(actor, "endpoint.created", endpoint, upstream=endpoint.upstream)
    return endpoint


@transaction.atomic
def change_endpoint(actor: Actor, endpoint: Endpoint, *, name: str, upstream: str, required_role: Role) -> None:
    """Give a service another name, address or role; the role holds from the next request on. Raises as `create`."""
    actor.require_still(Right.MANAGE_KEYS)
    changes = _cleaned(name, upstream, required_role)
    Endpoint.objects.filter(workspace=actor.workspace, pk=endpoint.pk).update(**changes)
    activity.record(actor, "endpoint.changed", endpoint, role=Role(required_role).label)


@transaction.atomic
def delete_endpoint(actor: Actor, endpoint: Endpoint) -> None:
    """Forget a service: its proxy gets 403 for each request from now on. Raises NotAllowed."""
    actor.require_still(Right.MANAGE_KEYS)
    if Endpoint.objects.filter(workspace=actor.workspace, pk=endpoint.pk).delete()[0]:
        activity.record(actor, "endpoint.deleted", name=endpoint.name)


def _cleaned(name: str, upstream: str, required_role: Role) -> dict[str, Any]:
    name, upstream = " ".join(name.split()), upstream.strip().rstrip("/")
    if not name or len(name) > NAME_LENGTH or not name.isprintable() or tokens.contains_token(name):
        raise _invalid("name", f"Use 1 to {NAME_LENGTH} printable characters, and no value of a key.")
    port = re.search(r":(\d+)(?:/|$)", upstream.partition("://")[2])
    if not UPSTREAM.fullmatch(upstream) or (port and not 0 < int(port[1]) < 65536):
        raise _invalid("upstream", "Use an address such as http://10.0.0.5:9000 or https://models.internal/v1.")
    if required_role not in ROLES:
        raise _invalid("required_role", "Use Viewer or Editor: a key never has more.")
    return {"name": name, "upstream": upstream, "required_role": required_role}


def _invalid(field: str, problem: str) -> Invalid:
    return Invalid(f"{field}: {problem}", details={field: [problem]})


def configurations(endpoint: Endpoint, check: str) -> list[dict[str, str]]:
    """How each kind of proxy is set up to ask the address `check` before it passes a request on.

    Each clears what the client sent as `X-Auth-…`, so that the service can believe these headers.
    """
    host = re.sub(r"[^a-z0-9]+", "-", endpoint.name.lower()).strip("-") or "service"
    name = f"keyhouse-{host}"
    return [
        {"id": "nginx", "label": "nginx", "code": _nginx(endpoint.upstream, check)},
        {"id": "traefik", "label": "Traefik", "code": _traefik(name, endpoint.upstream, check)},
        {"id": "envoy", "label": "Envoy", "code": _envoy(check), "note": "The filter; list it before the router."},
    ]


HEADERS = ("X-Auth-User", "X-Auth-Workspace", "X-Auth-Role", "X-Auth-Key-Id")


def _nginx(upstream: str, check: str) -> str:
    take = "\n".join(
        f"    auth_request_set ${_variable(h)} $upstream_http_{h.lower().replace('-', '_')};" for h in HEADERS
    )
    give = "\n".join(f"    proxy_set_header {h} ${_variable(h)};" for h in HEADERS)
    return f"""location / {{
    auth_request /_keyhouse;
{take}
{give}
    proxy_set_header Authorization "";
    proxy_pass {upstream};
}}
location = /_keyhouse {{
    internal;
    proxy_pass {check};
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header X-Original-URI $request_uri;
}}"""


def _variable(header: str) -> str:
    return header.lower().removeprefix("x-").replace("-", "_")


def _traefik(name: str, upstream: str, check: str) -> str:
    headers = "\n".join(f"          - {h}" for h in HEADERS)
    return f"""http:
  routers:
    {name}:
      rule: Host(`{name}.example.org`)
      service: {name}
      middlewares: [{name}-clear, {name}]
  middlewares:
    {name}-clear:
      headers:
        customRequestHeaders:
{chr(10).join(f'          {h}: ""' for h in HEADERS)}
    {name}:
      forwardAuth:
        address: {check}
        authResponseHeaders:
{headers}
  services:
    {name}:
      loadBalancer:
        servers:
          - url: {upstream}"""


def _envoy(check: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(check)
    patterns = "\n".join(f"            - exact: {h.lower()}" for h in HEADERS)
    return f"""- name: envoy.filters.http.header_mutation
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations:
      request_mutations:
{chr(10).join(f"        - remove: {h.lower()}" for h in HEADERS)}
- name: envoy.filters.http.ext_authz
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
    http_service:
      server_uri: {{ uri: "{parts.scheme}://{parts.netloc}", cluster: keyhouse, timeout: 2s }}
      path_prefix: {parts.path}
      authorization_response:
        allowed_upstream_headers:
          patterns:
{patterns}
    failure_mode_allow: false"""
