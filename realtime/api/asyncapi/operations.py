"""What the server does, in AsyncAPI's sense: it receives what clients send, and sends the rest."""

from typing import Any


def build_operations() -> dict[str, Any]:
    """All operations, by name."""
    return {
        "authenticate": _receive(
            "Signs in by the first message.", "Authenticate", answers=("Hello", "ErrorMessage")
        ),
        "refresh": _receive(
            "Replaces the token of a session.", "Refresh", answers=("Refreshed", "ErrorMessage")
        ),
        "publish": _receive(
            "Publishes JSON data or samples.", "Publish", answers=("Ack", "ErrorMessage")
        ),
        "publishShort": _receive(
            "Publishes an object without a `type`.", "PublishShort", answers=("ErrorMessage",)
        ),
        "upload": _receive(
            "Publishes an array or a blob: a header, then its chunks.",
            *("BinaryUpload", "Chunk"),
            answers=("Ack", "ErrorMessage"),
        ),
        "publishWhole": _receive(
            "Publishes an array or a blob in one binary message without a header.",
            "WholeArray",
            answers=("ErrorMessage",),
        ),
        "requestArray": _receive(
            "Makes an array for the client alone.",
            *("ArrayRequest", "ArrayRequestShort"),
            answers=("BinaryHeader", "Chunk", "ErrorMessage"),
        ),
        "readHistory": _receive(
            "Lists what was published.", "HistoryQuery", answers=("HistoryReply", "ErrorMessage")
        ),
        "readPresence": _receive(
            "Lists who is there.", "PresenceQuery", answers=("PresenceReply", "ErrorMessage")
        ),
        "ping": _receive("Shows that it is there.", "Ping", answers=("Pong", "ErrorMessage")),
        "begin": _send("Begins a session.", "Hello", "Subscribed"),
        "sendPublication": _send("Brings an item of a broadcast topic.", "Publication"),
        "sendStatistics": _send("Brings the figures of a stats topic.", "Statistics"),
        "sendBinary": _send(
            "Brings an array or a blob: a header, then its chunks.", "BinaryHeader", "Chunk"
        ),
        "tellGap": _send("Tells of publications that are lost.", "Gap"),
        "tellPresence": _send("Tells who comes and goes.", "Join", "Leave"),
        "refuse": _send("Tells of what went wrong.", "ErrorMessage"),
        "echo": _build(
            "receive",
            "Takes any message.",
            *("EchoText", "EchoBytes"),
            channel="echo",
            answers=("EchoText", "EchoBytes"),
        ),
        "refuseEcho": _build(
            "send", "Tells why a query is refused.", "ErrorMessage", channel="echo"
        ),
    }


def _receive(summary: str, *messages: str, answers: tuple[str, ...]) -> dict[str, Any]:
    return _build("receive", summary, *messages, answers=answers)


def _send(summary: str, *messages: str) -> dict[str, Any]:
    return _build("send", summary, *messages)


def _build(
    action: str,
    summary: str,
    *messages: str,
    channel: str = "topic",
    answers: tuple[str, ...] = (),
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": _refer(channel, messages),
    }
    if answers:
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": _refer(channel, answers),
        }
    return operation


def _refer(channel: str, messages: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]
