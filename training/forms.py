from django import forms

from training.models import NAME_LENGTH, SLUG_LENGTH


class ProjectForm(forms.Form):
    name = forms.CharField(max_length=NAME_LENGTH)
    slug = forms.CharField(
        label="URL name",
        max_length=SLUG_LENGTH,
        help_text="a-z, 0-9 and hyphens; what stands in project=… after the slash.",
    )
    description = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}))


class RunForm(forms.Form):
    name = forms.CharField(max_length=NAME_LENGTH)
    description = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}))
