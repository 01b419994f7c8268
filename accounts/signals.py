"""What higher apps may follow. Sent inside the transaction of the change."""

from django.dispatch import Signal

user_created = Signal()  # user
summary_counts = Signal()  # workspace, counts: a dict that receivers fill (projects, datasets, models)
