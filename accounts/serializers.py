from rest_framework import serializers


class CountsSerializer(serializers.Serializer):
    projects = serializers.IntegerField()
    datasets = serializers.IntegerField()
    models = serializers.IntegerField()


class TeamSerializer(serializers.Serializer):
    userId = serializers.CharField(source="workspace.pk")
    username = serializers.CharField(source="workspace.slug")
    fullName = serializers.CharField(source="workspace.name")
    plan = serializers.ChoiceField(["free", "pro", "enterprise"], default="free")
    region = serializers.ChoiceField(["us", "eu", "ap"], default="us")
    requiresSecondFactor = serializers.BooleanField(
        source="workspace.requires_second_factor", help_text="Sessions of members without one are refused there."
    )
    role = serializers.SerializerMethodField()

    def get_role(self, membership: object) -> str:
        return membership.get_role_display().lower()  # type: ignore[attr-defined]


class SummarySerializer(serializers.Serializer):
    """Who a key or a session acts as; `username` is the URL name of its workspace, the owner in every path."""

    username = serializers.CharField()
    name = serializers.CharField()
    accountType = serializers.ChoiceField(["personal", "team"])
    plan = serializers.ChoiceField(["free", "pro", "enterprise"])
    creditsCents = serializers.IntegerField()
    counts = CountsSerializer()
    teams = TeamSerializer(many=True, help_text="Empty for a key.")
