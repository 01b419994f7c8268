"""What has to be true before the first request is answered."""

import logging

from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

log = logging.getLogger(__name__)


def refuse_wrong_encryption_key() -> None:
    """Raise ImproperlyConfigured if stored keys cannot be decrypted. A database that is away only gets a line."""
    try:
        problems = run_checks(tags=["keyring"], include_deployment_checks=False, databases=["default"])
    except DatabaseError as error:
        log.error("The encryption keys could not be tried on what is stored: %s", error)
        return
    errors = [problem.msg for problem in problems if problem.level >= ERROR]
    if errors:
        raise ImproperlyConfigured("\n".join(errors))
