"""Keys that have got out: found in text, reported by whoever found them, and decoys that wait to be found."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from apikeys import services, tokens
from apikeys.models import ApiKey, Decoy, LeakReport
from config import mail
from config.errors import NotFound
from workspaces import activity
from workspaces.access import Actor, Right, Role
from workspaces.models import Membership

log = logging.getLogger(__name__)

MAX_REPORTED = 1000  # values in one report
LOOKED_UP = 10_000  # values in one statement
ALARM_EVERY_SECONDS = 60


# Text that somebody pastes


class Scanner:
    """Finds keys in text that comes in pieces. Keeps what it found and the end of the last piece, nothing else."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}  # in the order of the text
        self.rest = ""

    def feed(self, piece: str) -> None:
        text = self.rest + piece
        for match in tokens.FORMAT.finditer(text):
            self.found[match[0]] = None
        self.rest = text[-(tokens.LENGTH - 1) :]

    def feed_bytes(self, piece: bytes) -> None:
        """The same for bytes in any encoding that leaves ASCII as it is, and UTF-16, whose ASCII has zeros between."""
        self.feed(piece.replace(b"\0", b"").decode("latin-1"))


@dataclass(slots=True)
class Finding:
    """A value that looks like a key: how it begins, and the key or decoy that it is, if any."""

    prefix: str
    key: ApiKey | None = None
    decoy: Decoy | None = None
    is_live: bool = False


def examine(values: Iterable[str]) -> list[Finding]:
    """What the values are, those that are known first. Three statements for each 10,000; nothing is noted as used."""
    digests = {tokens.digest(value): value for value in values}
    keys: dict[bytes, ApiKey] = {}
    decoys: dict[bytes, Decoy] = {}
    live: set[Any] = set()
    for start in range(0, len(digests), LOOKED_UP):
        some = list(digests)[start : start + LOOKED_UP]
        known = ApiKey.objects.filter(digest__in=some)
        keys |= {bytes(key.digest): key for key in known.select_related("workspace", "creator")}
        live.update(known.active().values_list("pk", flat=True))
        decoys |= {bytes(d.digest): d for d in Decoy.objects.filter(digest__in=some).select_related("workspace")}
    findings = [
        Finding(
            prefix=tokens.prefix(value),
            key=keys.get(digest),
            decoy=decoys.get(digest),
            is_live=digest in keys and keys[digest].pk in live,
        )
        for digest, value in digests.items()
    ]
    return sorted(findings, key=lambda finding: (not finding.is_live, finding.key is None, finding.decoy is None))


@transaction.atomic
def revoke_leaked(operator: Any, key_ids: Iterable[Any], *, reason: str, address: str = "", client: str = "") -> int:
    """End leaked keys as the operator, write why to the activity, and tell their creators and the Owners by mail."""
    keys = list(ApiKey.objects.active().filter(pk__in=list(key_ids)).select_related("workspace", "creator"))
    ended = services.revoke_as_operator(
        operator, [key.pk for key in keys], reason=reason or "found in a leak", address=address, client=client
    )
    _tell(keys, reason or "It was found in a leak.")
    return ended


def _tell(keys: list[ApiKey], reason: str) -> None:
    """One mail for all keys of a creator in a workspace: a leak may have a thousand of them."""
    groups: dict[tuple[Any, Any], list[ApiKey]] = defaultdict(list)
    for key in keys:
        groups[key.workspace_id, key.creator_id].append(key)
    owners = owners_of({key.workspace_id for key in keys})
    for (workspace_id, _), those in groups.items():
        first, number = those[0], len(those)
        what = (
            f"An API key of {first.workspace.slug} was"
            if number == 1
            else f"{number} API keys of {first.workspace.slug} were"
        )
        mail.send_later(
            {first.creator.email, *owners[workspace_id]},
            f"{what} revoked: {first.prefix}…",
            "apikeys/mail/leaked.txt",
            {"keys": those, "workspace": first.workspace, "creator": first.creator, "reason": reason},
        )


def owners_of(workspaces: Iterable[Any], least: Role = Role.OWNER) -> dict[Any, list[str]]:
    """For each workspace, by its id, the e-mail addresses of those who are at least `least` there. One statement."""
    members = Membership.objects.filter(workspace__in=list(workspaces), role__gte=least, user__is_active=True)
    found: dict[Any, list[str]] = defaultdict(list)
    for workspace_id, address in members.values_list("workspace", "user__email"):
        found[workspace_id].append(address)
    return found


# Reports of anybody


def report(values: Iterable[str], *, address: str, client: str) -> None:
    """Take a report of leaked keys, with whatever stands around them; they end in a moment.

    Takes the same time whether they are known or not. Only digests are kept, and only until the report has been seen
    to, which a crash does not prevent.
    """
    found = dict.fromkeys(token for value in values for token in tokens.FORMAT.findall(value))
    LeakReport.objects.create(digests=[tokens.digest(token) for token in found], address=address, client=client)
    transaction.on_commit(lambda: _background.submit(_see_to_reports))


_background = ThreadPoolExecutor(1, "leak-reports")  # one thread, however many reports come


def _see_to_reports() -> None:
    try:
        see_to_reports()
    except Exception:
        log.exception("A report of leaked keys waits for the next clean-up")
    finally:
        connection.close()


def see_to_reports() -> int:
    """End the keys that reports name, and tell their creators and the Owners. Returns how many keys that were."""
    ended = 0
    while True:
        with transaction.atomic():
            waiting = LeakReport.objects.select_for_update(skip_locked=True).order_by("pk").first()
            if waiting is None:
                return ended
            digests = [bytes(digest) for digest in waiting.digests]
            keys = list(
                ApiKey.objects.active().filter(digest__in=digests).select_related("workspace", "creator").order_by("pk")
            )
            reason = "reported as leaked"
            ended += services.revoke_as_operator(
                None, [key.pk for key in keys], reason=reason, address=waiting.address, client=waiting.client
            )
            _tell(keys, "Somebody reported it as leaked.")
            for decoy in Decoy.objects.filter(digest__in=digests).select_related("workspace"):
                _raise_alarm(decoy, waiting.address, waiting.client, "decoy.reported")
            waiting.delete()


# Is a key live? Without sending it.


def live_suffixes(actor: Actor, prefix: str) -> list[str]:
    """The rest, after the 5 hexadecimal digits `prefix`, of the SHA-256 of each live key of the actor's workspaces.

    A key has its own workspace only. Raises NotAllowed, NotFound for a prefix that is none.
    """
    actor.require(Right.LIST_KEYS)
    if len(prefix) != 5 or not set(prefix) <= set("0123456789abcdef"):
        raise NotFound("Use the first 5 hexadecimal digits of the SHA-256")
    first, last = bytes.fromhex(prefix + "0" * 59), bytes.fromhex(prefix + "f" * 59)
    mine: Any = [actor.workspace.pk]
    if actor.key is None:
        mine = Membership.objects.filter(user=actor.user, role__gte=Role.EDITOR).not_held_back().values("workspace")
    found = ApiKey.objects.active().filter(digest__gte=first, digest__lte=last, workspace__in=mine)
    return sorted(bytes(digest).hex()[5:] for digest in found.values_list("digest", flat=True))


# Decoys


@transaction.atomic
def create_decoy(actor: Actor, *, name: str) -> tuple[Decoy, str]:
    """Make a value that never works, to be hidden where a thief would look. It is shown this once.

    Raises NotAllowed, Invalid.
    """
    actor.require_still(Right.MANAGE_KEYS)
    token = tokens.new_token()
    decoy = Decoy.objects.create(
        workspace=actor.workspace,
        name=services.clean_name(name),
        prefix=tokens.prefix(token),
        digest=tokens.digest(token),
        creator=actor.user,
    )
    activity.record(actor, "decoy.created", decoy)
    return decoy, token


@transaction.atomic
def delete_decoy(actor: Actor, decoy_id: Any) -> None:
    """Forget a decoy; its use raises no alarm any more. Raises NotAllowed, NotFound."""
    actor.require_still(Right.MANAGE_KEYS)
    decoy = Decoy.objects.filter(workspace=actor.workspace, pk=decoy_id).first()
    if decoy is None:
        raise NotFound("Decoy not found")
    decoy.delete()
    activity.record(actor, "decoy.deleted", name=decoy.name, prefix=decoy.prefix)


def watch(digest: bytes, address: str, client: str) -> None:
    """Raise the alarm if an unknown key that somebody used is a decoy. One statement where it is none."""
    decoy = Decoy.objects.filter(digest=digest).select_related("workspace").first()
    if decoy is not None:
        with transaction.atomic():
            _raise_alarm(decoy, address, client, "decoy.used")


def _raise_alarm(decoy: Decoy, address: str, client: str, kind: str) -> None:
    """Note and mail the use of a decoy, at most once a minute for each."""
    quiet = Q(used_at=None) | Q(used_at__lt=Now() - timedelta(seconds=ALARM_EVERY_SECONDS))
    if not Decoy.objects.filter(quiet, pk=decoy.pk).update(used_at=Now(), used_address=address, used_client=client):
        return
    log.error("ALARM: the decoy %s of %s was used from %s", decoy.prefix, decoy.workspace.slug, address)
    activity.record(Actor(None, decoy.workspace, Role.OWNER, address=address, client=client), kind, decoy)
    mail.send_later(
        owners_of([decoy.workspace_id], Role.ADMIN)[decoy.workspace_id],
        f"A decoy key of {decoy.workspace.slug} was used",
        "apikeys/mail/decoy.txt",
        {"decoy": decoy, "address": address, "client": client},
    )
