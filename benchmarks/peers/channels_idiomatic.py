"""The consumers of the Channels tutorial, for stock daphne with the pubsub layer over Redis.

REDIS_URL=redis://… daphne benchmarks.peers.channels_idiomatic:application
"""

import json
import os
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="a benchmark keeps no secrets",  # noqa: S106
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    },
)

from django.core.asgi import get_asgi_application  # noqa: E402

django_application = get_asgi_application()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """As in the tutorial: everyone in the group gets what anyone says."""

    async def connect(self) -> None:
        self.group = f"chat_{self.scope['url_route']['kwargs']['name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        message = json.loads(text_data or "")["message"]
        await self.channel_layer.group_send(
            self.group, {"type": "chat.message", "message": message}
        )

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


class PublishConsumer(ChatConsumer):
    """Sends to the group and is not in it."""

    async def connect(self) -> None:
        self.group = f"chat_{self.scope['url_route']['kwargs']['name']}"
        await self.accept()


class AcknowledgingConsumer(PublishConsumer):
    """Publishes `{"type": "publish", "ref", "data"}`, and says when the layer has it."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        publication = json.loads(text_data or "")
        message = publication["data"]["message"]
        await self.channel_layer.group_send(
            self.group, {"type": "chat.message", "message": message}
        )
        await self.send(text_data=json.dumps({"type": "ack", "ref": publication["ref"]}))


class EchoConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Every message back."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter(
            [
                path("ws/broadcast/<str:name>/", ChatConsumer.as_asgi()),
                path("ws/publish/<str:name>/", PublishConsumer.as_asgi()),
                path("ws/acknowledge/<str:name>/", AcknowledgingConsumer.as_asgi()),
                path("ws/echo/", EchoConsumer.as_asgi()),
            ]
        ),
    }
)
