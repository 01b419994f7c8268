"""What has to be true before the first request is answered."""

import logging

from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

log = logging.getLogger(__name__)


def encryption_key_problems() -> list[str]:
    """Why stored keys cannot be decrypted, as sentences. Raises django.db.DatabaseError."""
    problems = run_checks(tags=["keyring"], include_deployment_checks=False, databases=["default"])
    return [problem.msg for problem in problems if problem.level >= ERROR]


def refuse_wrong_encryption_key() -> None:
    """Raise ImproperlyConfigured if stored keys cannot be decrypted. A database that is away only gets a line."""
    try:
        errors = encryption_key_problems()
    except DatabaseError as error:
        log.error("The encryption keys could not be tried on what is stored: %s", error)
        return
    if errors:
        raise ImproperlyConfigured("\n".join(errors))
