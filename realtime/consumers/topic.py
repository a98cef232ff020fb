"""What the endpoints of all topics share: subscribe, publish, recover, refresh, ask."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from realtime import policies
from realtime.conf import Slow
from realtime.consumers.base import SUBPROTOCOL, SessionConsumer
from realtime.consumers.handshake import Refusal
from realtime.consumers.history import read_history
from realtime.consumers.parameters import parse_parameters
from realtime.consumers.presence import build_presence_reply
from realtime.consumers.submissions import Submissions
from realtime.core import strict_json
from realtime.core.addresses import name_sender
from realtime.core.close_codes import CloseCode
from realtime.core.entries import Entry, encode_entry
from realtime.core.errors import (
    CodedError,
    InvalidJSON,
    InvalidParameter,
    InvalidToken,
    NotSupported,
    PermissionDenied,
    Unavailable,
)
from realtime.core.heads import read_head
from realtime.core.messages import (
    AnyClientMessage,
    Authenticate,
    Hello,
    HistoryQuery,
    Limits,
    Ping,
    Pong,
    PresenceQuery,
    Publish,
    Ref,
    Refresh,
    Refreshed,
    Subscribed,
    encode_message,
    find_ref,
    format_time,
    parse_message,
)
from realtime.core.topics import build_topic
from realtime.frames import frame_text
from realtime.held_topics import HeldTopic
from realtime.history import Item
from realtime.intake import find_namespace, take_data
from realtime.limits import Meter
from realtime.policies import NO_RIGHTS
from realtime.runtime import scope_id
from realtime.sessions import pick_retry_after
from realtime.subscriptions import Start, Subscription, find_start

# Shorter texts take less time than the messages that they are counted as anyway.
PRICED_CHARACTERS = 1024


class TopicConsumer(SessionConsumer):
    """A session on one topic; subclasses add what their kind can do besides."""

    __slots__ = (
        "_following",
        "_held",
        "_publisher",
        "_rights",
        "_submissions",
        "_subscription",
        "namespace",
        "parameters",
        "topic",
    )

    def __init__(self) -> None:
        self._held: HeldTopic | None = None
        self._subscription: Subscription | None = None
        self._following: asyncio.Task[None] | None = None  # until the subscription is live
        self._submissions: Submissions | None = None  # until it publishes
        self._publisher = ""  # likewise
        self._rights = NO_RIGHTS  # until the user is known

    def check_path(self) -> None:
        route = self.scope["url_route"]["kwargs"]
        self.topic = build_topic(route["namespace"], route["name"])
        self.namespace = find_namespace(self.topic)
        self.session.topic = str(self.topic)
        if self.namespace.slow is Slow.LATEST:
            self.outbox.stall_timeout = None  # what waits is bounded, and the newest is kept

    def check_parameters(self, query: dict[str, str]) -> None:
        self.parameters = parse_parameters(query, self.namespace)
        subscribes = self.parameters.subscribes
        self.policy = self.namespace.subscribe if subscribes else self.namespace.publish

    @property
    def is_open(self) -> bool:
        return policies.is_open(self.policy, self.topic)

    async def is_admitted(self) -> bool:
        user = self.session.user
        rights = await policies.find_rights(self.namespace, user, self.topic)
        if self.session.user is user:  # else another answer, about a newer one, is on its way
            self._rights = rights
        return rights.subscribe if self.parameters.subscribes else rights.publish

    async def begin(self) -> None:
        try:
            start = await self._take_topic() if self.parameters.subscribes else None
        except Unavailable as error:
            raise Refusal(CloseCode.TRY_AGAIN_LATER, reason=pick_retry_after()) from error
        except InvalidParameter as error:
            raise Refusal(CloseCode.BAD_REQUEST, error=error, reason="invalid parameter") from error
        if self.is_closing:
            self.release()  # what it took after it had been told to end
            return
        self._send_hello()
        if start is not None:
            self._send_subscribed(start)
            assert self._held is not None
            self._subscription = self.build_subscription(self._held, start)
            self._following = self.runtime.run_soon(self._follow(self._subscription))
            if self.namespace.presence and not self.is_closing:
                self.runtime.rosters.join(
                    self.topic,
                    session=self.session.id,
                    user=self.session.username,
                    mailbox=self.outbox,
                )

    async def open_topic(self, held: HeldTopic) -> None:
        """Get ready what the kind needs before a subscription; raises CodedError."""

    def build_subscription(self, held: HeldTopic, start: Start) -> Subscription:
        """How the kind hands out publications."""
        return Subscription(
            held, outbox=self.outbox, start=start, interval=self.parameters.interval
        )

    def release(self) -> None:
        if self._following is not None:
            self._following.cancel()
        if self._subscription is not None:
            self._subscription.end()
            self._subscription = None
            self.runtime.rosters.leave(self.topic, self.session.id)
        if self._held is not None:
            self._held.release()
            self._held = None

    # Messages

    async def handle_text(self, text: str) -> None:
        if len(text) < PRICED_CHARACTERS:
            await self._handle_text(text)
        else:
            await self._price(self._handle_text(text))

    async def _handle_text(self, text: str) -> None:
        try:
            fields = strict_json.decode_object(text)
        except InvalidJSON as error:
            self.send_error(error)  # nothing in it can be relied on, nor its ref
            return
        try:
            message = self._parse(fields)
        except CodedError as error:
            self.note_refused(fields)
            self.send_error(error, find_ref(fields))
            return
        try:
            await self.handle_message(message)
        except CodedError as error:
            self.send_error(error, message.ref)  # in the short form a "ref" is data

    async def handle_bytes(self, data: bytes) -> None:
        raise NotSupported("this topic takes text messages with JSON, not binary ones")

    def note_refused(self, fields: dict[str, Any]) -> None:
        """A malformed message is about to be refused; subclasses may know what hangs on it."""

    def expand(self, fields: dict[str, object]) -> AnyClientMessage:
        """The full form of an object without a `type`."""
        return Publish(data=fields)

    def find_ref(self, event: dict[str, Any]) -> Ref:
        text = event.get("text")
        if text is None or len(text) > self.settings.max_text_bytes:
            return None
        head = read_head(text)
        if "type" in head:
            return find_ref(head)
        try:
            return self.expand(head).ref
        except CodedError:
            return None

    def _parse(self, fields: dict[str, object]) -> AnyClientMessage:
        return parse_message(fields) if "type" in fields else self.expand(fields)

    async def _price(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what may take long, at the expense of the sender's allowance."""
        meter = Meter(work)
        try:
            await meter
        finally:
            self.runtime.limits.charge(self.session, meter.seconds)

    async def handle_message(self, message: AnyClientMessage) -> None:
        """Answer one message; raises CodedError."""
        match message:
            case Publish():
                self.check_may_publish(message.id)
                user = self.session.user
                entry = await take_data(self.topic, self.namespace, message.data, user)
                await self.publish(entry, ref=message.ref, id=message.id)
            case Ping():
                self.send_message(Pong(ref=message.ref, server_time=format_time(time.time())))
            case Refresh():
                await self._refresh(message)
            case HistoryQuery():
                await self._price(self._send_history(message))
            case PresenceQuery():
                await self._price(self._send_presence(message))
            case Authenticate():
                raise NotSupported("the session has begun; send a new token as refresh")
            case _:
                raise NotSupported(f"this topic takes no {message.__struct_config__.tag!r}")

    def check_may_publish(self, id: str | None) -> None:
        """Raise PermissionDenied where this session may not publish so."""
        if not self._rights.publish:
            raise PermissionDenied(f"you may not publish to {self.topic}")
        if id is not None and self.session.user is None:
            raise PermissionDenied("an anonymous session cannot give an id: sign in, or drop it")

    async def publish(self, entry: Entry, *, ref: Ref, id: str | None) -> None:
        """Queue a publication; reading pauses while too many wait. Raises PermissionDenied.

        The session may have been told to end, or lost the right, while the data was processed.
        """
        if self.is_closing:
            return
        self.check_may_publish(id)
        if self._submissions is None:
            self._submissions = Submissions(self.topic, outbox=self.outbox, refuse=self.send_error)
            self._publisher = name_sender(self.session.user_id, self.session.address)
        item = Item(encode_entry(entry), scope_id(id, self.session.user), self._publisher)
        future = self.runtime.pipeline.submit(self.topic, self.namespace, item)
        self._submissions.add(future, size=len(item.body), ref=ref)
        if self._submissions.is_full(self.settings):
            await self._submissions.wait_for_one()

    def close(self, code: CloseCode, reason: str = "") -> None:
        if self._submissions is not None:
            self._submissions.send_acks()
        super().close(code, reason)

    async def _refresh(self, message: Refresh) -> None:
        if self.session.user is None:
            raise InvalidToken("an anonymous session has no token to refresh; connect with one")
        began = time.monotonic()
        identity = await self.authenticate(message.token)
        if identity.user.pk != self.session.user.pk:
            raise InvalidToken("that token is another user's; connect anew to change the user")
        if identity.expires_at is None:
            raise NotSupported("that credential has no end that could be put off")
        self.note_identity(identity)
        # The new token's sign-in may have been revoked while it was looked up.
        self.runtime.sessions.check(self.session, since=began)
        self.runtime.rechecks.check_new(self.session)
        if not await self.is_admitted():
            self.close(CloseCode.PERMISSION_DENIED, "permission denied")
            return
        if self.is_closing:
            return
        self.set_expiry(identity)  # last: until now it could still be refused
        self.send_message(Refreshed(ref=message.ref, expires_at=format_time(identity.expires_at)))

    async def _send_history(self, query: HistoryQuery) -> None:
        self._check_may_read()
        if self._submissions is not None:  # what it published before is part of the answer
            await self._submissions.wait_for_all()
        reply = await read_history(self.runtime.history, self.topic, self.namespace, query)
        await self.outbox.put_when_drained(frame_text(encode_message(reply)))

    async def _send_presence(self, query: PresenceQuery) -> None:
        self._check_may_read()
        members = await self.runtime.read_members(self.topic)
        reply = build_presence_reply(self.topic, members, ref=query.ref)
        await self.outbox.put_when_drained(frame_text(encode_message(reply)))

    def _check_may_read(self) -> None:
        if not self._rights.subscribe:
            raise PermissionDenied(f"you may not read {self.topic}")

    # Subscribing

    async def _take_topic(self) -> Start:
        held = await self.runtime.hub.hold(self.topic, self.namespace)
        self._held = held
        await self.open_topic(held)
        if not held.keeps_history:
            # At most once: nothing to recover, and no gap to tell about.
            recovered = None if self.parameters.recover is None else False
            return Start(held.position.offset, held.position, recovered)
        return await find_start(
            held, recover=self.parameters.recover, history=self.parameters.history
        )

    async def _follow(self, subscription: Subscription) -> None:
        try:
            await subscription.follow()
        except Unavailable:
            self.close(CloseCode.TRY_AGAIN_LATER, pick_retry_after())
        except Exception:
            # It would stay, and never get a publication.
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
            raise  # the runtime logs it
        finally:
            self._following = None

    def _send_hello(self) -> None:
        identity = self.session.identity
        ends_at = None if identity is None else identity.expires_at
        self.send_message(
            Hello(
                session=self.session.id,
                instance=self.runtime.instance_id,
                user=self.session.username,
                expires_at=None if ends_at is None else format_time(ends_at),
                protocol=SUBPROTOCOL,
                server_time=format_time(time.time()),
                ping_interval=self.settings.ping_interval,
                limits=Limits(
                    max_text_bytes=self.settings.max_text_bytes,
                    max_binary_bytes=self.settings.max_binary_bytes,
                    max_frame_bytes=self.settings.frame_limit,
                ),
            )
        )

    def _send_subscribed(self, start: Start) -> None:
        assert self._held is not None
        known = self._held.keeps_history
        self.send_message(
            Subscribed(
                topic=str(self.topic),
                epoch=start.cursor.epoch if known else None,
                offset=start.top if known else None,
                next=start.next if known else None,
                recovered=start.recovered,
            )
        )
        if start.gap is not None:
            self.send_message(start.gap)
