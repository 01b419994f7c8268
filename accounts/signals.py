"""What higher apps may follow. Sent inside the transaction of the change."""

from django.dispatch import Signal

user_created = Signal()  # user
user_suspended = Signal()  # user, operator (None on the command line), reason, address, client
user_restored = Signal()  # user, operator, address, client
signup_asked = Signal()  # request; receivers return the e-mail addresses that are invited in this browser
summary_counts = Signal()  # workspace, counts: a dict that receivers fill (projects, datasets, models)
