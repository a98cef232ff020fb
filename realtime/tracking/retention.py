"""Rows of ended sessions go when they are old, or too many."""

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


def limit_sessions(most: int) -> int:
    """Delete the sessions that ended first, but for so many; returns how many."""
    ended = Session.objects.exclude(closed_at=None).order_by("closed_at")
    left = excess = max(ended.count() - most, 0)
    while left > 0:
        batch = list(ended.values_list("pk", flat=True)[: min(left, BATCH_SIZE)])
        if not batch:  # another instance does the same
            break
        Session.objects.filter(pk__in=batch).delete()
        left -= len(batch)
    return excess - left
