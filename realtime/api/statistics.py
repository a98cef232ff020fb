"""The statistics of a topic over REST: one snapshot."""

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.api.access import name_asker, open_for_reading, read_parameters, wait_for
from realtime.api.parameters import FIELDS, READING, TOPIC, WINDOW
from realtime.api.views import RestView
from realtime.audience import Reading
from realtime.core.errors import ErrorCode
from realtime.core.windows import parse_fields, parse_window
from realtime.history import Page
from realtime.openapi import operation
from realtime.runtime import find_runtime
from realtime.snapshots import take_snapshot
from realtime.statistics import read_statistics

Figure = float | None | msgspec.UnsetType


class Statistics(msgspec.Struct, tag_field="type", tag="stats", kw_only=True):
    """The `stats` message; what is undefined is null, and the last nine are there if asked for."""

    topic: str
    offset: int
    window: str
    value: float | None
    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    server_time: str | None
    sum: Figure = msgspec.UNSET
    var: Figure = msgspec.UNSET
    median: Figure = msgspec.UNSET
    p90: Figure = msgspec.UNSET
    p95: Figure = msgspec.UNSET
    p99: Figure = msgspec.UNSET
    first: Figure = msgspec.UNSET
    rate: Figure = msgspec.UNSET
    nan_count: int | msgspec.UnsetType = msgspec.UNSET


class StatisticsView(RestView):
    """`GET ?window=&fields=`."""

    @operation(
        "read_statistics",
        tag="Topics",
        parameters=[TOPIC, WINDOW, FIELDS],
        answers={200: Statistics},
        refusals=[*READING, ErrorCode.NOT_SUPPORTED],
    )
    def get(self, request: Request, topic: str) -> Response:
        """The statistics of a topic as they are now.

        It is the message that a new subscriber would get; only topics of kind stats have it.
        """
        parsed, namespace = open_for_reading(request, topic)
        query = read_parameters(request, {"window", "fields"})
        window = parse_window(query.get("window", namespace.window))
        fields = parse_fields(query.get("fields", ""))
        runtime = find_runtime()
        if runtime.has_sessions:
            reading = Reading(window, fields, name_asker(request))
            statistics = read_statistics(
                runtime.hub, runtime.computing, runtime.history, namespace, parsed, reading
            )
            return Response(wait_for(runtime, statistics))

        def read(*, after: int, limit: int) -> Page:
            return wait_for(runtime, runtime.history.read(parsed, after=after, limit=limit))

        return Response(take_snapshot(read, parsed, namespace, window, fields))
