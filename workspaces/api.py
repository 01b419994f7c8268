"""REST views of teams, members, invitations and activity. For browsers; keys may list the members of their own."""

from functools import partial
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from accounts.serializers import TeamSerializer
from config.api import ApiRequest, ApiView, allow, no_store
from config.ratelimit import rate_limit
from config.schema import CONFLICT, WORKSPACE, an_error
from workspaces import activity, examples, invitations, members, services
from workspaces.access import Right
from workspaces.examples import answered, asked
from workspaces.links import invite_url
from workspaces.models import Invitation, Membership
from workspaces.serializers import (
    AcceptedSerializer,
    ActivityListSerializer,
    ActivityQuerySerializer,
    InviteInfoSerializer,
    InviteTokenSerializer,
    MemberListSerializer,
    MemberSerializer,
    NewInviteSerializer,
    NewTeamSerializer,
    RemovalSerializer,
    RoleSerializer,
    SentInviteSerializer,
    TeamListSerializer,
    TransferSerializer,
)

TEAMS, MEMBERS, ACTIVITY = ["Teams"], ["Members"], ["Activity"]
NOT_OPEN = an_error(
    "Used, cancelled, expired, replaced by a newer one, or sent by somebody who may not invite any more.",
    "This invitation has expired",
    "CONFLICT",
)


def sent(invitation: Invitation, url: str, status: int) -> Response:
    data = {"invite": invitation, "url": url, "mailed": bool(invitation.was_mailed)}
    return no_store(Response(SentInviteSerializer(data).data, status=status))


class Teams(ApiView):
    @extend_schema(
        operation_id="listTeams",
        summary="List the teams you are in",
        responses=TeamListSerializer,
        examples=[answered("One team", {"teams": [examples.TEAM]})],
        tags=TEAMS,
    )
    @allow(Right.OWN_ACCOUNT)
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
        examples=[
            asked("A team", {"username": "acme-labs", "name": "Acme Labs"}),
            answered("The new team", examples.TEAM, 201),
        ],
        tags=TEAMS,
    )
    @allow(Right.OWN_ACCOUNT)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        team = services.create_team(request.actor, **self.validated(NewTeamSerializer))
        membership = Membership.objects.select_related("workspace").get(workspace=team, user=request.actor.user)
        return Response(TeamSerializer(membership).data, status=201)


class Members(ApiView):
    @extend_schema(
        operation_id="listMembers",
        summary="List the members of the workspace",
        parameters=[WORKSPACE],
        responses=MemberListSerializer,
        examples=[
            answered("For an Admin", {"members": examples.MEMBERS, "invites": [examples.INVITATION]}),
            answered("For others, and for a key", {"members": examples.MEMBERS_FOR_OTHERS, "invites": []}),
        ],
        tags=MEMBERS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        actor = request.actor
        invites: QuerySet | tuple = ()
        if actor.can(Right.MANAGE_MEMBERS):
            invites = invitations.open_invitations(actor)
        data = {"members": members.listed(actor), "invites": invites}
        return Response(MemberListSerializer(data, context={"actor": actor}).data)

    @extend_schema(
        operation_id="inviteMember",
        summary="Invite somebody",
        description="The link is in the answer, and is mailed as well where this server sends mail.",
        parameters=[WORKSPACE],
        request=NewInviteSerializer,
        responses={201: SentInviteSerializer},
        examples=[
            asked("An Editor", {"email": "carol@example.org", "role": "editor"}),
            asked("For this address only", {"email": "carol@example.org", "role": "viewer", "onlyThisAddress": True}),
            answered("The invitation with its link", examples.SENT, 201),
        ],
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_MEMBERS)
    @rate_limit("invite")
    def post(self, request: ApiRequest) -> Response:
        data = {"only_this_address": settings.HAS_EMAIL} | self.validated(NewInviteSerializer)
        url_of = partial(invite_url, request._request)
        invitation, token = invitations.invite(request.actor, **data, url_of=url_of)
        return sent(invitation, url_of(token), 201)


class Member(ApiView):
    @extend_schema(
        operation_id="changeRole",
        summary="Change a member's role",
        parameters=[WORKSPACE],
        request=RoleSerializer,
        responses=MemberSerializer,
        examples=[
            asked("An Admin", {"role": "admin"}),
            answered("The member", examples.MEMBERS[1] | {"role": "admin"}),
        ],
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_MEMBERS)
    @rate_limit("default")
    def patch(self, request: ApiRequest, user_id: UUID) -> Response:
        members.change_role(request.actor, user_id, **self.validated(RoleSerializer))
        member = members.listed(request.actor).get(user=user_id)
        return Response(MemberSerializer(member, context={"actor": request.actor}).data)

    @extend_schema(
        operation_id="removeMember",
        summary="Remove a member, or leave",
        description=(
            "Every key that they made here is revoked, but for those in `handOver` of a JSON body, which go on with "
            f'the same value under the Editor named there: `{{"handOver": {{"{examples.KEY}": "{examples.ALICE}"}}}}`.'
        ),
        parameters=[WORKSPACE],
        responses={204: None, 409: CONFLICT},
        tags=MEMBERS,
    )
    @allow(Right.LEAVE)
    @rate_limit("default")
    def delete(self, request: ApiRequest, user_id: UUID) -> Response:
        data = self.validated(RemovalSerializer) if self.has_body() else {}
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
        examples=[asked("To an Editor", {"userId": examples.BOB, "confirmation": "acme-labs"})],
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
        responses={200: InviteInfoSerializer, 409: NOT_OPEN},
        examples=[answered("An open invitation", examples.INFO)],
        tags=MEMBERS,
    )
    @allow(Right.OWN_ACCOUNT)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        serializer = InviteTokenSerializer(data={"token": request.query_params.get("token", "")})
        serializer.is_valid(raise_exception=True)
        return Response(InviteInfoSerializer(invitations.look_up(serializer.validated_data["token"])).data)


class InviteAcceptance(ApiView):
    @extend_schema(
        operation_id="acceptInvite",
        summary="Accept an invitation",
        request=InviteTokenSerializer,
        responses={200: AcceptedSerializer, 409: NOT_OPEN},
        examples=[
            asked("The last part of the link", {"token": examples.LINK_END}),
            answered("In the team", {"username": "acme-labs", "role": "editor"}),
        ],
        tags=MEMBERS,
    )
    @allow(Right.OWN_ACCOUNT)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        who = request.actor
        token = self.validated(InviteTokenSerializer)["token"]
        actor = invitations.accept(who.user, token, address=who.address, client=who.client, session=who.session)
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
        examples=[answered("The invitation with its new link", examples.SENT)],
        tags=MEMBERS,
    )
    @allow(Right.MANAGE_MEMBERS)
    @rate_limit("invite")
    def post(self, request: ApiRequest, invite_id: UUID) -> Response:
        url_of = partial(invite_url, request._request)
        invitation, token = invitations.resend(request.actor, invite_id, url_of=url_of)
        return sent(invitation, url_of(token), 200)


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
        examples=[answered("What a key and a browser did", {"activity": examples.ENTRIES, "next": 4711})],
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
