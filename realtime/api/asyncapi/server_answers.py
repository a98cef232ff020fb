"""What the server answers to a client's messages: section 3 of the protocol."""

from realtime.api.asyncapi.descriptions import ANSWERED, OFFSET, SERVER_TIME, TOPIC, Description
from realtime.api.asyncapi.examples import BINARY, PUBLICATION, SESSION, TIME
from realtime.core import messages

ANSWERS = (
    Description(
        type=messages.PresenceReply,
        title="Presence",
        summary="The answer to your `presence`: who is on the topic, on all instances.",
        fields={
            "ref": ANSWERED,
            "topic": TOPIC,
            "sessions": "The subscribed sessions, the oldest first, at most 1000.",
            "count": "The number of all.",
        },
        examples={
            "One is here": {
                "type": "presence",
                "ref": 9,
                "topic": "room:green",
                "sessions": [{"session": SESSION, "user": "anna", "since": TIME}],
                "count": 1,
            }
        },
    ),
    Description(
        type=messages.HistoryReply,
        title="History",
        summary="The answer to your `history`, ascending.",
        details=(
            "Stats topics list publications whose data is `{values, timestamps}`, binary topics "
            "list headers without their bytes."
        ),
        fields={
            "ref": ANSWERED,
            "topic": TOPIC,
            "epoch": "The epoch of what is listed.",
            "top": "The topic's latest offset: there is more while the last one listed is below.",
            "publications": "What was published, the oldest first.",
            "complete": (
                "False if something after your `after` is gone, or if the epoch is not the one "
                "that you named; the list then starts with the oldest that is left."
            ),
        },
        examples={
            "One page": {
                "type": "history",
                "ref": "page-1",
                "topic": "broadcast:lobby",
                "epoch": "7a3c3221a676",
                "top": 3,
                "publications": [PUBLICATION],
                "complete": True,
            },
            "Arrays, some of which are gone": {
                "type": "history",
                "ref": 1,
                "topic": "arrays:cam",
                "epoch": "7a3c3221a676",
                "top": 4,
                "publications": [BINARY],
                "complete": False,
            },
        },
    ),
    Description(
        type=messages.Ack,
        title="Ack",
        summary="Your publish with this `ref` is accepted.",
        fields={
            "ref": ANSWERED,
            "topic": TOPIC,
            "offset": OFFSET,
            "epoch": "The epoch of the offset; null on a topic without history.",
            "duplicate": "Whether the `id` was known already; the position is that of the first.",
        },
        examples={
            "Accepted": {
                "type": "ack",
                "ref": 2,
                "topic": "broadcast:lobby",
                "offset": 3,
                "epoch": "7a3c3221a676",
                "duplicate": False,
            }
        },
    ),
    Description(
        type=messages.Refreshed,
        title="Refreshed",
        summary="The answer to your `refresh`.",
        fields={"ref": ANSWERED, "expires_at": "When the new token ends."},
        examples={
            "Refreshed": {
                "type": "refreshed",
                "ref": 2,
                "expires_at": "2026-01-01T10:05:00.000000Z",
            }
        },
    ),
    Description(
        type=messages.Pong,
        title="Pong",
        summary="The answer to your `ping`.",
        fields={"ref": ANSWERED, "server_time": SERVER_TIME},
        examples={"A pong": {"type": "pong", "ref": 7, "server_time": TIME}},
    ),
    Description(
        type=messages.ErrorMessage,
        title="Error",
        summary="Refuses one message; the session goes on.",
        fields={
            "ref": ANSWERED + " It is null too if the message could not be read that far.",
            "code": "What is wrong, for programs: see the error codes.",
            "detail": "What to change, for people.",
        },
        examples={
            "An unknown field": {
                "type": "error",
                "ref": 15,
                "code": "invalid_message",
                "detail": "Object contains unknown field `extra`",
            }
        },
    ),
)
