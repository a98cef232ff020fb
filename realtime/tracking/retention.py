"""Rows of ended sessions go when they are old."""

from datetime import timedelta

from django.db.models.functions import Now

from realtime.models import Instance, Session

# Rows that are deleted in one transaction: on SQLite nobody else writes meanwhile.
BATCH_SIZE = 1000


def prune_sessions(age: timedelta) -> int:
    """Delete the sessions that ended longer ago; returns how many. Then instances without any."""
    deleted = 0
    while True:
        ended = Session.objects.filter(closed_at__lt=Now() - age).values_list("pk", flat=True)
        batch = list(ended[:BATCH_SIZE])
        deleted += Session.objects.filter(pk__in=batch).delete()[0]
        if len(batch) < BATCH_SIZE:
            break
    Instance.objects.filter(ended_at__lt=Now() - age, sessions=None).delete()
    return deleted
