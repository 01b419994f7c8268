import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts import second_factor
from accounts.names import MAX_LENGTH, validate_name
from config.redaction import refuse_keys
from workspaces.access import Role

SEEN_EVERY = timedelta(minutes=15)  # how often it is noted that somebody was seen


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def end(self) -> int:
        """Mark as deleted. The row stays for the log, and its name stays taken."""
        return self.update(deleted_at=Now())


class Workspace(models.Model):
    """A place that owns keys and what is made with them: one person's, or a team's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField("URL name", max_length=MAX_LENGTH, unique=True, validators=[validate_name])
    name = models.CharField(max_length=100, validators=[refuse_keys])
    is_personal = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    requires_second_factor = models.BooleanField(default=False, db_default=False)  # of the members of a team
    suspended_at = models.DateTimeField(null=True, blank=True)
    suspended_reason = models.CharField(max_length=200, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[WorkspaceQuerySet] = WorkspaceQuerySet.as_manager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.slug


class MembershipQuerySet(models.QuerySet["Membership"]):
    def of(self, user: Any) -> "MembershipQuerySet":
        """`user`'s memberships with their workspaces, the one chosen last first, before it the personal one."""
        return (
            self.filter(user=user)
            .select_related("workspace")
            .order_by(F("chosen_at").desc(nulls_last=True), "-workspace__is_personal", "workspace__slug")
        )

    def with_second_factor(self) -> "MembershipQuerySet":
        """With `has_second_factor`: has the person one?"""
        return self.annotate(has_second_factor=Exists(second_factor.of(OuterRef("user"))))

    def without_second_factor(self) -> "MembershipQuerySet":
        return self.exclude(Exists(second_factor.of(OuterRef("user"))))

    def not_held_back(self) -> "MembershipQuerySet":
        """Those whose person may use the workspace in a session, as `Actor.is_held_back` says of one."""
        is_let_in = Q(workspace__requires_second_factor=False) | Exists(second_factor.of(OuterRef("user")))
        return self.filter(is_let_in, workspace__suspended_at=None)

    def not_seen_lately(self) -> "MembershipQuerySet":
        """Those whose person was not seen for a quarter of an hour, by the database's clock."""
        return self.filter(Q(seen_at=None) | Q(seen_at__lte=Now() - SEEN_EVERY))


class Membership(models.Model):
    """What one person is in one workspace."""

    # No index of its own: the constraint's serves, and PostgreSQL would prefer the smaller one for the look-up of each
    # request, and read all members of the team to find one.
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="memberships", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.PositiveSmallIntegerField(choices=Role.choices)
    joined_at = models.DateTimeField(db_default=Now(), editable=False)
    chosen_at = models.DateTimeField(null=True, editable=False)  # when the person last switched to it
    seen_at = models.DateTimeField(null=True, editable=False)  # in the browser, to a quarter of an hour
    keys_shown_at = models.DateTimeField(null=True, editable=False)  # when the log last said that values were shown

    objects: ClassVar[MembershipQuerySet] = MembershipQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="one_membership_each"),
            # At least one is watched by a trigger, see migration 0002.
            models.UniqueConstraint(fields=["workspace"], condition=Q(role=Role.OWNER), name="one_owner"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.workspace}: {Role(self.role).label}"

    @property
    def is_seen_lately(self) -> bool:
        """By this host's clock, to save a statement: the statement asks the database's."""
        return self.seen_at is not None and self.seen_at > timezone.now() - SEEN_EVERY


class MembershipPeriod(models.Model):
    """Who was what, where, from when to when. Written by a trigger on memberships (migration 0005), without gaps."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="membership_periods")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    role = models.PositiveSmallIntegerField(choices=Role.choices)
    from_at = models.DateTimeField()
    until_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["workspace", "from_at"], name="period_by_start")]

    def __str__(self) -> str:
        return f"{self.user} in {self.workspace}: {Role(self.role).label}"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> "InvitationQuerySet":
        """Neither used nor cancelled nor expired, by the database's clock."""
        return self.filter(accepted_at=None, cancelled_at=None, expires_at__gt=Now())


class Invitation(models.Model):
    """A link into a team. Its secret is known to the inviter and the invited only; here is its SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.PositiveSmallIntegerField(choices=Role.choices)
    only_this_address = models.BooleanField()
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    token_digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    cancelled_at = models.DateTimeField(null=True)
    was_mailed: bool | None = None  # just now; None: not tried

    objects: ClassVar[InvitationQuerySet] = InvitationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        indexes = [models.Index(fields=["workspace", "email"], name="invitation_by_address")]
        constraints = [models.CheckConstraint(condition=Q(role__lt=Role.OWNER), name="nobody_is_invited_as_owner")]

    def __str__(self) -> str:
        return self.email


class ActivityQuerySet(models.QuerySet["Activity"]):
    def newest_first(self) -> "ActivityQuerySet":
        return self.order_by("-at", "-pk")


class Activity(models.Model):
    """One thing that somebody did in a workspace. Only ever added."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="activity", db_index=False)
    at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=40)  # noun.verb, as in key.revoked
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    key_id = models.UUIDField(null=True)  # the key it was done with
    key_name = models.CharField(max_length=200, blank=True, db_default="")  # and what that was called then
    address = models.CharField(max_length=45, blank=True)
    client = models.CharField(max_length=120, blank=True)
    session = models.CharField(max_length=8, blank=True, db_default="")  # the name of the browser's session
    target_id = models.CharField(max_length=40, blank=True)
    target_name = models.CharField(max_length=200, blank=True)
    details = models.JSONField(default=dict)

    objects: ClassVar[ActivityQuerySet] = ActivityQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        indexes = [
            # In the order of the pages, so that each reads what it shows, however long the log, whatever is looked for.
            models.Index(fields=["workspace", "-at", "-id"], name="activity_newest"),
            models.Index(fields=["workspace", "user", "-at", "-id"], name="activity_by_person"),
            models.Index(fields=["workspace", "kind", "-at", "-id"], name="activity_by_kind"),
            models.Index(fields=["at"], name="activity_by_time"),  # for the operator: the trimming, pages of a day
        ]
        verbose_name_plural = "activity"

    def __str__(self) -> str:
        return f"{self.kind} {self.target_name}"

    @property
    def via(self) -> str:
        """What it was done with: `key`, `session` (a browser's) or `server` (a command, or the server by itself)."""
        if self.key_id is not None:
            return "key"
        return "session" if self.user_id is not None and (self.address or self.client) else "server"

    @property
    def means(self) -> str:
        """The same as people say it: a key and a session by their names; nothing for what came from outside."""
        match self.via:
            case "key":
                return self.key_name or "a key"
            case "session":
                return f"browser session {self.session}".rstrip()
        return "" if self.address else "the server"

    @property
    def who(self) -> str:
        """The person's name; without one it was the server, or somebody who is not known, as who uses a decoy."""
        if self.user is not None:
            return self.user.username
        return "somebody unknown" if self.address else "the server"
