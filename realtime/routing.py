"""From a WebSocket path to its consumer."""

import re
from collections.abc import Awaitable
from typing import Any

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
_TOPIC = re.compile(r"ws/(?P<namespace>[^/]+)/(?P<name>[^/]+)/")


def application(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
    """Hand over to the consumer that the path names; the base one refuses what there is not.

    Like Channels' URLRouter it puts `url_route` into the scope, but it makes no copy of the scope
    and is no coroutine: a session keeps for its whole life what stands before its consumer.
    """
    path = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
    if not path.startswith("ws/"):
        return _refuse(receive, send)
    consumer, arguments = _find_consumer(path)
    scope["url_route"] = {"args": (), "kwargs": arguments}
    serving: Awaitable[None] = consumer()(scope, receive, send)
    return serving


def _find_consumer(path: str) -> tuple[type[SessionConsumer], dict[str, str]]:
    if path == "ws/echo/":
        return EchoConsumer, {}
    match = _TOPIC.fullmatch(path)
    if match is not None:
        namespace = get_settings().get_namespace(match["namespace"])
        if namespace is not None:
            return _CONSUMERS[namespace.kind], match.groupdict()
    return SessionConsumer, {}


async def _refuse(receive: Any, send: Any) -> None:
    """A path outside /ws/: no WebSocket is spoken there (HTTP 403)."""
    await receive()
    await send({"type": "websocket.close"})
