from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import model_ngettext
from django.db import transaction
from django.db.models import Max, Min, Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.models import User
from config.admin import CappedPaginator, ReadOnlyAdmin, ask_first, origin
from config.errors import ServiceError
from workspaces import members, services
from workspaces.access import Role
from workspaces.activity import KINDS, of_kind
from workspaces.models import Activity, Invitation, Membership, Workspace

ROWS = 100  # of each kind on the page of one workspace; the rest is behind a link
ENTRIES = 50


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("suspended", "Suspended"), ("deleted", "Deleted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet | None:
        match self.value():
            case "open":
                return queryset.filter(suspended_at=None, deleted_at=None)
            case "suspended":
                return queryset.filter(suspended_at__isnull=False)
            case "deleted":
                return queryset.filter(deleted_at__isnull=False)
        return queryset


@admin.register(Workspace)
class WorkspaceAdmin(ReadOnlyAdmin):
    """Workspaces, each with its members, keys, invitations and activity on one page; suspended and restored here."""

    list_display = ("slug", "name", "kind", "created_at", "suspended_at", "deleted_at")
    list_filter = (StateFilter, "is_personal")
    search_fields = ("slug", "name")
    ordering = ("slug",)
    actions = ("suspend", "restore")
    fields = (
        *("slug", "name", "kind", "requires_second_factor"),
        *("created_at", "suspended_at", "suspended_reason", "deleted_at"),
    )
    readonly_fields = fields

    @admin.display(ordering="is_personal")
    def kind(self, workspace: Workspace) -> str:
        return "Personal" if workspace.is_personal else "Team"

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context |= overview(request.user, kwargs["obj"]) | {"can_suspend": self.has_suspend_permission(request)}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Suspend selected workspaces", permissions=["suspend"])
    def suspend(self, request: HttpRequest, queryset: QuerySet) -> TemplateResponse | None:
        workspaces = queryset.filter(suspended_at=None)
        question = ask_first(
            self,
            request,
            action="suspend",
            title="Suspend workspaces?",
            warning="From the next request on, their keys are refused and their pages say why. Nothing is lost: "
            "restored, they go on as they were, with the same keys.",
            rows=workspaces,
            button="Suspend",
            reason="must",
        )
        if question is not None:
            return question
        reason = request.POST.get("reason", "")
        with transaction.atomic():
            done = sum(services.suspend(request.user, w, reason=reason, **origin(request)) for w in workspaces)
        self.message_user(request, f"Suspended {done} {model_ngettext(self.opts, done)}.", messages.SUCCESS)
        return None

    @admin.action(description="Restore selected workspaces", permissions=["suspend"])
    def restore(self, request: HttpRequest, queryset: QuerySet) -> TemplateResponse | None:
        workspaces = queryset.filter(suspended_at__isnull=False)
        question = ask_first(
            self,
            request,
            action="restore",
            title="Restore workspaces?",
            warning="From the next request on, their pages open and all of their keys work that were not revoked.",
            rows=workspaces,
            button="Restore",
        )
        if question is not None:
            return question
        with transaction.atomic():
            done = sum(services.restore(request.user, w, **origin(request)) for w in workspaces)
        self.message_user(request, f"Restored {done} {model_ngettext(self.opts, done)}.", messages.SUCCESS)
        return None

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("workspaces.change_workspace")


def overview(operator: Any, workspace: Workspace) -> dict[str, Any]:
    """What the page of one workspace shows of what is in it, as far as the operator may see each kind.

    A constant number of statements; of keys neither value nor digest leaves the database.
    """
    found: dict[str, Any] = {"row_limit": ROWS}
    if operator.has_perm("workspaces.view_membership"):
        members = workspace.memberships.all()
        found["members"] = list(members.select_related("user").order_by("-role", "user__username")[:ROWS])
        found["member_count"] = members.count()
    if operator.has_perm("apikeys.view_apikey"):
        keys = workspace.api_keys.all()
        newest = keys.defer("digest", "ciphertext").select_related("creator").newest_first()[:ROWS]
        now = timezone.now()
        found["keys"] = [{"key": key, "is_active": key.is_active(now)} for key in newest]
        found["key_count"], found["active_key_count"] = keys.count(), keys.active().count()
    if operator.has_perm("workspaces.view_invitation"):
        invitations = Invitation.objects.open().filter(workspace=workspace).defer("token_digest")
        found["invitations"] = list(invitations.select_related("invited_by").order_by("-created_at")[:ROWS])
    if operator.has_perm("workspaces.view_activity"):
        entries = Activity.objects.filter(workspace=workspace).select_related("user").newest_first()
        found["entries"] = list(entries[:ENTRIES])
    return found


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    list_display = ("workspace", "user", "role", "joined_at", "seen_at")
    list_filter = ("role",)
    list_select_related = ("workspace", "user")
    search_fields = ("=workspace__slug", "=user__username")
    ordering = ("workspace__slug", "user__username")
    fields = ("workspace", "user", "role", "joined_at", "chosen_at", "seen_at")
    readonly_fields = fields
    actions = ("appoint",)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        membership = kwargs["obj"]
        may_be = membership.role < Role.OWNER and not membership.workspace.is_personal and membership.user.is_active
        context["can_appoint"] = may_be and self.has_appoint_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Make the selected member the Owner of the team", permissions=["appoint"])
    def appoint(self, request: HttpRequest, queryset: QuerySet) -> TemplateResponse | None:
        chosen = list(queryset.select_related("workspace", "user")[:2])
        if len(chosen) != 1:
            self.message_user(request, "Choose one member: a team has one Owner.", messages.ERROR)
            return None
        [membership] = chosen
        question = ask_first(
            self,
            request,
            action="appoint",
            title="Make somebody the Owner?",
            warning="For a team whose Owner cannot hand it over. The former Owner becomes an Admin.",
            rows=queryset,
            button="Make Owner",
        )
        if question is not None:
            return question
        try:
            members.appoint_owner(request.user, membership, **origin(request))
        except ServiceError as error:
            self.message_user(request, f"{error.sentence}. Nothing was changed.", messages.ERROR)
        else:
            done = f"{membership.user.username} owns {membership.workspace.slug} now."
            self.message_user(request, done, messages.SUCCESS)
        return None

    def has_appoint_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("workspaces.change_membership")


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Invitations, without the digest of the link's secret."""

    list_display = ("email", "workspace", "role", "invited_by", "created_at", "expires_at", "accepted_at")
    list_select_related = ("workspace", "invited_by")
    search_fields = ("email", "=workspace__slug")
    ordering = ("-created_at",)
    fields = (
        "email",
        "workspace",
        "role",
        "only_this_address",
        "invited_by",
        "created_at",
        "expires_at",
        "accepted_at",
        "accepted_by",
        "cancelled_at",
    )
    readonly_fields = fields


class KindFilter(admin.SimpleListFilter):
    """By the first part of a kind. Django's own filter would read the whole log to find out which kinds there are."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(first, label) for first, (label, _) in KINDS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        kind = self.value()
        return queryset.filter(of_kind(kind)) if kind else queryset


class Calendar(QuerySet):
    """The log for the date hierarchy, which asks for the years, months and days that have entries."""

    def datetimes(self, field_name: str, kind: str, *args: Any, **kwargs: Any) -> list[datetime]:  # type: ignore[override]
        """Every year, month or day from the first entry to the last: two looks into the index instead of all rows."""
        found = self.aggregate(first=Min(field_name), last=Max(field_name))
        if found["first"] is None:
            return []
        begins = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
        begins |= {"year": {"month": 1, "day": 1}, "month": {"day": 1}}.get(kind, {})
        days = timedelta(days={"year": 366, "month": 31}.get(kind, 1))
        at, steps = found["first"].astimezone(UTC), []
        while (at := at.replace(**begins)) <= found["last"]:
            steps.append(at)
            at += days
        return steps


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin):
    """The log of all workspaces. Made for ten million rows: no page counts them or reads them to the end."""

    list_display = ("when", "workspace", "kind", "user", "target_name", "address")
    list_filter = (KindFilter,)
    list_select_related = ("workspace", "user")
    ordering = ("-at", "-id")
    sortable_by = ()
    date_hierarchy = "at"
    search_fields = ("workspace__slug", "user__username")  # see get_search_results
    search_help_text = "A workspace's or a person's exact name, or the id of a key or person that it was done to."
    paginator = CappedPaginator
    list_per_page = 50
    list_max_show_all = 50
    fields = (
        "when",
        "workspace",
        "kind",
        "user",
        "key_name",
        "key_id",
        "address",
        "client",
        "session",
        "target_name",
        "target_id",
        "details",
    )
    readonly_fields = fields

    @admin.display(description="When (UTC)")
    def when(self, entry: Activity) -> str:
        return f"{entry.at:%Y-%m-%d %H:%M:%S}"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return Calendar(self.model).order_by(*self.get_ordering(request))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            return super().get_changelist_instance(request)
        except (ValueError, OverflowError) as error:  # Django's hierarchy at the end of the year 9999
            raise IncorrectLookupParameters from error

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """By names that are looked up first: a condition across three tables would read the log from end to end."""
        text = search_term.strip().lower()
        if not text:
            return queryset, False
        try:
            return queryset.filter(target_id=str(UUID(text))), False
        except ValueError:
            workspaces = list(Workspace.objects.filter(slug=text).values_list("pk", flat=True))
            people = list(User.objects.filter(username=text).values_list("pk", flat=True))
            return queryset.filter(Q(workspace__in=workspaces) | Q(user__in=people)), False
