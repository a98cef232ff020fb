"""What the page shows, taken from the document alone."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from realtime.api.asyncapi.fields import Field, list_fields
from realtime.api.asyncapi.prose import render_name, render_prose

# Of a first conversation, which anyone who has a token can have.
_CONVERSATION = (
    (">", "Authenticate"),
    ("<", "Hello"),
    ("<", "Subscribed"),
    (">", "PublishShort"),
    ("<", "Publication"),
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the page shows it; `answers` are (key, title)."""

    key: str
    name: str
    title: str
    summary: SafeString
    details: SafeString
    kinds: list[str]
    content_type: str
    fields: list[Field]
    examples: list[dict[str, str]]
    answers: list[tuple[str, str]]


def build_page(document: dict[str, Any]) -> dict[str, Any]:
    """The template's context."""
    channels = document["channels"]
    server = document["servers"]["this"]
    binding = channels["topic"]["bindings"]["ws"]
    sent, received = _part_messages(document)
    return {
        "title": document["info"]["title"],
        "version": document["info"]["version"],
        "intro": [render_prose(text) for text in document["info"]["description"].split("\n\n")],
        "origin": f"{server['protocol']}://{server['host']}",
        "server": render_prose(server["description"]),
        "conversation": _write_conversation(document),
        "ways": [
            render_prose(scheme["description"])
            for scheme in document["components"]["securitySchemes"].values()
        ],
        "headers": list(list_fields(binding["headers"], {})),
        "channels": [_show_channel(channel) for channel in channels.values()],
        "parameters": [
            (field, binding["query"]["properties"][field.name]["x-kinds"])
            for field in list_fields(binding["query"], {})
        ],
        "namespaces": document["x-namespaces"],
        "limits": document["x-limits"],
        "sent": sent,
        "received": received,
        "echoed": _show_messages(document, ("EchoText", "EchoBytes")),
        "errors": [
            one | {"label": render_name(one["code"]), "advice": render_prose(one["advice"])}
            for one in document["x-error-codes"]
        ],
        "closes": [
            one | {"meaning": render_prose(one["meaning"]), "advice": render_prose(one["advice"])}
            for one in document["x-close-codes"]
        ],
        "shift": document["x-close-code-shift"],
    }


def _part_messages(document: dict[str, Any]) -> tuple[list[Message], list[Message]]:
    """Those of a topic that clients send, and those that the server sends, in either case once."""
    sent: dict[str, None] = {}
    received: dict[str, None] = {}
    for operation in document["operations"].values():
        if operation["channel"]["$ref"] != "#/channels/topic":
            continue
        by_client = operation["action"] == "receive"
        (sent if by_client else received).update(dict.fromkeys(_name(operation["messages"])))
        received.update(dict.fromkeys(_name(operation.get("reply", {}).get("messages", ()))))
    # A chunk goes both ways, and is shown with what announces it.
    received.pop("Chunk")
    return _show_messages(document, sent), _show_messages(document, received)


def _show_messages(document: dict[str, Any], names: Iterable[str]) -> list[Message]:
    wanted = set(names)
    all = document["components"]["messages"]
    return [_show(key, all[key], document) for key in all if key in wanted]


def _show(key: str, message: dict[str, Any], document: dict[str, Any]) -> Message:
    schemas = document["components"]["schemas"]
    payload = message["payload"]
    schema = schemas[payload["$ref"].rpartition("/")[2]] if "$ref" in payload else payload
    return Message(
        key=key,
        name=message["name"],
        title=message["title"],
        summary=render_prose(message["summary"]),
        details=render_prose(message.get("description", "")),
        kinds=[tag["name"] for tag in message.get("tags", ())],
        content_type=message["contentType"],
        fields=list(list_fields(schema, schemas)),
        examples=[
            {
                "name": example["name"],
                "summary": example.get("summary", ""),
                "text": _write(example["payload"]),
            }
            for example in message["examples"]
        ],
        answers=_find_answers(key, document),
    )


def _find_answers(key: str, document: dict[str, Any]) -> list[tuple[str, str]]:
    titles = document["components"]["messages"]
    names: dict[str, None] = {}
    for operation in document["operations"].values():
        if operation["action"] == "receive" and key in _name(operation["messages"]):
            names.update(dict.fromkeys(_name(operation.get("reply", {}).get("messages", ()))))
    return [(name, titles[name]["title"]) for name in names]


def _show_channel(channel: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": channel["title"],
        "address": channel["address"],
        "summary": render_prose(channel["summary"]),
        "description": render_prose(channel["description"]),
        "parameters": [
            {
                "name": name,
                "meaning": render_prose(parameter["description"]),
                "label": "One of" if "enum" in parameter else "For example",
                "values": parameter.get("enum") or parameter.get("examples", []),
            }
            for name, parameter in channel.get("parameters", {}).items()
        ],
    }


def _write_conversation(document: dict[str, Any]) -> list[tuple[str, str]]:
    """(direction, text): `>` a client sends, `<` it receives."""
    messages = document["components"]["messages"]
    return [
        (sign, json.dumps(messages[name]["examples"][0]["payload"], ensure_ascii=False))
        for sign, name in _CONVERSATION
    ]


def _write(payload: Any) -> str:
    if isinstance(payload, str):
        return payload
    return json.dumps(payload, ensure_ascii=False, indent=2)


def _name(references: Iterable[dict[str, str]]) -> list[str]:
    return [reference["$ref"].rpartition("/")[2] for reference in references]
