"""HTTP requests go through here: so many of an address a second, and so many at a time in all.

Django makes a thread and a connection to the database for each request, however many come. Here
a request waits for one of a few threads once its body has come, and is refused where too many
wait. So readers, however many, cost no more than the threads that the settings allow.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from asgiref.sync import ThreadSensitiveContext

from realtime.api.probes import PROBES
from realtime.conf import Settings, get_settings
from realtime.core.addresses import find_group
from realtime.core.errors import ErrorCode
from realtime.core.rates import Rates
from realtime.gate.answers import answer_refusal
from realtime.gate.lanes import Lane, Refusal, Turn
from realtime.limits.allowances import BURST_SECONDS
from realtime.limits.kinds import Limit
from realtime.metrics import LIMITED

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

# The threads of a lane besides that of all other requests. One address gets three of them, so a
# sign-in that waits for the database keeps nobody out who shares its address.
SMALL = 4

_DETAILS = {
    Refusal.ADDRESS_FULL: "too many requests from your address are waiting already",
    Refusal.LANE_FULL: "too many requests are waiting already; try again in a moment",
    Refusal.TOO_LATE: "the server is too busy to answer now; try again in a moment",
}


class RequestGate:
    """Runs an ASGI application that is Django's in a bounded number of threads.

    Health probes and metrics have threads of their own. So has each further lane: paths to which
    a POST may take long, such as that of a sign-in, which would else keep all others waiting.
    """

    def __init__(self, app: ASGIApp, *, lanes: Mapping[str, Iterable[str]] | None = None) -> None:
        self.app = app
        settings = get_settings()
        self._seconds = settings.request_wait_seconds
        self._rate = settings.requests_per_second
        self._rates = Rates(self._rate, burst=self._rate * BURST_SECONDS)
        self._requests = _build_lane("requests", settings, threads=settings.request_threads)
        self._probes = _build_lane("probes", settings, threads=SMALL)
        self._posts = {
            path: lane
            for lane, paths in (
                (_build_lane(name, settings, threads=SMALL), paths)
                for name, paths in (lanes or {}).items()
            )
            for path in paths
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request; other scopes go straight to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        address = find_group(scope)
        lane = self._find_lane(scope)
        now = time.monotonic()
        if lane is not self._probes and not self._rates.take(address, now):
            LIMITED.labels(Limit.REQUESTS).inc()
            await answer_refusal(
                send,
                ErrorCode.RATE_LIMITED,
                f"at most {self._rate} requests a second",
                retry_after=self._rates.find_wait(address, now),
            )
            return
        refusal = lane.find_refusal(address)
        if refusal is None:
            refusal = await self._run(scope, receive, send, Turn(lane, address))
        if refusal is not None:
            LIMITED.labels(Limit.WAITING_REQUESTS).inc()
            is_own = refusal is Refusal.ADDRESS_FULL
            code = ErrorCode.RATE_LIMITED if is_own else ErrorCode.UNAVAILABLE
            await answer_refusal(send, code, _DETAILS[refusal], retry_after=1.0)

    async def _run(self, scope: Any, receive: Any, send: Any, turn: Turn) -> Refusal | None:
        exchange = _Exchange(turn, receive, send, seconds=self._seconds)
        try:
            async with ThreadSensitiveContext(executor=turn):
                await self.app(scope, exchange.receive, exchange.send)
        finally:
            exchange.end()
        return exchange.refusal

    def _find_lane(self, scope: Any) -> Lane:
        path = scope["path"].removeprefix(scope.get("root_path") or "")
        if path in PROBES:
            return self._probes
        lane = self._posts.get(path)
        return self._requests if lane is None or scope["method"] != "POST" else lane


def _build_lane(name: str, settings: Settings, *, threads: int) -> Lane:
    return Lane(
        name,
        threads=threads,
        waiting=settings.waiting_requests,
        waiting_of_address=settings.waiting_requests_per_address,
    )


class _Exchange:
    """What the application reads and writes; with the end of the body its turn has to come."""

    def __init__(self, turn: Turn, receive: Any, send: Any, *, seconds: float) -> None:
        self.refusal: Refusal | None = None
        self._turn = turn
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._following: asyncio.Future[Any] | None = None  # read while the request waited

    async def receive(self) -> Any:
        """ASGI. The last part of the body comes when there is a thread for the request."""
        if self._following is not None:
            return await self._following
        message = await self._receive()
        if (
            message["type"] == "http.request"
            and not message.get("more_body", False)
            and not self._turn.granted.done()
            and not await self._take_turn()
        ):
            return {"type": "http.disconnect"}  # so the application lets go of it
        return message

    async def send(self, message: Any) -> None:
        """ASGI. With an answer the thread is for the next request: this client may be slow."""
        if message["type"] == "http.response.start":
            self._turn.leave()
        await self._send(message)

    def end(self) -> None:
        """The application is done with it, or was cancelled."""
        self._turn.leave_when_idle()
        if self._following is not None:
            self._following.cancel()

    async def _take_turn(self) -> bool:
        turn = self._turn
        self.refusal = turn.enter()
        if self.refusal is not None or turn.granted.done():
            return self.refusal is None
        # Whoever goes away meanwhile leaves its place to others.
        self._following = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait(
                (turn.granted, self._following),
                timeout=self._seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            turn.withdraw()
        if turn.granted.done():
            return True
        if not self._following.done():
            self.refusal = Refusal.TOO_LATE
        return False
