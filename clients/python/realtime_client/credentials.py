"""A token from a username and a password, renewed for as long as the sign-in lasts."""

import base64
import json
import ssl as ssl_module
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from realtime_client.errors import ConnectionEnded

# An access token is given again while it lasts for longer than this (s): more than the time
# before its end at which a stream renews it.
SPARE_SECONDS = 100.0
TIMEOUT = 10.0


class SignIn:
    """Gives an access token each time it is called: `connect(url, token=SignIn(…))`.

    `url` is the server's, with any path and any of http, https, ws, wss. It blocks, and may be
    called from several threads. Raises ConnectionEnded where the server refuses the password, and
    OSError where it cannot be reached.
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
        self._root = f"{scheme}://{parts.netloc}/api/token/"
        self._username = username
        self._password = password
        self._ssl = ssl
        self._lock = threading.Lock()
        self._access = ""
        self._refresh = ""
        self._good_until = 0.0

    def __call__(self) -> str:
        """An access token that lasts for a while."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._renew()
            return self._access

    def _renew(self) -> None:
        pair = None
        if self._refresh:
            pair = self._post("refresh/", refresh=self._refresh)
        if pair is None:
            pair = self._post("", username=self._username, password=self._password)
        if pair is None:
            raise ConnectionEnded(None, "the server refused the username or the password")
        self._access, self._refresh = pair["access"], pair["refresh"]
        self._good_until = time.monotonic() + _read_lifetime(self._access) - SPARE_SECONDS

    def _post(self, path: str, **fields: str) -> Any:
        """The answer; None where the server refuses what was sent."""
        request = urllib.request.Request(  # noqa: S310 (http or https: checked above)
            self._root + path,
            json.dumps(fields).encode(),
            {"Content-Type": "application/json", "Accept": "application/json"},
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
                raise OSError(f"{self._root}{path} answered with HTTP {error.code}") from error


def _read_lifetime(token: str) -> float:
    """How many seconds a JSON Web Token lasts from its issue, by its own word."""
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    lifetime: float = claims["exp"] - claims["iat"]
    return lifetime
