"""The Django app."""

from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Real-time"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from realtime import (
            checks,  # noqa: F401 (they register themselves)
            endings,
            memory_database,
        )

        endings.connect()
        memory_database.connect()
