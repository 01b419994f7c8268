"""What higher apps may follow."""

from django.dispatch import Signal

cleaning_up = Signal()  # hourly and by the command: done, a dict that receivers fill: what was removed, and how many
