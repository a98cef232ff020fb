"""The ASGI application: everything is put together here.

daphne project.asgi:application
"""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()  # sets Django up: before any import below

from django.conf import settings  # noqa: E402
from django.urls import reverse  # noqa: E402

from accounts.middleware import TokenMiddleware, has_foreign_token  # noqa: E402
from accounts.origins import OriginMiddleware  # noqa: E402
from realtime.forwarded import ForwardedMiddleware  # noqa: E402
from realtime.gate.requests import RequestGate  # noqa: E402
from realtime.gate.tokens import TokenGate  # noqa: E402
from realtime.lifecycle import RuntimeMiddleware  # noqa: E402
from realtime.routing import application as websocket_application  # noqa: E402

# Where a password is looked at, which takes long and is done for a few at a time.
SIGN_INS = [reverse(name) for name in ("accounts:token", "browser:sign-in", "admin:login")]

application = ForwardedMiddleware(
    RuntimeMiddleware(
        TokenGate(
            ProtocolTypeRouter(
                {
                    "http": RequestGate(django_application, lanes={"sign-ins": SIGN_INS}),
                    "websocket": OriginMiddleware(
                        TokenMiddleware(websocket_application), settings.ALLOWED_ORIGINS
                    ),
                }
            ),
            has_foreign_token=has_foreign_token,
        )
    ),
    trusted_proxies=settings.TRUSTED_PROXIES,
)
