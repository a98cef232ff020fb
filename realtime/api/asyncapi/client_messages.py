"""The messages that a client sends: section 4 of the protocol."""

from realtime.api.asyncapi.descriptions import ASKED, Description
from realtime.conf import Kind
from realtime.core import messages

CLIENT_MESSAGES = (
    Description(
        type=messages.Authenticate,
        title="Authenticate",
        summary="Opens a session with an access token, as the first message.",
        details=(
            "Only where neither a header nor a subprotocol brought the token: then nothing else "
            "may come before it. It is answered with `hello`. Later it is `not_supported`."
        ),
        fields={"token": "An access token from `POST /api/token/`.", "ref": ASKED},
        examples={"With a token": {"type": "authenticate", "token": "eyJhbGciOi…"}},
    ),
    Description(
        type=messages.Refresh,
        title="Refresh",
        summary="Replaces the token of a session, which then lives as long as the new one.",
        details=(
            "Send it about a minute before `expires_at`. A bad token, or one of another user, "
            "gets the error `invalid_token` and changes nothing."
        ),
        fields={"token": "A new access token of the same user.", "ref": ASKED},
        examples={"With a token": {"type": "refresh", "ref": 2, "token": "eyJhbGciOi…"}},
    ),
    Description(
        type=messages.Publish,
        title="Publish",
        summary="Publishes JSON data on a broadcast topic, or samples on a stats topic.",
        details="With a `ref`, an `ack` comes once the publication is in the topic's history.",
        kinds=(Kind.BROADCAST, Kind.STATS),
        fields={
            "data": (
                'Any JSON value; on stats topics `{"value": 3.2}` or `{"values": [1, null, 3]}`, '
                "perhaps with a `timestamp`, or as many `timestamps`, in seconds since 1970: "
                "the schemas `Sample` and `Samples`."
            ),
            "id": (
                "Makes repeating safe: used again on the topic within five minutes, it publishes "
                "nothing new. Not for anonymous sessions."
            ),
            "ref": ASKED,
        },
        examples={
            "An order, safe to repeat": {
                "type": "publish",
                "ref": 2,
                "id": "order-17",
                "data": {"order": 17},
            },
            "Samples": {"type": "publish", "ref": 3, "data": {"values": [1, None, 3]}},
        },
    ),
    Description(
        type=messages.BinaryUpload,
        title="Announce an upload",
        summary="The header of an array or of bytes that follow in binary messages.",
        details=(
            "Cut the bytes, in order, into `chunks` binary messages of at most "
            "`limits.max_frame_bytes`. Text messages may stand between them, except for a second "
            "header."
        ),
        kinds=(Kind.BINARY, Kind.STATS),
        fields={
            "chunks": "How many binary messages follow.",
            "format": (
                "`npy`, or on topics of format `any` a media type in lower case such as "
                "`image/png`."
            ),
            "id": "As in `publish`: makes repeating safe.",
            "ref": ASKED,
        },
        examples={
            "In two chunks": {"type": "binary", "ref": 8, "id": "up1", "chunks": 2},
            "A picture": {"type": "binary", "ref": 9, "format": "image/png", "chunks": 1},
        },
    ),
    Description(
        type=messages.ArrayRequest,
        title="Request an array",
        summary="Has an array made for you alone; a `binary` with your `ref` brings it.",
        details=(
            "On binary topics of format `npy`. One at a time: until the last chunk has left, the "
            "next is `rate_limited`. Short form: an object with a `shape` and no `type`."
        ),
        kinds=(Kind.BINARY,),
        fields={
            "shape": "The length of each dimension, up to 8 of them.",
            "dtype": (
                "`bool`, `int8` to `uint64`, `float16` to `float64`, `complex64`, `complex128`."
            ),
            "source": (
                "What makes it: `random` (floats from 0 up to, but not including, 1), `zeros`, "
                "or one that the operator added."
            ),
            "ref": ASKED,
        },
        examples={
            "Six random numbers": {"type": "request", "ref": "r1", "shape": [2, 3]},
            "Zeros": {
                "type": "request",
                "ref": "r2",
                "shape": [480, 640],
                "dtype": "uint8",
                "source": "zeros",
            },
        },
    ),
    Description(
        type=messages.HistoryQuery,
        title="Ask for history",
        summary="Reads what was published before, if you may subscribe.",
        details="To page, put the last offset into `after` and name the `epoch`.",
        fields={
            "after": "The list begins behind this offset.",
            "epoch": "The epoch that `after` belongs to; null for whichever is now.",
            "limit": "How many at most; a reply ends earlier where it would pass 1 MiB.",
            "ref": ASKED,
        },
        examples={"One page": {"type": "history", "ref": "page-1", "after": 0, "limit": 1}},
    ),
    Description(
        type=messages.PresenceQuery,
        title="Ask for presence",
        summary="Asks who is on the topic, if you may subscribe.",
        details="Where the operator has not turned it on for the namespace: `not_supported`.",
        fields={"ref": ASKED},
        examples={"Who is here": {"type": "presence", "ref": 9}},
    ),
    Description(
        type=messages.Ping,
        title="Ping",
        summary="For clients that cannot see WebSocket pings; the answer is `pong`.",
        details="If no `pong` comes, reconnect.",
        fields={"ref": ASKED},
        examples={"A ping": {"type": "ping", "ref": 7}},
    ),
)
