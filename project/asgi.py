"""The ASGI application: everything is put together here.

daphne project.asgi:application
"""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()  # sets Django up: before any import below

from django.conf import settings  # noqa: E402

from accounts.middleware import TokenMiddleware  # noqa: E402
from accounts.origins import OriginMiddleware  # noqa: E402
from realtime.forwarded import ForwardedMiddleware  # noqa: E402
from realtime.lifecycle import RuntimeMiddleware  # noqa: E402
from realtime.routing import application as websocket_application  # noqa: E402

application = ForwardedMiddleware(
    RuntimeMiddleware(
        ProtocolTypeRouter(
            {
                "http": django_application,
                "websocket": OriginMiddleware(
                    TokenMiddleware(websocket_application), settings.ALLOWED_ORIGINS
                ),
            }
        )
    ),
    trusted_proxies=settings.TRUSTED_PROXIES,
)
