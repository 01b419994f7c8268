"""REST views about keys that have got out."""

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apikeys import leaks
from config.address import client_address
from config.api import PUBLIC, ApiRequest, ApiView, allow
from config.clients import client_name
from config.ratelimit import rate_limit
from config.schema import WORKSPACE
from config.serializers import StrictSerializer, StringField
from workspaces.access import Right

ACCEPTED = "Thank you. Keys of this server that are among these are revoked."


class ReportSerializer(StrictSerializer):
    credentials = serializers.ListField(
        child=StringField(max_length=1000, trim_whitespace=True),
        min_length=1,
        max_length=leaks.MAX_REPORTED,
        help_text="The values that were found, up to 1,000.",
    )


class ReportAcceptedSerializer(serializers.Serializer):
    message = serializers.CharField()


class RangeSerializer(serializers.Serializer):
    suffixes = serializers.ListField(
        child=serializers.CharField(), help_text="The other 59 hexadecimal digits of the SHA-256 of each live key."
    )


class CredentialRevocation(ApiView):
    authentication_classes = ()

    @extend_schema(
        operation_id="reportLeakedKeys",
        summary="Report keys that you have found",
        description=(
            "For everybody, without signing in. Live keys are revoked at once, and their owners are told. The answer "
            "is the same whether a value is known or not."
        ),
        request=ReportSerializer,
        responses={202: ReportAcceptedSerializer},
        examples=[
            OpenApiExample("Found in a repository", {"credentials": ["ul_…", "ul_…"]}, request_only=True),
            OpenApiExample("Always", {"message": ACCEPTED}, response_only=True),
        ],
        tags=["Leaks"],
    )
    @allow(PUBLIC)
    @rate_limit("report")
    def post(self, request: ApiRequest) -> Response:
        values = self.validated(ReportSerializer)["credentials"]
        leaks.report(values, address=client_address(request._request), client=client_name(request._request))
        return Response({"message": ACCEPTED}, status=202)


class LeakRange(ApiView):
    @extend_schema(
        operation_id="findLiveKeysByHash",
        summary="Is a key live? Without sending it",
        description=(
            "For pre-commit hooks: take the SHA-256 of what looks like a key, send its first 5 hexadecimal digits, and "
            "look for the other 59 in the answer. It knows the keys of your own workspaces only."
        ),
        parameters=[WORKSPACE],
        responses=RangeSerializer,
        tags=["Leaks"],
    )
    @allow(Right.LIST_KEYS)
    @rate_limit("default")
    def get(self, request: ApiRequest, prefix: str) -> Response:
        found = leaks.live_suffixes(request.actor, prefix.lower())
        return Response({"suffixes": found}, headers={"Cache-Control": "no-store"})
