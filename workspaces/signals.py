"""What higher apps may follow. Sent inside the transaction of the change; an exception undoes the change."""

from django.dispatch import Signal

member_leaving = Signal()  # actor, membership, handovers: {id of a thing: the user who takes it over}
team_ending = Signal()  # actor, workspace
