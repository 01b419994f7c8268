import uuid

from django import forms

from apikeys.services import NAME_LENGTH

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
