"""The head of a request, from its lines: RFC 9112 read strictly, no I/O.

What two readers could understand in two ways is refused, since a proxy in front may be the other
one: two lengths, a length beside a transfer coding, folded lines, a space before a colon.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

from realtime.server.refusals import Refusal

HeaderList = list[tuple[bytes, bytes]]

# The longest line of a head, and all its lines together, in bytes; and lines beyond the first.
MAX_LINE = 16 * 1024
MAX_HEAD = 32 * 1024
MAX_HEADERS = 200
# A length of more digits is beyond any limit.
MAX_DIGITS = 18

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Control characters, and 0x85, which Python's text methods take for the end of a line.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f\x85]")
_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]+)(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")


@dataclass(frozen=True, slots=True)
class Head:
    """A head that is in order.

    target: origin-form (`/path?query`), or `*`; headers: `Host` is that of the target where that
    names one; length: of the body in bytes, None where it comes in chunks.
    """

    method: bytes
    target: bytes
    version: bytes
    headers: HeaderList
    length: int | None
    is_persistent: bool
    expects_continue: bool

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]


class HeadLines:
    """The lines of one head after another, as they come."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.size = 0  # bytes of this head so far

    def take(self, line: bytes) -> Head | None:
        """Add a line; the head, where it was the last one. Raises Refusal."""
        self.size += len(line) + 2
        if self.size > MAX_HEAD or len(self._lines) > MAX_HEADERS + 1:
            raise Refusal(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the head of a request has at most {MAX_HEAD} bytes, in {MAX_HEADERS} headers",
            )
        if line:
            self._lines.append(line)
        elif self._lines:  # RFC 9112, section 2.2: empty lines may precede a request
            lines = self._lines
            self.clear()
            return parse_head(lines)
        return None

    def refuse_long(self) -> Refusal:
        """The refusal of a next line that is longer than MAX_LINE."""
        if self._lines:
            status, text = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "a header"
        else:
            status, text = HTTPStatus.REQUEST_URI_TOO_LONG, "the request line"
        return Refusal(status, f"{text} has at most {MAX_LINE} bytes")

    def clear(self) -> None:
        """Begin anew."""
        self._lines = []
        self.size = 0


def parse_head(lines: list[bytes]) -> Head:
    """A head from its lines, without their ends; raises Refusal."""
    method, target, version = _parse_request_line(lines[0])
    if len(lines) - 1 > MAX_HEADERS:
        raise Refusal(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"a request has at most {MAX_HEADERS} headers",
        )
    headers = [_parse_header(line) for line in lines[1:]]
    target, authority = _split_target(method, target)
    _check_host(headers, authority, is_required=version == b"HTTP/1.1")
    if authority is not None:
        # RFC 9112, section 3.2.2: the Host that came along counts for nothing.
        headers = [(b"Host", authority), *(h for h in headers if h[0].lower() != b"host")]
    tokens = _find_tokens(headers, b"connection")
    return Head(
        method=method,
        target=target,
        version=version,
        headers=_choose_upgrade(headers),
        length=_find_length(headers, version),
        is_persistent=version == b"HTTP/1.1" and b"close" not in tokens,
        expects_continue=_find_expectation(headers, version),
    )


def _parse_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "the request line is not a method, a target and HTTP/1.1, with one space between them, "
            "in ASCII",
        )
    method, target, major, minor = found.groups()
    if major != b"1":
        raise Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this server speaks HTTP/1.1")
    return method, target, b"HTTP/1.0" if minor == b"0" else b"HTTP/1.1"


def _parse_header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "a header is a name, a colon and a value, on one line, with no space before the colon",
        )
    value = value.strip(b" \t")
    if _CONTROL.search(value):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a header's value has a control character")
    return name, value


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """A target in origin-form, and the authority that it named."""
    if method == b"CONNECT":
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this server is not a proxy: it has no CONNECT")
    authority = None
    if target == b"*" and method == b"OPTIONS":
        return target, None
    if not target.startswith(b"/"):
        found = _ABSOLUTE.fullmatch(target)
        if found is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the target of a request begins with a slash")
        authority, target = found.groups()
        if not target.startswith(b"/"):
            target = b"/" + target
    if b"#" in target:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "the target of a request has no fragment: leave out #"
        )
    if _BAD_PERCENT.search(target.partition(b"?")[0]):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "in a path two hexadecimal digits follow each %, and not 00: write % itself as %25",
        )
    return target, authority


def _check_host(headers: HeaderList, authority: bytes | None, *, is_required: bool) -> None:
    hosts = [value for name, value in headers if name.lower() == b"host"]
    if len(hosts) > 1 or (is_required and not hosts):
        raise Refusal(HTTPStatus.BAD_REQUEST, "a request has one Host header")
    for host in hosts if authority is None else (authority,):
        if (host or authority is not None) and _AUTHORITY.fullmatch(host) is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "Host is a name or an address, and maybe a port")


def _find_length(headers: HeaderList, version: bytes) -> int | None:
    """The length of the body; None where it comes in chunks."""
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    codings = [value for name, value in headers if name.lower() == b"transfer-encoding"]
    if codings:
        if lengths or version != b"HTTP/1.1":
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                "Transfer-Encoding goes with HTTP/1.1 and without Content-Length",
            )
        _check_coding(_split(codings))
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise Refusal(HTTPStatus.BAD_REQUEST, "Content-Length is one whole number")
    digits = lengths[0].lstrip(b"0") or b"0"
    return int(digits[:MAX_DIGITS]) if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


def _check_coding(codings: list[bytes]) -> None:
    if codings == [b"chunked"]:
        return
    if b"chunked" in codings[:-1] or not all(codings):
        raise Refusal(HTTPStatus.BAD_REQUEST, "chunked has to be the last transfer coding, once")
    raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "the only transfer coding here is chunked")


def _find_expectation(headers: HeaderList, version: bytes) -> bool:
    expected = _find_tokens(headers, b"expect")
    if version != b"HTTP/1.1" or not expected:
        return False
    if set(expected) != {b"100-continue"}:
        raise Refusal(HTTPStatus.EXPECTATION_FAILED, "the only expectation here is 100-continue")
    return True


def _choose_upgrade(headers: HeaderList) -> HeaderList:
    """The headers, with WebSocket alone where it is one of several protocols to choose from."""
    offered = _find_tokens(headers, b"upgrade")
    if len(offered) < 2 or b"websocket" not in offered:
        return headers
    return [
        (b"Upgrade", b"websocket"),
        *(header for header in headers if header[0].lower() != b"upgrade"),
    ]


def _find_tokens(headers: HeaderList, name: bytes) -> list[bytes]:
    return _split([value for given, value in headers if given.lower() == name])


def _split(values: list[bytes]) -> list[bytes]:
    return [part.strip(b" \t").lower() for value in values for part in value.split(b",")]
