"""Requests of HTTP, put together by chance, with something wrong about most of them."""

import contextlib
import random
import re
import socket

TIMEOUT = 30.0  # in seconds; it only keeps a test from hanging
QUIET = 0.3  # after so many seconds nothing more is expected

METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"get", b"CONNECT", b"B@D", b""]
TARGETS = [
    *(b"/livez", b"/api/token/", b"/admin/login/?next=/", b"/ws/echo/", b"/ws/open/a/", b"//a//b"),
    *(b"http://localhost/livez", b"http://me@x/", b"http://", b"*", b"localhost:80", b"/a#b"),
    *(b"/%zz", b"/%00", b"/%ff%0d%0a", b"/\xe9", b"/a b", b"", b"/" + 20_000 * b"a", b"/?" + b"%"),
    *(
        b"/api/topics/open%3Aa/publications/",
        b"/static/../../etc/passwd",
        b"/..%2f..%2f",
        b"/;a?&=&",
    ),
]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.12", b"http/1.1", b""]
HEADERS = [
    *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 5, 5", b"Content-Length: -1"),
    *(b"Content-Length: 300000", b"Content-Length: " + 5000 * b"9", b"Transfer-Encoding: chunked"),
    *(
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: gzip",
        b"Host: again",
        b" folded",
    ),
    *(b"Expect: 100-continue", b"Expect: more", b"Connection: close", b"Connection: Upgrade"),
    *(b"Upgrade: websocket", b"Upgrade: h2c, websocket", b"Sec-WebSocket-Version: 13"),
    *(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Sec-WebSocket-Protocol: \xff, ,a"),
    *(b"Authorization: Bearer \xff", b"Authorization: Basic Og==", b"Accept: ;;,", b"X-Y : a"),
    *(b"Content-Type: application/json", b"Content-Type: multipart/form-data; boundary=\xe9"),
    *(b"Content-Type: application/x-www-form-urlencoded; charset=what", b"Cookie: \xff=;,=;a"),
    *(b'Cookie: sessionid="aaaaaaaa\\000"; csrftoken=x', b"Range: bytes=9-1,,-", b"Origin: null"),
    *(b"If-Modified-Since: Mon, 99 Foo 99999 99:99:99 GMT", b'If-None-Match: "', b"Forwarded: ;"),
    *(b"X-Forwarded-For: ,,\xff", b"Accept-Language: " + 3000 * b"a,", b"X: " + 17_000 * b"x"),
    *(b"X: \x00", b"X: \x0b", b"X: a\rb", b": a", b"nothing"),
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"-1\r\n",
]


def build_nonsense(dice: random.Random) -> bytes:
    """Up to three requests in a row; most of each is in order, and sometimes a byte is changed."""
    data = bytearray(b"".join(_build_request(dice) for _ in range(dice.randint(1, 3))))
    if dice.random() < 0.2:
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def _build_request(dice: random.Random) -> bytes:
    first = b" ".join(_pick(dice, pieces) for pieces in (METHODS, TARGETS, VERSIONS))
    headers = [b"Host: localhost", *dice.sample(HEADERS, k=dice.choice([0, 0, 1, 1, 2, 5]))]
    dice.shuffle(headers)
    return b"\r\n".join([first, *headers, b"", dice.choice(BODIES)])


def _pick(dice: random.Random, pieces: list[bytes]) -> bytes:
    """One of them, and the first ones more often."""
    return dice.choice(pieces[:3] if dice.random() < 0.5 else pieces)


def exchange(port: int, data: bytes) -> set[int]:
    """Send that, and read until nothing comes for a moment; the statuses of all answers."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        answer = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            client.sendall(data)
            client.settimeout(QUIET)
            while piece := client.recv(65536):
                answer += piece
    return {int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)}
