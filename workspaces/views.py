"""Pages of teams: switching, members, invitations, what the Owner does, and the activity log."""

import json
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django import forms as django_forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from accounts import entrance
from accounts.sessions import name_of
from accounts.signals import summary_counts
from config.address import client_address
from config.api import PUBLIC
from config.clients import client_name
from config.errors import Invalid, NotFound, ServiceError
from config.exports import csv_file
from config.pages import PageRequest, page
from config.ratelimit import count
from workspaces import activity, invitations, links, members, services
from workspaces.access import Actor, Right, Role
from workspaces.forms import ActivityFilterForm, ConfirmForm, InviteForm, RoleForm, SecondFactorForm, TeamForm
from workspaces.models import Membership

MEMBERS_PER_PAGE = 100
MAX_CHOICES = 10_000  # on the page that asks what becomes of keys; beyond, it asks once for all of them
ENTRIES_PER_PAGE = 50


def address(actor: Actor, tab: str, **query: Any) -> str:
    return f"{reverse('accounts:settings')}?{urlencode({'tab': tab, 'workspace': actor.workspace.slug} | query)}"


def roles_for(actor: Actor, *also: int) -> list[tuple[int, str]]:
    """The roles that the actor may give."""
    return [(role.value, role.label) for role in Role if members.may_manage(actor, role) or role in also]


@page(Right.OWN_ACCOUNT, "POST")
def switch(request: PageRequest) -> HttpResponse:
    """Open the workspace that the form names, now and at the next sign-in."""
    services.choose_workspace(request.actor)
    return redirect(address(request.actor, "api-keys"))


@page(Right.OWN_ACCOUNT, "GET", "POST")
def team_create(request: PageRequest) -> HttpResponse:
    form = TeamForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        team = attempt(form, lambda: services.create_team(request.actor, **form.cleaned_data))
        if team is not None:
            actor = services.actor_in(request.actor.user, team.slug)
            services.choose_workspace(actor)
            messages.success(request, f"{team.name} is there. Invite the others.")
            return redirect(address(actor, "teams"))
    return render(request, "workspaces/create.html", {"form": form}, status=400 if form.errors else 200)


@page(Right.VIEW)
def team(request: PageRequest) -> HttpResponse:
    """Settings > Teams: the members of the team that is open, and open invitations for those who may invite."""
    actor = request.actor
    context: dict[str, Any] = {"tab": "teams"}
    if not actor.workspace.is_personal:
        people = Paginator(members.listed(actor), MEMBERS_PER_PAGE).get_page(request.GET.get("page"))
        context["page"] = people
        context["people"] = [
            {"membership": m, "is_self": m.user_id == actor.user.pk, "can_manage": members.may_manage(actor, m.role)}
            for m in people.object_list
        ]
        if actor.can(Right.MANAGE_MEMBERS):
            context["invitations"] = list(invitations.open_invitations(actor))
    return render(request, "workspaces/team.html", context)


@page(Right.MANAGE_MEMBERS, "GET", "POST")
def member_invite(request: PageRequest) -> HttpResponse:
    actor = request.actor
    form = InviteForm(request.POST or None, initial={"role": Role.EDITOR, "only_this_address": settings.HAS_EMAIL})
    choose(form, roles_for(actor))
    if request.method == "POST" and form.is_valid():
        count(request, "invite")
        url_of = partial(links.invite_url, request)
        made = attempt(form, lambda: invitations.invite(actor, **form.cleaned_data, url_of=url_of))
        if made is not None:
            return show_link(request, *made)
    return render(request, "workspaces/invite_form.html", {"form": form}, status=400 if form.errors else 200)


@page(Right.MANAGE_MEMBERS, "POST")
def invite_resend(request: PageRequest, invite_id: UUID) -> HttpResponse:
    count(request, "invite")
    url_of = partial(links.invite_url, request)
    return show_link(request, *invitations.resend(request.actor, invite_id, url_of=url_of))


@page(Right.MANAGE_MEMBERS, "POST")
def invite_cancel(request: PageRequest, invite_id: UUID) -> HttpResponse:
    invitations.cancel(request.actor, invite_id)
    messages.success(request, "The invitation is cancelled.")
    return redirect(address(request.actor, "teams"))


def show_link(request: PageRequest, invitation: Any, token: str) -> HttpResponse:
    """The link, in this one answer: it is stored as a hash only."""
    context = {"tab": "teams", "invitation": invitation, "link": links.invite_url(request, token)}
    return render(request, "workspaces/invite_link.html", context)


@page(Right.MANAGE_MEMBERS, "GET", "POST")
def member_role(request: PageRequest, user_id: UUID) -> HttpResponse:
    actor, membership = request.actor, find_member(request.actor, user_id)
    if not members.may_manage(actor, membership.role):
        actor.require(Right.MANAGE_TEAM)
    form = RoleForm(request.POST or None, initial={"role": membership.role})
    choose(form, roles_for(actor, membership.role))
    if request.method == "POST" and form.is_valid():
        role = form.cleaned_data["role"]
        members.change_role(actor, user_id, role)
        messages.success(request, f"{membership.user.username} is {role.label} now.")
        return redirect(address(actor, "teams"))
    context = {"tab": "teams", "form": form, "membership": membership}
    return render(request, "workspaces/role.html", context, status=400 if form.errors else 200)


@page(Right.LEAVE, "GET", "POST")
def member_remove(request: PageRequest, user_id: UUID) -> HttpResponse:
    """Remove a member, or leave: asks what becomes of each key that they made here."""
    actor, is_self = request.actor, user_id == request.actor.user.pk
    if not is_self:
        actor.require(Right.VIEW)
    membership = find_member(actor, user_id)
    if not is_self and not members.may_manage(actor, membership.role):
        actor.require(Right.MANAGE_TEAM)
    keys = list(actor.workspace.api_keys.active().filter(creator=membership.user).newest_first())
    takers = []
    if keys and (not is_self or actor.can(Right.MANAGE_KEYS)):  # who may not may leave, but gives nobody their keys
        takers = [(str(m.user_id), m.user.username) for m in members.who_may_take_over(actor, membership)]
    form = django_forms.Form(request.POST or None)
    choices = [("", "Revoke"), *((value, f"Hand over to {name}") for value, name in takers)]
    asks_once = len(keys) * len(choices) > MAX_CHOICES
    for name in ["all-keys"] if asks_once else [f"key-{key.pk}" for key in keys]:
        form.fields[name] = django_forms.ChoiceField(choices=choices, required=False)
    if request.method == "POST" and form.is_valid():
        answers = {key.pk: form.cleaned_data["all-keys" if asks_once else f"key-{key.pk}"] for key in keys}
        chosen = {key_id: UUID(to) for key_id, to in answers.items() if to}
        if attempt(form, lambda: members.remove_member(actor, user_id, handovers=chosen) or True):
            if is_self:
                messages.success(request, f"You have left {actor.workspace.name}.")
                return redirect("accounts:settings")
            messages.success(request, f"{membership.user.username} is no longer in the team.")
            return redirect(address(actor, "teams"))
    going_on = [find(actor, [key.pk for key in keys]) for find in members.work] if actor.can(Right.VIEW) else []
    rows = [
        {
            "key": key,
            "field": None if asks_once else form[f"key-{key.pk}"],
            "work": [found[key.pk] for found in going_on if key.pk in found],
        }
        for key in keys
    ]
    context = {"tab": "teams", "form": form, "membership": membership, "rows": rows, "is_self": is_self}
    context["for_all"] = form["all-keys"] if asks_once else None
    return render(request, "workspaces/remove.html", context, status=400 if form.errors else 200)


@page(Right.MANAGE_TEAM, "GET", "POST")
def team_rename(request: PageRequest) -> HttpResponse:
    actor = request.actor
    form = TeamForm(request.POST or None, initial={"name": actor.workspace.name, "slug": actor.workspace.slug})
    if request.method == "POST" and form.is_valid():
        if attempt(form, lambda: services.rename_team(actor, **form.cleaned_data) or True):
            messages.success(request, "The team has its new name.")
            return redirect(address(actor, "teams"))
    return render(request, "workspaces/rename.html", {"tab": "teams", "form": form}, status=400 if form.errors else 200)


@page(Right.MANAGE_TEAM, "GET", "POST")
def team_second_factor(request: PageRequest) -> HttpResponse:
    """Say what asking for a second factor does, to whom, and switch it on or off."""
    actor = request.actor
    form = SecondFactorForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        is_required = form.cleaned_data["required"] == "yes"
        if attempt(form, lambda: services.require_second_factor(actor, is_required=is_required) or True):
            now = "asks its members for a second factor now" if is_required else "asks for no second factor any more"
            messages.success(request, f"{actor.workspace.name} {now}.")
            return redirect(address(actor, "teams"))
    context = {
        "tab": "teams",
        "form": form,
        "has_own": actor.user.has_second_factor(),
        "without_count": actor.workspace.memberships.without_second_factor().count(),
    }
    return render(request, "workspaces/second_factor.html", context, status=400 if form.errors else 200)


@page(Right.MANAGE_TEAM, "GET", "POST")
def team_transfer(request: PageRequest, user_id: UUID) -> HttpResponse:
    actor, membership = request.actor, find_member(request.actor, user_id)
    form = ConfirmForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if attempt(form, lambda: members.transfer_ownership(actor, user_id, **form.cleaned_data) or True):
            messages.success(request, f"{membership.user.username} owns the team now.")
            return redirect(address(actor, "teams"))
    context = {"tab": "teams", "form": form, "membership": membership}
    return render(request, "workspaces/transfer.html", context, status=400 if form.errors else 200)


@page(Right.MANAGE_TEAM, "GET", "POST")
def team_delete(request: PageRequest) -> HttpResponse:
    """Says what will go, and asks for the name."""
    actor = request.actor
    form = ConfirmForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if attempt(form, lambda: members.delete_team(actor, **form.cleaned_data) or True):
            messages.success(request, f"{actor.workspace.name} is deleted; its keys are refused.")
            return redirect("accounts:settings")
    counts = dict.fromkeys(("projects", "datasets", "models"), 0)
    summary_counts.send(None, workspace=actor.workspace, counts=counts)
    context = {
        "tab": "teams",
        "form": form,
        "member_count": actor.workspace.memberships.count(),
        "key_count": actor.workspace.api_keys.active().count(),
        "project_count": counts["projects"],
        "run_count": counts["models"],
    }
    return render(request, "workspaces/delete.html", context, status=400 if form.errors else 200)


@page(PUBLIC)
@never_cache
def invite_open(request: PageRequest, token: str) -> HttpResponse:
    """The link of an invitation. Its secret leaves the address before there is a page that could hand it on."""
    link = links.link_of(token)
    invitations.find(link)
    links.remember(request.session, link)
    response = redirect("workspaces:invite", link.invitation_id)
    response["Referrer-Policy"] = "no-referrer"
    return response


@page(PUBLIC, "GET", "POST")
@never_cache
def invite(request: PageRequest, invite_id: UUID) -> HttpResponse:
    """What one is invited to. Who is signed out may sign in or up, and comes back.

    A POST accepts it: programs that look at mail open every link in it.
    """
    link = links.opened_for(request.session, invite_id)
    invitation = invitations.find(link)
    context: dict[str, Any] = {"invitation": invitation, "team": invitation.workspace}
    if not request.user.is_authenticated:
        invitations.require_open(invitation)
        entrance.go_on_to(request, request.path)
        return render(request, "workspaces/invite.html", context | {"can_sign_up": entrance.may_sign_up(request)})
    own = Membership.objects.of(request.user).filter(workspace=invitation.workspace).first()
    if own is not None and own.role >= invitation.role:  # the link stays good for whom it was meant
        return render(request, "workspaces/invite_member.html", context | {"own": own})
    if request.method == "POST":
        count(request, "default")
        origin = {"address": client_address(request), "client": client_name(request)}
        joined = invitations.accept(request.user, link, **origin, session=name_of(request.session))
        messages.success(request, f"You are in {joined.workspace.name} now, as {joined.role.label}.")
        return redirect(address(joined, "api-keys"))
    invitations.require_open(invitation)
    is_theirs = request.user.has_address(invitation.email)
    context |= {"own": own, "is_theirs": is_theirs, "can_join": is_theirs or not invitation.only_this_address}
    return render(request, "workspaces/invite.html", context)


@page(PUBLIC, "POST")
def invite_sign_out(request: PageRequest, invite_id: UUID) -> HttpResponse:
    """Sign out, and come back to the invitation to use another account."""
    link = links.opened_for(request.session, invite_id)
    logout(request)
    links.remember(request.session, link)
    return redirect("workspaces:invite", invite_id)


@page(Right.USE_TEAMS)
def log(request: PageRequest) -> HttpResponseBase:
    """Settings > Activity: what was done, newest first; `format=csv` for all of it as a file."""
    actor = request.actor
    form = ActivityFilterForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    if form.errors and request.GET.get("format") == "csv":
        raise Invalid("There is no such filter")  # a file of everything would be mistaken for it
    before = request.GET.get("before", "")
    entries = activity.visible_to(
        actor,
        person=wanted.get("person", ""),
        kind=wanted.get("kind", ""),
        since=start_of(wanted.get("since")),
        until=end_of(wanted.get("until")),
        before=int(before) if before.isdecimal() and len(before) < 19 else None,
    )
    if request.GET.get("format") == "csv":
        return as_csv(actor, entries)
    shown = list(entries[: ENTRIES_PER_PAGE + 1])
    older = shown[ENTRIES_PER_PAGE - 1].pk if len(shown) > ENTRIES_PER_PAGE else None
    query = urlencode({name: value for name, value in wanted.items() if value})
    context = {"tab": "activity", "form": form, "entries": shown[:ENTRIES_PER_PAGE], "older": older, "query": query}
    return render(request, "workspaces/activity.html", context, status=400 if form.errors else 200)


def start_of(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


def end_of(day: date | None) -> datetime | None:
    """The first moment after `day`; None without one, and for the last day that there is."""
    return start_of(day + timedelta(days=1)) if day and day < date.max else None


def as_csv(actor: Actor, entries: Any) -> StreamingHttpResponse:
    header = ("time", "kind", "person", "via", "key", "session", "address", "client", "target id", "target", "details")
    rows = (
        (
            *(e.at.isoformat(), e.kind, e.user and e.user.username, e.key_name or e.via, e.key_id, e.session),
            *(e.address, e.client, e.target_id, e.target_name),
            json.dumps(e.details, ensure_ascii=False) if e.details else "",
        )
        for e in entries.iterator(chunk_size=1000)
    )
    return csv_file(f"activity-{actor.workspace.slug}.csv", header, rows)


def find_member(actor: Actor, user_id: UUID) -> Membership:
    membership = members.listed(actor).filter(user=user_id).first()
    if membership is None:
        raise NotFound("Member not found")
    return membership


def choose(form: django_forms.Form, roles: list[tuple[int, str]]) -> None:
    field = form.fields["role"]
    assert isinstance(field, django_forms.ChoiceField)
    field.choices = roles


def attempt(form: django_forms.Form, act: Any) -> Any:
    """What `act` returns, or None with its complaint put beside the field that it is about."""
    try:
        return act()
    except ServiceError as error:
        if error.status not in (Invalid.status, 409):
            raise
        details = error.details if isinstance(error.details, dict) else {}
        for field, sentences in (details or {None: [error.sentence]}).items():
            name = {"username": "slug"}.get(field, field)
            form.add_error(name if name in form.fields else None, sentences)
        return None
