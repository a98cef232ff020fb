"""From what somebody wants to publish to an entry: checked, processed, in its stored form."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from django.utils.module_loading import import_string

from realtime.conf import Format, Kind, Namespace, get_settings
from realtime.core import samples
from realtime.core.entries import JSON, NPY, OCTET_STREAM, SAMPLES, Data, Entry
from realtime.core.errors import (
    CodedError,
    InvalidArray,
    InvalidMessage,
    MessageTooBig,
    NotSupported,
    UnknownTopic,
)
from realtime.core.messages import encode_data
from realtime.core.npy import check_array, read_array, write_array
from realtime.core.topics import Topic
from realtime.project_code import call_code, find_threads

logger = logging.getLogger("realtime.intake")

PROCESSOR_FAILED = "the server failed to process this publication"

# Room for the JSON around the data of a publication, also where a reply lists it.
ENVELOPE_BYTES = 2048
# JSON data is read and copied as text: longer data belongs into a binary topic.
MAX_JSON_BYTES = 1024 * 1024

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}", re.ASCII)


def find_namespace(topic: Topic) -> Namespace:
    """The options of a topic's namespace; raises UnknownTopic."""
    namespace = get_settings().get_namespace(topic.namespace)
    if namespace is None:
        names = ", ".join(sorted(get_settings().namespaces))
        raise UnknownTopic(f"there is no namespace {topic.namespace!r}; there are {names}")
    return namespace


def check_format(namespace: Namespace, format: str | None) -> str:
    """The format that a binary publication is stored with; raises InvalidMessage."""
    if namespace.kind is Kind.STATS or namespace.format is Format.NPY:
        if format not in (None, NPY):
            raise InvalidMessage(f"this topic takes numpy arrays: format 'npy', not {format!r}")
        return NPY
    if format is None:
        return OCTET_STREAM
    if format != NPY and _MEDIA_TYPE.fullmatch(format) is None:
        raise InvalidMessage("format is 'npy' or a media type such as image/png")
    return format


async def take_data(topic: Topic, namespace: Namespace, data: Any, user: Any) -> Entry:
    """An entry of JSON data for a broadcast or stats topic; raises CodedError."""
    given, data = data, await _process(namespace, data, topic, user)
    now = time.time()
    match namespace.kind:
        case Kind.BROADCAST:
            with _blame_processor(topic, unless=data is given):
                encoded = encode_data(data)
            return _build_entry(JSON, encoded, user, now)
        case Kind.STATS:
            if data is not given:
                with _blame_processor(topic):
                    _expect(data, dict)
            packed = samples.pack_samples(*samples.parse_samples(data, now=now))
            return _build_entry(SAMPLES, packed, user, now)
        case Kind.BINARY:
            raise NotSupported("a binary topic takes binary messages, not JSON data")


async def take_bytes(
    topic: Topic, namespace: Namespace, data: Data, user: Any, *, format: str | None = None
) -> Entry:
    """An entry of bytes for a binary or stats topic; raises CodedError."""
    if namespace.kind is Kind.BROADCAST:
        raise NotSupported("a broadcast topic takes JSON, not binary messages")
    format = check_format(namespace, format)
    if format == NPY:
        check_array(data)
    if namespace.processor is not None:
        data = bytes(data)  # the project's code gets one piece
        given = read_array(data) if format == NPY else data
        result = await _process(namespace, given, topic, user)
        if result is not given:
            with _blame_processor(topic):
                if format == NPY:
                    data = write_array(_expect(result, np.ndarray))
                else:
                    data = bytes(_expect(result, bytes | bytearray | memoryview))
    now = time.time()
    if namespace.kind is Kind.STATS:
        packed = samples.pack_samples(*samples.read_samples(bytes(data), now=now))
        return _build_entry(SAMPLES, packed, user, now)
    return _build_entry(format, data, user, now)


async def take_anything(
    topic: Topic, namespace: Namespace, data: Any, user: Any, *, format: str | None = None
) -> Entry:
    """An entry of whatever Python code publishes: JSON values, numbers, arrays, bytes."""
    if isinstance(data, np.ndarray) and namespace.kind is not Kind.BROADCAST:
        return await take_bytes(topic, namespace, write_array(data), user, format=NPY)
    if isinstance(data, bytes | bytearray | memoryview):
        return await take_bytes(topic, namespace, bytes(data), user, format=format)
    if namespace.kind is Kind.BINARY:
        raise InvalidArray("a binary topic takes a numpy array or bytes")
    if namespace.kind is Kind.STATS:
        if isinstance(data, int | float | np.integer | np.floating):
            data = {"value": _clean(data)}
        elif isinstance(data, list | tuple):
            data = {"values": [_clean(value) for value in data]}
    return await take_data(topic, namespace, data, user)


def check_anything(
    topic: Topic, namespace: Namespace, data: Any, user: Any, *, format: str | None = None
) -> None:
    """Raise CodedError for what `take_anything()` would refuse.

    What a processor takes is its own to say: then nothing is looked at.
    """
    if namespace.processor is not None:
        return
    taking = take_anything(topic, namespace, data, user, format=format)
    try:
        taking.send(None)  # without a processor it waits for nothing
    except StopIteration:
        return
    finally:
        taking.close()
    raise AssertionError("without a processor there is nothing to wait for")


def _clean(value: Any) -> Any:
    """A Python or numpy number as JSON would bring it: NaN means missing."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


async def _process(namespace: Namespace, data: Any, topic: Topic, user: Any) -> Any:
    if namespace.processor is None:
        return data
    processor = _load_processor(namespace.processor)
    # Not in the "sensitive" thread, for there a view that publishes may be waiting for it.
    threads = find_threads(f"processor {namespace.processor}")
    try:
        return await call_code(processor, data, topic=str(topic), user=user, threads=threads)
    except CodedError:
        raise
    except Exception as error:
        logger.exception("a processor failed", extra={"topic": str(topic)})
        raise CodedError(PROCESSOR_FAILED) from error


@contextmanager
def _blame_processor(topic: Topic, *, unless: bool = False) -> Iterator[None]:
    """Turn what is wrong with a processor's result into an error of the server's own."""
    try:
        yield
    except (TypeError, InvalidMessage, InvalidArray) as error:
        if unless:
            raise
        logger.exception("a processor returned what it must not", extra={"topic": str(topic)})
        raise CodedError(PROCESSOR_FAILED) from error


def _expect(result: Any, type: Any) -> Any:
    if not isinstance(result, type):
        raise TypeError(f"expected {type}, got {result.__class__}")
    return result


@cache
def _load_processor(path: str) -> Any:
    return import_string(path)


def _build_entry(format: str, data: Data, user: Any, now: float) -> Entry:
    settings = get_settings()
    most = settings.max_binary_bytes
    if format == JSON:  # it leaves in one message, not in chunks
        most = min(most, min(settings.frame_limit, MAX_JSON_BYTES) - ENVELOPE_BYTES)
    if len(data) > most:
        raise MessageTooBig(f"a publication is at most {most} bytes here, not {len(data)}")
    return Entry(format, user.get_username() if user is not None else None, int(now * 1e6), data)
