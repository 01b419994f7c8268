from typing import Any

import allauth.account.forms
from allauth.core import context
from django import forms
from django.conf import settings

from accounts import entrance
from accounts.models import User


class SignupForm(allauth.account.forms.SignupForm):
    """For somebody with an invitation, filled in with the address that was invited; no other, where only they may."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.invited = entrance.invited_addresses(context.request)
        email = self.fields["email"]
        if self.invited:
            email.initial = self.invited[0]
        if not settings.SIGNUP_OPEN:
            email.label, email.required = "Email", True

    def clean_email(self) -> str:
        if not settings.SIGNUP_OPEN and self.cleaned_data["email"].lower() not in self.invited:
            raise forms.ValidationError("Use the address that was invited; this server is for invited people only.")
        return super().clean_email()


class ProfileForm(forms.ModelForm):
    class Meta:
        model = User
        fields = ("name",)
        help_texts = {"name": "How others see you. Your username stays as it is."}
