"""Who may do what: the roles, the rights of each, and the actor who asks. Nothing of it stands anywhere else."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.db import models

from config.errors import NotAllowed


class Role(models.IntegerChoices):
    VIEWER = 1, "Viewer"
    EDITOR = 2, "Editor"
    ADMIN = 3, "Admin"
    OWNER = 4, "Owner"


class Right(StrEnum):
    VIEW = "view"  # see the workspace, its members and what is in it
    OWN_ACCOUNT = "own_account"  # what is a person's own wherever they are: profile, switching, joining, a new team
    LEAVE = "leave"  # end one's own membership
    USE_TEAMS = "use_teams"  # what a person does here in the browser and a key never does: read the log
    LIST_KEYS = "list_keys"  # names and prefixes of keys, without values
    EDIT = "edit"  # create, change, delete, stream, upload
    MANAGE_KEYS = "manage_keys"  # see values of, create, rotate and revoke keys
    ROTATE_ITSELF = "rotate_itself"  # what a key may do to itself; revoking itself needs no right
    MANAGE_MEMBERS = "manage_members"  # Viewers and Editors
    MANAGE_TEAM = "manage_team"  # Admins; rename, delete, hand over


# The least role that has a right, and whether a key has it, too (a key never has more than its creator).
RIGHTS: dict[Right, tuple[Role, bool]] = {
    Right.VIEW: (Role.VIEWER, True),
    Right.OWN_ACCOUNT: (Role.VIEWER, False),
    Right.LEAVE: (Role.VIEWER, False),
    Right.USE_TEAMS: (Role.VIEWER, False),
    Right.LIST_KEYS: (Role.EDITOR, True),
    Right.EDIT: (Role.EDITOR, True),
    Right.MANAGE_KEYS: (Role.EDITOR, False),
    Right.ROTATE_ITSELF: (Role.EDITOR, True),
    Right.MANAGE_MEMBERS: (Role.ADMIN, False),
    Right.MANAGE_TEAM: (Role.OWNER, False),
}
# All that is left to the members of a workspace which the operator has suspended.
RIGHTS_WHILE_SUSPENDED = {Right.OWN_ACCOUNT}
# All that is left to a person without a second factor in a team that asks for one. Their keys go on.
RIGHTS_WITHOUT_SECOND_FACTOR = {Right.OWN_ACCOUNT, Right.LEAVE}


class Suspended(NotAllowed):
    """The operator has suspended the workspace; the sentence and the page say why."""

    code = "SUSPENDED"
    template = "workspaces/suspended.html"

    def __init__(self, workspace: Any):
        self.workspace = workspace
        reason = workspace.suspended_reason
        super().__init__(f"This workspace is suspended: {reason}" if reason else "This workspace is suspended")


class SecondFactorRequired(NotAllowed):
    """The team asks its members for a second factor, and the person has none; the page says how to set one up."""

    code = "SECOND_FACTOR_REQUIRED"
    template = "workspaces/second_factor_required.html"

    def __init__(self, actor: "Actor"):
        self.workspace, self.user, self.role = actor.workspace, actor.user, actor.role
        super().__init__("This team asks its members for a second factor; set one up in your profile to go on")

    @property
    def can_leave(self) -> bool:
        return self.role < Role.OWNER


@dataclass(slots=True)
class Actor:
    """A person in one workspace, in the browser or through a key, as the first argument of every service.

    `key` is the API key of the request (an `apikeys.models.ApiKey`) or None, `session` the name of the browser's
    session (`accounts.sessions.name_of`) or empty; `address` and `client` say where from; `proved_at` is when the
    person last proved in this session who they are, in seconds since 1970, 0 where unknown.
    """

    user: Any
    workspace: Any
    role: Role
    key: Any = None
    address: str = ""
    client: str = ""
    session: str = ""
    proved_at: float = 0.0
    _has_second_factor: bool | None = field(default=None, repr=False, compare=False)  # None: not asked yet

    @property
    def key_id(self) -> Any:
        return self.key.pk if self.key is not None else None

    def can(self, right: Right) -> bool:
        least_role, also_by_key = RIGHTS[right]
        return self.role >= least_role and (also_by_key or self.key is None) and not self.is_held_back(right)

    def is_held_back(self, right: Right) -> bool:
        """Is `right` withheld from whatever role, by a suspension or for want of a second factor?"""
        return self._is_suspended_for(right) or self._wants_second_factor_for(right)

    def _is_suspended_for(self, right: Right) -> bool:
        return self.workspace.suspended_at is not None and right not in RIGHTS_WHILE_SUSPENDED

    def _wants_second_factor_for(self, right: Right) -> bool:
        """One statement for each actor, and none for keys, nor where the workspace does not ask for a second factor."""
        if self.key is not None or not self.workspace.requires_second_factor or right in RIGHTS_WITHOUT_SECOND_FACTOR:
            return False
        if self._has_second_factor is None:
            self._has_second_factor = self.user.has_second_factor()
        return not self._has_second_factor

    def require(self, right: Right) -> None:
        """Raise Suspended, SecondFactorRequired or NotAllowed unless the actor has `right`."""
        if self._is_suspended_for(right):
            raise Suspended(self.workspace)
        if self._wants_second_factor_for(right):
            raise SecondFactorRequired(self)
        if not self.can(right):
            raise NotAllowed

    def require_still(self, right: Right) -> None:
        """The same, with the role as the database has it now, held until the transaction ends.

        For changes that must not slip in beside a removal or a demotion. Call inside a transaction.
        """
        from workspaces.models import Membership

        self.become(
            Membership.objects.select_for_update(of=("self",), no_key=True)
            .filter(workspace=self.workspace, user=self.user)
            .select_related("workspace")
            .first()
        )
        self.require(right)

    def become(self, membership: Any) -> None:
        """Take over role and state of the workspace as just read; `membership` comes with its workspace, or is None.

        Raises NotAllowed for None.
        """
        if membership is None:
            raise NotAllowed
        self.role = Role(membership.role) if self.key is None else min(Role(membership.role), Role.EDITOR)
        self.workspace.suspended_at = membership.workspace.suspended_at
        self.workspace.suspended_reason = membership.workspace.suspended_reason
        self.workspace.requires_second_factor = membership.workspace.requires_second_factor
