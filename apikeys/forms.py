import uuid

from django import forms

from apikeys.services import NAME_LENGTH
from workspaces.access import Role

GRACE_CHOICES = [
    ("24h", "in 24 hours"),
    ("1h", "in 1 hour"),
    ("7d", "in 7 days"),
    ("manual", "when I revoke it myself"),
    ("now", "at once"),
]


class NewKeyForm(forms.Form):
    """`key_id` is made with the form, so that sending it twice makes one key."""

    name = forms.CharField(
        max_length=NAME_LENGTH,
        help_text="What the key is for, such as the machine or the pipeline that will use it.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
    )
    key_id = forms.UUIDField(initial=uuid.uuid4, widget=forms.HiddenInput)


class RotateForm(forms.Form):
    grace = forms.ChoiceField(
        label="The old key stops working",
        choices=GRACE_CHOICES,
        initial="24h",
        widget=forms.RadioSelect,
    )


class EndpointForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="What the service is, such as Inference on gpu-3.")
    upstream = forms.CharField(
        label="Upstream address",
        max_length=200,
        help_text="Where the proxy passes good requests on to, such as http://10.0.0.5:9000.",
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off"}),
    )
    required_role = forms.TypedChoiceField(
        label="Keys need the role",
        coerce=lambda value: Role(int(value)),
        choices=[(Role.VIEWER, "Viewer or higher"), (Role.EDITOR, "Editor or higher")],
        initial=Role.VIEWER,
    )


class DecoyForm(forms.Form):
    name = forms.CharField(max_length=NAME_LENGTH, label="Where you will put it", help_text="Such as: old backup disk.")
