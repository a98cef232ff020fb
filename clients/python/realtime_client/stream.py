"""A stream of one topic that stands through everything that a connection does not."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from realtime_client.arrays import is_array, write_array
from realtime_client.config import Config
from realtime_client.encoding import MOST_SAMPLES, cut_samples, encode_data
from realtime_client.errors import ConnectionEnded, Misuse, RequestRefused, StreamClosed
from realtime_client.home import Home
from realtime_client.messages import (
    Ack,
    Binary,
    Hello,
    History,
    Message,
    Pong,
    Presence,
    Reply,
    Subscribed,
)
from realtime_client.positions import Position
from realtime_client.states import State, StateChange
from realtime_client.supervisor import Supervisor
from realtime_client.tokens import Token
from realtime_client.urls import build_url

if TYPE_CHECKING:
    import numpy.typing as npt

    from realtime_client.arrays import NDArray

RATE_LIMITED = "rate_limited"
MOST_REPEATS = 5

Answer = TypeVar("Answer", bound=Reply)


def connect(
    url: str,
    *,
    token: Token = None,
    position: Position | None = None,
    history: int | None = None,
    subscribe: bool = True,
    window: str | int | None = None,
    fields: Sequence[str] = (),
    interval: float | None = None,
    on_state: Callable[[StateChange], None] | None = None,
    config: Config | None = None,
) -> "Stream":
    """A stream of the topic at `url` (`wss://host/ws/<namespace>/<name>/`).

        async with connect(url, token=get_token) as stream:
            async for message in stream:
                ...

    `token` is a string, or a function (async or not) that is asked for a fresh one at each
    connection and before the old one ends. `position` goes on after it, across processes too;
    else `history` begins with so many of the latest publications. `subscribe=False` only
    publishes. `window`, `fields` and `interval` (seconds) are for statistics and arrays.
    `on_state` is called at each change; what it raises ends the stream.
    """
    return Stream(
        lambda position: build_url(
            url,
            position=position,
            history=history,
            subscribe=subscribe,
            window=window,
            fields=fields,
            interval=interval,
        ),
        token=token,
        position=position,
        subscribes=subscribe,
        on_state=on_state,
        config=config or Config(),
    )


class Stream:
    """Made by `connect`. Entering it waits for the first session; leaving it closes it.

    Iterating gives `Publication`, `Stats`, `Binary`, `Gap`, `Join`, `Leave` and, for a mistake
    that nobody waits for, `ServerError`. It raises ConnectionEnded where coming back would not
    help, and ends where this program closed it.
    """

    def __init__(
        self,
        build_url: Callable[[Position | None], str],
        *,
        token: Token,
        position: Position | None,
        subscribes: bool,
        on_state: Callable[[StateChange], None] | None,
        config: Config,
    ) -> None:
        build_url(position)  # raises ValueError now rather than later
        self._build_url = build_url
        self._token = token
        self._start = position
        self._subscribes = subscribes
        self._on_state = on_state
        self._config = config
        self._life: Supervisor | None = None
        self._home: Home | None = None  # since it was opened
        self._one_request = asyncio.Lock()

    # The connection

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and wait for the first session. Raises ConnectionEnded where it cannot be."""
        if self._home is not None:
            self._home.check()
            raise Misuse("a stream is opened once: make another with connect(…)")
        self._home = Home("stream")
        self._life = Supervisor(
            self._build_url,
            token=self._token,
            position=self._start,
            subscribes=self._subscribes,
            on_state=self._on_state,
            config=self._config,
            refs=itertools.count(1),
        )
        try:
            await self._life.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End it in order. What is published and not confirmed is an UnknownOutcome."""
        if self._life is not None and self._home is not None:
            self._home.check()
            await self._life.close()

    @property
    def state(self) -> State:
        """What the stream is doing."""
        return self._life.state if self._life else State.CONNECTING

    @property
    def position(self) -> Position | None:
        """Where the reader stands: after the last message that was read from here.

        Store it once that message is dealt with, and `connect(position=…)` goes on after it.
        """
        return self._life.position if self._life else self._start

    @property
    def hello(self) -> Hello | None:
        """What the server said of the session, the latest one."""
        return self._life.hello if self._life else None

    @property
    def subscribed(self) -> Subscribed | None:
        """How the latest subscription began."""
        return self._life.subscribed if self._life else None

    @property
    def ended(self) -> ConnectionEnded | None:
        """What ended the stream; None while it goes on."""
        ended = self._life.ended if self._life else None
        return ended if isinstance(ended, ConnectionEnded) else None

    # What comes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except StreamClosed:
            raise StopAsyncIteration from None

    async def receive(self) -> Message:
        """The next message. Safe to cancel: nothing is lost."""
        return await self._supervisor.receive()

    # What goes

    async def publish(self, data: Any, *, id: str | None = None) -> Ack:
        """Publish a JSON value and wait until the server has it, through reconnects.

        It has an id (yours, or one made here), so it is sent again until it is confirmed and
        published once. While as much waits as may wait (`Config.max_outgoing`), it waits for
        room first. Raises QueueFull where none comes in `Config.queue_timeout`, RequestRefused
        where the server says no, MessageTooBig, UnknownOutcome, ConnectionEnded.
        """
        return await self._supervisor.publisher.publish(encode_data(data), id=id)

    async def publish_bytes(
        self, data: bytes, *, format: str | None = None, id: str | None = None
    ) -> Ack:
        """Publish bytes on a binary topic; `format` is a media type such as `image/png`."""
        return await self._supervisor.publisher.publish(bytes(data), id=id, format=format)

    async def publish_array(self, array: "npt.ArrayLike", *, id: str | None = None) -> Ack:
        """Publish an array; raises ArrayError for a dtype that has no `.npy` form."""
        return await self._supervisor.publisher.publish(write_array(array), id=id)

    async def publish_samples(
        self, values: Iterable[float | None], timestamps: Iterable[float] | None = None
    ) -> list[Ack]:
        """Publish numbers on a stats topic, in as few publications as their limits allow.

        A missing one is None or NaN; `timestamps` are seconds since 1970. A 1-D numpy array
        without timestamps goes as it is.
        """
        publish = self._supervisor.publisher.publish
        hello = self._supervisor.hello
        if hello is None:
            raise self._supervisor.ended or Misuse("wait until open() is done")
        if is_array(values) and timestamps is None:
            array: Any = values
            most = min(MOST_SAMPLES, (hello.limits.max_binary_bytes - 256) // array.dtype.itemsize)
            starts = range(0, len(array), most)
            bodies: list[str | bytes] = [write_array(array[n : n + most]) for n in starts]
        else:
            bodies = [*cut_samples(values, timestamps, most_bytes=hello.limits.max_text_bytes)]
        return await asyncio.gather(*map(publish, bodies))

    # Questions

    async def request(
        self,
        shape: Sequence[int],
        *,
        dtype: str = "float64",
        source: str = "random",
        timeout: float | None = None,
    ) -> "NDArray":
        """Have the server make an array: `source` is `random`, `zeros` or its operator's own.

        One at a time; others wait. Raises RequestRefused, and TimeoutError after `timeout`
        seconds (`Config.reply_timeout` if None), the wait for one's turn included.
        """
        fields = {"type": "request", "shape": list(shape), "dtype": dtype, "source": source}
        seconds = self._config.reply_timeout if timeout is None else timeout
        self._supervisor  # noqa: B018 (it says where this may be asked)
        lock = self._one_request
        async with asyncio.timeout(seconds):
            await lock.acquire()
            # Given up here, it is under way still: the next has to wait for its answer.
            task = asyncio.ensure_future(self._request(fields))
            task.add_done_callback(lambda task: _let_next(lock, task))
            return (await asyncio.shield(task)).array

    async def _request(self, fields: dict[str, Any]) -> Binary:
        config = self._config
        for attempt in itertools.count():
            try:
                return await self._ask(Binary, fields)
            except RequestRefused as error:
                # Not done: the last array has not quite left, or others take all the room.
                if error.code != RATE_LIMITED or attempt >= MOST_REPEATS:
                    raise
                await asyncio.sleep(config.backoff.delay(attempt, config.chance()))
        raise AssertionError("unreachable")

    async def history(
        self, *, after: int = 0, epoch: str | None = None, limit: int = 100
    ) -> History:
        """A page of the topic's past: up to `limit` (1000) publications after an offset."""
        fields: dict[str, Any] = {"type": "history", "after": after, "limit": limit}
        if epoch is not None:
            fields["epoch"] = epoch
        return await self._ask(History, fields)

    async def presence(self) -> Presence:
        """Who is on the topic."""
        return await self._ask(Presence, {"type": "presence"})

    async def ping(self, *, timeout: float | None = None) -> float:
        """The round trip through the server's session, in seconds.

        Raises ConnectionLost where there is no connection, TimeoutError without an answer.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._ask(Pong, {"type": "ping"}, timeout, repeats=False)
        return loop.time() - began

    async def _ask(
        self,
        kind: type[Answer],
        fields: dict[str, Any],
        timeout: float | None = None,
        *,
        repeats: bool = True,
    ) -> Answer:
        seconds = self._config.reply_timeout if timeout is None else timeout
        reply = await self._supervisor.questions.ask(fields, timeout=seconds, repeats=repeats)
        if not isinstance(reply, kind):
            raise TypeError(f"the server answered with {type(reply).__name__}")
        return reply

    @property
    def _supervisor(self) -> Supervisor:
        if self._life is None or self._home is None:
            raise Misuse("open the stream first: async with connect(…) as stream")
        self._home.check()
        return self._life


def _let_next(lock: asyncio.Lock, task: "asyncio.Future[Binary]") -> None:
    lock.release()
    if not task.cancelled():
        task.exception()  # retrieved, also where nobody waits any more
