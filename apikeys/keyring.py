"""Encryption of key values: AES-256-GCM (NIST SP 800-38D) under the keys of `API_KEY_ENCRYPTION_KEYS`.

A stored blob is `0x01 || nonce (12) || ciphertext and tag (59)`, 72 bytes. The associated data bind it to its row:
a blob that was copied to another row, or whose row was given another workspace, creator or digest, does not open.
"""

import base64
import binascii
import re
import secrets
from functools import lru_cache
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

VERSION = b"\x01"
NONCE_BYTES = 12
BLOB_BYTES = 72  # of an API key
LEAST_BYTES = 1 + NONCE_BYTES + 16  # of any: version, nonce, tag
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
# Random nonces are safe to 2^32 encryptions under one key (SP 800-38D, 8.3); `check` warns at half of that.
WARN_ENCRYPTIONS = 2**31


class Undecryptable(Exception):
    """The blob was not made by this keyring for this row."""


def binding(row_id: UUID, workspace_id: UUID, creator_id: UUID, digest: bytes) -> bytes:
    """The associated data of a row, at fixed lengths: 1 + 16 + 16 + 16 + 32 bytes."""
    return VERSION + row_id.bytes + workspace_id.bytes + creator_id.bytes + digest


class Keyring:
    """Encryption keys by id. The first one encrypts, all decrypt."""

    def __init__(self, keys: dict[str, bytes]):
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.ids = list(keys)
        self.current_id = self.ids[0]

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Read `id2:base64,id1:base64`. Raises ImproperlyConfigured, never with a key in the message."""
        keys: dict[str, bytes] = {}
        for number, item in enumerate(text.split(","), start=1):
            key_id, _, encoded = item.strip().partition(":")
            if not KEY_ID.fullmatch(key_id) or key_id in keys:
                raise ImproperlyConfigured(
                    f"API_KEY_ENCRYPTION_KEYS: entry {number} needs an id of its own (1 to 32 of A-Z, a-z, 0-9, . _ -)."
                )
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != 32:
                raise ImproperlyConfigured(
                    f"API_KEY_ENCRYPTION_KEYS: the key called {key_id} is not the base64 of 32 bytes."
                )
            keys[key_id] = key
        return cls(keys)

    def encrypt(self, text: str, associated: bytes) -> tuple[str, bytes]:
        """The id of the encryption key that was used, and the blob."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ciphers[self.current_id].encrypt(nonce, text.encode("ascii"), associated)
        return self.current_id, VERSION + nonce + sealed

    def decrypt(self, key_id: str, blob: bytes, associated: bytes) -> str:
        """The text in `blob`. Raises Undecryptable."""
        cipher = self._ciphers.get(key_id)
        if cipher is None or len(blob) < LEAST_BYTES or blob[:1] != VERSION:
            raise Undecryptable
        try:
            return cipher.decrypt(blob[1:13], blob[13:], associated).decode("ascii")
        except (InvalidTag, UnicodeDecodeError):
            raise Undecryptable from None


def keyring() -> Keyring:
    """The keyring of the settings, with its cipher objects kept."""
    return _parsed(settings.API_KEY_ENCRYPTION_KEYS)


@lru_cache(maxsize=4)
def _parsed(text: str) -> Keyring:
    return Keyring.parse(text)
