"""Work beside a server that says how many requests and handshakes it keeps in memory."""

import asyncio
import gc
import logging

from realtime.server.request import Request
from realtime.server.websocket import WebSocketConnection

logger = logging.getLogger("census")


async def count_connections() -> None:
    """Say so four times a second."""
    while True:
        await asyncio.sleep(0.25)
        gc.collect()  # what nobody refers to is not kept
        kept = sum(isinstance(thing, (Request, WebSocketConnection)) for thing in gc.get_objects())
        logger.info("census kept=%d", kept)
