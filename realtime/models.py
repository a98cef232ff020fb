"""What the database knows: the server processes, and the sessions that they have or had."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Instance(models.Model):
    """One server process. It is alive while its lease, in the database's time, runs."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField("process id")
    started_at = models.DateTimeField(db_default=Now())
    lease_until = models.DateTimeField(db_index=True)

    class Meta:
        ordering: ClassVar = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.host} ({self.pid})"


class SessionQuerySet(models.QuerySet["Session"]):
    """Sessions, live or ended."""

    def live(self) -> "SessionQuerySet":
        """Open sessions of instances that are alive."""
        return self.filter(closed_at=None, instance__lease_until__gt=Now())

    def ended(self) -> "SessionQuerySet":
        """All others."""
        return self.exclude(pk__in=self.live().values("pk"))


class Session(models.Model):
    """One accepted connection."""

    id = models.UUIDField(primary_key=True)
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="sessions")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        related_name="realtime_sessions",
    )
    topic = models.CharField(max_length=100, db_index=True)
    address = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=255, blank=True)
    connected_at = models.DateTimeField(db_index=True)
    closed_at = models.DateTimeField(null=True, blank=True, db_index=True)
    close_code = models.PositiveIntegerField(null=True, blank=True)
    messages_in = models.PositiveBigIntegerField(default=0)
    messages_out = models.PositiveBigIntegerField(default=0)

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-connected_at"]
        permissions: ClassVar = [("disconnect_session", "Can disconnect a session")]

    def __str__(self) -> str:
        return f"{self.topic} {self.id}"
