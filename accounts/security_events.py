"""What allauth and Django tell of sign-ins, passwords and second factors goes to the security log."""

import logging
from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.contrib.auth import signals as auth
from django.dispatch import receiver

from accounts.models import User
from config import security_log

METHODS = "account_authentication_methods"  # in a session: what somebody signed in with, by allauth


@receiver(auth.user_logged_in)
def signed_in(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    methods = [str(record.get("type") or record.get("method")) for record in request.session.get(METHODS, [])]
    security_log.record("sign_in", request, user, factors="+".join(methods))


@receiver(auth.user_logged_out)
def signed_out(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    if user is not None:
        security_log.record("sign_out", request, user)


@receiver(auth.user_login_failed)
def sign_in_failed(sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
    """Names somebody only if there is such a person; what was typed as a name may be a password."""
    name = credentials.get("username") or ""
    user = User.objects.filter(username=str(name).lower()).only("pk").first() if name else None
    security_log.record("sign_in.failed", request, user, logging.WARNING, factor="password")


@receiver(mfa.authentication_failed)
def second_factor_failed(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    security_log.record("sign_in.failed", request, user, logging.WARNING, factor="second")


@receiver(account.password_changed)
def password_changed(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    security_log.record("password.changed", request, user)


@receiver(account.password_reset)
def password_reset(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    security_log.record("password.reset", request, user)


@receiver(mfa.authenticator_added)
def factor_added(sender: Any, request: Any, user: Any, authenticator: Any, **kwargs: Any) -> None:
    security_log.record("second_factor.added", request, user, type=authenticator.type)


@receiver(mfa.authenticator_removed)
def factor_removed(sender: Any, request: Any, user: Any, authenticator: Any, **kwargs: Any) -> None:
    security_log.record("second_factor.removed", request, user, type=authenticator.type)


@receiver(mfa.authenticator_reset)
def factor_reset(sender: Any, request: Any, user: Any, authenticator: Any, **kwargs: Any) -> None:
    security_log.record("second_factor.reset", request, user, type=authenticator.type)
