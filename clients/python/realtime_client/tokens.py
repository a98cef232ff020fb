"""Where a stream's tokens come from, and how it gets one that is fresh."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from realtime_client.closes import TokenSource

# A token, or a function that gives one and is asked anew for each connection. It may be async; one
# that is not runs in a thread, so it may block.
Token = str | Callable[[], str | Awaitable[str]] | None


@runtime_checkable
class Discarding(Protocol):
    """A token function that keeps its tokens for a while, and wants to know which are no good."""

    def discard(self, token: str) -> None:
        """The server does not take this one any more. It runs in a thread, so it may block."""


class Tokens:
    """The tokens of one stream, one after the other. `source` says what kind they are."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._last: str | None = None
        self._refused: str | None = None
        if token is None:
            self.source = TokenSource.NONE
        else:
            self.source = TokenSource.FIXED if isinstance(token, str) else TokenSource.CALLABLE

    async def fetch(self) -> str | None:
        """The one to present now; raises whatever a function raises, TypeError if it gives none."""
        token = self._token
        if token is None or isinstance(token, str):
            return token
        refused, self._refused = self._refused, None
        if refused is not None and isinstance(token, Discarding):
            await asyncio.to_thread(token.discard, refused)
        self._last = await _call(token)
        return self._last

    def discard(self) -> None:
        """The server refused the last one: its function is told before it is asked again."""
        self._refused = self._last


async def _call(function: Callable[[], str | Awaitable[str]]) -> str:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 (an object with an async __call__)
    ):
        result = function()
    else:
        result = await asyncio.to_thread(function)
    value = await result if inspect.isawaitable(result) else result
    if not isinstance(value, str):
        raise TypeError(f"the token function has to give a string, not {type(value).__name__}")
    return value
