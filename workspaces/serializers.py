"""JSON of teams, members, invitations and activity, in and out."""

from typing import Any

from rest_framework import serializers

from accounts.serializers import TeamSerializer
from config.serializers import StrictSerializer, StringField
from workspaces.access import Right, Role
from workspaces.models import Activity, Invitation, Membership

ROLES = [role.label.lower() for role in Role]
INVITABLE = [role.label.lower() for role in Role if role < Role.OWNER]


def role_name(role: int) -> str:
    return Role(role).label.lower()


class RoleField(serializers.ChoiceField):
    """A role by its name; a `Role` in Python."""

    def to_internal_value(self, data: Any) -> Any:
        return Role[super().to_internal_value(data).upper()]

    def to_representation(self, value: Any) -> str:
        return role_name(value)


class TeamListSerializer(serializers.Serializer):
    teams = TeamSerializer(many=True)


class NewTeamSerializer(StrictSerializer):
    username = StringField(
        source="slug", max_length=32, help_text="The URL name: 4 to 32 of a-z, 0-9 and hyphens, nobody else's."
    )
    name = StringField(max_length=100)


class MemberSerializer(serializers.ModelSerializer):
    userId = serializers.UUIDField(source="user_id")
    username = serializers.CharField(source="user.username")
    name = serializers.CharField(source="user.name")
    role = RoleField(choices=ROLES)
    joinedAt = serializers.DateTimeField(source="joined_at")
    lastSeenAt = serializers.DateTimeField(source="seen_at", allow_null=True, help_text="In the browser, about.")
    activeKeys = serializers.IntegerField(source="active_keys")
    hasSecondFactor = serializers.SerializerMethodField(help_text="For Admins and the Owner; null for others.")

    class Meta:
        model = Membership
        fields = ("userId", "username", "name", "role", "joinedAt", "lastSeenAt", "activeKeys", "hasSecondFactor")

    def get_hasSecondFactor(self, member: Any) -> bool | None:
        return member.has_second_factor if self.context["actor"].can(Right.MANAGE_MEMBERS) else None


class InviteSerializer(serializers.ModelSerializer):
    role = RoleField(choices=INVITABLE)
    onlyThisAddress = serializers.BooleanField(source="only_this_address")
    invitedBy = serializers.CharField(source="invited_by.username")
    createdAt = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at")

    class Meta:
        model = Invitation
        fields = ("id", "email", "role", "onlyThisAddress", "invitedBy", "createdAt", "expiresAt")


class MemberListSerializer(serializers.Serializer):
    members = MemberSerializer(many=True)
    invites = InviteSerializer(many=True, help_text="Open invitations, for those who may invite; else empty.")


class NewInviteSerializer(StrictSerializer):
    email = StringField(max_length=254)
    role = RoleField(choices=INVITABLE)
    onlyThisAddress = serializers.BooleanField(
        source="only_this_address", required=False, help_text="By default where e-mail addresses are verified."
    )


class SentInviteSerializer(serializers.Serializer):
    invite = InviteSerializer()
    url = serializers.CharField(help_text="The link to send to the invited; it is shown this once.")
    mailed = serializers.BooleanField(help_text="It was mailed as well; false where no mail is sent, or none could be.")


class RoleSerializer(StrictSerializer):
    role = RoleField(choices=INVITABLE)


class RemovalSerializer(StrictSerializer):
    handOver = serializers.DictField(
        source="handovers",
        child=serializers.UUIDField(),
        required=False,
        help_text="Ids of keys that the member made, with the ids of the Editors who take them over.",
    )

    def validate_handOver(self, value: dict[str, Any]) -> dict[Any, Any]:
        field = serializers.UUIDField()
        return {field.run_validation(key): user for key, user in value.items()}


class TransferSerializer(StrictSerializer):
    userId = serializers.UUIDField(source="user_id")
    confirmation = StringField(max_length=100, help_text="The team's URL name.")


class InviteTokenSerializer(StrictSerializer):
    token = StringField(max_length=100)


class InviteInfoSerializer(serializers.Serializer):
    username = serializers.CharField(source="workspace.slug", help_text="The team's URL name.")
    name = serializers.CharField(source="workspace.name")
    email = serializers.CharField(help_text="The address that was invited.")
    role = RoleField(choices=INVITABLE)
    onlyThisAddress = serializers.BooleanField(source="only_this_address")
    invitedBy = serializers.CharField(source="invited_by.username")
    expiresAt = serializers.DateTimeField(source="expires_at")


class AcceptedSerializer(serializers.Serializer):
    username = serializers.CharField(source="workspace.slug")
    role = RoleField(choices=ROLES)


class ActivityQuerySerializer(serializers.Serializer):
    person = serializers.CharField(required=False, max_length=32)
    kind = serializers.CharField(required=False, max_length=40)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    before = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    limit = serializers.IntegerField(required=False, default=100, min_value=1, max_value=1000)
    workspace = serializers.CharField(required=False)


class ActivitySerializer(serializers.ModelSerializer):
    kind = serializers.CharField(help_text="What was done, as thing.deed, such as key.revoked.")
    person = serializers.CharField(source="user.username", allow_null=True, default=None)
    via = serializers.ChoiceField(["key", "session", "server"], help_text="A key, a browser session, or a command.")
    keyId = serializers.UUIDField(source="key_id", allow_null=True, help_text="The key it was done with.")
    keyName = serializers.CharField(source="key_name", help_text="What that key was called then; else empty.")
    session = serializers.CharField(help_text="The name of the browser session, given when it began; else empty.")
    targetId = serializers.CharField(source="target_id")
    target = serializers.CharField(source="target_name")

    class Meta:
        model = Activity
        fields = (
            "id",
            "at",
            "kind",
            "person",
            "via",
            "keyId",
            "keyName",
            "session",
            "address",
            "client",
            "targetId",
            "target",
            "details",
        )


class ActivityListSerializer(serializers.Serializer):
    activity = ActivitySerializer(many=True)
    next = serializers.IntegerField(allow_null=True, help_text="Give it as `before` for what is older; null: no more.")
