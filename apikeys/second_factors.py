"""The seeds of second factors, which django-allauth keeps: encrypted like API keys, under the same encryption keys.

A stored seed is `aes256gcm:<id of the encryption key>:<base64 of a blob>`. A copy of the database alone gives nobody
the codes of an app or the recovery codes, which follow from these seeds.
"""

import base64
from collections import Counter

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db import transaction

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
    """How many seeds each encryption key holds; under "" those that are not encrypted."""
    return Counter(_key_of(data[field]) for _, data in _rows() for field in FIELDS if field in data)


def encrypt_anew() -> int:
    """Encrypt with the first encryption key all that are not, and return how many. Can be stopped at any moment."""
    current, adapter, done = keyring().current_id, Adapter(), 0
    for pk, data in _rows():
        if all(_key_of(data[field]) == current for field in FIELDS if field in data):
            continue
        with transaction.atomic():  # django-allauth writes the same column when a recovery code is used
            row = Authenticator.objects.select_for_update().filter(pk=pk).first()
            if row is not None:
                row.data |= {f: adapter.encrypt(adapter.decrypt(row.data[f])) for f in FIELDS if f in row.data}
                row.save(update_fields=["data"])
                done += 1
    return done


def _rows() -> list[tuple[int, dict[str, str]]]:
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
    return list(Authenticator.objects.filter(type__in=kinds).order_by("pk").values_list("pk", "data"))


def _key_of(stored: str) -> str:
    mark, _, rest = stored.partition(":")
    return rest.partition(":")[0] if mark == MARK else ""
