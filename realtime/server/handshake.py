"""From daphne's request for an upgrade to the library's answer and the application's scope."""

from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeaderValue
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from realtime.server.parser import LOGGER

RawHeaders = list[tuple[bytes, bytes]]

TEXT: RawHeaders = [(b"Content-Type", b"text/plain; charset=utf-8")]


def read_headers(request: Any) -> RawHeaders:
    """The request's headers as ASGI has them."""
    return [
        (name.lower(), value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
        if b"_" not in name  # CVE-2015-0219: a_b and a-b must not be taken for each other
    ]


def answer_upgrade(request: Any, headers: RawHeaders) -> Response:
    """What to answer if the application accepts: 101, or why this is no WebSocket handshake."""
    protocol = ServerProtocol(logger=LOGGER)
    try:
        upgrade = Request(
            request.uri.decode("ascii"),
            Headers([(name.decode("ascii"), value.decode("latin-1")) for name, value in headers]),
            method=request.method.decode("ascii"),
            protocol=request.clientproto.decode("ascii"),
        )
    except InvalidHeaderValue:  # a control character; not logged, since it may be in a credential
        response = protocol.reject(400, "Invalid header value\n")
    else:
        response = protocol.accept(upgrade)
    protocol.parser.close()  # its frame and the protocol refer to each other
    if response.status_code != 101:
        response.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455, section 4.4
    return response


def build_refusal(status: int, text: str, headers: RawHeaders) -> bytes:
    """An answer instead of 101, after which the connection ends."""
    own = Headers(Date=formatdate(usegmt=True), Connection="close")
    body = text.encode()
    own["Content-Length"] = str(len(body))
    for name, value in headers:
        if name.lower() != b"content-length":
            own[name.decode("ascii")] = value.decode("latin-1")
    return Response(status, HTTPStatus(status).phrase, own, body).serialize()


def build_scope(request: Any, headers: RawHeaders, *, root_path: str) -> dict[str, Any]:
    """The ASGI scope of the connection."""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "path": unquote(request.path.decode("ascii")),
        "raw_path": request.path,
        "root_path": root_path,
        "scheme": "wss" if request.isSecure() else "ws",
        "headers": headers,
        "query_string": request.query_string,
        "client": request.client_addr,
        "server": request.server_addr,
        "subprotocols": [
            part.strip()
            for name, value in headers
            if name == b"sec-websocket-protocol"
            for part in value.decode("latin-1").split(",")
        ],
    }
