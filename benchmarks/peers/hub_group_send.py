"""This server, but one publication after another: each waits for a `group_send` of its own.

All else is as it is deployed: the hub, the outboxes, the sockets.

DJANGO_SETTINGS_MODULE=benchmarks.peers.no_history manage.py serve \
    benchmarks.peers.hub_group_send:application
"""

import asyncio
from collections import deque

from project.asgi import application  # sets Django up: before any import below
from realtime import runtime
from realtime.conf import Namespace, Settings
from realtime.core.errors import Unavailable
from realtime.core.topics import Topic
from realtime.history import History, Item
from realtime.hub import PUBLICATIONS, Hub
from realtime.layer import Layer
from realtime.pipeline import Receipt

__all__ = ["application"]


class GroupSendPipeline:
    """What `realtime.pipeline.Pipeline` offers, without batches and without a history."""

    def __init__(
        self, *, settings: Settings, history: History, layer: Layer, hub: Hub | None
    ) -> None:
        self._layer = layer
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Topic, Item, asyncio.Future[Receipt]]] = deque()
        self._sender: asyncio.Task[None] | None = None

    def submit(self, topic: Topic, namespace: Namespace, item: Item) -> asyncio.Future[Receipt]:
        """Queue a publication; the future brings its receipt, or Unavailable."""
        if namespace.history_size:
            raise ValueError(f"{topic} keeps a history, which this peer has not")
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self._queue.append((topic, item, future))
        if self._sender is None:
            self._sender = self._loop.create_task(self._send_all())
        return future

    async def close(self) -> None:
        """Send what waits."""
        if self._sender is not None:
            await self._sender

    async def _send_all(self) -> None:
        while self._queue:
            topic, item, future = self._queue.popleft()
            message = {
                "type": PUBLICATIONS,
                "topic": str(topic),
                "epoch": None,
                "offset": 0,
                "first": 0,
                "link": b"",
                "entries": [item.body],
            }
            try:
                await self._layer.send(topic.group, message)
            except Unavailable as error:
                future.set_exception(error)
            else:
                future.set_result(Receipt(None))
        self._sender = None


runtime.Pipeline = GroupSendPipeline  # type: ignore[attr-defined,assignment]
