"""REST views of the account."""

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response

from accounts.serializers import SummarySerializer
from accounts.signals import summary_counts
from config.api import ApiRequest, ApiView, allow
from config.ratelimit import rate_limit
from config.schema import WORKSPACE


class AccountSummary(ApiView):
    @extend_schema(
        operation_id="getAccountSummary",
        summary="Who am I?",
        description="What `yolo login` asks to find out whether a key is good.",
        parameters=[WORKSPACE],
        responses=SummarySerializer,
        examples=[
            OpenApiExample(
                "A key of a personal workspace",
                {
                    "username": "alice-b",
                    "name": "Alice",
                    "accountType": "personal",
                    "plan": "free",
                    "creditsCents": 0,
                    "counts": {"projects": 1, "datasets": 0, "models": 2},
                    "teams": [],
                },
                response_only=True,
            )
        ],
        tags=["Account"],
    )
    @allow("view")
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        actor = request.actor
        counts = {"projects": 0, "datasets": 0, "models": 0}
        summary_counts.send(AccountSummary, workspace=actor.workspace, counts=counts)
        teams = actor.user.memberships.of(actor.user).filter(workspace__is_personal=False) if actor.key is None else []
        return Response(
            SummarySerializer(
                {
                    "username": actor.workspace.slug,
                    "name": actor.workspace.name,
                    "accountType": "personal" if actor.workspace.is_personal else "team",
                    "plan": "free",
                    "creditsCents": 0,
                    "counts": counts,
                    "teams": teams,
                }
            ).data
        )
