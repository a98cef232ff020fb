"""`manage.py prepare_demo`: users for a first look, and where everything is."""

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Makes a demo user and an admin on the first start, and prints where everything is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", default="8000")

    def handle(self, *args: Any, host: str, port: str, **options: Any) -> None:
        """Print addresses, and passwords only when they were just made."""
        users = get_user_model().objects
        shown = f"[{host}]" if ":" in host else host
        lines = [
            f"page        http://{shown}:{port}/",
            f"admin       http://{shown}:{port}/admin/",
            f"API         http://{shown}:{port}/api/token/   (POST username and password)",
            f"health      http://{shown}:{port}/readyz",
            f"WebSockets  ws://{shown}:{port}/ws/echo/",
            f"            ws://{shown}:{port}/ws/broadcast/<name>/",
            f"            ws://{shown}:{port}/ws/stats/<name>/",
            f"            ws://{shown}:{port}/ws/arrays/<name>/",
            f"            ws://{shown}:{port}/ws/blobs/<name>/",
        ]
        if not users.filter(username__in=("demo", "admin")).exists():
            demo, admin = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
            users.create_user("demo", password=demo)
            users.create_superuser("admin", password=admin)
            lines += [
                "",
                "Two users were made; these passwords are shown this once:",
                f"  demo   {demo}",
                f"  admin  {admin}",
            ]
        self.stdout.write("\n".join(["", *lines, ""]))
