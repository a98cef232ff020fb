"""Clients of the delivery model: they come and go, and hold every message against what they know.

A client keeps its position as section 8 of the protocol says, and complains to the model about
whatever does not follow from it.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from realtime.audience import Reading
from realtime.computing import Computing
from realtime.conf import Slow
from realtime.core.close_codes import CloseCode
from realtime.core.errors import Unavailable
from realtime.core.messages import Subscribed, encode_message
from realtime.core.positions import Position
from realtime.core.windows import Window, parse_window
from realtime.frames import frame_text
from realtime.held_topics import HeldTopic
from realtime.outbox import Outbox
from realtime.statistics import StatisticsSubscription, StatisticsView, close_view, open_view
from realtime.subscriptions import Start, State, Subscription, find_start

Place = tuple[str, int]  # epoch and offset


class World(Protocol):
    """What clients need of the model."""

    dice: Random
    strict: bool  # nothing is ever lost: every recovery is whole
    slow: Slow
    history_size: int
    is_calm: bool
    is_over: asyncio.Event
    stored: dict[Place, set[int]]  # the numbers that were ever stored there

    async def hold(self) -> HeldTopic:
        """Hold the topic; raises Unavailable."""

    def complain(self, text: str, *details: Any) -> None:
        """Something is wrong."""


class Client:
    """Reads publications, each with a number of its own as its data."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.position: Place | None = None
        self.numbers: dict[Place, int] = {}  # what was read since the client last began anew
        self.messages: deque[dict[str, Any]] = deque(maxlen=12)
        self.subscription: Subscription | None = None
        self._must_be_gap = False
        self._interval = 0.0

    @property
    def is_live(self) -> bool:
        """Whether it is connected and has caught up."""
        return self.subscription is not None and self.subscription.state is State.LIVE

    async def live(self) -> None:
        """Come and go by chance; once all is calm, stay."""
        dice = self.world.dice
        while not self.world.is_calm:
            await self._visit(seconds=dice.choice([0.001, 0.01, 0.1, 0.5]))
            await asyncio.sleep(dice.choice([0, 0.001, 0.02, 0.2]))
        while not self.world.is_over.is_set():
            await self._visit(seconds=None)
            await asyncio.sleep(0.05)

    async def _visit(self, *, seconds: float | None) -> None:
        """One session, which ends after so many seconds (None: with the run), when it is too
        slow, or when the history does not answer."""
        dice, gone = self.world.dice, asyncio.Event()
        is_stalling = seconds is not None and dice.random() < 0.4
        is_open = True

        async def send(event: Any) -> None:
            if is_stalling:
                await asyncio.sleep(dice.choice([0, 0.001, 0.01, 0.05, 0.4]))
            elif dice.random() < 0.1:
                await asyncio.sleep(dice.choice([0, 0.001]))
            if event["type"] == "websocket.send" and is_open:
                self.take(json.loads(event["text"]))

        def give_up() -> None:
            outbox.abort(CloseCode.SLOW_CONSUMER)
            gone.set()

        outbox = Outbox(
            send,
            limit=dice.choice([600, 3000, 1_000_000]),
            stall_timeout=None,
            on_slow=give_up,
            on_abort=lambda: None,
        )
        self._interval = dice.choice([0, 0, 0, 0.01, 0.1])
        patience = dice.choice([seconds, 30]) if seconds is not None else None
        is_anew = self.position is None or (seconds is not None and dice.random() < 0.2)
        held: HeldTopic | None = None
        following: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(patience):
                held = await self.world.hold()
                await self.open(held)
                start = await self._begin(held, outbox, is_anew=is_anew)
            self.subscription = self.subscribe(held, outbox, start)
            following = asyncio.create_task(self.subscription.follow())
            following.add_done_callback(lambda task: self._end_following(task, gone.set))
            async with asyncio.timeout(seconds):
                await gone.wait()
        except (Unavailable, TimeoutError):
            pass
        finally:
            is_open = self._must_be_gap = False
            if following is not None:
                following.cancel()
            if self.subscription is not None:
                self.subscription.end()
                self.subscription = None
            self.close()
            if held is not None:
                held.release()
            outbox.discard()

    async def _begin(self, held: HeldTopic, outbox: Outbox, *, is_anew: bool) -> Start:
        if is_anew:
            self.position = None
            self.numbers.clear()
        recover = None if self.position is None else Position(*self.position)
        history = self.world.dice.choice(self.histories) if is_anew else 0
        start = await find_start(held, recover=recover, history=history)
        subscribed = Subscribed(
            topic=str(held.topic),
            epoch=start.cursor.epoch,
            offset=start.top,
            next=start.next,
            recovered=start.recovered,
        )
        outbox.put(frame_text(encode_message(subscribed)))
        if start.gap is not None:
            outbox.put(frame_text(encode_message(start.gap)))
        return start

    def _end_following(self, task: asyncio.Task[None], leave: Callable[[], None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, Unavailable):
            self._complain("following failed", error)
        leave()

    # What a kind of topic does in its own way

    histories: tuple[int, ...] = (0, 0, 3, 50)

    async def open(self, held: HeldTopic) -> None:
        """Called before the session begins; raises Unavailable."""

    def close(self) -> None:
        """Called after it; `open` may have failed."""

    def subscribe(self, held: HeldTopic, outbox: Outbox, start: Start) -> Subscription:
        """The subscription, not followed yet."""
        return Subscription(held, outbox=outbox, start=start, interval=self._interval)

    # What must hold

    def take(self, message: dict[str, Any]) -> None:
        """Hold a message against what is known."""
        self.messages.append({name: message[name] for name in message if name not in ("data", "v")})
        if message["type"] == "subscribed":
            self._take_subscribed(message)
        elif message["type"] == "gap":
            self._take_gap(message)
        else:
            if self._must_be_gap:
                self._complain("no gap after `recovered: false`")
            self.take_publication(message)

    def _take_subscribed(self, message: dict[str, Any]) -> None:
        begin = message["epoch"], message["next"] - 1
        if message["recovered"] is False:
            self._must_be_gap = True
            if self.world.strict:
                self._complain("not recovered")
            return
        if message["recovered"] and begin != self.position:
            self._complain("recovered from another position")
        self.position = begin

    def _take_gap(self, message: dict[str, Any]) -> None:
        assert self.position is not None
        epoch, offset = self.position
        if self.world.strict:
            self._complain("a gap")
        if message["after"] != offset:
            self._complain("a gap that begins elsewhere")
        if message["epoch"] == epoch:
            goes_back = message["next"] <= offset
            if not self._must_be_gap and message["next"] <= offset + 1:
                self._complain("a gap without a loss")
            if goes_back:  # the client was ahead of a history that has gone back
                self.numbers.clear()
        self._must_be_gap = False
        self.position = message["epoch"], message["next"] - 1

    def take_publication(self, message: dict[str, Any]) -> None:
        """Hold a publication against the position."""
        assert self.position is not None
        epoch, offset = self.position
        skipped, number = message.get("skipped", 0), message["data"]["number"]
        place = epoch, message["offset"]
        if skipped and not self._interval and self.world.slow is not Slow.LATEST:
            self._complain("publications are skipped though nobody asked for it")
        if skipped < 0 or message["offset"] != offset + skipped + 1:
            self._complain("a hole, or the order is wrong")
        if place in self.numbers or number in self.numbers.values():
            self._complain("a publication comes twice")
        if number not in self.world.stored.get(place, ()):
            self._complain("a publication that was never stored there")
        self.numbers[place] = number
        self.position = place

    def _complain(self, text: str, *details: Any) -> None:
        self.world.complain(text, f"client {self.name}", *details, *self.messages)


class StatisticsClient(Client):
    """Reads the statistics of samples, of which each publication has one: its number."""

    histories = (0,)

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.value: float | None = None
        self._view: StatisticsView | None = None
        self._reading = Reading(parse_window("100"), (), f"user {name}")
        self._is_first = True

    async def open(self, held: HeldTopic) -> None:
        window = parse_window(self.world.dice.choice(["100", "5"]))
        self._reading = Reading(window, (), f"user {self.name}")
        self._is_first = True
        self._view = await open_view(held, self._reading, Computing())

    def close(self) -> None:
        if self._view is not None:
            close_view(self._view, self._reading)
            self._view = None

    def subscribe(self, held: HeldTopic, outbox: Outbox, start: Start) -> Subscription:
        assert self._view is not None
        return StatisticsSubscription(
            held,
            outbox=outbox,
            start=start,
            interval=self._interval,
            view=self._view,
            reading=self._reading,
        )

    def take_publication(self, message: dict[str, Any]) -> None:
        """The first one shows how things are, be it where the client was already."""
        assert self.position is not None
        epoch, offset = self.position
        place, step = (epoch, message["offset"]), message["offset"] - offset
        step -= message.get("skipped", 0)
        if step != 1 and not (self._is_first and step == 0):
            self._complain("a hole, or the order is wrong")
        self._is_first = False
        self.value = message["value"]
        self._check_count(message["count"], self._reading.window, offset=message["offset"])
        if self.value is not None:
            if self.value not in self.world.stored.get(place, ()):
                self._complain("a value that was never stored there")
            self.numbers[place] = int(self.value)
        self.position = place

    def _check_count(self, count: int, window: Window, *, offset: int) -> None:
        assert window.samples is not None
        most = min(window.samples, self.world.history_size, offset)
        if count > most or (self.world.strict and count != most):
            self._complain("not the samples that are retained", count, most)
