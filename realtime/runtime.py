"""What one process of this package is made of, and how code finds it.

A server process has one runtime, on the loop of its sockets. Any other process that publishes
gets a small one, without a hub, on a daemon thread; it needs Redis to be heard.
"""

import asyncio
import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any

import msgspec

from realtime import models
from realtime.computing import Computing
from realtime.conf import Settings, get_settings
from realtime.core.addresses import name_sender
from realtime.core.close_codes import CloseCode
from realtime.core.entries import encode_entry
from realtime.core.errors import NotRunning, NotSupported, Unavailable
from realtime.core.topics import Topic, parse_topic
from realtime.database_probe import DatabaseProbe
from realtime.history import SERVER, Item, open_history
from realtime.hub import Hub
from realtime.intake import find_namespace, take_anything
from realtime.layer import Layer
from realtime.limits import Limits
from realtime.memory_database import is_in_memory
from realtime.pipeline import Pipeline, Receipt
from realtime.presence import Member, open_presence
from realtime.pulse import PULSE, Pulse
from realtime.rechecks import Rechecks
from realtime.redis_errors import quote
from realtime.rosters import MEMBERS, Rosters
from realtime.sessions import Sessions, Target
from realtime.tracking import Recorder

logger = logging.getLogger("realtime")

# The group that every hub joins, for messages that are no publications.
CONTROL_GROUP = "rt.control"
# After so many seconds a task that is still there is cancelled once more; and is given up.
CANCEL_AGAIN = 0.2
CANCEL_FOR = 5.0
JOIN_RETRY_DELAY = 0.5
# Targets of a disconnect that one message names.
TARGETS_TOGETHER = 200
# After so many seconds a task that failed begins again.
RESTART_DELAY = 1.0


class Runtime:
    """The parts of a process, put together on the running loop."""

    def __init__(self, *, has_sessions: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.instance_id = uuid.uuid4().hex[:16]
        self.settings = get_settings()
        self.layer = Layer(self.settings)
        self.history = open_history(self.settings)
        self.sessions = Sessions()
        self.limits = Limits(self.settings, instance=self.instance_id)
        self.computing = Computing(self.limits.samples)
        self.has_sessions = has_sessions
        self.is_draining = False
        self.requested_bytes: Counter[str] = Counter()  # of arrays being made, for each sender
        self.hub = Hub(
            settings=self.settings,
            layer=self.layer,
            history=self.history,
            on_control=self._handle_control,
        )
        self.pipeline = Pipeline(
            settings=self.settings,
            history=self.history,
            layer=self.layer,
            hub=self.hub if has_sessions else None,
        )
        self.rosters = Rosters(
            settings=self.settings,
            instance=self.instance_id,
            layer=self.layer,
            store=open_presence(self.settings, instance=self.instance_id),
        )
        self.rechecks = Rechecks(settings=self.settings, sessions=self.sessions)
        self.database = DatabaseProbe()
        self.pulse = Pulse(
            settings=self.settings,
            history=self.history,
            layer=self.layer,
            instance=self.instance_id,
            # Words about users who changed may have been missed.
            on_reopened=lambda: self.rechecks.ask(None),
        )
        self.recorder = Recorder(
            instance_id=self.instance_id,
            version=self.settings.release,
            settings=_settle_tracking(self.settings),
            sessions=self.sessions,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        if has_sessions:
            for work in (
                self._join_control,
                self.hub.receive_forever,
                self.hub.check_forever,
                self.pulse.beat_forever,
                self.limits.share_forever,
                self.rosters.save_forever,
                self.rosters.read_forever,
                self.rosters.watch_forever,
                self.rechecks.run_forever,
                self.recorder.run_forever,
            ):
                self.run_soon(self._keep_running(work))

    def is_current(self) -> bool:
        """Whether the caller runs in this runtime's loop."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def run_soon(self, operation: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run something beside the caller; a failure is logged."""
        task = self.loop.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    async def publish(
        self,
        topic: str | Topic,
        data: Any,
        *,
        id: str | None,
        user: Any,
        format: str | None,
        address: str | None = None,
    ) -> Receipt:
        """Publish from Python; raises CodedError.

        It takes room from the user's share of the history, or else from that of the client's
        `address`, or else from the server's own.
        """
        if isinstance(topic, str):
            topic = parse_topic(topic)
        namespace = find_namespace(topic)
        entry = await take_anything(topic, namespace, data, user, format=format)
        item = Item(encode_entry(entry), scope_id(id, user), _name_publisher(user, address))
        return await self.pipeline.submit(topic, namespace, item)

    async def read_members(self, topic: Topic) -> list[Member]:
        """Who is on a topic, the oldest first; raises NotSupported, UnknownTopic, Unavailable."""
        if not find_namespace(topic).presence:
            raise NotSupported("this topic does not say who is on it")
        return await self.rosters.read_members(topic)

    async def disconnect(self, targets: Sequence[Target], code: CloseCode) -> None:
        """End sessions here and on every other instance; raises Unavailable.

        Where others cannot be told, those of this process have ended all the same.
        """
        for start in range(0, len(targets), TARGETS_TOGETHER):
            for target in targets[start : start + TARGETS_TOGETHER]:
                self.sessions.disconnect(target, code)
            await asyncio.sleep(0)  # let sockets have their turn
        if not self.layer.is_shared:
            return
        for start in range(0, len(targets), TARGETS_TOGETHER):
            part = targets[start : start + TARGETS_TOGETHER]
            await self.layer.send(
                CONTROL_GROUP,
                {
                    "type": "disconnect",
                    "targets": [[each.session, each.user, each.sid] for each in part],
                    "code": int(code),
                },
            )

    async def recheck(self, users: Collection[str] | None) -> None:
        """Look again, here and everywhere, at sessions of these users (keys), or of everybody.

        Raises Unavailable.
        """
        self.rechecks.ask(users)
        if self.layer.is_shared:
            keys = None if users is None else list(users)
            await self.layer.send(CONTROL_GROUP, {"type": "recheck", "users": keys})

    async def stop(self) -> None:
        """Commit what waits, write what is left, let go of everything."""
        await self.pipeline.close()
        await cancel_tasks(self._tasks)
        await self.pulse.close()
        self.computing.close()
        await self.limits.close()
        await self.rosters.close()
        await self.recorder.close()
        await self.history.close()
        await self.layer.close()

    def _handle_control(self, message: dict[str, Any]) -> None:
        if message["type"] == MEMBERS:
            self.rosters.hear(message)
            return
        if message["type"] == PULSE:
            self.pulse.hear(message)
            return
        match message["type"]:
            case "disconnect":
                for session, user, sid in message["targets"]:
                    target = Target(session, user, sid)
                    self.sessions.disconnect(target, CloseCode(message["code"]))
            case "recheck":
                self.rechecks.ask(message["users"])
            case _:
                raise ValueError(f"unknown control message {message['type']!r}")

    async def _join_control(self) -> None:
        while True:
            try:
                await self.layer.join(CONTROL_GROUP)
            except Unavailable as error:
                logger.error("other instances cannot be heard yet: %s", quote(error))
                await asyncio.sleep(JOIN_RETRY_DELAY)
            else:
                return

    async def _keep_running(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something until it returns; where it fails it begins again."""
        task = asyncio.current_task()
        while True:
            try:
                # In a task of its own: a TaskGroup that failed leaves its task marked as one to
                # be cancelled (before Python 3.13).
                await self.loop.create_task(work())
            except (Exception, asyncio.CancelledError):
                if task is None or task.cancelling():
                    raise
                # One bad answer must not end for good what keeps this process safe; nor must a
                # cancellation that meant something else, which this waited for.
                logger.exception("a background task failed, and begins again")
                await asyncio.sleep(RESTART_DELAY)
            else:
                return

    def _finish(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a background task failed", exc_info=error)


def _settle_tracking(settings: Settings) -> Settings:
    """Rows are for other processes too: none where those could not read them."""
    if settings.track_sessions and is_in_memory(models.Session):
        return msgspec.structs.replace(settings, track_sessions=False)
    return settings


async def cancel_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait for their end; whoever does not want to end is left behind."""
    left = set(tasks)
    deadline = time.monotonic() + CANCEL_FOR
    while left and time.monotonic() < deadline:
        for task in left:
            task.cancel()
        # Again where it got lost: asyncio.wait_for of Python 3.11, which redis-py uses, takes a
        # result that comes at the same moment for the answer to it.
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN)
    if left:
        logger.error("tasks did not end when they were cancelled", extra={"tasks": len(left)})


def scope_id(id: str | None, user: Any) -> str | None:
    """A publication's id as the history knows it: one user cannot use up another's."""
    if id is None:
        return None
    return f"server:{id}" if user is None else f"user:{user.pk}:{id}"


def _name_publisher(user: Any, address: str | None) -> str:
    if user is None and address is None:
        return SERVER
    return name_sender(None if user is None else str(user.pk), address or "")


_lock = threading.Lock()
_server: Runtime | None = None
_publisher: Runtime | None = None


def get_server_runtime() -> Runtime:
    """The runtime of this server process, on the running loop; the first call makes it."""
    global _server
    if _server is None or _server.loop.is_closed():
        _server = Runtime(has_sessions=True)
    elif not _server.is_current():
        raise RuntimeError("this process has a runtime already, on another event loop")
    return _server


async def stop_server_runtime() -> None:
    """Stop the runtime of this server process, if it has one."""
    global _server
    runtime, _server = _server, None
    if runtime is not None:
        await runtime.stop()


def blocks_server() -> bool:
    """Whether the caller runs in the loop of this server process, and so must not wait."""
    return _server is not None and _server.is_current()


def find_runtime() -> Runtime:
    """The runtime that publishes for this process; raises NotRunning where nobody could hear."""
    global _publisher
    if _server is not None and not _server.loop.is_closed():
        return _server
    if not get_settings().redis_url:
        raise NotRunning(
            "no server runs in this process, and without Redis it reaches no other: "
            "set REDIS_URL here and for the server"
        )
    with _lock:
        if _publisher is None:
            _publisher = asyncio.run_coroutine_threadsafe(
                _build_publisher(), _start_loop()
            ).result()
    return _publisher


def _forget_publisher() -> None:
    """In a forked child the publisher's thread does not run: the child makes its own."""
    global _publisher, _lock
    _publisher, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_publisher)


async def _build_publisher() -> Runtime:
    return Runtime(has_sessions=False)


def _start_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="realtime-publisher", daemon=True).start()
    return loop
