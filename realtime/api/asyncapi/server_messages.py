"""What the server sends of itself: section 3 of the protocol, but for statistics."""

from msgspec import Struct

from realtime.api.asyncapi.descriptions import (
    OFFSET,
    SERVER_TIME,
    SKIPPED,
    TOPIC,
    USER,
    Description,
)
from realtime.api.asyncapi.examples import BINARY, PUBLICATION, SESSION, TIME
from realtime.conf import Kind
from realtime.core import messages

STREAM_MESSAGES = (
    Description(
        type=messages.Hello,
        title="Hello",
        summary="The first message of a session.",
        fields={
            "session": "The session's key, for asking an operator.",
            "instance": "The server process, likewise.",
            "user": "Your username; null for an anonymous session.",
            "expires_at": "When your token ends; null for an anonymous session.",
            "protocol": "`realtime.v1`",
            "server_time": SERVER_TIME,
            "ping_interval": "How often, in seconds, the server sends WebSocket pings.",
        },
        examples={
            "To a user": {
                "type": "hello",
                "session": SESSION,
                "instance": "8b80f277",
                "user": "anna",
                "expires_at": "2026-01-01T09:55:20.000000Z",
                "protocol": "realtime.v1",
                "server_time": TIME,
                "ping_interval": 20.0,
                "limits": {
                    "max_text_bytes": 65536,
                    "max_binary_bytes": 16777216,
                    "max_frame_bytes": 1048576,
                },
            }
        },
    ),
    Description(
        type=messages.Subscribed,
        title="Subscribed",
        summary="Comes once, ahead of anything from the topic.",
        details="Your position is now (`epoch`, `next` − 1).",
        fields={
            "topic": TOPIC,
            "epoch": "The name of one unbroken life of the topic; null without history.",
            "offset": "The topic's latest publication; 0 while there is none.",
            "next": "The offset at which yours begin. At or below `offset`, the past comes first.",
            "recovered": (
                "Whether all since your position follows; null unless you gave one. After false, "
                "a `gap` comes next."
            ),
        },
        examples={
            "To a newcomer": {
                "type": "subscribed",
                "topic": "broadcast:lobby",
                "epoch": "7a3c3221a676",
                "offset": 0,
                "next": 1,
                "recovered": None,
            },
            "To one who came back": {
                "type": "subscribed",
                "topic": "broadcast:rec",
                "epoch": "09d7c6fb6509",
                "offset": 3,
                "next": 2,
                "recovered": True,
            },
        },
    ),
    Description(
        type=messages.Publication,
        title="Publication",
        summary="One item of a broadcast topic.",
        details="In a `history` of a stats topic, `data` is `{values, timestamps}`.",
        kinds=(Kind.BROADCAST,),
        fields={
            "topic": TOPIC,
            "offset": OFFSET,
            "data": "Any JSON value, as it was published.",
            "user": USER,
            "server_time": SERVER_TIME,
            "skipped": SKIPPED,
        },
        examples={"From a user": PUBLICATION},
    ),
    Description(
        type=messages.BinaryHeader,
        title="Binary header",
        summary="The header of one array or blob: the next `chunks` messages are binary.",
        details=(
            "Nothing stands between them, and joined they are `bytes` long. If `ref` is set, or "
            "`offset` null on a topic with history, it answers your `request` and is no "
            "publication."
        ),
        kinds=(Kind.BINARY,),
        fields={
            "topic": TOPIC,
            "offset": OFFSET,
            "format": "`npy`, or the media type of the bytes.",
            "dtype": "The element type of an array; for `npy` only.",
            "shape": "The length of each dimension of an array; for `npy` only.",
            "bytes": "How long all chunks are together.",
            "chunks": "How many binary messages follow, at least one.",
            "user": USER,
            "server_time": SERVER_TIME,
            "ref": "The `ref` of your `request`; null for a publication.",
            "skipped": SKIPPED,
        },
        examples={
            "An array": BINARY | {"skipped": 2},
            "A picture": {
                "type": "binary",
                "topic": "blobs:cam",
                "offset": 4,
                "format": "image/png",
                "bytes": 48210,
                "chunks": 1,
                "user": None,
                "server_time": TIME,
                "ref": None,
            },
        },
    ),
    Description(
        type=messages.Gap,
        title="Gap",
        summary="Publications that you will not get. It can come at any time.",
        details=(
            "Your position becomes (`epoch`, `next` − 1), even if that is lower than before. If "
            "`epoch` is another than yours, the topic began anew, and how much is lost is unknown."
        ),
        fields={
            "topic": TOPIC,
            "epoch": "The epoch that goes on at `next`.",
            "after": "Your last offset before the loss.",
            "next": "The offset at which it goes on; it need not exist yet.",
            "reason": "`history_trimmed`, `history_lost`; treat others alike.",
        },
        examples={
            "Older than what is kept": {
                "type": "gap",
                "topic": "arrays:cam",
                "epoch": "f3d802dfcfa3",
                "after": 3,
                "next": 9,
                "reason": "history_trimmed",
            }
        },
    ),
    Description(
        type=messages.Join,
        title="Join",
        summary="Another session has come to the topic.",
        details="A hint, where presence is on and at most 100 sessions are there.",
        fields={"topic": TOPIC, "user": USER, "session": "The key of the session."},
        examples={
            "Ben comes": {
                "type": "join",
                "topic": "room:green",
                "user": "ben",
                "session": SESSION,
            }
        },
    ),
    Description(
        type=messages.Leave,
        title="Leave",
        summary="Another session has gone from the topic.",
        details="A hint, where presence is on and at most 100 sessions are there.",
        fields={"topic": TOPIC, "user": USER, "session": "The key of the session."},
        examples={
            "Ben goes": {
                "type": "leave",
                "topic": "room:green",
                "user": "ben",
                "session": SESSION,
            }
        },
    ),
)

# Structures inside of messages, which have no type of their own.
PARTS: dict[type[Struct], tuple[str, dict[str, str]]] = {
    messages.Limits: (
        "What this server takes, in bytes.",
        {
            "max_text_bytes": "The longest text message that you may send.",
            "max_binary_bytes": "The longest binary publication, the sum of its chunks.",
            "max_frame_bytes": "The longest single binary message, in either direction.",
        },
    ),
    messages.PresentSession: (
        "A session that is subscribed to the topic.",
        {
            "session": "The key of the session.",
            "user": "The username; null for an anonymous session.",
            "since": "When it came: RFC 3339, UTC.",
        },
    ),
}
