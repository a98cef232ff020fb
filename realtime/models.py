"""What the database knows: the server processes, and the sessions that they have or had."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Instance(models.Model):
    """One server process. It is alive while its lease, in the database's time, runs.

    One that lost its lease, since it was asleep or the database was away, takes a new `epoch`.
    Its load is that of the time between the last two renewals of the lease.
    """

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField("process id")
    version = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(db_default=Now())
    lease_until = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True, db_index=True)
    epoch = models.PositiveIntegerField(default=1)

    session_count = models.PositiveIntegerField("sessions", default=0)
    cpu = models.FloatField("CPU", default=0, help_text="Share of one core, from 0 to 1")
    memory = models.PositiveBigIntegerField(default=0, help_text="Resident, in bytes")
    loop_delay = models.FloatField(default=0, help_text="The longest turn was late by, in seconds")
    messages_in_rate = models.FloatField("messages in/s", default=0)
    messages_out_rate = models.FloatField("messages out/s", default=0)
    # By the database, for instances of an earlier release know nothing of it.
    unkept_count = models.PositiveBigIntegerField(
        "ended sessions not kept",
        db_default=0,
        help_text="Since the instance began: their address, or all, had too many",
    )

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
        return self.exclude(closed_at=None, instance__lease_until__gt=Now())


class Session(models.Model):
    """One accepted connection. While it is live its counts are some seconds old."""

    id = models.UUIDField(primary_key=True)
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="sessions")
    epoch = models.PositiveIntegerField(default=1, help_text="That of the instance")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        related_name="realtime_sessions",
    )
    namespace = models.CharField(max_length=31)
    topic = models.CharField(max_length=100, db_index=True)
    address = models.CharField(max_length=64, blank=True, db_index=True)
    user_agent = models.CharField(max_length=255, blank=True)
    connected_at = models.DateTimeField(db_index=True)
    closed_at = models.DateTimeField(null=True, blank=True, db_index=True)
    close_code = models.PositiveIntegerField(null=True, blank=True)

    messages_in = models.PositiveBigIntegerField(default=0)
    messages_out = models.PositiveBigIntegerField(default=0)
    bytes_in = models.PositiveBigIntegerField(default=0)
    bytes_out = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0, help_text="Error messages sent to the client")
    skipped = models.PositiveBigIntegerField(
        default=0, help_text="Publications that newer ones took the place of"
    )
    waiting_bytes = models.PositiveBigIntegerField(
        default=0, help_text="What the client had not read when it was last counted"
    )

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-connected_at"]
        permissions: ClassVar = [("disconnect_session", "Can disconnect a session")]
        indexes: ClassVar = [
            # The live ones are few among the ended.
            models.Index(
                "instance",
                models.F("connected_at").desc(),
                condition=models.Q(closed_at=None),
                name="realtime_session_open",
            ),
            models.Index(
                "namespace", models.F("connected_at").desc(), name="realtime_session_family"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.id}"


class LiveTopic(Session):
    """The topics of live sessions, for which the admin has a page; there is no such table."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "topic"
