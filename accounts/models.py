import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models, transaction
from django.db.models.functions import Now

from accounts import names, second_factor, signals
from config.redaction import refuse_keys


class Name(models.Model):
    """A name that a person or a team has. Kept when they go: paths with it must never lead to somebody else."""

    name = models.CharField(max_length=names.MAX_LENGTH, primary_key=True)
    claimed_at = models.DateTimeField(db_default=Now(), editable=False)
    holder = models.UUIDField(null=True, editable=False)  # the id of the team; None of a person, whose name is for life

    def __str__(self) -> str:
        return self.name


class User(AbstractUser):
    """A person. The username is the name of their personal workspace and cannot be changed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = models.CharField(
        max_length=names.MAX_LENGTH,
        unique=True,
        validators=[names.validate_name],
        error_messages={"unique": names.TAKEN},
        help_text="4 to 32 of a-z, 0-9 and hyphens. It cannot be changed later.",
    )
    name = models.CharField("display name", max_length=100, blank=True, validators=[refuse_keys])
    email = models.EmailField("e-mail address", blank=True)
    suspended_at = models.DateTimeField(null=True, editable=False)  # since when `is_active` is off
    suspended_reason = models.CharField(max_length=200, blank=True, editable=False, default="", db_default="")
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(username__regex=r"^[a-z0-9][a-z0-9-]{2,30}[a-z0-9]$"), name="username_format"
            )
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new person claims their name and gets what other apps make for them, or nothing is saved."""
        is_new = self._state.adding
        with transaction.atomic():
            if is_new:
                names.claim(self.username)
            super().save(*args, **kwargs)
            if is_new:
                signals.user_created.send(User, user=self)

    def has_address(self, email: str) -> bool:
        """Is this an e-mail address of the person, a verified one where this server sends mail?"""
        from allauth.account.models import EmailAddress

        known = EmailAddress.objects.filter(user=self, email__iexact=email)
        if settings.HAS_EMAIL:
            return known.filter(verified=True).exists()
        return self.email.lower() == email.lower() or known.exists()

    def has_second_factor(self) -> bool:
        return second_factor.of(self).exists()

    def get_full_name(self) -> str:
        return self.name or self.username

    def get_short_name(self) -> str:
        return self.username
