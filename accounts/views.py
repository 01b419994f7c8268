"""The settings page and its tabs about the person. django-allauth has the pages for signing in and up."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts import tabs
from accounts.forms import ProfileForm
from config.errors import NotFound
from config.pages import page


@page("own_account", "GET", "POST")
def settings_page(request: HttpRequest) -> HttpResponse:
    """The tab named by `?tab=`, else the first one."""
    slug = request.GET.get("tab") or tabs.all_tabs()[0].slug
    tab = tabs.find(slug)
    if tab is None:
        raise NotFound("There are no settings of that name")
    return tab.view(request)


@page("own_account", "GET", "POST")
def profile(request: HttpRequest) -> HttpResponse:
    """The display name, and the way to e-mail, password, second factor and sessions."""
    form = ProfileForm(request.POST or None, instance=request.user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Your profile is saved.")
        return redirect(tabs.url_of("profile"))
    return render(request, "accounts/profile.html", {"tab": "profile", "form": form})
