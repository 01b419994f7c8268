"""Where sign-up and sign-in (django-allauth) meet our rules."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render

from accounts import entrance, names
from config.address import UNKNOWN, client_address
from config.redaction import refuse_keys


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | {"username_taken": names.TAKEN}

    def is_open_for_signup(self, request: Any) -> bool:
        return entrance.may_sign_up(request)

    def get_login_redirect_url(self, request: Any) -> str:
        return entrance.destination(request) or super().get_login_redirect_url(request)

    def get_signup_redirect_url(self, request: Any) -> str:
        return self.get_login_redirect_url(request)

    def clean_username(self, username: str, shallow: bool = False) -> str:
        username = super().clean_username(username.lower(), shallow)
        if not shallow and names.is_taken(username):
            raise ValidationError(names.TAKEN)
        return username

    def clean_email(self, email: str) -> str:
        refuse_keys(email)
        return super().clean_email(email)

    def get_client_ip(self, request: Any) -> str:
        address = client_address(request)
        return "0.0.0.0" if address == UNKNOWN else address  # noqa: S104 (no address; it goes in a column of addresses)

    def respond_user_inactive(self, request: Any, user: Any) -> HttpResponse:
        """Say why to who gave the right password; in this answer only, no address or session tells it again."""
        return render(request, "account/account_inactive.html", {"person": user}, status=403)

    def login(self, request: Any, user: Any) -> None:
        if not user.is_active:  # suspended between the password and the second factor
            raise ImmediateHttpResponse(self.respond_user_inactive(request, user))
        super().login(request, user)
