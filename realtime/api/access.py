"""Who asks for what: the topic of a request, its policy, its query, and its page of a list."""

import asyncio
import contextlib
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from functools import partial
from time import thread_time
from typing import Any, TypeVar

from django.db.models import QuerySet
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from realtime.conf import Namespace
from realtime.core.addresses import name_sender
from realtime.core.errors import NotRunning, PermissionDenied, RateLimited
from realtime.core.queries import parse_integer, read_query, refuse_unknown
from realtime.core.topics import Topic, parse_topic
from realtime.intake import find_namespace
from realtime.limits import Meter
from realtime.policies import ask_in_view, decide
from realtime.runtime import Runtime, find_runtime

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

# Django's permissions, which hold in the admin and here alike.
VIEW = "realtime.view_session"
DISCONNECT = "realtime.disconnect_session"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a list that was asked for."""

    limit: int
    offset: int

    @property
    def end(self) -> int:
        """The index after the last one."""
        return self.offset + self.limit

    def read(self, rows: QuerySet[Any, T]) -> tuple[list[T], int]:
        """The rows asked for, and the number of all.

        They come from two queries, and rows may come and go between the two: a page that is not
        full says itself how many there are, and another is never contradicted.
        """
        found = list(rows[self.offset : self.end])
        seen = self.offset + len(found)
        if len(found) == self.limit:
            return found, max(seen, rows.count())
        if found or not self.offset:
            return found, seen
        return found, min(seen, rows.count())


def find_user(request: Request) -> Any:
    """The user who asks, or None."""
    user = request.user  # a project may have None stand for nobody
    return user if user is not None and user.is_authenticated else None


def require(policy: str, request: Request, refusal: str, *, topic: Topic | None = None) -> None:
    """Let a request pass; raises NotAuthenticated (401), or PermissionDenied with `refusal`."""
    if is_permitted(policy, request, topic=topic):
        return
    if find_user(request) is None:
        # Django REST framework's own exception: its 401 carries WWW-Authenticate.
        raise NotAuthenticated("send Authorization: Bearer <access token>")
    raise PermissionDenied(refusal)


def is_permitted(policy: str, request: Request, *, topic: Topic | None = None) -> bool:
    """Whether a policy, which may be a permission, lets the user of a request pass."""
    user = find_user(request)
    allowed = decide(policy, user, topic)
    return ask_in_view(policy, user, topic) if allowed is None else allowed


def open_for_reading(request: Request, name: str) -> tuple[Topic, Namespace]:
    """A topic that the user may subscribe to; raises UnknownTopic, and as `require()` does.

    RateLimited where the user, or else the address, asks too often.
    """
    topic = parse_topic(name)
    namespace = find_namespace(topic)
    require(namespace.subscribe, request, f"you may not read {name}", topic=topic)
    take_allowance(request)
    return topic, namespace


def open_for_publishing(request: Request, name: str) -> tuple[Topic, Namespace]:
    """A topic that the user may publish to; raises as `open_for_reading()` does."""
    topic = parse_topic(name)
    namespace = find_namespace(topic)
    require(namespace.publish, request, f"you may not publish to {name}", topic=topic)
    take_allowance(request)
    return topic, namespace


def take_allowance(request: Request) -> None:
    """Count a request as the message that it would be over WebSocket; raises RateLimited."""
    runtime = find_runtime()
    refusal = wait_for(
        runtime,
        _refuse_message(
            runtime,
            **_find_sender(request),
            # Without a length there is no body either: Django REST framework reads none.
            size=int(request.META.get("CONTENT_LENGTH") or 0),
        ),
    )
    if refusal is not None:
        raise RateLimited(refusal)


def name_asker(request: Request) -> str:
    """Whose a request is, as far as that is counted."""
    return name_sender(**_find_sender(request))


def read_body(request: Request) -> Any:
    """The parsed body; raises as its parser does. It is paid for by whose the request is."""
    began = thread_time()
    try:
        return request.data
    finally:
        _charge(find_runtime(), request, thread_time() - began)


def do_work(request: Request, operation: Coroutine[Any, Any, T]) -> T:
    """Run something in the runtime's loop that may take long; it is paid for likewise."""
    runtime = find_runtime()
    meter = Meter(operation)
    try:
        return wait_for(runtime, _await(meter))
    finally:
        _charge(runtime, request, meter.seconds)


def read_parameters(request: Request, allowed: Collection[str]) -> dict[str, str]:
    """The query; raises TokenInQuery, InvalidParameter."""
    query = read_query(request.META.get("QUERY_STRING", "").encode())
    refuse_unknown(query, allowed)
    return query


def read_slice(request: Request) -> Slice:
    """The query of a list: `limit` and `offset`; raises TokenInQuery, InvalidParameter."""
    query = read_parameters(request, {"limit", "offset"})
    return Slice(read_limit(query), parse_integer("offset", query.get("offset", "0")))


def read_limit(query: dict[str, str]) -> int:
    """How many are asked for; raises InvalidParameter."""
    return parse_integer("limit", query.get("limit", str(DEFAULT_LIMIT)), least=1, most=MAX_LIMIT)


def write_sessions() -> None:
    """Write what this process has not yet written about its sessions: a list shall have them."""
    with contextlib.suppress(NotRunning):
        runtime = find_runtime()
        wait_for(runtime, runtime.recorder.flush())


def wait_for(runtime: Runtime, operation: Coroutine[Any, Any, T]) -> T:
    """Run something in the runtime's loop, from the thread of a view."""
    return asyncio.run_coroutine_threadsafe(operation, runtime.loop).result()


def _charge(runtime: Runtime, request: Request, seconds: float) -> None:
    charge = partial(runtime.limits.charge_sender, **_find_sender(request), seconds=seconds)
    runtime.loop.call_soon_threadsafe(charge)


def _find_sender(request: Request) -> dict[str, Any]:
    user = find_user(request)
    return {
        "user_id": None if user is None else str(user.pk),
        "address": request.META.get("REMOTE_ADDR", ""),
    }


async def _await(meter: Meter[T]) -> T:
    return await meter


async def _refuse_message(runtime: Runtime, **message: Any) -> str | None:
    return runtime.limits.refuse_message(**message)
