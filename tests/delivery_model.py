"""The delivery core under chance, in virtual time: a seed is a run, and repeats it exactly.

One process (a hub with all that it holds) reads one topic, whose publishers are here and in
other processes. Calls take their time or fail, messages of the layer get lost, repeated and out
of order, and clients come and go. In a *strict* run that is all, so no client may ever miss
anything. In a *wild* one the history loses things as well: then each loss has to be told.

When all has been calm for a while, every client has to stand at the top, and nothing goes on.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime import held_topics, reading
from realtime.conf import Slow, build_settings
from realtime.core import recent
from realtime.core.entries import JSON, SAMPLES, Body, Entry, decode_entry, encode_entry
from realtime.core.errors import Unavailable
from realtime.core.positions import Position
from realtime.core.samples import pack_samples, unpack_samples
from realtime.core.topics import Topic
from realtime.held_topics import HeldTopic
from realtime.history import Accepted, Batch, Item, Page, Top, log, memory
from realtime.history.memory import MemoryHistory
from realtime.hub import Hub
from tests.delivery_clients import Client, Place, StatisticsClient
from tests.topics import TOPIC, WatchedHistory, build_namespace
from tests.virtual_time import VirtualLoop

# Reads of a topic in one instant that a handful of clients never need.
MAX_READS = 5000
# After this time (s) of calm, all that went wrong has been found and mended.
CALM_SECONDS = 12.0
# A topic that the history has set back is held for so long at least, as the setting does.
HOLD_SECONDS = 3.0


@dataclass(frozen=True)
class Complaint:
    """What went wrong, and when (virtual seconds)."""

    time: float
    text: str
    details: tuple[Any, ...]

    def __str__(self) -> str:
        return "\n  ".join([f"after {self.time:.3f} s: {self.text}", *map(str, self.details)])


def run_seed(seed: int, *, strict: bool) -> None:
    """One run; an AssertionError tells how it went wrong first."""
    logging.disable(logging.CRITICAL)  # losses and failures are what the run is made of
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            asyncio.Runner(loop_factory=VirtualLoop) as runner,
        ):
            model = Model(seed, strict=strict)
            runner.run(model.run(patch))
    finally:
        logging.disable(logging.NOTSET)
    if model.complaints:
        raise AssertionError(f"run_seed({seed}, {strict=}): {model.complaints[0]}")


class Model:
    """A world that a seed makes."""

    def __init__(self, seed: int, *, strict: bool) -> None:
        self.dice = dice = Random(seed)
        self.strict = strict
        self.complaints: list[Complaint] = []
        self.stored: dict[Place, set[int]] = {}
        self.is_calm = False
        self.slow = dice.choice(list(Slow))
        self.history_size = 100_000 if strict else dice.choice([5, 40, 100_000])
        self.is_layer_down = False
        self.joined: set[str] = set()
        # Whether the history went back unseen by the process, which then cannot tell anybody.
        self.is_blind = False
        self._loss = dice.choice([0, 0.1, 0.5, 1.0])
        self._padding = "x" * dice.choice([0, 0, 50, 200])
        self._kind = dice.choice(["broadcast", "stats"])
        self._number = 0
        self._namespace = build_namespace(
            kind=self._kind, history_size=self.history_size, slow=self.slow
        )

    async def run(self, patch: pytest.MonkeyPatch) -> None:
        """Live through it, then look around."""
        dice, loop = self.dice, asyncio.get_running_loop()
        loop.set_exception_handler(self._take_error)
        self._set_bounds(patch)
        self.is_over = asyncio.Event()
        self.history = ChanceHistory(self)
        settings = build_settings(
            {
                "GROUP_LEAVE_DELAY": dice.choice([0, 0.005, 0.05, 1.0]),
                "RECENT_BYTES": dice.choice([300, 100_000]),
            }
        )
        self.hub = Hub(
            settings=settings,
            layer=ChanceLayer(self),  # type: ignore[arg-type]
            history=self.history,
            on_control=lambda _: None,
        )
        make = StatisticsClient if self._kind == "stats" else Client
        clients = [make(self, str(number)) for number in range(dice.choice([1, 3, 6]))]
        staying = [asyncio.create_task(client.live()) for client in clients]
        staying.append(asyncio.create_task(self.hub.check_forever()))
        publishers = dice.choice([[True], [False], [True, False], [False, False]])
        passing = [asyncio.create_task(self._publish(is_here)) for is_here in publishers]
        passing.append(asyncio.create_task(self._break_things()))
        await asyncio.sleep(dice.choice([1.0, 2.5]))
        self.is_calm = True
        await asyncio.gather(*passing)
        await asyncio.sleep(CALM_SECONDS)
        await self._look_around(clients)
        self.is_over.set()
        for task in staying:
            task.cancel()
        results = await asyncio.gather(*staying, return_exceptions=True)
        for error in results:
            if not isinstance(error, asyncio.CancelledError):
                self.complain("a task ended", error)

    def _set_bounds(self, patch: pytest.MonkeyPatch) -> None:
        """Small bounds, so that runs meet them; the memory history follows the dice, too."""
        dice, loop = self.dice, asyncio.get_running_loop()
        limit = dice.choice([3, 20, 1000])
        patch.setattr(held_topics, "READ_LIMIT", limit)
        patch.setattr(reading, "READ_LIMIT", limit)
        patch.setattr(held_topics, "RETRY_DELAY", 0.05)
        patch.setattr(recent, "MAX_ENTRIES", dice.choice([2, 10, 1000]))
        patch.setattr(memory, "time", SimpleNamespace(monotonic=loop.time))
        draw = SimpleNamespace(uuid4=lambda: uuid.UUID(int=dice.getrandbits(128)))
        patch.setattr(log, "uuid", draw)
        read, reads = HeldTopic.read, [0.0, 0]

        async def count(held: HeldTopic, **options: Any) -> Page:
            reads[:] = loop.time(), reads[1] + 1 if reads[0] == loop.time() else 1
            if reads[1] > MAX_READS:
                self.complain("a reader goes on and on in one instant", options)
                raise Unavailable("too many reads")
            return await read(held, **options)

        patch.setattr(HeldTopic, "read", count)

    # What clients and the fakes need

    async def hold(self) -> HeldTopic:
        return await self.hub.hold(TOPIC, self._namespace)

    def complain(self, text: str, *details: Any) -> None:
        self.complaints.append(Complaint(asyncio.get_running_loop().time(), text, details))

    async def pause(self) -> None:
        """A call takes its time."""
        if not self.is_calm:
            slow = 0.02 if self.dice.random() < 0.7 else 0.3
            await asyncio.sleep(self.dice.choice([0, 0, 0.0005, 0.002, 0.002, slow]))

    def announce(self, batch: Batch, result: Accepted) -> None:
        """Bring a batch to the process, as far as the layer does not lose it."""
        dice, loop = self.dice, asyncio.get_running_loop()
        bodies = [None if dice.random() < 0.03 else item.body for item in batch.items]
        for _ in range(dice.choice([1, 1, 1, 2])):
            if dice.random() >= self._loss and not self.is_layer_down:
                delay = dice.choice([0, 0, 0.0003, 0.001, 0.01, 0.05])
                loop.call_later(delay, self._deliver, result, bodies)

    def _deliver(self, result: Accepted, bodies: Sequence[Body | None]) -> None:
        if TOPIC.group in self.joined:
            self.hub.deliver(
                TOPIC,
                epoch=result.epoch,
                offset=result.offsets[0],
                first=result.first,
                bodies=list(bodies),
                link=result.link,
            )

    def _take_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Unavailable):  # whoever waited may be gone
            self.complain("an error that nobody took", context)

    # What happens

    async def _publish(self, is_here: bool) -> None:
        """Publish in this process, or in another one that holds no topics."""
        known: Position | None = None
        while not self.is_calm:
            items = [self._make_item() for _ in range(self.dice.choice([1, 1, 2, 5, 12]))]
            position = self.hub.find_position(TOPIC) if is_here else None
            batch = Batch(TOPIC, self._namespace, items, position or known)
            (result,) = await self.history.append([batch])
            if isinstance(result, Accepted):
                known = Position(result.epoch, result.offsets[-1])
                if is_here:
                    self._deliver(result, [item.body for item in items])
            await asyncio.sleep(self.dice.choice([0, 0.0005, 0.002, 0.01, 0.05]))

    def _make_item(self) -> Item:
        self._number += 1
        if self._kind == "stats":
            number = np.array([float(self._number)])
            return Item(encode_entry(Entry(SAMPLES, None, 0, pack_samples(number, number))))
        data = json.dumps({"number": self._number, "padding": self._padding}).encode()
        return Item(encode_entry(Entry(JSON, None, 0, data)))

    def read_number(self, body: Body) -> int:
        """The number of a publication."""
        data = decode_entry(body).data
        if self._kind == "stats":
            return int(unpack_samples(data)[0][0])
        number: int = json.loads(bytes(data))["number"]
        return number

    async def _break_things(self) -> None:
        kinds = [self._stop_history, self._stop_layer]
        if not self.strict:
            kinds += [self._set_back, self._set_back, self._forget, self._expire]
        while not self.is_calm:
            await asyncio.sleep(self.dice.choice([0.01, 0.05, 0.2, 0.4]))
            await self.dice.choice(kinds)()

    async def _stop_history(self) -> None:
        self.history.is_down = True
        await asyncio.sleep(self.dice.choice([0.01, 0.1, 0.5]))
        self.history.is_down = False

    async def _stop_layer(self) -> None:
        self.is_layer_down = True
        await asyncio.sleep(self.dice.choice([0.01, 0.1]))
        self.is_layer_down = False

    async def _set_back(self) -> None:
        """Take the newest away, as where a Redis comes back without them."""
        kept = self.history.find_log()
        most = min(len(kept.bodies), self.dice.choice([1, 3, 20]))
        steps = self.dice.randint(0, most)
        if not steps:
            return
        # That a history goes back can be seen only by a process that has its epoch.
        held = self.hub._topics.get(TOPIC)
        if held is None or not held.is_ready or held.position.epoch != kept.epoch:
            self.is_blind = True
        else:
            await held.hold()
            asyncio.get_running_loop().call_later(HOLD_SECONDS, held.release)
        self.history.set_back(TOPIC, top=kept.top - steps)

    async def _forget(self) -> None:
        self.history.forget()

    async def _expire(self) -> None:
        self.history.expire(TOPIC)

    # What must hold in the end

    async def _look_around(self, clients: Sequence[Client]) -> None:
        before = len(self.history.reads)
        await asyncio.sleep(2)
        if len(self.history.reads) > before:
            self.complain("reads go on though nothing happens", len(self.history.reads) - before)
        last, held = self.history.find_log(), self.hub._topics[TOPIC]
        kept = {
            (last.epoch, offset): self.read_number(body)
            for offset, body in enumerate(last.bodies, last.first)
        }
        for client in clients:
            if not client.is_live:
                self.complain("a client is not live", client.name, client.subscription)
            if client.position != (last.epoch, last.top):
                self.complain("a client is not at the top", client.position, last.top)
            wrong = [
                (place, number, kept[place])
                for place, number in client.numbers.items()
                if kept.get(place, number) != number
            ]
            if wrong and not self.is_blind:
                self.complain("a client read something else, and was told of no loss", wrong)
        if held.is_ready and TOPIC.group not in self.joined:
            self.complain("a topic is held, but its group was left")
        if self.strict and self.history.renewed:
            self.complain("an epoch was ended", self.history.renewed)
        if held._holders != len(clients):
            self.complain("holders are left over", held._holders, len(clients))
        if held.followers._outgoing or held._reader._pages or held._reader._wanted:
            self.complain("publications or pages are left over")
        if any(getattr(follower, "has_ended", False) for follower in held.followers):
            self.complain("a follower that has ended is kept")


class ChanceHistory(WatchedHistory):
    """Takes its time, fails before or after it has stored something, and sees a rewind by what a
    publisher knows, as the scripts do."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model

    def find_log(self) -> log.Log:
        """What it holds of the topic."""
        return self._find(TOPIC) or log.Log(self._name_empty(TOPIC))

    async def append(self, batches: Sequence[Batch]) -> list[Accepted | Unavailable]:
        model = self._model
        await model.pause()
        is_down = self.is_down
        if is_down and model.dice.random() < 0.7:
            return [Unavailable("it is down")] * len(batches)
        for batch in batches:
            ((top,), known) = (await MemoryHistory.read_tops(self, [batch.topic]), batch.known)
            if known is not None and known.epoch == top.epoch and top.offset < known.offset:
                await MemoryHistory.renew_epoch(self, batch.topic, lost=top.epoch)
        results = await self.store(batches)
        for batch, result in zip(batches, results, strict=True):
            assert isinstance(result, Accepted)
            for offset, item in zip(result.offsets, batch.items, strict=True):
                numbers = model.stored.setdefault((result.epoch, offset), set())
                numbers.add(model.read_number(item.body))
            model.announce(batch, result)
        await model.pause()
        return [Unavailable("the answer is lost")] * len(batches) if is_down else results

    async def read(self, topic: Topic, *, after: int, limit: int, is_held: bool = False) -> Page:
        await self._model.pause()
        page = await super().read(topic, after=after, limit=limit, is_held=is_held)
        await self._model.pause()
        self._check()
        return page

    async def read_tops(self, topics: Sequence[Topic]) -> list[Top]:
        await self._model.pause()
        tops = await super().read_tops(topics)
        await self._model.pause()
        self._check()
        return tops

    async def renew_epoch(self, topic: Topic, *, lost: str) -> None:
        await self._model.pause()
        await super().renew_epoch(topic, lost=lost)
        await self._model.pause()
        self._check()


class ChanceLayer:
    """Joins and leaves in its time, or fails before or after it has."""

    is_shared = True

    def __init__(self, model: Model) -> None:
        self._model = model

    async def join(self, group: str) -> None:
        await self._model.pause()
        self._check()
        self._model.joined.add(group)
        await self._model.pause()
        self._check()

    async def leave(self, group: str) -> None:
        await self._model.pause()
        self._model.joined.discard(group)
        await self._model.pause()
        self._check()

    def _check(self) -> None:
        if self._model.is_layer_down:
            raise Unavailable("the layer is down")
