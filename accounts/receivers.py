"""What accounts do when something else is saved."""

from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import pre_save
from django.dispatch import receiver

from accounts import reauthentication, sessions
from config.clients import clean_client


@receiver(pre_save, sender=UserSession)
def clean_browser_name(sender: Any, instance: UserSession, **kwargs: Any) -> None:
    """The list of sessions keeps what a browser calls itself: printable, cut, and without anything like a key."""
    instance.user_agent = clean_client(instance.user_agent)


@receiver(user_logged_in)
def note_when(sender: Any, request: Any, **kwargs: Any) -> None:
    reauthentication.note_sign_in(request)
    sessions.give_name(request.session)
