"""Is this key good? For proxies in front of services of one's own, and for RFC 7662 introspection.

Outside of the API's limits: the service behind the proxy has its own.
"""

import re
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.parsers import FormParser
from rest_framework.response import Response

from apikeys import tokens, usage
from apikeys.authentication import INVALID, authenticate_token, read_header
from apikeys.models import ApiKey, Endpoint
from config.address import client_address
from config.api import PUBLIC, ApiRequest, ApiView, allow, as_service_error, note_failure
from config.clients import client_name
from config.errors import Invalid, NotAllowed, ServiceError, Unauthenticated
from workspaces.access import Actor, Right, Role

OF_ENDPOINT = re.compile(r"endpoints/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(/.*)?", re.DOTALL)


@csrf_exempt
@allow(PUBLIC)
def verify(request: HttpRequest, rest: str = "") -> HttpResponse:
    """204 and who it is, for a good key; 401 or 403 otherwise. Any method, any path below, the body is not read.

    `endpoints/<id>` asks for the workspace and role of a registered endpoint; `?workspace=` and `?role=` for those.
    Asking twice asks for both. What follows `endpoints/<id>/` is the path and query of the request that is asked about,
    as Envoy appends them, and asks for nothing. Envoy takes no 204 either: with `X-Auth-Ok: 200` a good key is a 200.

    While the database is away nobody can tell what a key is: that is a 503, which proxies turn into an error of their
    own and nothing passes. A 401 would make clients drop a good key.
    """
    actor = None
    try:
        actor = _actor(request)
        _require(actor, rest, request.GET)
    except ServiceError as error:
        usage.note_outcome(actor.key_id if actor is not None else None, "dedicated", error.status)
        return _refusal(error)
    except Exception as exception:
        fault = as_service_error(exception)
        note_failure(fault, exception, "verify")
        return _refusal(fault)
    assert actor.key is not None
    usage.note_outcome(actor.key.pk, "dedicated", 204)
    answer = HttpResponse(
        status=200 if request.META.get("HTTP_X_AUTH_OK") == "200" else 204,
        headers={
            "X-Auth-User": actor.user.username,
            "X-Auth-Workspace": actor.workspace.slug,
            "X-Auth-Role": actor.role.label.lower(),
            "X-Auth-Key-Id": str(actor.key.pk),
            "Cache-Control": "no-store",
        },
    )
    del answer["Content-Type"]  # there is no content
    return answer


def _actor(request: HttpRequest) -> Actor:
    header = request.META.get("HTTP_AUTHORIZATION")
    if header is None:
        raise Unauthenticated
    token = read_header(header)
    actor = authenticate_token(token, client_address(request), client_name(request)) if token else None
    if actor is None:
        raise Unauthenticated(INVALID)
    assert actor.key is not None
    request.META["keyhouse.key_prefix"] = actor.key.prefix  # for the access log
    return actor


def _require(actor: Actor, rest: str, query: Any) -> None:
    """Raise NotAllowed unless the actor is what the path and the query ask for."""
    if rest.startswith("endpoints/"):
        found = OF_ENDPOINT.fullmatch(rest)
        endpoint = Endpoint.objects.filter(pk=UUID(found[1])).first() if found else None
        if endpoint is None or endpoint.workspace_id != actor.workspace.pk or actor.role < endpoint.required_role:
            raise NotAllowed
        if found and found[2]:
            return
    for role in query.getlist("role"):
        if actor.role < Role.__members__.get(role.upper(), Role.OWNER + 1):
            raise NotAllowed
    if any(slug != actor.workspace.slug for slug in query.getlist("workspace")):
        raise NotAllowed


def _refusal(error: ServiceError) -> HttpResponse:
    return JsonResponse(error.as_json(), status=error.status, headers=error.headers | {"Cache-Control": "no-store"})


class IntrospectionSerializer(serializers.Serializer):
    """RFC 7662, section 2.2, with the members `workspace`, `role` and `key_id` of our own."""

    active = serializers.BooleanField()
    token_type = serializers.CharField(required=False)
    sub = serializers.CharField(required=False, help_text="The id of the person who made the key.")
    username = serializers.CharField(required=False)
    client_id = serializers.CharField(required=False, help_text="The id of the key.")
    iat = serializers.IntegerField(required=False, help_text="When it was made, in seconds since 1970.")
    exp = serializers.IntegerField(required=False, help_text="When it ends, if a rotation has scheduled that.")
    scope = serializers.CharField(required=False, help_text="`read`, or `read write` for Editors.")
    workspace = serializers.CharField(required=False)
    role = serializers.CharField(required=False)
    key_id = serializers.CharField(required=False)


class TokenSerializer(serializers.Serializer):
    token = serializers.CharField(help_text="The value of the key that is asked about.")
    token_type_hint = serializers.CharField(required=False, allow_blank=True)


class Introspection(ApiView):
    """RFC 7662. The caller is a key of the same workspace; whatever is not a live key of it is `active: false`."""

    parser_classes = (FormParser,)
    category = "dedicated"

    @extend_schema(
        operation_id="introspectToken",
        summary="Is this key good? (RFC 7662)",
        description=(
            "For services that are given keys. Unknown, revoked and other workspaces' keys are all "
            '`{"active": false}`. Not limited.'
        ),
        request={"application/x-www-form-urlencoded": TokenSerializer},
        responses={200: IntrospectionSerializer},
        examples=[OpenApiExample("Not a key of this workspace", {"active": False}, response_only=True)],
        tags=["API keys"],
    )
    @allow(Right.VIEW)
    def post(self, request: ApiRequest) -> Response:
        if "token" in request.query_params:
            raise Invalid(
                "token: Send it in the body, never in the address.", details={"token": ["Not in the address."]}
            )
        form: Any = request.data or QueryDict()
        values = form.getlist("token")
        if len(values) != 1 or not values[0]:
            raise Invalid("token: This field is required, once.", details={"token": ["This field is required, once."]})
        asking = request.actor
        actor = None
        if tokens.is_token(values[0]):
            actor = authenticate_token(values[0], asking.address, asking.client)
        if actor is None or actor.workspace.pk != asking.workspace.pk:
            return Response({"active": False}, headers={"Cache-Control": "no-store"})
        return Response(_described(actor), headers={"Cache-Control": "no-store"})


def _described(actor: Actor) -> dict[str, Any]:
    made, ends = ApiKey.objects.filter(pk=actor.key_id).values_list("created_at", "revokes_at").get()
    return {
        "active": True,
        "token_type": "Bearer",
        "sub": str(actor.user.pk),
        "username": actor.user.username,
        "client_id": str(actor.key_id),
        "iat": int(made.timestamp()),
        "scope": "read write" if actor.can(Right.EDIT) else "read",
        "workspace": actor.workspace.slug,
        "role": actor.role.label.lower(),
        "key_id": str(actor.key_id),
    } | ({"exp": int(ends.timestamp())} if ends is not None else {})
