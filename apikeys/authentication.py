"""`Authorization: Bearer ul_…`: header, format, SHA-256, one SELECT, decrypt, compare."""

import hmac
from typing import Any
from uuid import UUID

from rest_framework.authentication import BaseAuthentication

from apikeys import leaks, lookup, tokens, usage
from apikeys.keyring import Undecryptable, keyring
from apikeys.models import ApiKey
from config.address import client_address
from config.clients import client_name
from config.errors import Unauthenticated
from config.ratelimit import count_failure
from workspaces.access import Actor, Role

INVALID = "Invalid API key"


class ApiKeyAuthentication(BaseAuthentication):
    """RFC 6750 bearer tokens. `request.user` is the key's creator, `request.auth` the key, `request.actor` both."""

    def authenticate(self, request: Any) -> tuple[Any, ApiKey] | None:
        """None without an Authorization header. Raises Unauthenticated for one that is no good, whatever else comes.

        Raises RateLimited instead when the address sends too many keys that are unknown, and
        django.db.OperationalError while the database is away, which is answered with 503: a client that gets a 401
        drops its key for good.
        """
        request = request._request  # Django's own: DRF's passes each attribute on
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        token = read_header(header)
        if token is None:
            raise Unauthenticated(INVALID)
        actor = authenticate_token(token, client_address(request), client_name(request))
        if actor is None:
            count_failure(request)
            raise Unauthenticated(INVALID)
        request.actor = actor
        request.META["keyhouse.key_prefix"] = actor.key.prefix  # for the access log
        return actor.user, actor.key

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


def read_header(header: str) -> str | None:
    """The key in an Authorization header: `Bearer` in any case, one blank, a well-formed key. None for all else."""
    scheme, _, token = header.partition(" ")
    return token if tokens.is_token(token) and scheme.lower() == "bearer" else None


def authenticate_token(token: str, address: str, client: str) -> Actor | None:
    """The actor that `token`, which must be well-formed, stands for at this moment, or None. One SQL statement."""
    digest = tokens.digest(token)
    found = lookup.find(digest)
    if found is None:
        leaks.watch(digest, address, client)
        return None
    key = found.key
    if not found.is_live:
        usage.note_refused(key.pk, address)
        return None
    if found.role is None or not key.creator.is_active or key.workspace.suspended_at is not None:
        return None
    try:
        stored = keyring().decrypt(key.encryption_key_id, bytes(key.ciphertext), key.binding)
    except Undecryptable:
        return None
    if not hmac.compare_digest(stored, token):
        return None
    usage.note_request(key, address, client)
    return Actor(key.creator, key.workspace, min(Role(found.role), Role.EDITOR), key, address, client)


def actor_of_key(key_id: UUID, *, address: str = "", client: str = "") -> Actor | None:
    """The actor that the key with this id stands for at this moment, or None: for addresses that a key had signed."""
    key = (
        ApiKey.objects.active()
        .filter(pk=key_id, creator__is_active=True, workspace__suspended_at=None)
        .select_related("workspace", "creator")
        .first()
    )
    if key is None:
        return None
    role = key.creator.memberships.filter(workspace=key.workspace).values_list("role", flat=True).first()
    if role is None:
        return None
    return Actor(key.creator, key.workspace, min(Role(role), Role.EDITOR), key, address, client)
