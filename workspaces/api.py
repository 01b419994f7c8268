"""REST views of teams, members, invitations and activity. For browsers; keys may list the members of their own."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.response import Response

from accounts.serializers import TeamSerializer
from config.api import ApiRequest, ApiView, allow
from config.context import base_url
from config.ratelimit import rate_limit
from config.schema import WORKSPACE
from workspaces import activity, invitations, members, services
from workspaces.access import Right
from workspaces.models import Invitation, Membership
from workspaces.serializers import (
    AcceptedSerializer,
    ActivityListSerializer,
    ActivityQuerySerializer,
    InviteInfoSerializer,
    MemberListSerializer,
    MemberSerializer,
    NewInviteSerializer,
    NewTeamSerializer,
    RemovalSerializer,
    RoleSerializer,
    SentInviteSerializer,
    TeamListSerializer,
    TokenSerializer,
    TransferSerializer,
)

TEAMS, MEMBERS, ACTIVITY = ["Teams"], ["Members"], ["Activity"]


def invite_url(request: Any, token: str) -> str:
    return f"{base_url(request)}{reverse('workspaces:invite-accept', args=[token])}"


def sent(request: Any, invitation: Invitation, token: str, status: int) -> Response:
    data = SentInviteSerializer({"invite": invitation, "url": invite_url(request._request, token)}).data
    return Response(data, status=status, headers={"Cache-Control": "no-store"})


class Teams(ApiView):
    @extend_schema(
        operation_id="listTeams",
        summary="List the teams you are in",
        responses=TeamListSerializer,
        tags=TEAMS,
    )
    @allow(Right.USE_TEAMS)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        user = request.actor.user
        memberships = Membership.objects.of(user).filter(workspace__is_personal=False)
        return Response(TeamListSerializer({"teams": memberships}).data)


class NewTeam(ApiView):
    @extend_schema(
        operation_id="createTeam",
        summary="Create a team",
        description="You become its Owner.",
        request=NewTeamSerializer,
        responses={201: TeamSerializer},
        examples=[OpenApiExample("A team", {"username": "acme-labs", "name": "Acme Labs"}, request_only=True)],
        tags=TEAMS,
    )
    @allow(Right.USE_TEAMS)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        data = self.validated(NewTeamSerializer)
        team = services.create_team(request.actor, slug=data["username"], name=data["name"])
        membership = Membership.objects.select_related("workspace").get(workspace=team, user=request.actor.user)
        return Response(TeamSerializer(membership).data, status=201)


class Members(ApiView):
    @extend_schema(
        operation_id="listMembers",
        summary="List the members of the workspace",
        parameters=[WORKSPACE],
        responses=MemberListSerializer,
        tags=MEMBERS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        actor = request.actor
        invites: QuerySet | tuple = ()
        if actor.can(Right.MANAGE_MEMBERS):
            invites = invitations.open_invitations(actor)
        return Response(MemberListSerializer({"members": members.listed(actor), "invites": invites}).data)

    @extend_schema(
        operation_id="inviteMember",
        summary="Invite somebody",
        description="The link is in the answer, and is mailed as well where this server sends mail.",
        parameters=[WORKSPACE],
        request=NewInviteSerializer,
        responses={201: SentInviteSerializer},
        examples=[OpenApiExample("An Editor", {"email": "alice@example.org", "role": "editor"}, request_only=True)],
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_MEMBERS)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        data = {"only_this_address": settings.HAS_EMAIL} | self.validated(NewInviteSerializer)
        invitation, token = invitations.invite(request.actor, **data)
        return sent(request, invitation, token, 201)


class Member(ApiView):
    @extend_schema(
        operation_id="changeRole",
        summary="Change a member's role",
        parameters=[WORKSPACE],
        request=RoleSerializer,
        responses=MemberSerializer,
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_MEMBERS)
    @rate_limit("default")
    def patch(self, request: ApiRequest, user_id: UUID) -> Response:
        members.change_role(request.actor, user_id, **self.validated(RoleSerializer))
        return Response(MemberSerializer(members.listed(request.actor).get(user=user_id)).data)

    @extend_schema(
        operation_id="removeMember",
        summary="Remove a member, or leave",
        description=(
            "Every key that they made here is revoked, but for those in `handOver` of a JSON body, which go on with "
            "the same value under the Editor named there."
        ),
        parameters=[WORKSPACE],
        responses={204: None},
        tags=MEMBERS,
    )
    @allow(Right.USE_TEAMS)
    @rate_limit("default")
    def delete(self, request: ApiRequest, user_id: UUID) -> Response:
        data = self.validated(RemovalSerializer) if request.META.get("CONTENT_LENGTH") not in (None, "", "0") else {}
        members.remove_member(request.actor, user_id, **data)
        return Response(status=204)


class Transfer(ApiView):
    @extend_schema(
        operation_id="transferOwnership",
        summary="Hand the team over to a member",
        description="You become an Admin. `confirmation` is the team's URL name.",
        parameters=[WORKSPACE],
        request=TransferSerializer,
        responses={204: None},
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_TEAM)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        members.transfer_ownership(request.actor, **self.validated(TransferSerializer))
        return Response(status=204)


class InviteInfo(ApiView):
    @extend_schema(
        operation_id="getInvite",
        summary="What an invitation is for",
        parameters=[OpenApiParameter("token", str, required=True, description="The last part of its link.")],
        responses=InviteInfoSerializer,
        tags=MEMBERS,
    )
    @allow(Right.USE_TEAMS)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        serializer = TokenSerializer(data={"token": request.query_params.get("token", "")})
        serializer.is_valid(raise_exception=True)
        return Response(InviteInfoSerializer(invitations.look_up(serializer.validated_data["token"])).data)


class InviteAcceptance(ApiView):
    @extend_schema(
        operation_id="acceptInvite",
        summary="Accept an invitation",
        request=TokenSerializer,
        responses=AcceptedSerializer,
        tags=MEMBERS,
    )
    @allow(Right.USE_TEAMS)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        who = request.actor
        actor = invitations.accept(who.user, address=who.address, client=who.client, **self.validated(TokenSerializer))
        return Response(AcceptedSerializer(actor).data)


class Invite(ApiView):
    @extend_schema(
        operation_id="cancelInvite",
        summary="Cancel an invitation",
        parameters=[WORKSPACE],
        responses={204: None},
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_MEMBERS)
    @rate_limit("default")
    def delete(self, request: ApiRequest, invite_id: UUID) -> Response:
        invitations.cancel(request.actor, invite_id)
        return Response(status=204)


class InviteResend(ApiView):
    @extend_schema(
        operation_id="resendInvite",
        summary="Send an invitation again",
        description="With a new link and two more weeks; the old link is dead.",
        parameters=[WORKSPACE],
        request=None,
        responses=SentInviteSerializer,
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_MEMBERS)
    @rate_limit("default")
    def post(self, request: ApiRequest, invite_id: UUID) -> Response:
        invitation, token = invitations.resend(request.actor, invite_id)
        return sent(request, invitation, token, 200)


class ActivityLog(ApiView):
    @extend_schema(
        operation_id="listActivity",
        summary="What was done in the workspace",
        description="Newest first. Admins and the Owner see everything, other members what they did themselves.",
        parameters=[
            OpenApiParameter("person", str, description="Only what this username did."),
            OpenApiParameter("kind", str, description="Only this kind, such as key.revoked, or all of key."),
            OpenApiParameter("since", str, description="From this time on (ISO 8601)."),
            OpenApiParameter("until", str, description="Up to this time (ISO 8601)."),
            OpenApiParameter("before", int, description="What is older than this entry: `next` of the last answer."),
            OpenApiParameter("limit", int, description="At most so many, 1 to 1000; 100 by default."),
            WORKSPACE,
        ],
        responses=ActivityListSerializer,
        tags=ACTIVITY,
    )
    @allow(Right.USE_TEAMS)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        query = self.validated_query(ActivityQuerySerializer)
        limit = query.pop("limit")
        query.pop("workspace", None)
        entries = list(activity.visible_to(request.actor, **query)[: limit + 1])
        following = entries[limit - 1].pk if len(entries) > limit else None
        return Response(ActivityListSerializer({"activity": entries[:limit], "next": following}).data)
