"""JSON Schemas of all structures on the wire, generated from the structures themselves."""

from typing import Any

import msgspec

from realtime.api.asyncapi.client_messages import CLIENT_MESSAGES
from realtime.api.asyncapi.descriptions import TYPE, Description
from realtime.api.asyncapi.server_answers import ANSWERS
from realtime.api.asyncapi.server_messages import PARTS, STREAM_MESSAGES
from realtime.api.asyncapi.statistics import build_statistics_schemas

SERVER_MESSAGES: tuple[Description, ...] = (*STREAM_MESSAGES, *ANSWERS)


def build_schemas() -> dict[str, Any]:
    """Schemas by the name of the structure, with a description for each field."""
    described = {
        one.type: (one.summary, one.fields) for one in (*CLIENT_MESSAGES, *SERVER_MESSAGES)
    } | PARTS
    _, schemas = msgspec.json.schema_components(
        list(described), ref_template="#/components/schemas/{name}"
    )
    for type, (summary, fields) in described.items():
        schema = schemas[type.__name__]
        schema["description"] = summary
        if "type" in schema["properties"]:
            schema["properties"]["type"]["description"] = TYPE
        for name, meaning in fields.items():
            schema["properties"][name]["description"] = meaning
    schemas |= build_statistics_schemas()
    _name_discriminators(schemas)
    return schemas


def _name_discriminators(schema: Any) -> None:
    """Turn OpenAPI's discriminators, which are objects, into AsyncAPI's: the property's name."""
    parts = schema.values() if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and isinstance(schema.get("discriminator"), dict):
        schema["discriminator"] = schema["discriminator"]["propertyName"]
    for part in parts:
        if isinstance(part, dict | list):
            _name_discriminators(part)
