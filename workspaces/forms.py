from django import forms

from workspaces import activity
from workspaces.access import Role


class TeamForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="As people say it, such as Acme Labs.")
    slug = forms.CharField(
        label="URL name",
        max_length=32,
        help_text="4 to 32 of a-z, 0-9 and hyphens. It is part of every path of the team.",
    )


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail address")
    role = forms.TypedChoiceField(coerce=lambda value: Role(int(value)), choices=[])
    only_this_address = forms.BooleanField(label="Only for this address", required=False)


class RoleForm(forms.Form):
    role = forms.TypedChoiceField(coerce=lambda value: Role(int(value)), choices=[])


class ConfirmForm(forms.Form):
    confirmation = forms.CharField(max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class SecondFactorForm(forms.Form):
    required = forms.ChoiceField(choices=[("yes", "Yes"), ("no", "No")])


class ActivityFilterForm(forms.Form):
    person = forms.CharField(required=False, max_length=32)
    kind = forms.ChoiceField(required=False, choices=activity.kind_choices)
    since = forms.DateField(label="Since (UTC)", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="Until (UTC)", required=False, widget=forms.DateInput(attrs={"type": "date"}))
