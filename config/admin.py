"""What the admin pages of all apps share: read-only rows, actions that ask first, lists that never count to the end."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.functional import cached_property

from config.address import client_address
from config.clients import client_name

admin.site.enable_nav_sidebar = False
STAFF = object()  # for `@allow`: the admin's site lets staff in only, the view asks for their permissions


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows rows and changes none: what may change, changes through a service."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # it would count the rows of each filter
    actions_on_top = True

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False


class CappedPaginator(Paginator):
    """Counts to 10,000 and offers no page after that: to count ten million rows takes longer than anybody waits."""

    CAP = 10_000

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)
        return self.object_list.order_by()[: self.CAP].count()


def origin(request: HttpRequest) -> dict[str, str]:
    """Where an operator acts from, as services note it."""
    return {"address": client_address(request), "client": client_name(request)}


def ask_first(
    model_admin: admin.ModelAdmin,
    request: HttpRequest,
    *,
    action: str,
    title: str,
    warning: str,
    rows: QuerySet,
    button: str,
    describe: Callable[[Any], str] = str,
    reason: str = "",
) -> TemplateResponse | None:
    """The page that asks whether to do `action` to `rows`, or None once the operator has said yes.

    `reason` is "" where none is asked for, "may" or "must"; it comes back as `reason` in the form. `describe` makes
    the line about a row.
    """
    complaint = ""
    if "confirmed" in request.POST:
        if reason != "must" or request.POST.get("reason", "").strip():
            return None
        complaint = "Say why: the people concerned are shown the reason."
    count = rows.count()
    context = model_admin.admin_site.each_context(request) | {
        "title": title,
        "warning": warning,
        "lines": [describe(row) for row in rows[:200]],
        "more": max(0, count - 200),
        "button": button,
        "reason": reason,
        "complaint": complaint,
        "action": action,
        "selected": request.POST.getlist("_selected_action"),
        "select_across": request.POST.get("select_across", "0"),
        "opts": model_admin.opts,
    }
    return TemplateResponse(request, "admin/confirm.html", context)
