"""What REST requests may carry: strict JSON, or bytes."""

from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from realtime.conf import get_settings
from realtime.core import strict_json
from realtime.core.errors import MessageTooBig


class StrictJSONParser(BaseParser):
    """JSON by the rules of the wire protocol, up to Django's DATA_UPLOAD_MAX_MEMORY_SIZE."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        """The decoded object; raises InvalidJSON, MessageTooBig."""
        return strict_json.decode_object(read_bounded(stream, find_json_limit()))


class BytesParser(BaseParser):
    """Any other body, as one publication."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        """The body as bytes; raises MessageTooBig."""
        return read_bounded(stream, get_settings().max_binary_bytes)


def find_json_limit() -> int:
    """The longest body of JSON, in bytes."""
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE or get_settings().max_binary_bytes


def find_publication_limit() -> int:
    """The longest body of a request to publish, in bytes; the server refuses it unread."""
    return max(get_settings().max_binary_bytes, find_json_limit())


def read_bounded(stream: IO[Any], limit: int) -> bytes:
    """All of a stream, if it is at most `limit` bytes long; raises MessageTooBig."""
    data: bytes = stream.read(limit + 1)
    if len(data) > limit:
        raise MessageTooBig(f"the body is longer than {limit} bytes")
    return data
