"""JSON of keys, in and out. Field names are the clients': camelCase."""

from typing import Any

from rest_framework import serializers

from apikeys.models import ApiKey
from apikeys.services import GRACES, NAME_LENGTH
from config.serializers import StrictSerializer, StringField


class KeySerializer(serializers.ModelSerializer):
    """What everybody in the workspace may know about a key: all but its value."""

    keyId = serializers.UUIDField(source="pk")
    keyPrefix = serializers.CharField(source="prefix", help_text="The first 11 characters of the value.")
    workspace = serializers.CharField(source="workspace.slug")
    createdBy = serializers.CharField(source="creator.username")
    createdAt = serializers.DateTimeField(source="created_at")
    lastUsedAt = serializers.DateTimeField(
        source="last_used_at", allow_null=True, help_text="Some seconds late; null: never used."
    )
    revokesAt = serializers.DateTimeField(
        source="revokes_at", allow_null=True, help_text="When the key ends, if a rotation has scheduled it."
    )
    replaces = serializers.UUIDField(source="replaces_id", allow_null=True, help_text="The key it is the successor of.")

    class Meta:
        model = ApiKey
        fields = (
            "keyId",
            "name",
            "keyPrefix",
            "workspace",
            "createdBy",
            "createdAt",
            "lastUsedAt",
            "revokesAt",
            "replaces",
        )


class KeyWithValueSerializer(KeySerializer):
    """A key with its value, for those who may see it. `values` in the context maps ids to values."""

    key = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="The value. Absent for callers who came with a key; null if it cannot be decrypted.",
    )

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "key")  # type: ignore[assignment]

    def to_representation(self, instance: ApiKey) -> dict[str, Any]:
        return super().to_representation(instance) | {"key": self.context["values"].get(instance.pk)}


class NewKeySerializer(StrictSerializer):
    name = StringField(max_length=NAME_LENGTH, help_text="What the key is for; need not be unique.")


class RotateSerializer(StrictSerializer):
    grace = serializers.ChoiceField(
        choices=list(GRACES),
        default="24h",
        help_text="How long the old key goes on: not at all, an hour, a day, a week, or until it is revoked by hand.",
    )


class WhichKeySerializer(StrictSerializer):
    keyId = serializers.UUIDField(source="key_id")


class ListQuerySerializer(serializers.Serializer):
    search = serializers.CharField(required=False, default="", allow_blank=True, max_length=100)
    limit = serializers.IntegerField(required=False, default=1000, min_value=1, max_value=1000)
    offset = serializers.IntegerField(required=False, default=0, min_value=0, max_value=10**9)
    workspace = serializers.CharField(required=False)


class KeyListSerializer(serializers.Serializer):
    keys = KeyWithValueSerializer(many=True)
    total = serializers.IntegerField(help_text="How many keys match, on all pages.")


class RotatedSerializer(serializers.Serializer):
    key = KeyWithValueSerializer(help_text="The successor.")
    old = KeySerializer(help_text="The key that it replaces; `revokesAt` says when that ends.")
    oldRevoked = serializers.BooleanField(help_text="The old key has ended already.")
