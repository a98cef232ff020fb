"""The accounts app: users, their sign-ins and tokens."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Connects the signals that reach live sessions, and registers the checks."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import checks, signals  # noqa: F401 (checks register themselves)

        signals.connect()
