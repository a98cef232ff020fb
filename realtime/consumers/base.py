"""A session from its accepted socket to its end: what every endpoint shares.

One task serves a session: it awaits the server's `receive` itself. Channels' own dispatch would
add a task for each source and a hop to a thread for each message.
"""

import asyncio
import time
from typing import Any
from urllib.parse import quote

from channels.consumer import AsyncConsumer

from realtime import policies
from realtime.consumers.handshake import Refusal, shake_hands
from realtime.consumers.notes import note_begin, note_end, note_slow
from realtime.core.addresses import name_sender
from realtime.core.buckets import Tally
from realtime.core.close_codes import CloseCode
from realtime.core.errors import (
    MISTAKES,
    CodedError,
    ErrorCode,
    InvalidToken,
    RateLimited,
    UnknownTopic,
)
from realtime.core.identity import Identity
from realtime.core.messages import ErrorMessage, Ref, ServerMessage, encode_message
from realtime.frames import frame_text
from realtime.limits import READER, Excess, Reader
from realtime.metrics import ERRORS
from realtime.outbox import EXTENSION, Outbox
from realtime.runtime import get_server_runtime
from realtime.sessions import Session, pick_retry_after

SUBPROTOCOL = "realtime.v1"
PATHS = "/ws/echo/ and /ws/<namespace>/<name>/"
# More than this many errors in a minute end a session.
MAX_MISTAKES = 20
MAX_RATE_LIMITED = 100
# What is kept of a User-Agent, in characters: as much as `realtime.models.Session` has room for.
MAX_USER_AGENT = 255
MINUTE = 60.0
# Who is out gets nothing more: not even what waits, and a slow reader cannot put it off.
AT_ONCE = frozenset({CloseCode.REVOKED, CloseCode.PERMISSION_DENIED, CloseCode.DISCONNECTED})


class Disconnected(Exception):
    """The peer went away."""


class SessionConsumer(AsyncConsumer):  # type: ignore[misc]
    """The life of one session. Subclasses check their path and parameters and answer messages."""

    # No channel of its own: the hub has one for the whole process.
    channel_layer_alias = "none: the hub has one channel for the whole process"
    # Whether a credential may come in the first message, and whether errors are answered.
    waits_for_credential = True
    has_envelope = True

    # Thousands of sessions wait in memory: no dictionary for the attributes of each.
    __slots__ = (
        "_age",
        "_close_code",
        "_expiry",
        "_frame_limit",
        "_max_text_bytes",
        "_mistakes",
        "_rate_limited",
        "_receive",
        "_task",
        "loop",
        "outbox",
        "policy",
        "reader",
        "runtime",
        "scope",
        "session",
        "settings",
    )

    policy: str

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        self.scope = scope
        self._receive = receive
        self.runtime = get_server_runtime()
        self.settings = self.runtime.settings
        self.loop = self.runtime.loop
        self._max_text_bytes = self.settings.max_text_bytes
        self._frame_limit = self.settings.frame_limit
        self._task = asyncio.current_task()
        self._expiry: asyncio.TimerHandle | None = None
        self._age: asyncio.TimerHandle | None = None
        self._mistakes = Tally(MAX_MISTAKES, seconds=MINUTE)
        self._rate_limited = Tally(MAX_RATE_LIMITED, seconds=MINUTE)
        self._close_code: CloseCode | None = None
        self.session = Session(
            # Until the path is checked: quoted, so that it cannot break a line of the log.
            topic=quote(scope["path"].removeprefix("/ws/").strip("/"))[:100],
            address=str(scope["client"][0]) if scope.get("client") else "",
            user_agent=_find_header(scope, b"user-agent")[:MAX_USER_AGENT],
            close=self.close,
            recheck=self.recheck,
            handshake_began=scope["realtime.began"],
        )
        self.session.outbox = self.outbox = self._open_outbox(send)
        self.reader: Reader | None = (scope.get("extensions") or {}).get(READER)
        if self.reader is not None:
            self.reader.attend(
                self.runtime.limits.memory, owner=name_sender(None, self.session.address)
            )
        self.runtime.sessions.enter(self.session)
        try:
            await receive()  # websocket.connect
            chosen = SUBPROTOCOL if SUBPROTOCOL in (scope.get("subprotocols") or ()) else None
            await send({"type": "websocket.accept", "subprotocol": chosen})
            await self._open()
            await self._serve()
        except Disconnected:
            pass
        except Exception:
            self.session.close_code = CloseCode.INTERNAL_ERROR  # what the server makes of it
            raise
        finally:
            self._end()

    # For subclasses

    def check_path(self) -> None:
        """Find what the path names; raises UnknownTopic."""
        raise UnknownTopic(f"paths are {PATHS} and end with a slash")

    def check_parameters(self, query: dict[str, str]) -> None:
        """Take the query parameters; raises InvalidParameter."""

    @property
    def is_open(self) -> bool:
        """Whether nobody has to sign in."""
        return policies.is_open(self.policy)

    async def is_admitted(self) -> bool:
        """Whether the user may be here."""
        return await policies.is_allowed(self.policy, self.session.user)

    async def begin(self) -> None:
        """Start the session: it is signed in, within its limits and allowed. Raises Refusal."""

    async def handle_text(self, text: str) -> None:
        """Answer a text message; raises CodedError."""

    async def handle_bytes(self, data: bytes) -> None:
        """Answer a binary message; raises CodedError."""

    def find_ref(self, event: dict[str, Any]) -> Ref:
        """The ref of a message that was refused unread, so that its error can carry it."""
        return None

    async def handle_flood(self, event: dict[str, Any], excess: Excess) -> None:
        """A message is over the limit: refuse it, or let it wait."""
        raise RateLimited(excess.detail)

    def release(self) -> None:
        """Let go of what `begin()` took. May be called twice, and without `begin()`."""

    # For subclasses and the handshake

    def send_message(self, message: ServerMessage) -> None:
        """Queue a message for the client."""
        self.outbox.put(frame_text(encode_message(message)))

    def send_error(self, error: CodedError, ref: Ref = None) -> None:
        """Answer with an error; too many of them end the session."""
        ERRORS.labels(error.code).inc()
        self.session.errors += 1
        if self.has_envelope:
            self.send_message(ErrorMessage(ref=ref, code=error.code, detail=error.detail))
        if error.code in MISTAKES and self._mistakes.overflows(time.monotonic()):
            self.close(CloseCode.BAD_REQUEST, "too many bad messages")
        elif error.code is ErrorCode.RATE_LIMITED and self._rate_limited.overflows(
            time.monotonic()
        ):
            self.close(CloseCode.RATE_LIMITED, "too much, too often")

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End the session after what waits for it, or `AT_ONCE`; the first code counts."""
        is_first = self._close_code is None
        if is_first:
            self._close_code = code
        if code in AT_ONCE:
            self.outbox.abort(code, reason)  # also what an earlier close would have let through
        elif is_first:
            self.outbox.close(code, reason)
        if is_first:
            self.release()

    @property
    def owner(self) -> str:
        """Whose the input of this session is, as far as that is counted."""
        return name_sender(self.session.user_id, self.session.address)

    @property
    def is_closing(self) -> bool:
        """Whether the session was told to end: nothing more is read or published."""
        return self._close_code is not None

    async def authenticate(self, token: str) -> Identity:
        """The user of a token that came in a message; raises InvalidToken, Unavailable."""
        authenticate = self.scope.get("authenticate")
        if authenticate is None:
            raise InvalidToken("this server takes no tokens in messages")
        identity: Identity = await authenticate(token)
        return identity

    async def recheck(self, identity: Identity) -> None:
        """Look again whether the user, read anew, may be here; a 4503 where that is over."""
        self.note_identity(identity)
        if not await self.is_admitted() and self.session.identity is identity:
            self.close(CloseCode.PERMISSION_DENIED, "permission denied")

    def set_identity(self, identity: Identity) -> None:
        """Note who this is; the session ends when the token's time and a grace are over."""
        self.note_identity(identity)
        self.set_expiry(identity)

    def note_identity(self, identity: Identity) -> None:
        """Note who this is; until when stays as it was."""
        self.session.identity = identity
        self.scope["user"] = identity.user

    def set_expiry(self, identity: Identity) -> None:
        """The session ends when the time of this token and a grace are over, if it has one."""
        if self._expiry is not None:
            self._expiry.cancel()
        if identity.expires_at is None:
            self._expiry = None
            return
        left = identity.expires_at + self.settings.expiry_grace - time.time()
        self._expiry = self.loop.call_later(
            max(left, 0), self.close, CloseCode.TOKEN_EXPIRED, "token expired"
        )

    async def count_connection(self) -> str | None:
        """Count this connection, for whom it is known to be; returns the limit that it is over."""
        return await self.runtime.limits.admit(self.session)

    async def next_event(self) -> dict[str, Any]:
        """The next message from the server; raises Disconnected."""
        event: dict[str, Any] = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise self._note_end(event)
        return event

    # The course of a session

    def _open_outbox(self, send: Any) -> Any:
        """The server's own outbox where it has one, which knows what the socket has taken."""
        options: dict[str, Any] = {
            "limit": self.settings.outbox_bytes,
            "stall_timeout": self.settings.stall_timeout,
            "on_slow": self._end_slow,
            "on_abort": self._cut,
        }
        own = (self.scope.get("extensions") or {}).get(EXTENSION)
        return Outbox(send, **options) if own is None else own.configure(**options)

    async def _open(self) -> None:
        """The handshake, and what follows from it."""
        try:
            await shake_hands(self)
            if not self.is_closing:  # it may have been told to end during the handshake
                await self.begin()
        except Refusal as refusal:
            if (error := refusal.error) is not None:
                ERRORS.labels(error.code).inc()
                self.session.errors += 1
                self.send_message(ErrorMessage(ref=None, code=error.code, detail=error.detail))
            self.close(refusal.code, refusal.reason)
        if not self.is_closing:
            self._limit_age()
            note_begin(self.runtime, self.session)

    async def _serve(self) -> None:
        """Answer what comes, until the peer goes away."""
        session, receive = self.session, self._receive
        allowance = None
        if session.has_begun:
            allowance = self.runtime.limits.open_allowance(session)
            if self.reader is not None:
                self.reader.begin(allowance, owner=self.owner)
        monotonic = time.monotonic
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                raise self._note_end(event)
            if self._close_code is not None:
                continue
            session.messages_in += 1
            try:
                text = event.get("text")
                if text is None:
                    size = len(event["bytes"])
                else:
                    size = len(text) if text.isascii() else len(text.encode())
                session.bytes_in += size
                if allowance is not None and not allowance.take(size, monotonic()):
                    await self.handle_flood(event, allowance.exceed(size))
                    if self._close_code is not None:
                        continue
                if text is not None:
                    if size > self._max_text_bytes:
                        self.close(CloseCode.MESSAGE_TOO_BIG, "text message too long")
                    else:
                        await self.handle_text(text)
                elif size > self._frame_limit:
                    self.close(CloseCode.MESSAGE_TOO_BIG, "binary message too long")
                else:
                    await self.handle_bytes(event["bytes"])
            except CodedError as error:
                self.send_error(error, self.find_ref(event))

    def _note_end(self, event: dict[str, Any]) -> Disconnected:
        self.session.close_code = self._close_code or event.get("code") or CloseCode.NO_STATUS
        return Disconnected()

    def _limit_age(self) -> None:
        if self.settings.max_session_seconds:
            self._age = self.loop.call_later(
                self.settings.max_session_seconds,
                lambda: self.close(CloseCode.SERVICE_RESTART, pick_retry_after()),
            )

    def _end_slow(self) -> None:
        is_first = self._close_code is None
        if is_first:
            note_slow(self.runtime, self.session)
            self._close_code = CloseCode.SLOW_CONSUMER
        self.outbox.abort(CloseCode.SLOW_CONSUMER, "slow consumer")  # or as it was told before
        if is_first:
            self.release()

    def _cut(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self) -> None:
        self.release()
        self.outbox.discard()
        for timer in (self._expiry, self._age):
            if timer is not None:
                timer.cancel()
        session = self.session
        session.let_go()
        self.runtime.sessions.remove(session)
        self.runtime.limits.release(session)
        code = session.close_code or self._close_code or CloseCode.ABNORMAL
        note_end(self.runtime, session, code)


def _find_header(scope: Any, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""
