"""Links into a team, and which of them a browser has opened."""

import hashlib
import secrets
from typing import Any, NamedTuple
from uuid import UUID

from django.urls import reverse

from config.context import absolute
from config.errors import NotFound
from config.redaction import INVITATION

OPENED = "invitations"  # in the session: ids with the hashes of the secrets, which open nothing by themselves
MAX_OPENED = 5


class Link(NamedTuple):
    """What is left of a link when its secret is taken out: enough to find the invitation, not to tell the link."""

    invitation_id: UUID
    digest: bytes


def new_token(invitation_id: UUID) -> str:
    """The last part of a link: the id, by which an old link is known as such, and a secret of 256 bits."""
    return f"inv_{invitation_id.hex}{secrets.token_urlsafe(32)}"


def invite_url(request: Any, token: str) -> str:
    """The link as it is sent to somebody."""
    return absolute(request, reverse("workspaces:invite-open", args=[token]))


def link_of(token: str) -> Link:
    """Raises NotFound for what was never a link of ours."""
    found = INVITATION.fullmatch(token)
    if found is None:
        raise NotFound("This is no link of an invitation; perhaps the end of it is missing")
    return Link(UUID(found[1]), hashlib.sha256(token.encode()).digest())


def remember(session: Any, link: Link) -> None:
    """Note that this browser has opened `link`, and forget all but the last few."""
    opened = session.get(OPENED, {}) | {link.invitation_id.hex: link.digest.hex()}
    session[OPENED] = dict(list(opened.items())[-MAX_OPENED:])


def opened(session: Any) -> list[Link]:
    """What this browser has opened, the last one first."""
    return [Link(UUID(key), bytes.fromhex(digest)) for key, digest in reversed(session.get(OPENED, {}).items())]


def opened_for(session: Any, invitation_id: UUID) -> Link:
    """The link to one invitation that this browser has opened. Raises NotFound."""
    for link in opened(session):
        if link.invitation_id == invitation_id:
            return link
    raise NotFound("Please open the link of the invitation again")
