"""How long a request's body may be, and how many bytes of bodies a process holds."""

from collections import Counter
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from django.urls import Resolver404, resolve

from realtime.conf import Settings
from realtime.limits import Limit
from realtime.metrics import LIMITED
from realtime.server.refusals import Refusal

# A body may come in so many pieces, and one more for so many bytes: a chunk of one byte costs as
# much of the loop as one of thousands.
FREE_PIECES = 1024
BYTES_OF_PIECE = 256


def find_body_limit(path: bytes, settings: Settings, *, root_path: str) -> int:
    """The longest body that a path takes, in bytes.

    A view that takes longer ones than `http_body_bytes` says so: `max_body_bytes`, a callable of
    its class or of the function, which returns bytes.
    """
    try:
        view = resolve(unquote(path.decode("ascii")).removeprefix(root_path)).func
    except Resolver404:
        return settings.http_body_bytes
    owner = getattr(view, "cls", None) or getattr(view, "view_class", view)
    find_own = getattr(owner, "max_body_bytes", None)
    return (
        settings.http_body_bytes if find_own is None else max(find_own(), settings.http_body_bytes)
    )


class Body:
    """The body of one request, as it comes: how much of it, for whom, and until when."""

    def __init__(self, path: bytes, *, client: str, server: Any, settings: Settings) -> None:
        self._path = path
        self._client = client  # whom it is counted for
        self._held: HeldBodies = server.bodies
        self._root_path: str = server.root_path
        self._settings = settings
        self._limit = settings.http_body_bytes
        self._pieces = 0
        self.size = 0

    @property
    def patience(self) -> float:
        """How many seconds after its beginning there must be more of it than there is."""
        return self._settings.http_patience + self.size / self._settings.http_least_rate

    def allow(self, size: int) -> None:
        """Raise Refusal where so many bytes are more than the path takes."""
        if size <= self._limit:
            return
        self._limit = find_body_limit(self._path, self._settings, root_path=self._root_path)
        if size > self._limit:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {self._limit} bytes"
            )

    def take(self, size: int) -> None:
        """A piece has come; raises Refusal."""
        self.allow(self.size + size)
        self._pieces += 1
        if self._pieces > FREE_PIECES + (self.size + size) // BYTES_OF_PIECE:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body comes in pieces that are too small")
        self._held.take(self._client, size)
        self.size += size

    def release(self) -> None:
        """Stop counting it: nobody holds it."""
        self._held.release(self._client, self.size)
        self.size = 0


class HeldBodies:
    """Counts the bytes of bodies from their arrival until their request is answered."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.http_bodies_bytes
        self._most_of_address = settings.http_bodies_bytes_per_address
        self._addresses: Counter[str] = Counter()
        self.total = 0

    def take(self, address: str, size: int) -> None:
        """Count bytes that came; raises Refusal and counts nothing where they are too many."""
        if self._most and self.total + size > self._most:
            LIMITED.labels(Limit.HTTP_BODIES_PER_PROCESS).inc()
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the server holds as many bytes of requests as it can: try again in a moment",
            )
        if address and self._most_of_address:
            if self._addresses[address] + size > self._most_of_address:
                LIMITED.labels(Limit.HTTP_BODIES_PER_ADDRESS).inc()
                raise Refusal(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "the requests of one address may have bodies of "
                    f"{self._most_of_address} bytes together: send fewer at a time",
                )
            self._addresses[address] += size
        self.total += size

    def release(self, address: str, size: int) -> None:
        """Stop counting them: nobody holds them."""
        self.total -= size
        if address in self._addresses:
            self._addresses[address] -= size
            if not self._addresses[address]:
                del self._addresses[address]
