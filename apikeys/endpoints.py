"""Services of one's own behind a proxy that asks this server about the key of each request."""

import re
from collections.abc import Iterable
from itertools import product
from typing import Any
from urllib.parse import urlsplit
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
    if not UPSTREAM.fullmatch(upstream) or not _can_be_parsed(upstream):
        raise _invalid("upstream", "Use an address such as http://10.0.0.5:9000 or https://models.internal/v1.")
    if required_role not in ROLES:
        raise _invalid("required_role", "Use Viewer or Editor: a key never has more.")
    return {"name": name, "upstream": upstream, "required_role": required_role}


def _can_be_parsed(address: str) -> bool:
    try:
        return urlsplit(address).port != 0
    except ValueError:  # a port beyond 65535, no IPv6 address in brackets
        return False


def _invalid(field: str, problem: str) -> Invalid:
    return Invalid(f"{field}: {problem}", details={field: [problem]})


def configurations(endpoint: Endpoint, check: str) -> list[dict[str, str]]:
    """How each kind of proxy is set up to ask the address `check` before it passes a request on.

    Each clears what the client sent as `X-Auth-…`, so that the service can believe these headers, and keeps the key
    from the service.
    """
    host = re.sub(r"[^a-z0-9]+", "-", endpoint.name.lower()).strip("-") or "service"
    name = f"keyhouse-{host}"
    note = "Filters for the HTTP connection manager, before the router; the cluster keyhouse is this server."
    return [
        {"id": "nginx", "label": "nginx", "code": _nginx(endpoint.upstream, check)},
        {"id": "traefik", "label": "Traefik", "code": _traefik(name, endpoint.upstream, check)},
        {"id": "envoy", "label": "Envoy", "code": _envoy(check), "note": note},
    ]


HEADERS = ("X-Auth-User", "X-Auth-Workspace", "X-Auth-Role", "X-Auth-Key-Id")
# As a client may spell them: many a service takes X_Auth_User for X-Auth-User. nginx drops names with underscores.
SPELLINGS = [h.replace("-", "{}").format(*signs) for h in HEADERS for signs in product("-_", repeat=h.count("-"))]


def _nginx(upstream: str, check: str) -> str:
    take = "\n".join(
        f"    auth_request_set ${_variable(h)} $upstream_http_{h.lower().replace('-', '_')};" for h in HEADERS
    )
    give = "\n".join(f"    proxy_set_header {h} ${_variable(h)};" for h in HEADERS)
    # An address with a path takes the place of the location's own, which is a slash.
    to = upstream + "/" if urlsplit(upstream).path else upstream
    return f"""location / {{
    auth_request /_keyhouse;
{take}
{give}
    proxy_set_header Authorization "";
    proxy_pass {to};{_NAMED if upstream.startswith("https") else ""}
}}
location = /_keyhouse {{
    internal;
    proxy_pass {check};{_NAMED + _VERIFIED if check.startswith("https") else ""}
    proxy_pass_request_body off;
    client_max_body_size 0;
    proxy_set_header Content-Length "";
    proxy_set_header X-Forwarded-For $remote_addr;
}}"""


# nginx by itself tells no name in TLS, and believes every certificate.
_NAMED = """
    proxy_ssl_server_name on;"""
_VERIFIED = """
    proxy_ssl_verify on;
    proxy_ssl_verify_depth 3;
    proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;"""


def _variable(header: str) -> str:
    return header.lower().removeprefix("x-").replace("-", "_")


def _traefik(name: str, upstream: str, check: str) -> str:
    parts = urlsplit(upstream)
    chain = [f"{name}-clear", name, f"{name}-hide"]
    path = ""
    if parts.path:
        chain.append(f"{name}-path")
        path = f"""
    {name}-path:
      addPrefix:
        prefix: {parts.path}"""
    return f"""http:
  routers:
    {name}:
      rule: Host(`{name}.example.org`)
      service: {name}
      middlewares: [{", ".join(chain)}]
  middlewares:
    {name}-clear:
      headers:
        customRequestHeaders:
{_lines(10, (f'{h}: ""' for h in SPELLINGS))}
    {name}:
      forwardAuth:
        address: {check}
        authResponseHeaders:
{_lines(10, (f"- {h}" for h in HEADERS))}
    {name}-hide:
      headers:
        customRequestHeaders:
          Authorization: ""{path}
  services:
    {name}:
      loadBalancer:
        servers:
          - url: {parts.scheme}://{parts.netloc}"""


def _envoy(check: str) -> str:
    parts = urlsplit(check)
    mutation = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
    return f"""- name: keyhouse.clear
  typed_config:
    "@type": {mutation}
    mutations:
      request_mutations:
{_lines(8, (f"- remove: {h.lower()}" for h in SPELLINGS))}
- name: envoy.filters.http.ext_authz
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
    http_service:
      server_uri: {{ uri: "{parts.scheme}://{parts.netloc}", cluster: keyhouse, timeout: 2s }}
      path_prefix: {parts.path}
      authorization_request:
        headers_to_add:
          - {{ key: x-auth-ok, value: "200" }}
      authorization_response:
        allowed_upstream_headers:
          patterns:
{_lines(12, (f"- exact: {h.lower()}" for h in HEADERS))}
    allowed_headers:
      patterns:
        - exact: user-agent
        - exact: x-forwarded-for
    status_on_error: {{ code: ServiceUnavailable }}
    failure_mode_allow: false
- name: keyhouse.hide
  typed_config:
    "@type": {mutation}
    mutations:
      request_mutations:
        - remove: authorization"""


def _lines(indent: int, lines: Iterable[str]) -> str:
    return "\n".join(" " * indent + line for line in lines)
