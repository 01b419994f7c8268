"""How long ago somebody proved in this session who they are, and the way to prove it again."""

import time
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.authentication import get_authentication_records
from django.urls import reverse
from django.utils.http import urlencode

from config.errors import NotAllowed

SIGNED_IN_AT = "signed_in_at"  # in the session


class ReauthenticationRequired(NotAllowed):
    """What was asked for needs a recent sign-in; a page leads to django-allauth's, and from there back."""

    code = "REAUTHENTICATION_REQUIRED"
    sentence = "Your last sign-in is too long ago to see the values of keys; confirm who you are first"

    def page_instead(self, request: Any) -> str:
        methods = get_adapter().get_reauthentication_methods(request.user)
        page = methods[0]["url"] if methods else reverse("account_reauthenticate")  # which says that there is no way
        back = (request.htmx and request.htmx.current_url_abs_path) or request.get_full_path()
        return f"{page}?{urlencode({'next': back})}"


def note_sign_in(request: Any) -> None:
    request.session[SIGNED_IN_AT] = time.time()


def proved_at(request: Any) -> float:
    """When the signed-in person last signed in or confirmed who they are in this session, in seconds since 1970.

    0 for a session from before this was noted.
    """
    confirmed = [r["at"] for r in get_authentication_records(request, request.user) if r.get("reauthenticated")]
    return max(request.session.get(SIGNED_IN_AT, 0.0), *confirmed, 0.0)
