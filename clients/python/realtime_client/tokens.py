"""Where a stream's token comes from, and how it gets one that is fresh."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from realtime_client.closes import TokenSource

# A token, or a function that gives one and is asked anew for each connection. It may be async; one
# that is not runs in a thread, so it may block.
Token = str | Callable[[], str | Awaitable[str]] | None


def find_source(token: Token) -> TokenSource:
    """What kind of token this is."""
    if token is None:
        return TokenSource.NONE
    return TokenSource.FIXED if isinstance(token, str) else TokenSource.CALLABLE


async def fetch_token(token: Token) -> str | None:
    """The token to present now; raises whatever a function raises, TypeError if it gives none."""
    if token is None or isinstance(token, str):
        return token
    if inspect.iscoroutinefunction(token) or inspect.iscoroutinefunction(
        getattr(token, "__call__", None)  # noqa: B004 (an object with an async __call__)
    ):
        result = token()
    else:
        result = await asyncio.to_thread(token)
    value = await result if inspect.isawaitable(result) else result
    if not isinstance(value, str):
        raise TypeError(f"the token function has to give a string, not {type(value).__name__}")
    return value
