"""One namespace for the names of people and teams: the first part of every path that clients use."""

import re
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from config.errors import Conflict

MIN_LENGTH, MAX_LENGTH = 4, 32
FORMAT = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
TAKEN = "This name is taken already."

# Words that a path of ours begins with or may begin with one day, and names that could pass for the server itself.
RESERVED = frozenset(
    """
    about account accounts activity admin administrator anonymous anyone api api-key api-keys apikeys assets auth
    billing blog callback cloud community contact dashboard data dataset datasets deploy deployment deployments docs
    download downloads endpoints everyone example explore export exports favicon feed files forum guest health healthz
    help home host inference integrations internal invite invites jobs keyhouse keys legal live login logout logs mail
    media member members metrics model models monitor nobody none null oauth openapi organization organizations orgs
    owner owners pages password people ping platform plans predict pricing privacy private profile project projects
    public readyz register reports reset robots root runs search security server service services session sessions
    settings shared signin signout signup staff static status storage store superuser support system team teams terms
    test tests token tokens train training trash undefined upload uploads user username users verify webhook webhooks
    well-known workspace workspaces www
    """.split()
)


def validate_name(name: str) -> None:
    """Raise ValidationError unless `name` is 4 to 32 of a-z, 0-9 and inner hyphens, and no reserved word."""
    if not MIN_LENGTH <= len(name) <= MAX_LENGTH:
        raise ValidationError(f"Use {MIN_LENGTH} to {MAX_LENGTH} characters.", code="length")
    if not FORMAT.fullmatch(name):
        raise ValidationError("Use only a-z, 0-9 and hyphens, with no hyphen at either end.", code="format")
    if name in RESERVED:
        raise ValidationError("This name is reserved, please choose another one.", code="reserved")


def is_taken(name: str) -> bool:
    from accounts.models import Name

    return Name.objects.filter(pk=name).exists()


def claim(name: str, holder: UUID | None = None) -> None:
    """Take `name` for a person or a team, for good. Raises Conflict if it is taken. Call inside a transaction.

    `holder` is the id of a team: it may go back to a name that it once had.
    """
    from accounts.models import Name

    try:
        with transaction.atomic():
            Name.objects.create(pk=name, holder=holder)
    except IntegrityError:
        if holder is not None and Name.objects.filter(pk=name, holder=holder).exists():
            return
        raise Conflict(TAKEN, details={"username": [TAKEN]}) from None


username_validators = [validate_name]  # for allauth
