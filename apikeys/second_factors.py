"""The seeds of second factors, which django-allauth keeps: encrypted like API keys, under the same encryption keys.

A stored seed is `aes256gcm:<id of the encryption key>:<base64 of a blob>`. A copy of the database alone gives nobody
the codes of an app or the recovery codes, which follow from these seeds.
"""

import base64
from collections import Counter

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import Case, CharField, Count, Func, Q, QuerySet, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce

from apikeys.keyring import keyring

MARK = "aes256gcm"
ASSOCIATED = b"second factor"  # so that none passes for an API key, nor the other way round
FIELDS = ("secret", "seed")  # of codes of an app, of recovery codes


class Adapter(DefaultMFAAdapter):
    """What django-allauth calls (`MFA_ADAPTER`)."""

    def encrypt(self, text: str) -> str:
        key_id, blob = keyring().encrypt(text, ASSOCIATED)
        return f"{MARK}:{key_id}:{base64.b64encode(blob).decode()}"

    def decrypt(self, encrypted_text: str) -> str:
        """The seed. Raises Undecryptable: no seed at all would be one that everybody knows."""
        mark, _, rest = encrypted_text.partition(":")
        if mark != MARK:
            return encrypted_text  # from before there was encryption
        key_id, _, encoded = rest.partition(":")
        return keyring().decrypt(key_id, base64.b64decode(encoded), ASSOCIATED)


def held_by_key() -> Counter[str]:
    """How many seeds each encryption key holds; under "" those that are not encrypted. One statement."""
    stored = Coalesce(*(KT(f"data__{field}") for field in FIELDS))
    key_id = Func(stored, Value(":"), Value(2), function="split_part", output_field=CharField())
    rows = _seeds().annotate(stored=stored).filter(~Q(stored=None)).order_by()
    of = Case(When(stored__startswith=f"{MARK}:", then=key_id), default=Value(""))
    return Counter(dict(rows.annotate(of=of).values_list("of").annotate(count=Count("pk"))))


def encrypt_anew() -> int:
    """Encrypt with the first encryption key all that are not, and return how many. Can be stopped at any moment."""
    current, adapter, done = keyring().current_id, Adapter(), 0
    for pk, data in list(_seeds().order_by("pk").values_list("pk", "data")):
        if all(_key_of(data[field]) == current for field in FIELDS if field in data):
            continue
        with transaction.atomic():  # django-allauth writes the same column when a recovery code is used
            row = Authenticator.objects.select_for_update().filter(pk=pk).first()
            if row is not None:
                row.data |= {f: adapter.encrypt(adapter.decrypt(row.data[f])) for f in FIELDS if f in row.data}
                row.save(update_fields=["data"])
                done += 1
    return done


def _seeds() -> QuerySet[Authenticator]:
    return Authenticator.objects.filter(type__in=(Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES))


def _key_of(stored: str) -> str:
    mark, _, rest = stored.partition(":")
    return rest.partition(":")[0] if mark == MARK else ""
