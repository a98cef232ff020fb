"""Server processes in the admin: which are alive, and how busy they are."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Case, Q, When
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from realtime.admin.figures import (
    format_duration,
    show_count,
    show_moment,
    show_rate,
    show_size,
)
from realtime.admin.paging import BoundedPaginator
from realtime.admin.readonly import ReadOnlyAdmin
from realtime.models import Instance

# Ended ones are part of the first picture for so long: the one that just died is among them.
RECENT = timedelta(hours=1)
IS_ALIVE = Case(When(lease_until__gt=Now(), then=True), default=False)
LOAD = ("sessions_", "cpu_", "memory_", "loop_delay_", "incoming", "outgoing")


class EndedFilter(admin.SimpleListFilter):
    """Alive, or ended a moment ago; all on demand."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("all", "All")]

    def choices(self, changelist: Any) -> Any:
        for value, title in ((None, "Alive, or ended within an hour"), ("all", "All")):
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({"state": value}, remove=["p"]),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "all":
            return queryset
        return queryset.filter(Q(ended_at=None) | Q(ended_at__gt=Now() - RECENT))


@admin.register(Instance)
class InstanceAdmin(ReadOnlyAdmin):
    """Server processes, those alive first. The load is that of the last five seconds or so."""

    list_display = ("host", "pid", "lease", *LOAD, "unkept", "version_", "started")
    list_filter = (EndedFilter,)
    search_fields = ("=id", "host__startswith")
    search_help_text = "An instance’s id, or what its host’s name begins with."
    sortable_by = ("host", "pid", "started", *LOAD, "unkept")
    paginator = BoundedPaginator
    fieldsets = (
        (None, {"fields": ("id", "host", "pid", "version_", "started", "lease", "epoch")}),
        ("Load", {"fields": (*LOAD, "unkept")}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(is_alive=IS_ALIVE, now=Now())

    def get_ordering(self, request: HttpRequest) -> Any:
        return (IS_ALIVE.desc(), "-started_at", "pk")

    @admin.display(description="lease")
    def lease(self, instance: Any) -> SafeString:
        """Alive; lost, as long as nobody has cleaned up after it; or ended."""
        if instance.ended_at is not None:
            return format_html(
                '<span class="quiet">ended</span> {}', show_moment(instance.ended_at)
            )
        if instance.is_alive:
            left = instance.lease_until - instance.now
            return format_html(
                '<span class="realtime-alive" title="{}">alive</span>',
                f"for {format_duration(left)} more, if it is not renewed",
            )
        return format_html(
            '<strong class="realtime-lost">lost for {}</strong>',
            format_duration(instance.now - instance.lease_until),
        )

    @admin.display(description="sessions", ordering="session_count")
    def sessions_(self, instance: Any) -> SafeString:
        query = f"?instance={instance.pk}"
        if not instance.is_alive:
            query += "&state=all"
        address = reverse(f"{self.admin_site.name}:realtime_session_changelist") + query
        return format_html('<a href="{}">{}</a>', address, f"{instance.session_count:,}")

    @admin.display(description="not kept", ordering="unkept_count")
    def unkept(self, instance: Any) -> SafeString:
        """Ended sessions of which there is no row: there were too many of their address."""
        return show_count(instance.unkept_count)

    @admin.display(description="CPU", ordering="cpu")
    def cpu_(self, instance: Any) -> str:
        return self._load(instance, f"{instance.cpu:.0%}")

    @admin.display(description="memory", ordering="memory")
    def memory_(self, instance: Any) -> str:
        return self._load(instance, show_size(instance.memory))

    @admin.display(description="loop delay", ordering="loop_delay")
    def loop_delay_(self, instance: Any) -> str:
        return self._load(instance, f"{instance.loop_delay * 1000:,.0f} ms")

    @admin.display(description="messages in/s", ordering="messages_in_rate")
    def incoming(self, instance: Any) -> str:
        return self._load(instance, show_rate(instance.messages_in_rate))

    @admin.display(description="messages out/s", ordering="messages_out_rate")
    def outgoing(self, instance: Any) -> str:
        return self._load(instance, show_rate(instance.messages_out_rate))

    @admin.display(description="version", ordering="version")
    def version_(self, instance: Any) -> str:
        return instance.version or "–"

    @admin.display(description="started", ordering="started_at")
    def started(self, instance: Any) -> SafeString:
        return show_moment(instance.started_at)

    def _load(self, instance: Any, text: str) -> str:
        """The last figures of one that is not alive say nothing about now."""
        return text if instance.is_alive else "–"
