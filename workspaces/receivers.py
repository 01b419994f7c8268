from typing import Any

from django.dispatch import receiver

from accounts.signals import user_created
from workspaces import services


@receiver(user_created)
def give_personal_workspace(sender: Any, user: Any, **kwargs: Any) -> None:
    services.create_personal_workspace(user)
