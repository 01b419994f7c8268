"""The admin's form for text in which keys may be: finds them, tells whose they are, and revokes them."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_protect

from apikeys import leaks
from config.address import client_address
from config.clients import client_name
from config.redaction import clean_reason

MAX_SHOWN = 1000  # and as many checkboxes; DATA_UPLOAD_MAX_NUMBER_FIELDS has room for them


class ScanningUploadHandler(FileUploadHandler):
    """Looks for keys in a file as it comes in and lets it go: nothing of it is stored, however large it is."""

    def __init__(self, request: Any, scanner: leaks.Scanner):
        super().__init__(request)
        self.scanner = scanner

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.scanner.rest = ""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.scanner.feed_bytes(raw_data)

    def file_complete(self, file_size: int) -> None:
        return None


class LeakForm(forms.Form):
    text = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 12, "autocomplete": "off", "spellcheck": "false", "data-send-as-file": "file"}
        ),
        help_text="Of any size. Without JavaScript up to 20 MB; a file may have any size.",
    )
    file = forms.FileField(required=False)


def leaked_keys(admin: Any, request: Any) -> HttpResponse:
    """The page. Its view is exempt from the middleware's check for CSRF, which reads the body, and checks here."""
    scanner = leaks.Scanner()
    request.upload_handlers = [ScanningUploadHandler(request, scanner)]
    return csrf_protect(_leaked_keys)(request, admin, scanner)


def _leaked_keys(request: Any, admin: Any, scanner: leaks.Scanner) -> HttpResponse:
    findings = None
    if request.method == "POST" and "revoke" in request.POST:
        chosen = admin.model.objects.active().filter(pk__in=_ids(request.POST.getlist("key")))
        ended = leaks.revoke_leaked(
            request.user,
            chosen.values_list("pk", flat=True),
            reason=clean_reason(request.POST.get("reason", "")),
            address=client_address(request),
            client=client_name(request),
        )
        messages.success(request, f"Revoked {ended} leaked key{'' if ended == 1 else 's'}.")
        return redirect(reverse("admin:apikeys_apikey_leaks"))
    if request.method == "POST":
        scanner.rest = ""
        scanner.feed(request.POST.get("text", ""))
        findings = leaks.examine(scanner.found)
    context = admin.admin_site.each_context(request) | {
        "title": "Leaked keys",
        "opts": admin.model._meta,
        "form": LeakForm(),
        "findings": findings[:MAX_SHOWN] if findings is not None else None,
        "count": len(findings or ()),
        "live": sum(finding.is_live for finding in findings or ()),
    }
    return TemplateResponse(request, "admin/apikeys/leaks.html", context)


def _ids(values: list[str]) -> list[str]:
    good = []
    for value in values:
        try:
            good.append(str(UUID(value)))
        except ValueError:
            continue
    return good
