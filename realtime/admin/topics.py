"""Topics in use, in the admin: who listens, how fast they move, and what the history keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from realtime.admin.figures import show_count, show_rate, show_size
from realtime.admin.paging import BoundedPaginator
from realtime.admin.rates import measure_rates
from realtime.admin.readonly import ReadOnlyAdmin, refuse_zeros
from realtime.admin.search import begins
from realtime.api.access import wait_for
from realtime.conf import get_settings
from realtime.core.errors import NotRunning, Unavailable
from realtime.core.topics import Topic, parse_topic
from realtime.history import History, Size, Top
from realtime.models import LiveTopic, Session
from realtime.runtime import find_runtime

# Topics on a page, whose histories are asked for together.
PAGE_SIZE = 50
ORDERS = {"": ("-sessions", "topic"), "name": ("topic",)}


@dataclass(frozen=True, slots=True)
class Movement:
    """What the history knows of a topic. `rate` is in publications a second."""

    top: Top
    rate: float | None
    size: Size


@admin.register(LiveTopic)
class LiveTopicAdmin(ReadOnlyAdmin):
    """One page: the topics of live sessions."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="realtime_livetopic_changelist")]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who sees sessions sees their topics."""
        return request.user.has_perm("realtime.view_session")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, with what the history says where it can be asked."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        refuse_zeros(request)
        query, order = request.GET.get("q", "").strip(), request.GET.get("order", "")
        order = order if order in ORDERS else ""
        page = _list_topics(query, order).get_page(request.GET.get("p"))
        names = [row["topic"] for row in page]
        movements, trouble = _ask_history(names)
        sessions = reverse(f"{self.admin_site.name}:realtime_session_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": "Topics",
            "is_nav_sidebar_enabled": False,
            "opts": self.opts,
            "media": self.media,
            "rows": [_build_row(row, movements.get(row["topic"]), sessions) for row in page],
            "page": page,
            "count_text": page.paginator.count_text,  # type: ignore[attr-defined]
            "query": query,
            "order": order,
            "links": _build_links(page, query, order),
            "trouble": trouble,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/realtime/topics.html", context)


def _list_topics(query: str, order: str) -> BoundedPaginator:
    # A session of the echo endpoint has no topic.
    topics = Session.objects.live().exclude(namespace="echo").values("topic")
    if query:
        topics = topics.filter(begins("topic", query))
    counted = topics.annotate(sessions=Count("pk"), instances=Count("instance", distinct=True))
    return BoundedPaginator(counted.order_by(*ORDERS[order]), PAGE_SIZE)


def _ask_history(names: Sequence[str]) -> tuple[dict[str, Movement], str]:
    """By name of the topic; and what is wrong, in words."""
    topics = [topic for topic in map(parse_topic, names) if _has_history(topic)]
    if not topics:
        return {}, ""
    try:
        runtime = find_runtime()
        found = wait_for(runtime, _measure(runtime.history, topics))
    except NotRunning:
        return {}, (
            "This process serves no topics and shares no Redis with one that does: rates and "
            "histories are not known here."
        )
    except Unavailable as error:
        reason = error.__cause__ or error
        return {}, f"Redis does not answer, so rates and histories are missing: {reason}"
    return {str(topic): movement for topic, movement in zip(topics, found, strict=True)}, ""


def _has_history(topic: Topic) -> bool:
    namespace = get_settings().get_namespace(topic.namespace)
    return namespace is not None and namespace.history_size > 0


async def _measure(history: History, topics: Sequence[Topic]) -> list[Movement]:
    # One after the other: a first look at a rate takes a second, and figures of a row shall agree.
    tops, rates = await measure_rates(history, topics)
    sizes = await history.measure(topics)
    return [Movement(*parts) for parts in zip(tops, rates, sizes, strict=True)]


def _build_row(row: dict[str, Any], movement: Movement | None, sessions: str) -> dict[str, Any]:
    address = f"{sessions}?{urlencode({'topic': row['topic']})}"
    cells: dict[str, Any] = {
        "topic": _link(address, row["topic"]),
        "sessions": show_count(row["sessions"]),
        "instances": show_count(row["instances"]),
    }
    if movement is not None:
        cells["rate"] = show_rate(movement.rate)
        cells["top"] = show_count(movement.top.offset)
        cells["publications"] = show_count(movement.size.publications)
        cells["bytes"] = show_size(movement.size.bytes)
    return cells


def _build_links(page: "Page[Any]", query: str, order: str) -> dict[str, str]:
    def build(**changes: Any) -> str:
        parameters = {"q": query, "order": order, **changes}
        return "?" + urlencode({name: value for name, value in parameters.items() if value})

    links = {"by_name": build(order="name"), "by_sessions": build(order="")}
    if page.has_previous():
        links["previous"] = build(p=page.previous_page_number())
    if page.has_next():
        links["next"] = build(p=page.next_page_number())
    return links


def _link(address: str, text: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', address, text)
