"""Pages of teams."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from config.pages import PageRequest, page
from workspaces import invitations
from workspaces.access import Right


@page(Right.USE_TEAMS, "GET", "POST")
def invite(request: PageRequest, token: str) -> HttpResponse:
    """What one is invited to; a POST accepts it, because programs that look at mail open every link in it."""
    invitation = invitations.look_up(token)
    if request.method == "POST":
        actor = request.actor
        joined = invitations.accept(actor.user, token, address=actor.address, client=actor.client)
        messages.success(request, f"You are in {joined.workspace.name} now, as {joined.role.label}.")
        return redirect(f"{reverse('accounts:settings')}?tab=api-keys&workspace={joined.workspace.slug}")
    is_other_address = invitation.email != request.actor.user.email.lower()
    return render(
        request,
        "workspaces/invite.html",
        {"invitation": invitation, "is_other_address": is_other_address, "token": token},
    )
