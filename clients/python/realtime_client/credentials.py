"""A token from a username and a password, renewed for as long as the sign-in lasts."""

import base64
import json
import ssl as ssl_module
import threading
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import BadStatusLine, IncompleteRead
from typing import Any
from urllib.parse import unquote, urlsplit

from realtime_client.closes import judge_handshake
from realtime_client.errors import ConnectionEnded
from realtime_client.home import Process

# An access token is given again while it lasts for longer than this (s): more than the time
# before its end at which a stream renews it.
SPARE_SECONDS = 100.0
TIMEOUT = 10.0


class SignIn:
    """Gives an access token each time it is called: `connect(url, token=SignIn(…))`.

    `url` is the server's, with any path and any of http, https, ws, wss. It blocks, and may be
    called from several threads. Raises ConnectionEnded where the server refuses the password, and
    OSError where there is no token for now: the server cannot be reached, or told us to wait.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        *,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{url!r} is no address of a server")
        userinfo, _, host = parts.netloc.rpartition("@")
        self._root = f"{scheme}://{host}/api/token/"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if userinfo:  # of a proxy that asks for HTTP Basic
            self._headers["Authorization"] = f"Basic {_encode_basic(userinfo)}"
        self._username = username
        self._password = password
        self._ssl = ssl
        self._begin()

    def _begin(self) -> None:
        """Have no token yet."""
        self._process = Process()
        self._lock = threading.Lock()
        self._access = ""
        self._refresh = ""
        self._lasts = _Countdown(0.0)
        self._waits = _Countdown(0.0)  # the server told us to

    def __call__(self) -> str:
        """An access token that lasts for a while."""
        if self._process.is_forked:
            # Used by both, the refresh token would look stolen, which ends the sign-in of both.
            self._begin()
        with self._lock:
            if not self._access or self._lasts.is_over:
                self._renew()
            return self._access

    def discard(self, token: str) -> None:
        """The server found this one expired, whatever the clock here says: give it no more."""
        if self._process.is_forked:
            self._begin()
        with self._lock:
            if token == self._access:
                self._access = ""

    def _renew(self) -> None:
        if not self._waits.is_over:
            raise OSError("the server has told this client to wait before it signs in")
        # A refresh token is good for one use. Should the answer be lost, it may not come again: the
        # server would take it for stolen, and end the sign-in with its sessions.
        refresh, self._refresh = self._refresh, ""
        pair = None
        if refresh:
            try:
                pair = self._post("refresh/", refresh=refresh)
            except _NotUsed:
                self._refresh = refresh
                raise
        if pair is None:
            pair = self._post("", username=self._username, password=self._password)
        if pair is None:
            raise ConnectionEnded(None, "the server refused the username or the password")
        self._access, self._refresh = pair["access"], pair["refresh"]
        self._lasts = _Countdown(_read_lifetime(self._access) - SPARE_SECONDS)

    def _post(self, path: str, **fields: str) -> Any:
        """The answer; None where the server refuses what was sent."""
        request = urllib.request.Request(  # noqa: S310 (http or https: checked above)
            self._root + path,
            json.dumps(fields).encode(),
            self._headers,
        )
        try:
            with urllib.request.urlopen(  # noqa: S310  # nosec B310
                request, timeout=TIMEOUT, context=self._ssl
            ) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (400, 401, 403):
                    return None
                raise self._translate(error) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ConnectionRefusedError):
                raise _NotUsed(str(error)) from error
            raise
        except (BadStatusLine, IncompleteRead, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise OSError(f"{self._root}{path} gave no whole answer: {error!r}") from error

    def _translate(self, error: urllib.error.HTTPError) -> OSError:
        text = f"{error.url} answered with HTTP {error.code}"
        verdict = judge_handshake(error.code, error.headers.get("Retry-After"))
        if verdict.is_final:
            return ConnectionEnded(None, text)
        self._waits = _Countdown(verdict.delay or 0.0)
        return _NotUsed(text) if error.code == HTTPStatus.TOO_MANY_REQUESTS else OSError(text)


class _NotUsed(OSError):
    """The server has not looked at what was sent."""


class _Countdown:
    """Is over so many seconds from now, by the steady clock or by that of the wall.

    The one stands still while a computer sleeps; the other may be set back.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = (time.monotonic() + seconds, time.time() + seconds)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends[0] or time.time() >= self._ends[1]


def _encode_basic(userinfo: str) -> str:
    return base64.b64encode(unquote(userinfo).encode()).decode()


def _read_lifetime(token: str) -> float:
    """How many seconds a JSON Web Token lasts from its issue, by its own word."""
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    lifetime: float = claims["exp"] - claims["iat"]
    return lifetime
