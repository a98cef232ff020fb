"""Questions that are answered with their `ref`: asked again where the connection breaks."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from realtime_client.errors import ConnectionLost, RequestRefused
from realtime_client.link import Link
from realtime_client.messages import Reply, ServerError


class Questions:
    """Who waits for which answer, on the connection that stands at the moment."""

    def __init__(self, *, next_ref: Callable[[], int], on_begin: Callable[[], None]) -> None:
        self._next_ref = next_ref
        self._on_begin = on_begin
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, asyncio.Future[Reply]] = {}
        self._link: Link | None = None
        self._connected = asyncio.Event()
        self._ended: Exception | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._answers)

    async def ask(
        self, fields: Mapping[str, Any], *, timeout: float, repeats: bool = True
    ) -> Reply:
        """Send a message and wait for its answer.

        Raises RequestRefused, TimeoutError, what ended the stream, and ConnectionLost where it
        `repeats` not and the connection breaks.
        """
        async with asyncio.timeout(timeout):
            while True:
                if repeats:
                    await self._connected.wait()
                try:
                    return await self._ask_once(fields)
                except ConnectionLost:
                    if not repeats:
                        raise

    def connect(self, link: Link) -> None:
        """A session has begun."""
        self._link = link
        self._connected.set()

    def disconnect(self) -> None:
        """The connection is lost, and with it all answers."""
        self._link = None
        if self._ended is None:
            self._connected.clear()
        self._fail(lambda: ConnectionLost(1006, "the connection broke before the answer"))

    def end(self, error: Exception) -> None:
        """The stream is over."""
        self._ended = error
        self._link = None
        self._fail(lambda: error)
        self._connected.set()

    def take(self, reply: Reply) -> None:
        """An answer; one that nobody waits for any more is dropped."""
        answer = self._answers.get(reply.ref) if isinstance(reply.ref, int) else None
        if answer is None or answer.done():
            return
        if isinstance(reply, ServerError):
            answer.set_exception(RequestRefused(reply.code, reply.detail))
        else:
            answer.set_result(reply)

    async def _ask_once(self, fields: Mapping[str, Any]) -> Reply:
        if self._ended is not None:
            raise self._ended
        link = self._link
        if link is None:
            raise ConnectionLost(1006, "there is no connection")
        ref = self._next_ref()
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._answers[ref] = answer
        self._on_begin()
        try:
            await link.send(json.dumps({**fields, "ref": ref}))
            return await answer
        except ConnectionLost:
            # Nobody asks on it again, also before its reader has noticed: that would go on and on
            # without ever letting the reader run.
            if self._link is link and self._ended is None:
                self._link = None
                self._connected.clear()
            raise
        finally:
            del self._answers[ref]
            if answer.done() and not answer.cancelled():
                answer.exception()  # retrieved: sending may have failed first

    def _fail(self, build: Callable[[], Exception]) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(build())
