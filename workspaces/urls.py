from django.urls import path

from workspaces import api, views

api_urls = [
    path("teams", api.Teams.as_view(), name="team-list"),
    path("teams/create", api.NewTeam.as_view(), name="team-create"),
    path("members", api.Members.as_view(), name="member-list"),
    path("members/transfer-ownership", api.Transfer.as_view(), name="ownership-transfer"),
    path("members/<uuid:user_id>", api.Member.as_view(), name="member-detail"),
    path("invites/info", api.InviteInfo.as_view(), name="invite-info"),
    path("invites/accept", api.InviteAcceptance.as_view(), name="invite-accept"),
    path("invites/<uuid:invite_id>", api.Invite.as_view(), name="invite-detail"),
    path("invites/<uuid:invite_id>/resend", api.InviteResend.as_view(), name="invite-resend"),
    path("activity", api.ActivityLog.as_view(), name="activity"),
]
page_urls = [
    path("invites/<uuid:invite_id>", views.invite, name="invite"),
    path("invites/<uuid:invite_id>/sign-out", views.invite_sign_out, name="invite-sign-out"),
    path("invites/<str:token>", views.invite_open, name="invite-open"),
    path("settings/switch", views.switch, name="workspace-switch"),
    path("settings/teams/create", views.team_create, name="team-create"),
    path("settings/teams/rename", views.team_rename, name="team-rename"),
    path("settings/teams/second-factor", views.team_second_factor, name="team-second-factor"),
    path("settings/teams/delete", views.team_delete, name="team-delete"),
    path("settings/teams/invite", views.member_invite, name="member-invite"),
    path("settings/teams/invites/<uuid:invite_id>/resend", views.invite_resend, name="invite-resend"),
    path("settings/teams/invites/<uuid:invite_id>/cancel", views.invite_cancel, name="invite-cancel"),
    path("settings/teams/members/<uuid:user_id>/role", views.member_role, name="member-role"),
    path("settings/teams/members/<uuid:user_id>/remove", views.member_remove, name="member-remove"),
    path("settings/teams/members/<uuid:user_id>/transfer", views.team_transfer, name="team-transfer"),
]
