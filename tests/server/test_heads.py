"""Heads of requests: what RFC 9112 allows is read, what can be read in two ways is refused."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.server.heads import Head, parse_head
from realtime.server.refusals import Refusal

HOST = b"Host: localhost"


def parse(*lines: bytes) -> Head:
    return parse_head(list(lines))


def refuse(*lines: bytes) -> int:
    with pytest.raises(Refusal) as caught:
        parse_head(list(lines))
    assert caught.value.build_answer().startswith(b"HTTP/1.1 %d " % caught.value.status)
    return int(caught.value.status)


def test_a_plain_request_is_read() -> None:
    head = parse(b"GET /a/b?c=d HTTP/1.1", HOST, b"X-Thing:  some value\t")
    assert (head.method, head.target, head.path) == (b"GET", b"/a/b?c=d", b"/a/b")
    assert head.headers == [(b"Host", b"localhost"), (b"X-Thing", b"some value")]
    assert (head.length, head.is_persistent, head.expects_continue) == (0, True, False)


@pytest.mark.parametrize(
    ("target", "expected", "host"),
    [
        (b"http://other.example:8000/a?b", b"/a?b", b"other.example:8000"),
        (b"HTTPS://[::1]/a", b"/a", b"[::1]"),
        (b"http://other.example", b"/", b"other.example"),
        (b"http://other.example?a=b", b"/?a=b", b"other.example"),
        (b"//twice//", b"//twice//", b"localhost"),
        (b"/?q=100%", b"/?q=100%", b"localhost"),
        (b"/%41%ff", b"/%41%ff", b"localhost"),
        (b"/|{}^\\", b"/|{}^\\", b"localhost"),
    ],
)
def test_a_target_is_taken_in_all_its_forms(target: bytes, expected: bytes, host: bytes) -> None:
    """An absolute one names the host, and the Host header counts for nothing then."""
    head = parse(b"GET %s HTTP/1.1" % target, HOST)
    assert head.target == expected
    assert [value for name, value in head.headers if name == b"Host"] == [host]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET nothing HTTP/1.1", 400),
        (b"GET localhost:80 HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET ftp://localhost/ HTTP/1.1", 400),
        (b"GET http:///a HTTP/1.1", 400),
        (b"GET http://me:secret@localhost/ HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET http://localhost/a#b HTTP/1.1", 400),
        (b"GET /%zz HTTP/1.1", 400),
        (b"GET /% HTTP/1.1", 400),
        (b"GET /%00 HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\xe9 HTTP/1.1", 400),
        (b"GET /?\xe9 HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"G\xe9T / HTTP/1.1", 400),
        (b"GET /", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / HTTP/11.1", 400),
        (b"GET / HTTP/1.\xb2", 400),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"CONNECT localhost:80 HTTP/1.1", 501),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
)
def test_a_request_line_that_is_none_is_refused(line: bytes, status: int) -> None:
    assert refuse(line, HOST) == status


def test_options_may_ask_about_the_server() -> None:
    assert parse(b"OPTIONS * HTTP/1.1", HOST).target == b"*"


@pytest.mark.parametrize(
    "line",
    [
        b"X-Thing : a",
        b"X Thing: a",
        b" folded",
        b"\tfolded",
        b": a",
        b"no colon",
        b"X-Th\xe9ng: a",
        b"X-Thing: a\x00b",
        b"X-Thing: a\rb",
        b"X-Thing: a\nb",
        b"X-Thing: a\x1bb",
        b"X-Thing: a\x7fb",
        b"X-Thing: a\x85b",
        b"Host: localhost",
        b"Content-Length: -1",
        b"Content-Length: +1",
        b"Content-Length: 1_0",
        b"Content-Length: 0x10",
        b"Content-Length: 5, 5",
        b"Content-Length:",
        b"Content-Length: \xb2",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding:",
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(line: bytes) -> None:
    assert refuse(b"POST / HTTP/1.1", HOST, line) == 400


@pytest.mark.parametrize(
    "value", [b"caf\xc3\xa9", b"caf\xe9", b"a\tb", b"", b'"quoted, with: everything"']
)
def test_a_value_of_a_header_may_be_anything_else(value: bytes) -> None:
    assert parse(b"GET / HTTP/1.1", HOST, b"X-Thing: " + value).headers[-1][1] == value


@pytest.mark.parametrize(
    "host", [b"a b", b"a/b", b"me@here", b"loc\xe9", b"[::1", b"a:b", b"a,b c"]
)
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    assert refuse(b"GET / HTTP/1.1", b"Host: " + host) == 400


def test_a_host_is_asked_for_since_http_1_1() -> None:
    assert refuse(b"GET / HTTP/1.1") == 400
    assert parse(b"GET / HTTP/1.0").is_persistent is False
    assert parse(b"GET / HTTP/1.1", b"Host:").headers == [(b"Host", b"")]


def test_the_body_has_one_length() -> None:
    assert parse(b"POST / HTTP/1.1", HOST, b"Content-Length: 007").length == 7
    assert parse(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: Chunked").length is None
    beyond = parse(b"POST / HTTP/1.1", HOST, b"Content-Length: " + b"9" * 10_000).length
    assert beyond is not None
    assert beyond > 10**17
    both = (b"Content-Length: 5", b"Transfer-Encoding: chunked")
    assert refuse(b"POST / HTTP/1.1", HOST, *both) == 400
    assert refuse(b"POST / HTTP/1.1", HOST, b"Content-Length: 5", b"Content-Length: 5") == 400
    assert refuse(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked") == 400


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"identity", b"xchunked"])
def test_a_transfer_coding_that_is_not_known_is_not_implemented(coding: bytes) -> None:
    assert refuse(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: " + coding) == 501


def test_lists_are_read_whole() -> None:
    head = parse(b"GET / HTTP/1.1", HOST, b"Connection: keep-alive,Close", b"Connection: x")
    assert not head.is_persistent
    head = parse(b"GET / HTTP/1.1", HOST, b"Upgrade: h2c, WebSocket")
    assert head.headers[0] == (b"Upgrade", b"websocket")
    assert parse(b"POST / HTTP/1.1", HOST, b"Expect: 100-Continue").expects_continue
    assert refuse(b"POST / HTTP/1.1", HOST, b"Expect: a-miracle") == 417
    assert not parse(b"POST / HTTP/1.0", HOST, b"Expect: 100-continue").expects_continue


def test_many_headers_are_too_many() -> None:
    assert len(parse(b"GET / HTTP/1.1", HOST, *199 * [b"A: b"]).headers) == 200
    assert refuse(b"GET / HTTP/1.1", HOST, *200 * [b"A: b"]) == 431


PIECES = [
    *(b"GET", b"POST", b"OPTIONS", b"CONNECT", b" ", b"/", b"*", b"http://", b"localhost", b":80"),
    *(b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"Host: ", b"Content-Length: ", b"5", b", "),
    *(b"Transfer-Encoding: ", b"chunked", b"gzip", b"Expect: ", b"100-continue", b"%", b"%41"),
    *(b"\t", b"\x00", b"\r", b"\n", b"\x85", b"\xff", b"?", b"#", b"@", b"[", b"]", b"\xb2"),
]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=8), min_size=1, max_size=6))
def test_whatever_comes_is_read_or_refused(lines: list[list[bytes]]) -> None:
    try:
        head = parse_head([b"".join(pieces) for pieces in lines])
    except Refusal:
        return
    assert head.target.startswith(b"/") or (head.method, head.target) == (b"OPTIONS", b"*")
    head.target.decode("ascii")
    assert b"\n" not in b"".join(value for _, value in head.headers)


def test_a_request_with_one_byte_changed_is_read_or_refused() -> None:
    lines = [b"POST /api/token/?a=b HTTP/1.1", HOST, b"Content-Length: 5", b"Expect: 100-continue"]
    dice = random.Random(9112)
    statuses = set()
    for _ in range(5000):
        changed = [bytearray(line) for line in lines]
        line = dice.choice(changed)
        line[dice.randrange(len(line))] = dice.randrange(256)
        try:
            parse_head([bytes(line) for line in changed])
        except Refusal as refusal:
            statuses.add(int(refusal.status))
    assert {400, 417, 505} <= statuses <= {400, 417, 501, 505}
