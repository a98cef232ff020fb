"""Statistics, and the samples that they are made of: section 6 of the protocol."""

from typing import Any

from realtime.api.asyncapi.descriptions import OFFSET, SERVER_TIME, SKIPPED, TOPIC, TYPE
from realtime.api.asyncapi.examples import TIME
from realtime.core.sample_ring import SampleRing
from realtime.core.samples import MAX_TIMESTAMP
from realtime.core.windows import FIELDS, MAX_SAMPLES, parse_window

_MEANINGS = {
    "count": "How many values in the window are not missing.",
    "value": "The one that arrived last; in a window of time, the one with the newest timestamp.",
    "mean": "Their mean.",
    "std": "Their standard deviation, the population's (divided by `count`).",
    "min": "The least.",
    "max": "The greatest.",
    "sum": "Their sum.",
    "var": "Their variance, the population's (divided by `count`).",
    "median": "The quantile 0.5, linear between the two next to it.",
    "p90": "The quantile 0.9, likewise.",
    "p95": "The quantile 0.95, likewise.",
    "p99": "The quantile 0.99, likewise.",
    "first": "The one that arrived first; in a window of time, the one with the oldest timestamp.",
    "rate": "Samples a second between `first` and `value`; null without a span of time.",
    "nan_count": "How many values in the window are missing.",
}
_COUNTS = {"count", "nan_count"}
_TIMESTAMP = {
    "type": "number",
    "maximum": MAX_TIMESTAMP,
    "description": "Seconds since 1970, UTC.",
}
_VALUE = {"type": ["number", "null"], "description": "A finite number, or null for a missing one."}

STATISTICS_EXAMPLES = {
    "Over five samples": {
        "type": "stats",
        "topic": "stats:sensor",
        "offset": 2,
        "window": "5",
        "value": 3.0,
        "count": 3,
        "mean": 2.4,
        "std": 0.993310961716756,
        "min": 1.0,
        "max": 3.2,
        "median": 3.0,
        "nan_count": 1,
        "server_time": TIME,
    }
}


def build_statistics_schemas() -> dict[str, Any]:
    """The schemas `Statistics`, which is no structure in the code, `Sample` and `Samples`."""
    always = list(SampleRing().summarise(parse_window("1"), ()))
    return {
        "Statistics": {
            "type": "object",
            "title": "Statistics",
            "description": "Figures that are undefined, or no finite number, are null.",
            "properties": {
                "type": {"enum": ["stats"], "description": TYPE},
                "topic": {"type": "string", "description": TOPIC},
                "offset": {"type": ["integer", "null"], "description": OFFSET},
                "window": {"type": "string", "description": "The window, in your words."},
                **{name: _describe_figure(name, asked=name in FIELDS) for name in _MEANINGS},
                "server_time": {"type": ["string", "null"], "description": SERVER_TIME},
                "skipped": {"type": "integer", "description": SKIPPED},
            },
            "required": ["type", "topic", "offset", "window", *always, "server_time"],
        },
        "Sample": {
            "type": "object",
            "title": "Sample",
            "description": "The data of a publication on a stats topic: one value.",
            "properties": {"value": _VALUE, "timestamp": _TIMESTAMP},
            "required": ["value"],
            "additionalProperties": False,
            "examples": [{"value": 3.2}, {"value": 3.2, "timestamp": 1767225600.5}],
        },
        "Samples": {
            "type": "object",
            "title": "Samples",
            "description": "The data of a publication on a stats topic: many values.",
            "properties": {
                "values": _describe_list(_VALUE, "The values, in the order of their arrival."),
                "timestamps": _describe_list(_TIMESTAMP, "As many as there are values."),
            },
            "required": ["values"],
            "additionalProperties": False,
            "examples": [{"values": [1, None, 3]}],
        },
    }


def _describe_figure(name: str, *, asked: bool) -> dict[str, Any]:
    meaning = f"{_MEANINGS[name]} Only if `fields` names it." if asked else _MEANINGS[name]
    kind = "integer" if name in _COUNTS else ["number", "null"]
    return {"type": kind, "description": meaning}


def _describe_list(item: dict[str, Any], meaning: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": item,
        "minItems": 1,
        "maxItems": MAX_SAMPLES,
        "description": meaning,
    }
