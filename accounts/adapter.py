"""Where sign-up and sign-in (django-allauth) meet our rules."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.exceptions import ValidationError

from accounts import names
from config.address import client_address
from config.redaction import refuse_keys


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | {"username_taken": names.TAKEN}

    def is_open_for_signup(self, request: Any) -> bool:
        return settings.SIGNUP_OPEN

    def clean_username(self, username: str, shallow: bool = False) -> str:
        username = super().clean_username(username.lower(), shallow)
        if not shallow and names.is_taken(username):
            raise ValidationError(names.TAKEN)
        return username

    def clean_email(self, email: str) -> str:
        refuse_keys(email)
        return super().clean_email(email)

    def get_client_ip(self, request: Any) -> str:
        return client_address(request)
