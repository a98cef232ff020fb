"""The same stream for scripts and notebooks, without `await`.

    with connect("wss://host/ws/arrays/camera/", token=token) as stream:
        print(stream.request((2, 3)))
        for message in stream:
            print(message.array.mean())

The asynchronous stream runs on an event loop in a thread of its own, and each call here waits for
one there. So nothing of it is written twice, reconnecting and heartbeats go on while the script
computes, and it works in a notebook, whose own loop is busy. Calls may come from several threads,
but not from the stream's own one, where `on_state` and async token functions run, and not from a
fork: both are a Misuse.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import realtime_client.stream
from realtime_client.errors import Misuse, StreamClosed
from realtime_client.home import Process
from realtime_client.messages import Ack, Hello, History, Message, Presence, Subscribed
from realtime_client.positions import Position
from realtime_client.states import State

if TYPE_CHECKING:
    import numpy.typing as npt

    from realtime_client.arrays import NDArray

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Stream:
    """Made by `connect`. Entering it waits for the first session; leaving it closes it."""

    def __init__(self, stream: realtime_client.stream.Stream) -> None:
        self._stream = stream
        self._worker: _Worker | None = None  # since it was opened
        self._submitting = threading.Lock()  # what was submitted once the loop ends never runs
        self._ending = threading.Lock()
        self._is_ending = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A fork that leaves the block by `sys.exit` has nothing to close: all is its parent's.
        if self._worker is None or not self._worker.process.is_forked:
            self.close()

    def open(self) -> None:
        """Connect, and wait for the first session. Raises ConnectionEnded where it cannot be."""
        if self._worker is not None:
            self._worker.check()
        with self._submitting:
            if self._is_ending:
                raise StreamClosed
            if self._worker is not None:
                raise Misuse("a stream is opened once: make another with connect(…)")
            self._worker = _Worker()
        try:
            self._call(self._stream.open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it in order; may be called twice, and from any thread but the stream's own."""
        worker = self._worker
        if worker is not None:
            worker.check()
        with self._ending:
            with self._submitting:
                self._is_ending = True
            if worker is not None and worker.thread.is_alive():
                asyncio.run_coroutine_threadsafe(self._finish(worker.loop), worker.loop).result()
                worker.stop()

    @property
    def state(self) -> State:
        """What the stream is doing."""
        return self._stream.state

    @property
    def position(self) -> Position | None:
        """After the last message that was read: store it, and `connect` goes on after it."""
        return self._stream.position

    @property
    def hello(self) -> Hello | None:
        """What the server said of the session, the latest one."""
        return self._stream.hello

    @property
    def subscribed(self) -> Subscribed | None:
        """How the latest subscription began."""
        return self._stream.subscribed

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        try:
            return self.receive()
        except StreamClosed:
            raise StopIteration from None

    def receive(self, *, timeout: float | None = None) -> Message:
        """The next message; raises TimeoutError after `timeout` seconds without one."""
        return self._call(self._receive(timeout))

    def publish(self, data: Any, *, id: str | None = None) -> Ack:
        """Publish a JSON value and wait until the server has it."""
        return self._call(self._stream.publish(data, id=id))

    def publish_bytes(
        self, data: bytes, *, format: str | None = None, id: str | None = None
    ) -> Ack:
        """Publish bytes on a binary topic; `format` is a media type such as `image/png`."""
        return self._call(self._stream.publish_bytes(data, format=format, id=id))

    def publish_array(self, array: "npt.ArrayLike", *, id: str | None = None) -> Ack:
        """Publish an array."""
        return self._call(self._stream.publish_array(array, id=id))

    def publish_samples(
        self, values: Iterable[float | None], timestamps: Iterable[float] | None = None
    ) -> list[Ack]:
        """Publish numbers on a stats topic, in as few publications as their limits allow."""
        return self._call(self._stream.publish_samples(values, timestamps))

    def request(
        self,
        shape: Sequence[int],
        *,
        dtype: str = "float64",
        source: str = "random",
        timeout: float | None = None,
    ) -> "NDArray":
        """Have the server make an array."""
        return self._call(self._stream.request(shape, dtype=dtype, source=source, timeout=timeout))

    def history(self, *, after: int = 0, epoch: str | None = None, limit: int = 100) -> History:
        """A page of the topic's past."""
        return self._call(self._stream.history(after=after, epoch=epoch, limit=limit))

    def presence(self) -> Presence:
        """Who is on the topic."""
        return self._call(self._stream.presence())

    def ping(self, *, timeout: float | None = None) -> float:
        """The round trip through the server's session, in seconds."""
        return self._call(self._stream.ping(timeout=timeout))

    async def _receive(self, timeout: float | None) -> Message:
        async with asyncio.timeout(timeout):
            return await self._stream.receive()

    async def _finish(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._stream.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:  # calls of other threads: the end of the stream ends them too
            await asyncio.wait(others)
        await loop.shutdown_default_executor()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            future = self._submit(work)
        except BaseException:
            work.close()
            raise
        try:
            return future.result()
        except BaseException:
            future.cancel()  # it goes on where Ctrl-C ended only the waiting
            raise

    def _submit(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        # Before the lock, which nobody releases in a fork.
        if self._worker is not None:
            self._worker.check()
        with self._submitting:
            if self._is_ending:
                raise StreamClosed
            if self._worker is None:
                raise Misuse("open the stream first: with connect(…) as stream")
            return asyncio.run_coroutine_threadsafe(work, self._worker.loop)


class _Worker:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.process = Process()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(
            target=self.loop.run_forever, name="realtime_client", daemon=True
        )
        self.thread.start()

    def check(self) -> None:
        """Raises Misuse where to wait for this loop would be to wait for ever."""
        self.process.check("stream")
        if threading.current_thread() is self.thread:
            raise Misuse(
                "this stream waits for what is called here (on_state, or an async token function): "
                "use it from another thread"
            )

    def stop(self) -> None:
        """End it, once all of its work is done."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def _mirror(
    build: Callable[Parameters, realtime_client.stream.Stream],
) -> Callable[Parameters, Stream]:
    def connect(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Stream:
        return Stream(build(*args, **kwargs))

    connect.__doc__ = "As `realtime_client.connect`; `on_state` is called in another thread."
    return connect


connect = _mirror(realtime_client.stream.connect)
