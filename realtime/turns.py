"""Long work in the event loop, in short goes."""

import asyncio
from time import thread_time

# One go, in seconds of the processor's time.
TURN_SECONDS = 0.001


class Turns:
    """Lets others have the loop, each time that it was kept from them for one go."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = thread_time()

    async def pause(self) -> None:
        """Call it between two steps of the work."""
        if thread_time() - self._began > TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = thread_time()
