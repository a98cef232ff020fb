"""One topic without a server: a layer and a history that a test can hold up, and followers."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from realtime.conf import Namespace, build_settings
from realtime.core.close_codes import CloseCode
from realtime.core.entries import Entry, encode_entry
from realtime.core.errors import Unavailable
from realtime.core.positions import MARK_BYTES
from realtime.core.recent import Recent
from realtime.core.topics import Topic
from realtime.encoding import Burst, LivePublication
from realtime.held_topics import HeldTopic
from realtime.history import Accepted, Batch, Item, Page, Top
from realtime.history.log import ENTRY_BYTES
from realtime.history.memory import MemoryHistory
from realtime.outbox import Outbox
from realtime.subscriptions import Start, Subscription, find_start

TOPIC = Topic("broadcast", "a")


def build_namespace(**options: Any) -> Namespace:
    """A broadcast namespace with these options, as settings would give it."""
    return msgspec.convert({"kind": "broadcast", **options}, Namespace)


class FakeLayer:
    """Notes who joined what; each call waits for `gate`."""

    is_shared = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.sent: list[dict[str, Any]] = []
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_down = False

    async def join(self, group: str) -> None:
        await self._call("join", group)

    async def leave(self, group: str) -> None:
        await self._call("leave", group)

    async def send(self, group: str, message: dict[str, Any]) -> None:
        await self._call("send", group)
        self.sent.append(message)

    async def receive(self) -> dict[str, Any]:
        return await self.messages.get()

    async def _call(self, name: str, group: str) -> None:
        self.calls.append((name, group))
        await self.gate.wait()
        if self.is_down:
            raise Unavailable("the layer is down")


class WatchedHistory(MemoryHistory):
    """The memory history, which counts its calls and can be held up, taken down or set back.

    Like a remote one it gives each publication a mark, by which readers notice a rewind.
    """

    is_remote = True

    def __init__(self, **options: Any) -> None:
        super().__init__(build_settings(options))
        self.appends: list[Sequence[Batch]] = []
        self.reads: list[int] = []
        self.tops = 0
        self.renewed: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_down = False
        self._late: dict[int, asyncio.Event] = {}
        self._marks: dict[tuple[str, int], bytes] = {}
        self._batches = 0

    async def append(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        self.appends.append(batches)
        await self.gate.wait()
        if self.is_down:
            return [Unavailable("the history is down")] * len(batches)
        return await self.store(batches)

    async def store(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        """Append without being watched."""
        results: list[Accepted | Unavailable] = []
        for result in await super().append(batches):
            assert isinstance(result, Accepted)
            self._batches += 1
            mark = self._batches.to_bytes(MARK_BYTES, "big")
            new = [n for i, n in enumerate(result.offsets) if i not in result.duplicates]
            for offset in new:
                self._marks[result.epoch, offset] = mark
            link = self._mark(result.epoch, new[0] - 1) + mark if new else b""
            results.append(replace(result, link=link))
        return results

    async def read(self, topic: Topic, *, after: int, limit: int, is_held: bool = False) -> Page:
        self.reads.append(after)
        await self.gate.wait()
        self._check()
        page = await super().read(topic, after=after, limit=limit, is_held=is_held)
        links = [
            self._mark(page.epoch, offset - 1) + self._mark(page.epoch, offset)
            for offset in range(page.start, page.end + 1)
        ]
        mark = self._mark(page.epoch, page.top)
        page = replace(page, links=links, mark=mark)
        if (reply := self._late.pop(after, None)) is not None:
            await reply.wait()
        return page

    def delay_reply(self, *, after: int) -> asyncio.Event:
        """The next read after this offset is answered once the event is set, with what the
        history held when it was read."""
        self._late[after] = asyncio.Event()
        return self._late[after]

    async def read_tops(self, topics: Sequence[Topic]) -> list[Top]:
        self.tops += 1
        await self.gate.wait()
        self._check()
        tops = await super().read_tops(topics)
        return [Top(top.epoch, top.offset, self._mark(top.epoch, top.offset)) for top in tops]

    async def renew_epoch(self, topic: Topic, *, lost: str) -> None:
        self._check()
        self.renewed.append(lost)
        await super().renew_epoch(topic, lost=lost)

    def set_back(self, topic: Topic, *, top: int) -> None:
        """Come back as an older snapshot: without what followed `top`."""
        log = self._logs[topic]
        changes: dict[str, int] = {}
        while log.top > top:
            if log.bodies:
                size, publisher = len(log.bodies.pop()), log._publishers.pop()
                log.bytes -= size
                changes[publisher] = changes.get(publisher, 0) - size - ENTRY_BYTES
            log.top -= 1
        self._settle(topic, log, changes)

    def expire(self, topic: Topic) -> None:
        """Retain nothing of a topic, as after its time or where Redis needed the room."""
        log = self._logs.get(topic)
        if log is not None:
            log.expires = 0.0
            self._expire(topic, log)

    def forget(self) -> None:
        """Lose everything: each topic begins a new epoch."""
        for topic in tuple(self._logs):
            self._drop(topic)
        self._empty.clear()

    def _mark(self, epoch: str, offset: int) -> bytes:
        return self._marks.get((epoch, offset), bytes(MARK_BYTES))

    def _check(self) -> None:
        if self.is_down:
            raise Unavailable("the history is down")


class Listener:
    """A follower that notes what it is given; losses stand between the offsets as tuples."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.epoch = ""

    def push(self, publication: LivePublication) -> None:
        self.heard.append(publication.number)
        assert publication.entry.data == b"%d" % publication.number

    def push_burst(self, burst: Burst) -> None:
        for publication in burst.publications:
            self.push(publication)

    def lose(self, *, epoch: str, next: int, reason: str) -> None:
        self.epoch = epoch
        self.heard.append((reason, next))

    def fail(self) -> None:
        self.heard.append("failed")


def build_body(number: int) -> bytes:
    """The stored form of a publication whose JSON data is its own offset."""
    return encode_entry(Entry("json", None, 0, b"%d" % number))


class Stage:
    """A held topic between a layer and a history."""

    def __init__(self, *, leave_delay: float = 30.0, **options: Any) -> None:
        self.layer = FakeLayer()
        self.history = WatchedHistory()
        self.namespace = build_namespace(**options)
        self.left: list[HeldTopic] = []
        self.top = 0
        self.held = HeldTopic(
            TOPIC,
            self.namespace,
            layer=self.layer,  # type: ignore[arg-type]
            history=self.history,
            recent=Recent(max_bytes=1024 * 1024),
            leave_delay=leave_delay,
            on_rest=lambda held: None,
            on_left=self.left.append,
        )

    async def listen(self) -> Listener:
        listener = Listener()
        await self.held.hold()
        self.held.followers.add(listener)
        return listener

    async def append(self, count: int = 1) -> Accepted:
        """Store the next publications without telling anybody."""
        items = [Item(build_body(self.top + n)) for n in range(1, count + 1)]
        (result,) = await self.history.store([Batch(TOPIC, self.namespace, items)])
        assert isinstance(result, Accepted)
        self.top = result.offsets[-1]
        return result

    def tell(self, result: Accepted, *, without: Sequence[int] = ()) -> None:
        """Deliver a batch as the layer would; the bodies of offsets in `without` are left out."""
        bodies = [None if n in without else build_body(n) for n in result.offsets]
        self.held.accept(
            epoch=result.epoch,
            offset=result.offsets[0],
            first=result.first,
            bodies=bodies,
            link=result.link,
        )

    async def publish(self, count: int = 1) -> None:
        self.tell(await self.append(count))


class Session:
    """An outbox and what came out of it, as the client reads it."""

    def __init__(self, *, limit: int = 1_000_000) -> None:
        self.messages: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.slow = 0
        self.closed: int | None = None  # by which code
        self.most_waiting = 0
        self.outbox = Outbox(
            self.send,
            limit=limit,
            stall_timeout=None,
            on_slow=self.note_slow,
            on_abort=lambda: None,
        )

    async def send(self, event: Any) -> None:
        await self.gate.wait()
        self.most_waiting = max(self.most_waiting, self.outbox._waiting)
        if event["type"] == "websocket.send":
            self.messages.append(json.loads(event["text"]))
        else:
            self.closed = event["code"]

    def note_slow(self) -> None:
        self.slow += 1
        self.outbox.abort(CloseCode.SLOW_CONSUMER)

    @property
    def offsets(self) -> list[int]:
        return [m["offset"] for m in self.messages if m["type"] == "publication"]

    def check_delivery(self, *, after: int) -> int:
        """Hold what came against section 8; returns the offset that all is told about."""
        for message in self.messages:
            if message["type"] == "gap":
                assert message["after"] == after
                after = message["next"] - 1
            else:
                assert message["offset"] == after + message.get("skipped", 0) + 1
                after = message["offset"]
                assert message["data"] == after
        return after


async def subscribe(
    stage: Stage, session: Session, start: Start | None = None, **options: Any
) -> Subscription:
    """Follow the stage's topic, from now if no start is given; returns when it is live."""
    await stage.held.hold()
    start = start or await find_start(stage.held)
    subscription = Subscription(stage.held, outbox=session.outbox, start=start, **options)
    await subscription.follow()
    return subscription


async def settle(seconds: float = 0.03) -> None:
    """Let timers of a few milliseconds and all that follows from them pass."""
    await asyncio.sleep(seconds)


async def wait_until(condition: Any, timeout: float = 15.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.002)
