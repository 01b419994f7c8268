"""Who may do what with teams, members, invitations and the log. See tests/roles.py."""

from tests.conftest import actor_of, make_key, make_user
from tests.roles import MEMBERS, Team, api, page
from workspaces import invitations
from workspaces.access import Role
from workspaces.models import Membership

API = {
    "GET /api/teams": (401, 404, *[200] * 4, *[403] * 5, 200, 401),
    "POST /api/teams/create": (401, 404, *[201] * 4, *[403] * 5, 201, 401),
    "GET /api/members": api("viewer", keys="viewer"),
    "POST /api/members": api("admin", 201),
    "PATCH /api/members/{member}": api("admin"),
    "DELETE /api/members/{member}": api("admin", 204),
    "DELETE /api/members/{editor}": (401, 404, 403, *[204] * 3, *[403] * 5, 403, 401),  # edda: she may leave
    "POST /api/members/transfer-ownership": api("owner", 204),
    "GET /api/invites/info?token={token}": (401, 404, *[200] * 4, *[403] * 5, 409, 401),
    "POST /api/invites/accept": (401, 404, 200, *[409] * 3, *[403] * 5, 409, 401),  # all but vera are more already
    "DELETE /api/invites/{invite}": api("admin", 204),
    "POST /api/invites/{invite}/resend": api("admin"),
    "GET /api/activity": api("viewer"),
}
PAGES = {
    "GET /settings?tab=teams": page("viewer"),
    "GET /settings?tab=activity": page("viewer"),
    "GET /settings?tab=activity&format=csv": page("viewer"),
    "POST /settings/switch": page("viewer", 302, suspended=302),
    "GET /settings/teams/create": page("viewer", suspended=200),
    "POST /settings/teams/create": page("viewer", 302, suspended=302),
    "GET /settings/teams/rename": page("owner"),
    "POST /settings/teams/rename": page("owner", 302),
    "GET /settings/teams/second-factor": page("owner"),
    "POST /settings/teams/second-factor": page("owner", 302),
    "GET /settings/teams/delete": page("owner"),
    "POST /settings/teams/delete": page("owner", 302),
    "GET /settings/teams/invite": page("admin"),
    "POST /settings/teams/invite": page("admin"),
    "POST /settings/teams/invites/{invite}/resend": page("admin"),
    "POST /settings/teams/invites/{invite}/cancel": page("admin", 302),
    "GET /settings/teams/members/{member}/role": page("admin"),
    "POST /settings/teams/members/{member}/role": page("admin", 302),
    "GET /settings/teams/members/{member}/remove": page("admin"),
    "POST /settings/teams/members/{member}/remove": page("admin", 302),
    "GET /settings/teams/members/{admin}/role": page("owner"),
    "POST /settings/teams/members/{admin}/role": page("owner", 302),
    "GET /settings/teams/members/{admin}/remove": page("owner"),
    "POST /settings/teams/members/{admin}/remove": page("owner", 302),
    "GET /settings/teams/members/{editor}/remove": (302, 404, 403, *[200] * 3, *[302] * 5, 403, 302),
    "POST /settings/teams/members/{editor}/remove": (302, 404, 403, *[302] * 8, 403, 302),
    "GET /settings/teams/members/{member}/transfer": page("owner"),
    "POST /settings/teams/members/{member}/transfer": page("owner", 302),
}
WITHOUT_FACTOR = {
    "GET /api/teams": MEMBERS,
    "POST /api/teams/create": MEMBERS,
    "GET /api/invites/info?token={token}": MEMBERS,
    "POST /api/invites/accept": MEMBERS,
    "DELETE /api/members/{editor}": ("edda",),  # who leaves
    "POST /settings/switch": MEMBERS,
    "GET /settings/teams/create": MEMBERS,
    "POST /settings/teams/create": MEMBERS,
    "GET /settings/teams/members/{editor}/remove": ("edda",),
    "POST /settings/teams/members/{editor}/remove": ("edda",),
}
PUBLIC = {
    "GET /invites/{token}": (302, 302),  # to its page, which this session may open then
    "GET /invites/{invite}": (404, 404),  # the id alone opens nothing
    "POST /invites/{invite}": (404, 404),
    "POST /invites/{invite}/sign-out": (404, 404),
}
BODIES = {
    "POST /api/teams/create": {"username": "brand-new", "name": "Brand new"},
    "POST /api/members": {"email": "y@example.org", "role": "viewer"},
    "PATCH /api/members/{member}": {"role": "viewer"},
    "POST /api/members/transfer-ownership": {"userId": "{member}", "confirmation": "{team}"},
    "POST /api/invites/accept": {"token": "{token}"},
    "POST /settings/teams/create": {"name": "Brand new", "slug": "brand-new"},
    "POST /settings/teams/rename": {"name": "Renamed", "slug": "{team}"},
    "POST /settings/teams/second-factor": {"required": "no"},
    "POST /settings/teams/delete": {"confirmation": "{team}"},
    "POST /settings/teams/invite": {"email": "y@example.org", "role": "1"},
    "POST /settings/teams/members/{member}/role": {"role": "1"},
    "POST /settings/teams/members/{admin}/role": {"role": "2"},
    "POST /settings/teams/members/{member}/remove": {"confirmed": "yes"},
    "POST /settings/teams/members/{admin}/remove": {"confirmed": "yes"},
    "POST /settings/teams/members/{editor}/remove": {"confirmed": "yes"},
    "POST /settings/teams/members/{member}/transfer": {"confirmation": "{team}"},
}
FOREIGN = [
    ("DELETE /api/members/{own_member}", {"handOver": {"{member_key}": "{own_taker}"}}),
    ("DELETE /api/members/{own_member}", {"handOver": {"{own_member_key}": "{member}"}}),
    ("POST /settings/teams/members/{own_member}/remove", {"key-{member_key}": "{own_taker}"}),
    ("POST /settings/teams/members/{own_member}/remove", {"key-{own_member_key}": "{member}"}),
    ("GET /api/activity?person={person}", None),
    ("GET /settings?tab=activity&person={person}", None),
]


def things(team: Team) -> None:
    slug = team.workspace.slug
    people = {name: make_user(f"{name}-of-{slug}") for name in ("member", "taker", "admin")}
    roles = {"member": Role.EDITOR, "taker": Role.EDITOR, "admin": Role.ADMIN}
    for name, user in people.items():
        Membership.objects.create(workspace=team.workspace, user=user, role=roles[name])
    invitation, token = invitations.invite(
        actor_of(team.owner, team.workspace), email="x@example.org", role=Role.EDITOR, only_this_address=False
    )
    team.ids |= {name: user.pk for name, user in people.items()} | {"editor": team.editor.pk}
    team.ids |= {"person": people["member"].username, "invite": invitation.pk, "token": token, "team": slug}
    team.ids["member_key"] = make_key(actor_of(people["member"], team.workspace), "the member's").id
