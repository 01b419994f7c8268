"""Requests and answers about teams as the OpenAPI document shows them."""

from typing import Any

from drf_spectacular.utils import OpenApiExample

ALICE, BOB = "5f0c1e0a-8a43-4a2e-9d0a-6a2f6b0f7c11", "c2a7d9be-3b1f-4b7e-8d55-0e7f3a1b9c22"
KEY, INVITE = "0b9d6a2e-51c7-4f0e-9a35-7d1f2c4e8b33", "9e4b7c1d-2f60-4d8b-b1a7-3c5d7e9f1a44"
LINK_END = "inv_9e4b7c1d2f604d8bb1a73c5d7e9f1a44n3Q0w1c5r8Tz2Yk7Vb4Jx6Pm9Lh1Fd3Sg5Aq7Ue0Io2"
TEAM = {
    "userId": "7d3c5b1a-9f2e-4c6d-8b0a-1e3f5a7c9d55",
    "username": "acme-labs",
    "fullName": "Acme Labs",
    "plan": "free",
    "region": "us",
    "requiresSecondFactor": False,
    "role": "owner",
}
MEMBERS: list[dict[str, Any]] = [
    {
        "userId": ALICE,
        "username": "alice",
        "name": "Alice",
        "role": "owner",
        "joinedAt": "2026-01-12T09:30:00Z",
        "lastSeenAt": "2026-03-02T14:05:00Z",
        "activeKeys": 2,
        "hasSecondFactor": True,
    },
    {
        "userId": BOB,
        "username": "bob-k",
        "name": "",
        "role": "editor",
        "joinedAt": "2026-02-01T08:00:00Z",
        "lastSeenAt": None,
        "activeKeys": 1,
        "hasSecondFactor": False,
    },
]
MEMBERS_FOR_OTHERS = [member | {"hasSecondFactor": None} for member in MEMBERS]
INVITATION: dict[str, Any] = {
    "id": INVITE,
    "email": "carol@example.org",
    "role": "editor",
    "onlyThisAddress": False,
    "invitedBy": "alice",
    "createdAt": "2026-03-02T14:10:00Z",
    "expiresAt": "2026-03-16T14:10:00Z",
}
SENT = {"invite": INVITATION, "url": f"https://keys.example.org/invites/{LINK_END}", "mailed": True}
INFO = {
    "username": "acme-labs",
    "name": "Acme Labs",
    "email": "carol@example.org",
    "role": "editor",
    "onlyThisAddress": False,
    "invitedBy": "alice",
    "expiresAt": "2026-03-16T14:10:00Z",
}
ENTRIES: list[dict[str, Any]] = [
    {
        "id": 4712,
        "at": "2026-03-02T14:12:31Z",
        "kind": "key.rotated",
        "person": "bob-k",
        "via": "key",
        "keyId": KEY,
        "keyName": "nightly (ul_a1b2c3d4…)",
        "session": "",
        "address": "192.0.2.7",
        "client": "python-requests/2.32",
        "targetId": KEY,
        "target": "nightly (ul_a1b2c3d4…)",
        "details": {"grace": "24h", "successor": "4c8e0f2a-6b1d-4a3c-9e5f-2d7b8a0c1e66"},
    },
    {
        "id": 4711,
        "at": "2026-03-02T14:10:00Z",
        "kind": "invitation.sent",
        "person": "alice",
        "via": "session",
        "keyId": None,
        "keyName": "",
        "session": "7c1f04be",
        "address": "198.51.100.4",
        "client": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
        "targetId": INVITE,
        "target": "carol@example.org",
        "details": {"role": "Editor"},
    },
]


def asked(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


def answered(name: str, value: Any, status: int = 200) -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)])
