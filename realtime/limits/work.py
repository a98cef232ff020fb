"""What handling a message takes of the processor, where that is more than its length says."""

from collections.abc import Coroutine, Generator
from time import thread_time
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Meter(Generic[T]):
    """Awaits a coroutine and adds up the time of its own steps, not that of what it waits for.

    `seconds` is right at any time, also after the coroutine has raised.
    """

    __slots__ = ("_coroutine", "seconds")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.seconds = 0.0
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, None, T]:
        coroutine, error = self._coroutine, None
        while True:
            began = thread_time()
            try:
                awaited = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self.seconds += thread_time() - began
            error = None
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001 (it is the coroutine's, to be thrown in)
                error = thrown
