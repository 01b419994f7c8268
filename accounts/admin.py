from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.core.exceptions import ValidationError

from accounts import names
from accounts.models import User


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
    """People. Nobody is deleted, the log needs them: take away `active`, and their keys are refused at once."""

    add_form = NewUserForm
    list_display = ("username", "name", "email", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("username", "name", "email")
    ordering = ("username",)
    date_hierarchy = None
    show_full_result_count = False
    readonly_fields = ("username", "last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("name", "email")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "usable_password", "password1", "password2")}),
    )

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:
        return self.readonly_fields if obj is not None else ()

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False
