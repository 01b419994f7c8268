"""REST views of keys."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.response import Response

from apikeys import services
from apikeys.authentication import INVALID
from apikeys.models import ApiKey
from apikeys.serializers import (
    KeyListSerializer,
    KeySerializer,
    KeyWithValueSerializer,
    ListQuerySerializer,
    NewKeySerializer,
    RotatedSerializer,
    RotateSerializer,
    WhichKeySerializer,
)
from config.api import ApiRequest, ApiView, allow, no_store
from config.errors import NotFound, Unauthenticated
from config.ratelimit import rate_limit
from config.schema import WORKSPACE
from workspaces.access import Actor, Right

TAG = ["API keys"]


def find_key(actor: Actor, key_id: UUID) -> ApiKey:
    """An active key of the actor's workspace. Raises NotFound."""
    key = (
        ApiKey.objects.active()
        .filter(workspace=actor.workspace, pk=key_id)
        .select_related("workspace", "creator")
        .first()
    )
    if key is None:
        raise NotFound("API key not found")
    return key


def own_key(actor: Actor) -> ApiKey:
    """The key that the request came with. Raises NotFound in a browser, Unauthenticated if it has just ended."""
    if actor.key is None:
        raise NotFound("API key not found")
    try:
        return find_key(actor, actor.key.pk)
    except NotFound:
        raise Unauthenticated(INVALID) from None


def with_value(key: ApiKey, token: str | None) -> dict[str, Any]:
    return KeyWithValueSerializer(key, context={"values": {key.pk: token}}).data


class KeyList(ApiView):
    @extend_schema(
        operation_id="listApiKeys",
        summary="List the active keys of the workspace",
        description=(
            "Newest first. Values are given to signed-in browsers only, never to callers who came with a key; where "
            "the server has REVEAL_REAUTH_MINUTES, only so long after they signed in."
        ),
        parameters=[
            OpenApiParameter("search", str, description="Part of the name, or the beginning of the prefix."),
            OpenApiParameter("limit", int, description="At most so many, 1 to 1000; 1000 by default."),
            OpenApiParameter("offset", int, description="Skip so many."),
            WORKSPACE,
        ],
        responses=KeyListSerializer,
        tags=TAG,
    )
    @allow(Right.LIST_KEYS)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        actor, query = request.actor, self.validated_query(ListQuerySerializer)
        matching = actor.workspace.api_keys.active().named(query["search"])
        page = matching.select_related("creator").newest_first()[query["offset"] : query["offset"] + query["limit"]]
        keys = list(page)
        total = len(keys) + query["offset"]
        if len(keys) == query["limit"] or (not keys and query["offset"]):
            total = matching.count()
        for key in keys:
            key.workspace = actor.workspace
        if not actor.can(Right.MANAGE_KEYS):
            return Response({"keys": KeySerializer(keys, many=True).data, "total": total})
        values = services.reveal_all(actor, keys)
        data = KeyWithValueSerializer(keys, many=True, context={"values": values}).data
        return no_store(Response({"keys": data, "total": total}))

    @extend_schema(
        operation_id="createApiKey",
        summary="Create a key",
        description="For signed-in Editors and above. The value is in the answer, and can be looked at again later.",
        parameters=[WORKSPACE],
        request=NewKeySerializer,
        responses={201: KeyWithValueSerializer},
        examples=[OpenApiExample("A key for a machine", {"name": "gpu-1"}, request_only=True)],
        tags=TAG,
    )
    @allow(Right.MANAGE_KEYS)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        key, token = services.create_key(request.actor, **self.validated(NewKeySerializer))
        return no_store(Response(with_value(find_key(request.actor, key.pk), token), status=201))

    @extend_schema(
        operation_id="revokeApiKeyByBody",
        summary="Revoke a key",
        description=(
            "At once and for good. A key may end itself and no other. "
            'The key may also be named in a JSON body, as `{"keyId": "…"}`.'
        ),
        parameters=[OpenApiParameter("keyId", UUID, required=True), WORKSPACE],
        responses={204: None},
        tags=TAG,
    )
    @allow(Right.VIEW)  # the service asks for more, except of a key that ends itself
    @rate_limit("default")
    def delete(self, request: ApiRequest) -> Response:
        if "keyId" in request.query_params:
            serializer = WhichKeySerializer(data={"keyId": request.query_params["keyId"]})
            serializer.is_valid(raise_exception=True)
            which = serializer.validated_data
        else:
            which = self.validated(WhichKeySerializer)
        services.revoke_key(request.actor, find_key(request.actor, which["key_id"]))
        return Response(status=204)


class KeyDetail(ApiView):
    @extend_schema(
        operation_id="getApiKey",
        summary="Show one key",
        description="With its value for signed-in Editors and above, who have signed in lately if the server asks it.",
        parameters=[WORKSPACE],
        responses=KeyWithValueSerializer,
        tags=TAG,
    )
    @allow(Right.MANAGE_KEYS)
    @rate_limit("default")
    def get(self, request: ApiRequest, key_id: UUID) -> Response:
        key = find_key(request.actor, key_id)
        return no_store(Response(with_value(key, services.reveal_all(request.actor, [key])[key.pk])))

    @extend_schema(
        operation_id="revokeApiKey",
        summary="Revoke a key",
        description="At once and for good. A key may end itself and no other.",
        parameters=[WORKSPACE],
        responses={204: None},
        tags=TAG,
    )
    @allow(Right.VIEW)  # as above
    @rate_limit("default")
    def delete(self, request: ApiRequest, key_id: UUID) -> Response:
        services.revoke_key(request.actor, find_key(request.actor, key_id))
        return Response(status=204)


class KeyRotation(ApiView):
    @extend_schema(
        operation_id="rotateApiKey",
        summary="Rotate a key",
        description="Makes a successor of the same name. A second call, while the old key works, returns the same one.",
        parameters=[WORKSPACE],
        request=RotateSerializer,
        responses={200: RotatedSerializer},
        tags=TAG,
    )
    @allow(Right.MANAGE_KEYS)
    @rate_limit("default")
    def post(self, request: ApiRequest, key_id: UUID) -> Response:
        return rotated(request.actor, find_key(request.actor, key_id), **self.validated(RotateSerializer))


class CurrentKey(ApiView):
    @extend_schema(
        operation_id="getCurrentApiKey",
        summary="Show the key of this request",
        description="Without its value. A browser session has no key: 404.",
        responses=KeySerializer,
        tags=TAG,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        return Response(KeySerializer(own_key(request.actor)).data)

    @extend_schema(
        operation_id="revokeCurrentApiKey",
        summary="Revoke the key of this request",
        description="What a program does with a key that it thinks has leaked. The next request with it gets a 401.",
        responses={204: None},
        tags=TAG,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def delete(self, request: ApiRequest) -> Response:
        services.revoke_key(request.actor, own_key(request.actor), reason="by the key itself")
        return Response(status=204)


class CurrentKeyRotation(ApiView):
    @extend_schema(
        operation_id="rotateCurrentApiKey",
        summary="Rotate the key of this request",
        description=(
            "Makes a successor of the same name and gives its value. Calling it again with the old key, as long as "
            "that works, returns the same successor: an answer that got lost loses nothing."
        ),
        request=RotateSerializer,
        responses={200: RotatedSerializer},
        tags=TAG,
    )
    @allow(Right.ROTATE_ITSELF)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        return rotated(request.actor, own_key(request.actor), **self.validated(RotateSerializer))


def rotated(actor: Actor, old: ApiKey, *, grace: str) -> Response:
    successor, token = services.rotate_key(actor, old, grace=grace)
    keys = ApiKey.objects.select_related("workspace", "creator").in_bulk([successor.pk, old.pk])
    now_old = keys[old.pk]
    return no_store(
        Response(
            {
                "key": with_value(keys[successor.pk], token),
                "old": KeySerializer(now_old).data,
                "oldRevoked": now_old.revoked_at is not None,
            }
        )
    )
