from typing import Any, ClassVar

import allauth.mfa.admin
import allauth.usersessions.admin  # noqa: F401  # before the registrations below, which replace theirs
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from accounts import names, services
from accounts.models import User
from config.admin import ReadOnlyAdmin, ask_first, origin
from config.errors import ServiceError


class NewUserForm(AdminUserCreationForm):
    class Meta(AdminUserCreationForm.Meta):  # type: ignore[name-defined, misc]
        model = User
        fields = ("username",)
        field_classes: ClassVar[dict[str, Any]] = {}

    def clean_username(self) -> str:
        username = super().clean_username()  # type: ignore[misc]
        if names.is_taken(username):
            raise ValidationError(names.TAKEN)
        return username


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """People. Nobody is deleted, the log needs them: they are suspended, and they and their keys refused at once.

    What makes somebody an operator is for superusers to change, and superusers are for superusers.
    """

    add_form = NewUserForm
    list_display = ("username", "name", "email", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("username", "name", "email")
    ordering = ("username",)
    date_hierarchy = None
    show_full_result_count = False
    actions = ("suspend", "restore")
    readonly_fields = ("username", "active", "suspended_at", "suspended_reason", "last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("name", "email")}),
        ("May", {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Suspension", {"fields": ("active", "suspended_at", "suspended_reason")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "usable_password", "password1", "password2")}),
    )

    @admin.display(boolean=True)
    def active(self, user: User) -> bool:
        return user.is_active

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:
        if obj is None:
            return ()
        powers = () if request.user.is_superuser else ("is_staff", "is_superuser", "groups", "user_permissions")
        return (*self.readonly_fields, *powers)

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or request.user.is_superuser or not obj.is_superuser)

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        user = kwargs["obj"]
        context["can_suspend"] = user is not None and user != request.user and self.has_change_permission(request, user)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Suspend selected users", permissions=["suspend"])
    def suspend(self, request: HttpRequest, queryset: QuerySet) -> TemplateResponse | None:
        users = queryset.filter(is_active=True)
        question = ask_first(
            self,
            request,
            action="suspend",
            title="Suspend users?",
            warning="They are signed out, and from the next request on the keys that they made are refused. Their "
            "memberships stay: restored, they go on as they were, with the same keys.",
            rows=users,
            button="Suspend",
            reason="must",
        )
        if question is not None:
            return question
        reason = request.POST.get("reason", "")
        self._act(request, "Suspended", services.suspend_users, users, reason=reason)
        return None

    @admin.action(description="Restore selected users", permissions=["suspend"])
    def restore(self, request: HttpRequest, queryset: QuerySet) -> TemplateResponse | None:
        users = queryset.filter(is_active=False)
        question = ask_first(
            self,
            request,
            action="restore",
            title="Restore users?",
            warning="They can sign in again, and from the next request on their keys work that were not revoked.",
            rows=users,
            button="Restore",
        )
        if question is not None:
            return question
        self._act(request, "Restored", services.restore_users, users)
        return None

    def _act(self, request: HttpRequest, done: str, service: Any, users: QuerySet, **details: Any) -> None:
        try:
            count = service(request.user, list(users.values_list("pk", flat=True)), **details, **origin(request))
        except ServiceError as error:
            self.message_user(request, f"{error.sentence}. Nothing was changed.", messages.ERROR)
        else:
            self.message_user(request, f"{done} {count} {model_ngettext(self.opts, count)}.", messages.SUCCESS)


admin.site.unregister([Authenticator, UserSession])


@admin.register(Authenticator)
class AuthenticatorAdmin(ReadOnlyAdmin):
    """Second factors, without their secrets. Deleting one lets somebody in who has lost theirs."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    list_select_related = ("user",)
    search_fields = ("=user__username",)
    fields = ("user", "type", "created_at", "last_used_at")
    readonly_fields = fields

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return request.user.is_superuser


@admin.register(UserSession)
class UserSessionAdmin(ReadOnlyAdmin):
    """Who is signed in from where. Suspending somebody ends their sessions."""

    list_display = ("user", "created_at", "last_seen_at", "ip", "user_agent")
    list_select_related = ("user",)
    search_fields = ("=user__username", "=ip")
    ordering = ("-last_seen_at",)
    fields = list_display
    readonly_fields = fields
