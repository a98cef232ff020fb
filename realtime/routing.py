"""From a WebSocket path to its consumer."""

from typing import Any

from channels.routing import URLRouter
from django.urls import re_path

from realtime.conf import Kind, get_settings
from realtime.consumers.base import SessionConsumer
from realtime.consumers.binary import BinaryConsumer
from realtime.consumers.broadcast import BroadcastConsumer
from realtime.consumers.echo import EchoConsumer
from realtime.consumers.stats import StatsConsumer

_CONSUMERS: dict[Kind, type[SessionConsumer]] = {
    Kind.BROADCAST: BroadcastConsumer,
    Kind.STATS: StatsConsumer,
    Kind.BINARY: BinaryConsumer,
}


async def serve_topic(scope: Any, receive: Any, send: Any) -> None:
    """Hand over to the consumer of the namespace's kind; the base one refuses the rest."""
    name = scope["url_route"]["kwargs"]["namespace"]
    namespace = get_settings().get_namespace(name)
    consumer = _CONSUMERS[namespace.kind]() if namespace else SessionConsumer()
    await consumer(scope, receive, send)


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """A path outside /ws/: no WebSocket is spoken there (HTTP 403)."""
    await receive()
    await send({"type": "websocket.close"})


# Django types its paths for views; Channels routes ASGI applications by the same function.
_route: Any = re_path

application = URLRouter(
    [
        _route(r"^ws/echo/\Z", EchoConsumer.as_asgi()),
        _route(r"^ws/(?P<namespace>[^/]+)/(?P<name>[^/]+)/\Z", serve_topic),
        _route(r"^ws/", SessionConsumer.as_asgi()),
        _route(r"", refuse),
    ]
)
