"""The fields of a JSON Schema as rows of a table for people."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from realtime.api.asyncapi.prose import render_prose

_ALIKE = {"integer": "integer", "number": "number", "string": "string", "boolean": "true or false"}


@dataclass(frozen=True, slots=True)
class Field:
    """One row; `name` of a field inside another is `limits.max_text_bytes` or `sessions[].user`."""

    name: str
    type: str
    optional: bool
    meaning: SafeString


def list_fields(
    schema: dict[str, Any], schemas: dict[str, Any], prefix: str = ""
) -> Iterator[Field]:
    """The fields of an object, and of the objects in it that are no messages of their own."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        inner = _find_inner(field, schemas)
        meaning = field.get("description") or (inner or {}).get("description", "")
        if field.get("default") not in (None, ""):
            meaning += f" Default: `{field['default']}`."
        yield Field(
            prefix + name,
            describe_type(field, schemas),
            name not in required,
            render_prose(meaning.strip()),
        )
        if inner is not None:
            mark = "[]." if "items" in field else "."
            yield from list_fields(inner, schemas, f"{prefix}{name}{mark}")


def describe_type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A few words such as "integer from 1 to 1000, or null"."""
    if "$ref" in schema:
        named = schemas[schema["$ref"].rpartition("/")[2]]
        return _describe_message(named) or "object"
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return _join([describe_type(one, schemas) for one in schema["anyOf"]])
    if isinstance(schema.get("type"), list):
        return _join(schema["type"])
    if schema.get("type") == "array":
        return f"list of: {describe_type(schema['items'], schemas)}"
    if "type" not in schema:
        return "any JSON value"
    kind: str = schema["type"]
    return _ALIKE.get(kind, kind) + _describe_bounds(schema)


def _find_inner(field: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any] | None:
    reference = field.get("items", field).get("$ref")
    inner = schemas[reference.rpartition("/")[2]] if reference else None
    return None if inner is None or _describe_message(inner) else inner


def _describe_message(schema: dict[str, Any]) -> str:
    """Which message it is; empty for what is none."""
    tags = schema["properties"].get("type", {}).get("enum", ())
    return f"{tags[0]} message" if tags else ""


def _join(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + " or " + parts[-1]


def _describe_bounds(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    if longest is not None:
        return f" of {f'{shortest} to' if shortest else 'up to'} {longest} characters"
    if least is None:
        return ""
    return f" from {_name(least)}" + ("" if most is None else f" to {_name(most)}")


def _name(number: int) -> str:
    """A number, with a power of two where it is one of those that nobody reads."""
    if abs(number) < 2**31:
        return str(number)
    return f"{'−' if number < 0 else ''}2^{abs(number).bit_length() - 1}"
