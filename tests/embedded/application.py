"""Channels' usual stack, and the adapter of docs/permissions.md around the routing."""

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from realtime import Identity  # noqa: E402
from realtime.lifecycle import RuntimeMiddleware  # noqa: E402
from realtime.routing import application as websocket_application  # noqa: E402


class SignedInUser:
    """Whoever Django's session says."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        user = scope["user"]

        async def identify():
            return Identity(user) if user.is_authenticated else None

        scope["identify"] = identify
        await self.app(scope, receive, send)


application = RuntimeMiddleware(
    ProtocolTypeRouter(
        {
            "http": django_application,
            "websocket": AllowedHostsOriginValidator(
                AuthMiddlewareStack(SignedInUser(websocket_application))
            ),
        }
    )
)
