"""The steps from an accepted socket to a session, in the order of section 2 of the protocol.

The socket is accepted first and closed then, so that a browser can read the close code.
"""

import asyncio
import logging
from typing import Any, Protocol

from django.db import Error as DatabaseFault

from realtime.conf import Settings
from realtime.core import strict_json
from realtime.core.close_codes import CloseCode
from realtime.core.errors import (
    AuthenticationRequired,
    CodedError,
    InvalidParameter,
    InvalidToken,
    TokenExpired,
    TokenInQuery,
    Unavailable,
    UnknownTopic,
)
from realtime.core.identity import Identity
from realtime.core.messages import Authenticate, parse_message
from realtime.core.queries import read_query
from realtime.django_sessions import rest_on_session
from realtime.limits import FIRST_MESSAGE_BYTES
from realtime.runtime import Runtime
from realtime.sessions import Session, pick_retry_after

logger = logging.getLogger("realtime.sessions")


class Refusal(Exception):
    """The session ends here: the close code, and an error message to send before it."""

    def __init__(
        self, code: CloseCode, *, error: CodedError | None = None, reason: str = ""
    ) -> None:
        super().__init__(code)
        self.code = code
        self.error = error
        self.reason = reason


class Entrant(Protocol):
    """What the steps ask of the connection that wants to become a session."""

    scope: Any
    runtime: Runtime
    session: Session
    settings: Settings
    waits_for_credential: bool

    def check_path(self) -> None:
        """Raises UnknownTopic."""

    def check_parameters(self, query: dict[str, str]) -> None:
        """Raises InvalidParameter."""

    @property
    def is_open(self) -> bool:
        """Whether nobody has to sign in."""

    async def next_event(self) -> dict[str, Any]:
        """The next message; raises Disconnected."""

    async def authenticate(self, token: str) -> Identity:
        """Raises InvalidToken or Unavailable."""

    def set_identity(self, identity: Identity) -> None:
        """This is who it is."""

    async def count_connection(self) -> str | None:
        """The limit that it is over."""

    async def is_admitted(self) -> bool:
        """Whether the user may be here; raises Unavailable."""


async def shake_hands(consumer: Entrant) -> None:
    """Check everything, sign in; raises Refusal, or Disconnected where the peer goes away."""
    if consumer.runtime.is_draining:
        raise Refusal(CloseCode.SERVICE_RESTART, reason=pick_retry_after())
    runtime = consumer.runtime
    if not runtime.limits.admit_handshake(
        runtime.sessions.open_count, address=consumer.session.address
    ):
        raise Refusal(CloseCode.TRY_AGAIN_LATER, reason=pick_retry_after())
    _check_request(consumer)
    identity = await _find_identity(consumer)
    if identity is not None:
        consumer.set_identity(identity)
    await _count_connection(consumer)
    await _check_rights(consumer)
    # Registered first, then checked: what was ended or changed meanwhile is not missed.
    consumer.runtime.sessions.add(consumer.session)
    consumer.runtime.rechecks.check_new(consumer.session)


def _check_request(consumer: Entrant) -> None:
    try:
        consumer.check_path()
        consumer.check_parameters(read_query(consumer.scope.get("query_string", b"")))
    except UnknownTopic as error:
        raise Refusal(CloseCode.UNKNOWN_TOPIC, reason=f"unknown topic: {error.detail}") from error
    except TokenInQuery as error:
        raise Refusal(CloseCode.INVALID_TOKEN, error=error, reason="token in query") from error
    except InvalidParameter as error:
        raise Refusal(CloseCode.BAD_REQUEST, error=error, reason="invalid parameter") from error


async def _find_identity(consumer: Entrant) -> Identity | None:
    # Out of the scope, which lives with the session: it holds the credential.
    identify = consumer.scope.pop("identify", None)
    try:
        identity: Identity | None = None if identify is None else await identify()
    except (InvalidToken, Unavailable) as error:
        raise _refuse_token(consumer, error) from error
    if identity is not None:
        return await _rest_on_session(consumer, identity)
    if consumer.is_open:
        return None
    if not consumer.waits_for_credential:
        raise Refusal(CloseCode.AUTHENTICATION_REQUIRED, reason="authentication required")
    if consumer.runtime.limits.find_token_wait(consumer.session.address):
        # A token that comes later cannot be told from those that were no good in time.
        raise Refusal(CloseCode.TRY_AGAIN_LATER, reason=pick_retry_after())
    # An address cannot hold more sockets by not saying who they are.
    await _count_connection(consumer)
    try:
        return await consumer.authenticate(await _read_credential(consumer))
    except (InvalidToken, Unavailable) as error:
        raise _refuse_token(consumer, error) from error


async def _rest_on_session(consumer: Entrant, identity: Identity) -> Identity:
    """Where Channels' session middleware is in front: the identity may come from that session."""
    session = consumer.scope.get("session")
    if session is None:
        return identity
    try:
        return await rest_on_session(identity, session)
    except DatabaseFault as error:
        logger.error("a session of Django could not be read: %s", error)
        raise Refusal(CloseCode.TRY_AGAIN_LATER, reason=pick_retry_after()) from error


async def _check_rights(consumer: Entrant) -> None:
    try:
        is_admitted = await consumer.is_admitted()
    except Unavailable as error:
        raise Refusal(CloseCode.TRY_AGAIN_LATER, reason=pick_retry_after()) from error
    if not is_admitted:
        raise Refusal(CloseCode.PERMISSION_DENIED, reason="permission denied")


async def _count_connection(consumer: Entrant) -> None:
    exceeded = await consumer.count_connection()
    if exceeded is not None:
        raise Refusal(CloseCode.CONNECTION_LIMIT, reason=exceeded)


async def _read_credential(consumer: Entrant) -> str:
    seconds = consumer.settings.authentication_timeout
    try:
        async with asyncio.timeout(seconds):
            event = await consumer.next_event()
    except TimeoutError as error:
        raise Refusal(
            CloseCode.AUTHENTICATION_REQUIRED, reason="authentication required"
        ) from error
    text = event.get("text")
    if len(event["bytes"] if text is None else text.encode()) > FIRST_MESSAGE_BYTES:
        raise Refusal(
            CloseCode.MESSAGE_TOO_BIG,
            reason=f"the first message is at most {FIRST_MESSAGE_BYTES} bytes",
        )
    token = _parse_credential(text)
    if token is None:
        raise Refusal(
            CloseCode.AUTHENTICATION_REQUIRED,
            error=AuthenticationRequired(
                f'sign in first: {{"type": "authenticate", "token": "…"}} within {seconds:g} s'
            ),
            reason="authentication required",
        )
    return token


def _parse_credential(text: str | None) -> str | None:
    """The token of an `authenticate` message; None for anything else, however well meant."""
    if text is None:
        return None
    try:
        message = parse_message(strict_json.decode_object(text))
    except CodedError:
        return None
    return message.token if isinstance(message, Authenticate) else None


def _refuse_token(consumer: Entrant, error: CodedError) -> Refusal:
    if isinstance(error, Unavailable):
        return Refusal(CloseCode.TRY_AGAIN_LATER, reason=pick_retry_after())
    if isinstance(error, TokenExpired):
        return Refusal(CloseCode.TOKEN_EXPIRED, reason="token expired")
    consumer.runtime.limits.note_bad_token(consumer.session.address)
    return Refusal(CloseCode.INVALID_TOKEN, reason="invalid token")
