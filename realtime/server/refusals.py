"""What the server refuses before an application sees it: answer, count and log line."""

import json
import logging
from http import HTTPStatus

from realtime.core.errors import ErrorCode
from realtime.metrics import REFUSED_REQUESTS

logger = logging.getLogger("realtime.server.refusals")

_CODES = {
    HTTPStatus.BAD_REQUEST: ErrorCode.INVALID_MESSAGE,
    HTTPStatus.REQUEST_TIMEOUT: ErrorCode.UNAVAILABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.MESSAGE_TOO_BIG,
    HTTPStatus.REQUEST_URI_TOO_LONG: ErrorCode.MESSAGE_TOO_BIG,
    HTTPStatus.EXPECTATION_FAILED: ErrorCode.NOT_SUPPORTED,
    HTTPStatus.TOO_MANY_REQUESTS: ErrorCode.RATE_LIMITED,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ErrorCode.MESSAGE_TOO_BIG,
    HTTPStatus.INTERNAL_SERVER_ERROR: ErrorCode.INTERNAL,
    HTTPStatus.NOT_IMPLEMENTED: ErrorCode.NOT_SUPPORTED,
    HTTPStatus.SERVICE_UNAVAILABLE: ErrorCode.UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: ErrorCode.NOT_SUPPORTED,
}
# What passes by itself, and after how many seconds it is worth another try.
_PASSING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
RETRY_AFTER = "1"


class Refusal(Exception):
    """A request is refused: `{"code", "detail"}`, as errors of the REST API are."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    @property
    def body(self) -> bytes:
        return json.dumps({"code": _CODES[self.status], "detail": self.detail}).encode()

    def build_answer(self) -> bytes:
        """The whole answer, after which the connection ends."""
        lines = [
            f"HTTP/1.1 {int(self.status)} {self.status.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
        ]
        if self.status in _PASSING:
            lines.append(f"Retry-After: {RETRY_AFTER}")
        return "\r\n".join((*lines, "\r\n")).encode("ascii") + self.body

    def record(self, address: str) -> None:
        """Count it, and log it without anything that the client wrote."""
        REFUSED_REQUESTS.labels(str(int(self.status))).inc()
        logger.info(
            "request refused: %s",
            self.detail,
            extra={"status": int(self.status), "address": address},
        )
