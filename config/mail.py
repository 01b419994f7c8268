"""Mail that the server sends of its own accord."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string

log = logging.getLogger(__name__)


def send_later(
    to: Iterable[str],
    subject: str,
    template: str,
    context: dict[str, Any],
    then: Callable[[bool], None] = lambda _: None,
) -> None:
    """Mail `template` as plain text to each address by itself, once the transaction has succeeded.

    Without e-mail in the settings nothing is sent. A mail that cannot be sent is logged and undoes nothing; `then` is
    told whether all were sent.
    """
    addresses = sorted({address for address in to if address})
    if settings.HAS_EMAIL and addresses:
        transaction.on_commit(lambda: then(_send(addresses, subject, template, context)))


def _send(addresses: list[str], subject: str, template: str, context: dict[str, Any]) -> bool:
    text = render_to_string(template, context)
    failures = 0
    for address in addresses:
        try:
            EmailMessage(subject, text, to=[address]).send()
        except Exception as error:  # the network, the mail server, an address that cannot be put into a header
            failures += 1
            log.error("A mail could not be sent: %s", type(error).__name__)
    return not failures
