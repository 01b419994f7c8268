"""The format of a key's value: `ul_` and 40 hexadecimal digits, 160 bits from the operating system."""

import hashlib
import secrets

from config.redaction import SHOWN, TOKEN

LENGTH = 43
PREFIX_LENGTH = SHOWN
FORMAT = TOKEN


def new_token() -> str:
    return "ul_" + secrets.token_hex(20)


def is_token(text: str) -> bool:
    return FORMAT.fullmatch(text) is not None


def contains_token(text: str) -> bool:
    return FORMAT.search(text) is not None


def digest(token: str) -> bytes:
    """SHA-256 (FIPS 180-4) of the token, 32 bytes: what a request is looked up by."""
    return hashlib.sha256(token.encode("ascii")).digest()


def prefix(token: str) -> str:
    return token[:PREFIX_LENGTH]
