"""The accounts app: users, their sign-ins and tokens."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Connects the signals that end live sessions."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import signals

        signals.connect()
