"""How the project's own code is called: policies, processors, array sources.

Sync code runs in threads, and each piece of it has some to itself: one that is slow keeps no
other waiting, nor what the server runs in the event loop's own threads (leases, probes, names
of hosts).
"""

import inspect
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from channels.db import database_sync_to_async

# Threads of one piece of code.
THREADS = 4


async def call_code(
    code: Any, *args: Any, threads: ThreadPoolExecutor | None, **kwargs: Any
) -> Any:
    """Await what is async, run the rest in these threads; None: in the caller's own, of a view.

    Around each call Django closes connections to the database that are over. A call that is
    cancelled while it waits for a thread never begins.
    """
    if inspect.iscoroutinefunction(code if inspect.isroutine(code) else code.__call__):
        return await code(*args, **kwargs)
    run: Any = database_sync_to_async(code, thread_sensitive=threads is None, executor=threads)
    answer = await run(*args, **kwargs)
    # Of an async one behind a plain decorator.
    return await answer if inspect.isawaitable(answer) else answer


@cache
def find_threads(name: str) -> ThreadPoolExecutor:
    """The threads of the piece of code that is called so."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix=name)


# In a forked child these threads do not run: it makes its own.
os.register_at_fork(after_in_child=find_threads.cache_clear)
